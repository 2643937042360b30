"""What an answer other than 200 means: by its status, and by what its body says in any of the shapes that services use.

Pure: bytes and numbers in, a Failure out; no clock, no retry policy.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from batchgen.api.contract import Failure, Kind

QUOTA_CODES = frozenset({
    "CompletionModelQuotaError", "fail.model.quotaExceeded",
    "insufficient_quota", "billing_hard_limit_reached", "billing_not_active",
})  # fmt: skip
GUARDRAIL_CODES = frozenset({
    "fail.guardrail.blocked", "CompletionModelUnsafeRequestError", "content_policy_violation", "content_filter",
})  # fmt: skip
_STATUS_KINDS = {
    401: Kind.KEY,
    402: Kind.KEY,
    403: Kind.KEY,
    429: Kind.BUSY,
    **dict.fromkeys((408, 409, 424, 500, 502, 503, 504, 507, 529), Kind.TRANSIENT),
    **dict.fromkeys((404, 405, 410, 501), Kind.MISDIRECTED),
}
"""None of these is about the row; a 424 is TGI's for a generation that failed within it."""


@dataclass(frozen=True, slots=True)
class _Error:
    """What can be made of an error's body: its type, what else it is called by, and what it says."""

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
    if codes & QUOTA_CODES:
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
    """Takes what is there: a proxy's HTML, nothing, or half of a documented shape. Those are writer's `errors`,
    OpenAI's `error` (an object, with some servers a text, with some the body itself) and FastAPI's `detail`."""
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return _Error()
    if not isinstance(value, dict):
        return _Error()
    parts = [value, *(part for name in ("errors", "error", "detail") for part in _objects(value.get(name)))]
    types, codes = _texts(parts, "tpe", "type", "error_type"), _texts(parts, "key", "code", "param")
    said = _texts(parts, "description", "message", "msg", "error", "detail")
    return _Error(types[0] if types else "", (*types[1:], *codes), "; ".join(filter(None, said)))


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def _texts(parts: Iterable[dict[str, Any]], *names: str) -> list[str]:
    return [part[name] for part in parts for name in names if isinstance(part.get(name), str)]


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
