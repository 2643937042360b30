"""The service's contract as types, shared by the client and by the built-in server.

Source: the OpenAPI document of `POST /v1/completions` (tests/support/writer_completions_openapi.yaml) and
the vendor's own pages. Pure: bytes and numbers in, values out; no I/O, no clock, no retry policy.
Requests are strict, answers are read liberally: unknown fields pass, a text that was paid for is kept.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from batchgen.api import sse
from batchgen.api.repair import decoded
from batchgen.api.sse import NULL

PATH = "/v1/completions"
VENDOR_HOST = "api.writer.com"
VENDOR_URL = f"https://{VENDOR_HOST}"
SERVER_MAX_TOKENS = 100
"""What the server takes where a request has no `max_tokens` (vendor's documentation)."""

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class CompletionRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """`completions_request`: a field that is None is not sent."""

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
        """Answers that are made, and billed, of which the best may be sent alone."""
        return self.best_of or 1

    def longest(self, default: int) -> int:
        """Tokens of all answers at their longest; `default`: of one where the request does not say."""
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
    """`completions_response`. A stream names no model and has no log-probs."""

    choices: Annotated[list[Choice], msgspec.Meta(min_length=1)]
    model: str | None = None


class RawChoice(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A `Choice` as it is read: its log-probs, which may be nearly all of an answer, stay JSON. `finish_reason` and
    `reasoning` are what chats and gateways add to it."""

    text: str
    log_probs: msgspec.Raw = NULL
    finish_reason: str | None = None
    reasoning: Any = None  # a text, or what a server of completions may have put there


class RawCompletion(sse.Telling, frozen=True, gc=False):
    """An answer as it is read. `usage` is the service's count, as it came."""

    choices: Annotated[list[RawChoice], msgspec.Meta(min_length=1)]
    model: str | None = None
    usage: msgspec.Raw = NULL


WHOLE = frozenset({
    "stop", "length", "max_tokens", "model_length", "eos", "eos_token", "eog", "end_turn", "stop_sequence",
    "stop_token", "stop_str", "complete", "completed", "tool_calls", "function_call",
})  # fmt: skip
"""Why an answer ends that is whole, or as long as was asked for. All else breaks one off: vLLM says `abort` of what was
in flight when it is restarted, with status 200 and half a text."""
CUT_OFF = frozenset({"length", "max_tokens", "model_length"})
"""Those of them that tell of an answer that was cut at its longest."""
FILTERED = "content_filter"

_raw = msgspec.json.Decoder(RawCompletion)


def is_cut_off(finish_reason: str | None) -> bool:
    """Whether an answer that ended for this reason was cut at its longest."""
    return finish_reason is not None and finish_reason.lower() in CUT_OFF


def is_json(body: bytes) -> bool:
    """Told apart from server-sent events by how the body begins."""
    return body[:1] == b"{" or body.lstrip()[:1] in (b"{", b"")


def read_answer(body: bytes) -> RawCompletion:
    """The completion in a 200's body, JSON or server-sent events.

    Raises ValueError, or RecursionError on absurd nesting, where the body is not the contract's.
    """
    if is_json(body):
        return decoded(_raw, body)
    return RawCompletion(choices=[RawChoice(text=sse.text(body))])
