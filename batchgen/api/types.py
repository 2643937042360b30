"""Defines the service's contract as types, for the client and the built-in server.

Source: the OpenAPI document of `POST /v1/completions` (tests/support/writer_completions_openapi.yaml) and the vendor's
own pages. Pure: bytes and numbers in, values out; no I/O, no clock, no retry policy. Requests are strict. Answers are
read liberally: unknown fields are ignored, a text that was paid for is kept.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import Annotated, Any

import msgspec

from batchgen.api import sse
from batchgen.api.repair import decoded
from batchgen.api.sse import NULL

PATH = "/v1/completions"
VENDOR_HOST = "api.writer.com"
VENDOR_URL = f"https://{VENDOR_HOST}"
SERVER_MAX_TOKENS = 100
"""The server's default if a request has no `max_tokens` (vendor's documentation)."""

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class CompletionRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Represents `completions_request`. Fields that are None are not sent."""

    model: str
    prompt: str
    max_tokens: Int64 | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: list[str] | str | None = None
    best_of: Int32 | None = None
    random_seed: Int32 | None = None
    stream: bool | None = None

    @property
    def candidates(self) -> int:
        """Returns how many answers are generated, and billed; perhaps only the best is sent."""
        return self.best_of or 1

    def longest(self, default: int) -> int:
        """Returns the most tokens that all answers may have. `default`: tokens of one, if the request sets no limit."""
        return (self.max_tokens or default) * self.candidates


class TopLogProb(msgspec.Struct, frozen=True, gc=False):
    token: str
    logprob: float | None
    bytes: list[Int32] | None = None


class TokenLogProb(msgspec.Struct, frozen=True, gc=False):
    token: str
    logprob: float | None
    bytes: list[Int32] | None = None
    top_logprobs: list[TopLogProb] | None = None


class LogProbs(msgspec.Struct, frozen=True, gc=False):
    content: list[TokenLogProb] | None = None
    refusal: list[TokenLogProb] | None = None


class Choice(msgspec.Struct, frozen=True, gc=False):
    text: str
    log_probs: LogProbs | None = None


class Completion(msgspec.Struct, frozen=True, gc=False):
    """Represents `completions_response`. A stream has neither model nor log-probs."""

    choices: Annotated[list[Choice], msgspec.Meta(min_length=1)]
    model: str | None = None


class RawChoice(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Reads a `Choice`. Its log-probs, often nearly all of an answer, stay JSON. `finish_reason` and `reasoning` are
    added by chats and gateways."""

    text: str
    log_probs: msgspec.Raw = NULL
    finish_reason: str | None = None
    reasoning: Any = None  # a text, or anything that a server of completions puts there


class RawCompletion(sse.ErrorFields, frozen=True, gc=False):
    """Reads an answer. `usage`: the service's count, as it came."""

    choices: Annotated[list[RawChoice], msgspec.Meta(min_length=1)]
    model: str | None = None
    usage: msgspec.Raw = NULL


WHOLE = frozenset({
    "stop", "length", "max_tokens", "model_length", "eos", "eos_token", "eog", "end_turn", "stop_sequence",
    "stop_token", "stop_str", "complete", "completed", "tool_calls", "function_call",
})  # fmt: skip
"""Finish reasons of answers that are whole, or as long as was requested. Any other one marks a broken answer: vLLM,
when it is restarted, answers what is in flight with status 200, half a text and `abort`."""
CUT_OFF = frozenset({"length", "max_tokens", "model_length"})
"""Finish reasons of answers that were cut at the maximum length."""
BROKEN = frozenset({"abort", "repetition"})
"""Finish reasons of vLLM that LiteLLM's proxy calls `stop`: a whole chat from it has them under another name."""
FILTERED = "content_filter"

_raw = msgspec.json.Decoder(RawCompletion)


def is_cut_off(finish_reason: str | None) -> bool:
    """Returns whether an answer with this finish reason was cut at its maximum length."""
    return finish_reason is not None and finish_reason.lower() in CUT_OFF


def is_json(body: bytes) -> bool:
    """Returns whether a body is JSON and not server-sent events, by how it begins."""
    return body[:1] == b"{" or body.removeprefix(BOM_UTF8).lstrip()[:1] in (b"{", b"")


def read_answer(body: bytes) -> RawCompletion:
    """Reads the completion in a 200's body, JSON or server-sent events.

    Raises ValueError, or RecursionError on absurd nesting, if the body does not match the contract.
    """
    if is_json(body):
        return decoded(_raw, body)
    return RawCompletion(choices=[RawChoice(text=sse.read(body).text)])
