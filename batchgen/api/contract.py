"""The service's contract as types, shared by the client and by the built-in server.

Source: the OpenAPI document of `POST /v1/completions` (tests/writer_completions_openapi.yaml) and
the vendor's own pages. Pure: bytes and numbers in, values out; no I/O, no clock, no retry policy.
Requests are strict, answers are read liberally: unknown fields pass, a text that was paid for is kept.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Annotated

import msgspec
from msgspec import structs

from batchgen.api import sse
from batchgen.api.body import Body
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


class RawChoice(msgspec.Struct, frozen=True, gc=False):
    """A `Choice` as it is read: its log-probs, which may be nearly all of an answer, stay JSON. `finish_reason` is what
    a gateway adds to it."""

    text: str
    log_probs: msgspec.Raw = NULL
    finish_reason: str | None = None


class RawCompletion(sse.Telling, frozen=True, gc=False):
    choices: Annotated[list[RawChoice], msgspec.Meta(min_length=1)]
    model: str | None = None


class Kind(enum.StrEnum):
    """Why an attempt failed, by what can be done about it."""

    INVALID = "invalid"  # this row cannot be served
    REFUSED = "refused"  # this row's content is refused
    KEY = "key"  # no row can be served: bad key, no permission, no payment
    MODEL = "model"  # no row can be served: the model is unknown or removed
    PROXY = "proxy"  # no row can be served: the proxy wants a password
    QUOTA = "quota"  # no row can be served: the month's quota is used up
    MISDIRECTED = "misdirected"  # the address does not answer as this service does
    BUSY = "busy"  # everyone slows down, then this row again
    TRANSIENT = "transient"  # this row again
    UNSENT = "unsent"  # the request never left: this row again
    UNANSWERED = "unanswered"  # sent and not answered: possibly billed
    UNUSABLE = "unusable"  # answered with 200 and nothing usable in it: billed
    UNFIT = "unfit"  # answered, and the text is not what the job wants: billed


STOPS_THE_RUN = frozenset({Kind.KEY, Kind.PROXY, Kind.MODEL, Kind.QUOTA, Kind.MISDIRECTED})
MAYBE_THE_ROWS = frozenset({Kind.KEY, Kind.MISDIRECTED})
"""What may be the row's fault or everybody's."""
WHOEVER_ASKS = frozenset({401, 402, 407})
"""Statuses that are about the key, whatever the row says."""
ENDS_THE_ROW = frozenset({Kind.INVALID, Kind.REFUSED})
POSSIBLY_BILLED = frozenset({Kind.UNANSWERED, Kind.UNUSABLE})
SLOWS_EVERYONE = frozenset({429, 503, 529})
"""Statuses after which everybody waits, not this row alone."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt without a text that serves. `retry_after` is in seconds, as the server asked; `body` as it came;
    `answer`: the one whose text is unfit. `others_serve`: it is about one of several servers, and nobody else needs
    to wait. `is_late`: no answer came in time. `resent`: how often the request had left before, over connections that
    had been closed, and `lost`: how many of these may have been read all the same."""

    kind: Kind
    message: str
    status: int | None = None
    retry_after: float | None = None
    body: bytes = b""
    answer: Answer | None = None
    others_serve: bool = False
    is_late: bool = False
    resent: int = 0
    lost: int = 0

    def after(self, resent: int, lost: int) -> Failure:
        """The same, with what had left before."""
        return replace(self, resent=resent, lost=lost)

    @property
    def cause(self) -> str:
        """What a row's failures are counted by: its kind; what may heal, by each status on its own."""
        return f"{self.kind} {self.status}" if self.kind is Kind.TRANSIENT else str(self.kind)

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An attempt with a text: the body as it came (or packed by who made the attempt), how many choices it holds, its
    tokens: by estimate, or as the service counts them. `prompt_tokens` is None where it counts none. `resent` and
    `lost` are as a Failure's."""

    body: Body
    choices: int
    tokens: int
    prompt_tokens: int | None = None
    has_log_probs: bool = True
    resent: int = 0
    lost: int = 0

    def after(self, resent: int, lost: int) -> Answer:
        """The same, with what had left before."""
        return structs.replace(self, resent=resent, lost=lost)


WHOLE = frozenset({
    "stop", "length", "max_tokens", "model_length", "eos", "eos_token", "eog", "end_turn", "stop_sequence",
    "stop_token", "stop_str", "complete", "completed", "tool_calls", "function_call",
})  # fmt: skip
"""Why an answer ends that is whole, or as long as was asked for. All else breaks one off: vLLM says `abort` of what was
in flight when it is restarted, with status 200 and half a text."""
FILTERED = "content_filter"

_raw = msgspec.json.Decoder(RawCompletion)


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


def as_json(body: bytes) -> bytes:
    """The answer in the contract's shape. Raises as `read_answer`; what is JSON already is not looked at."""
    return body if is_json(body) else msgspec.json.encode(read_answer(body))


@dataclass(frozen=True, slots=True)
class Deprecation:
    replacement: str
    removed_on: str  # ISO date


DEPRECATED = dict.fromkeys(
    ("palmyra-x-003-instruct", "palmyra-vision", "palmyra-med", "palmyra-fin", "palmyra-creative"),
    Deprecation(replacement="palmyra-x5", removed_on="2026-07-13"),
)

PRICES = {"palmyra-x5": (0.60, 6.00), "palmyra-x4": (2.50, 10.00)}
"""USD per million tokens, (prompt, answer), as documented; a job may override them."""


def estimate_tokens(text: str) -> int:
    """Tokens in a text, by the rule of thumb of four bytes each: the service counts none for us."""
    return -(-(len(text) if text.isascii() else len(text.encode())) // 4)
