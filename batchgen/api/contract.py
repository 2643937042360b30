"""The service's contract as types, shared by the client and by the built-in server.

Source: the OpenAPI document of `POST /v1/completions` (tests/writer_completions_openapi.yaml) and
the vendor's own pages. Pure: bytes and numbers in, values out; no I/O, no clock, no retry policy.
Requests are strict, answers are read liberally: unknown fields pass, a text that was paid for is kept.
"""

from __future__ import annotations

import email.utils
import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from batchgen.api import stream

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


NULL = msgspec.Raw(b"null")


class RawChoice(msgspec.Struct, frozen=True, gc=False):
    """A `Choice` as it is read: its log-probs, which may be nearly all of an answer, stay JSON."""

    text: str
    log_probs: msgspec.Raw = NULL


class RawCompletion(msgspec.Struct, frozen=True, gc=False):
    choices: Annotated[list[RawChoice], msgspec.Meta(min_length=1)]
    model: str | None = None


class Kind(enum.StrEnum):
    """Why an attempt failed, by what can be done about it."""

    INVALID = "invalid"  # this row cannot be served
    REFUSED = "refused"  # this row's content is refused
    KEY = "key"  # no row can be served: bad key, no permission, no payment
    MODEL = "model"  # no row can be served: the model is unknown or removed
    QUOTA = "quota"  # no row can be served: the month's quota is used up
    MISDIRECTED = "misdirected"  # the address does not answer as this service does
    BUSY = "busy"  # everyone slows down, then this row again
    TRANSIENT = "transient"  # this row again
    UNSENT = "unsent"  # the request never left: this row again
    UNANSWERED = "unanswered"  # sent and not answered: possibly billed
    UNUSABLE = "unusable"  # answered with 200 and nothing usable in it: billed
    UNFIT = "unfit"  # answered, and the text is not what the job wants: billed


STOPS_THE_RUN = frozenset({Kind.KEY, Kind.MODEL, Kind.QUOTA, Kind.MISDIRECTED})
ENDS_THE_ROW = frozenset({Kind.INVALID, Kind.REFUSED})
POSSIBLY_BILLED = frozenset({Kind.UNANSWERED, Kind.UNUSABLE})


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt without a text that serves. `retry_after` is in seconds, as the server asked; `body` as it came;
    `answer`: the one whose text is unfit."""

    kind: Kind
    message: str
    status: int | None = None
    retry_after: float | None = None
    body: bytes = b""
    answer: Answer | None = None

    @property
    def cause(self) -> str:
        """What a row's failures are counted by: its kind; what may heal, by each status on its own."""
        return f"{self.kind} {self.status}" if self.kind is Kind.TRANSIENT else str(self.kind)

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An attempt with a text: the body as it came, how many choices it holds, its tokens by estimate."""

    body: bytes
    choices: int
    tokens: int


_raw = msgspec.json.Decoder(RawCompletion)
_whole = msgspec.json.Decoder(Completion)
CHECKED_WHOLE = 16 << 10
"""Bytes of an answer up to which its log-probs, too, are checked when it comes. Larger ones are nearly all log-probs:
checking those costs as much as the request, and is done when the results are made (`results.log_probs`)."""


def _is_json(body: bytes) -> bool:
    """Told apart from server-sent events by how the body begins."""
    return body[:1] == b"{" or body.lstrip()[:1] in (b"{", b"")


def read_answer(body: bytes) -> RawCompletion:
    """The completion in a 200's body, JSON or server-sent events.

    Raises ValueError, or RecursionError on absurd nesting, where the body is not the contract's.
    """
    if _is_json(body):
        return _raw.decode(body)
    return RawCompletion(choices=[RawChoice(text=stream.text(body))])


def judge(body: bytes) -> Answer | Failure:
    """What a 200's body is worth."""
    try:
        small = len(body) <= CHECKED_WHOLE and _is_json(body)
        texts = [choice.text for choice in (_whole.decode(body) if small else read_answer(body)).choices]
    except (ValueError, RecursionError) as error:
        said = "nested absurdly deep" if isinstance(error, RecursionError) else str(error)
        return Failure(Kind.UNUSABLE, f"a 200 whose body is not the contract's: {said}", 200, body=body)
    return Answer(body, len(texts), sum([estimate_tokens(text) for text in texts]))


MONTHLY_QUOTA_CODES = frozenset({"CompletionModelQuotaError", "fail.model.quotaExceeded"})
GUARDRAIL_CODES = frozenset({"fail.guardrail.blocked", "CompletionModelUnsafeRequestError"})
_STATUS_KINDS = {
    401: Kind.KEY,
    402: Kind.KEY,
    403: Kind.KEY,
    429: Kind.BUSY,
    **dict.fromkeys((408, 409, 500, 502, 503, 504, 507, 529), Kind.TRANSIENT),
    **dict.fromkeys((404, 405, 410, 501), Kind.MISDIRECTED),
}
SLOWS_EVERYONE = frozenset({429, 503, 529})
"""Statuses after which everybody waits, not this row alone."""


@dataclass(frozen=True, slots=True)
class _Error:
    """What can be made of an error's body: `tpe`, and the `key` and `description` of its `errors`."""

    tpe: str = ""
    keys: tuple[str, ...] = ()
    description: str = ""

    @property
    def codes(self) -> set[str]:
        return {self.tpe, *self.keys}


def classify(status: int, headers: Mapping[str, str], body: bytes, model: str, now: datetime) -> Failure:
    """What an answer other than 200 means. `model` is the one asked for; `now` (UTC) is for HTTP dates.

    Goes by status and by the body's codes, never by words in a message, but for one question the
    service leaves to words: whether a 400, 404 or 410 is about the model.
    """
    error = _read_error(body)
    codes = error.codes
    kind = _STATUS_KINDS.get(status)
    if codes & MONTHLY_QUOTA_CODES:
        kind = Kind.QUOTA
    elif codes & GUARDRAIL_CODES:
        kind = Kind.REFUSED
    elif status in (400, 404, 410) and _names_the_model(error, model):
        kind = Kind.MODEL
    elif kind is None:
        kind = _other_status(status)
    return Failure(kind, _say(status, error, body), status, retry_after(headers, now), body)


def _other_status(status: int) -> Kind:
    """By class: 5xx may heal, 4xx is about the row, and 3xx is no service of ours."""
    by_class = {5: Kind.TRANSIENT, 4: Kind.INVALID}
    return by_class.get(status // 100, Kind.MISDIRECTED)


def _read_error(body: bytes) -> _Error:
    """Takes what is there: a proxy's HTML, nothing, or half of the documented shape."""
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return _Error()
    if not isinstance(value, dict):
        return _Error()
    errors = value.get("errors")
    details = [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []
    descriptions = [e["description"] for e in details if isinstance(e.get("description"), str)]
    keys = tuple(e["key"] for e in details if isinstance(e.get("key"), str))
    tpe = value.get("tpe")
    return _Error(tpe if isinstance(tpe, str) else "", keys, "; ".join(filter(None, descriptions)))


_GONE = re.compile(
    r"not (be )?found|no such|does(n't| not) exist|unknown|invalid model|unrecogni[sz]ed|deprecated|removed|retired"
    r"|not available|unavailable|no longer|(not |un)supported|not allowed|no access",
    re.IGNORECASE,
)


_TOO_MUCH = re.compile(r"context|too (long|large|many)|length|maximum|exceed", re.IGNORECASE)
"""Said of a prompt that does not fit the model, which is the row's fault."""


def _names_the_model(error: _Error, model: str) -> bool:
    if _TOO_MUCH.search(error.description):
        return False
    if "model" in {code.casefold() for code in error.codes}:
        return True
    named = any(re.search(r"model.?(not.?found|removed|unknown)", code, re.IGNORECASE) for code in error.codes)
    said = error.description
    return named or ((model in said or "model" in said.casefold()) and _GONE.search(said) is not None)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def _say(status: int, error: _Error, body: bytes) -> str:
    said = error.description or body[:300].decode(errors="replace")
    parts = (str(status), error.tpe, said)
    return _CONTROL.sub(" ", " ".join(part for part in parts if part))[:500].strip()


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds the server asks to wait: `retry-after-ms`, else `Retry-After` (RFC 9110, 10.2.3).

    Seconds, fractions of them, or an HTTP date; None where there is none or it makes no sense.
    """
    waits = (*_number(headers.get("retry-after-ms"), 1000), *_number(headers.get("Retry-After"), 1))
    for seconds in waits:
        return seconds
    try:
        when = email.utils.parsedate_to_datetime(headers.get("Retry-After", ""))
    except (ValueError, OverflowError):
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds())


def _number(value: str | None, per_second: int) -> Iterator[float]:
    if value is not None and re.fullmatch(r"\s*[0-9]{1,30}(\.[0-9]{0,30})?\s*", value, re.ASCII):
        yield float(value) / per_second


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
    return -(-len(text.encode()) // 4)
