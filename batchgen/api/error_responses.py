"""Classifies answers other than 200, by status and by what the body says in any shape that services use.

Pure: bytes and numbers in, a Failure out; no clock, no retry policy.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from batchgen.api.error_body import ErrorBody, describe, read_error
from batchgen.api.failure_kinds import Kind, status_policy
from batchgen.api.outcome import Failure

QUOTA_CODES = frozenset({
    "CompletionModelQuotaError", "fail.model.quotaExceeded",
    "insufficient_quota", "billing_hard_limit_reached", "billing_not_active",
})  # fmt: skip
GUARDRAIL_CODES = frozenset({
    "fail.guardrail.blocked", "CompletionModelUnsafeRequestError", "content_policy_violation", "content_filter",
})  # fmt: skip


def classify(
    status: int, headers: Mapping[str, str], body: bytes, model: str, now: datetime, request: bytes = b""
) -> Failure:
    """Returns the failure that an answer other than 200 stands for. `model` is the one that `request` names. `now`
    (UTC): to read HTTP dates of a server that does not send its own time.

    Goes by status and by the body's codes, and by words of a message only where services give no code: for an unknown
    model, a bad key, and a request that is too large; and for the status that a gateway had from the server, where it
    says 502 of each.
    """
    error = read_error(body)
    message = _message(status, headers, error, body)
    if status == 502:  # noqa: PLR2004
        status = _passed_on(error, request) or status
    kind = status_policy(status).kind
    if error.codes & QUOTA_CODES:
        kind = Kind.QUOTA
    elif error.codes & GUARDRAIL_CODES:
        kind = Kind.REFUSED
    elif status in (400, 404, 410) and names_the_model(error, model, request):
        kind = Kind.MODEL
    elif status == 429 and _TOO_LARGE.search(error.description + str(error.codes)):  # noqa: PLR2004
        kind = Kind.INVALID
    elif status in (400, 422, 500) and _is_of_the_key(error, request):
        kind = Kind.KEY
    elif is_context_full(error):
        kind = Kind.BUSY
    return Failure(kind, message, status, retry_after(headers, now), body)


def _passed_on(error: ErrorBody, request: bytes) -> int | None:
    """Returns the refusal that a gateway had from its server and answers by 502; None if there is none, or if several
    servers refused by different ones."""
    told = set(_REFUSAL.findall(error.without(request).description))
    return int(told.pop()) if len(told) == 1 else None


def is_context_full(error: ErrorBody) -> bool:
    """Returns whether all requests at work were given up by llama.cpp's server, since together they filled the context
    that its slots share. Fewer at once fit. (A request that is too long by itself is refused in other words.)"""
    return error.description == "Context size has been exceeded."


def _is_of_the_key(error: ErrorBody, request: bytes) -> bool:
    """Returns whether the error is about the key, in words that are not the request's."""
    if any(map(_BAD_KEY.search, error.codes)):
        return True
    return _BAD_KEY.search(error.description) is not None and (
        _BAD_KEY.search(error.without(request).description) is not None
    )


def _message(status: int, headers: Mapping[str, str], error: ErrorBody, body: bytes) -> str:
    target = headers.get("Location") if status // 100 == 3 else None  # noqa: PLR2004  a redirect
    return f"{describe(status, error, body)} (to {target[:1000]})" if target else describe(status, error, body)


_GONE = (
    r"not (?:be )?found|no such|(?:does not|doesn't) exist|unknown|unrecogni[sz]ed|deprecated|removed|retired"
    r"|not available|unavailable|no longer|not supported|unsupported|not allowed|no access|not a valid model"
)
_NO_MODEL = r"(?:no such|unknown|invalid|unrecogni[sz]ed|unsupported|deprecated|access to (?:the |this )?)\W*(?:\w+ )?"
_TOO_LARGE = re.compile(r"(request|prompt|message)\S*\s*(is )?too[ _]?(large|long)|request_too_large", re.IGNORECASE)
"""Words about one request that is larger than a limit: waiting does not help it, and no other request is concerned."""
_BAD_KEY = re.compile(
    r"authentication.?error|(invalid|incorrect|missing|unknown|no) (\w+ )?(api|proxy|auth\w*|access).?(key|token)"
    r"|(api|proxy|access).?(key|token)\S* (is |was )?(invalid|incorrect|missing|required|not found|unknown)"
    r"|unauthori[sz]ed|^no_db_connection$",
    re.IGNORECASE,
)
"""Words of gateways about a wrong key with other statuses than 401: LiteLLM's 400 and 500, Kong's and others' 422. A
LiteLLM without a database says `no_db_connection` of every key but its own."""
_TOO_MUCH = re.compile(r"context|too (long|large|many)|length|maximum|exceed", re.IGNORECASE)
"""Words about a prompt that does not fit the model, which is the row's fault."""
_REFUSAL = re.compile(r"(?:Error|status code:) (4[0-9]{2}) [A-Z]")
"""How TensorZero's gateway tells by which status the server refused: `Error 429 Too Many Requests from vllm client`."""


def names_the_model(error: ErrorBody, model: str | None, request: bytes = b"") -> bool:
    """Returns whether the error says that there is no such model. It must be about the model and not about a field that
    the model lacks, and in words that are not the request's."""
    if error.param not in (None, "model") or _TOO_MUCH.search(error.description):
        return False
    if "model" in {code.casefold() for code in error.codes}:
        return True
    if any(re.search(r"model.?(not.?found|removed|unknown)", code, re.IGNORECASE) for code in error.codes):
        return True
    subject = rf"(?:{re.escape(model)}|\bmodel\b)" if model else r"\bmodel\b"
    named = rf"{subject}(?! (?:parameter|output|response|setting))"
    about = re.compile(rf"{subject}[^;\n]{{0,120}}?(?:{_GONE})|{_NO_MODEL}{named}", re.IGNORECASE)
    return about.search(error.description) is not None and about.search(error.without(request).description) is not None


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Returns the seconds that the server asks to wait: by `retry-after-ms`, else by `Retry-After` (RFC 9110, 10.2.3).

    The latter holds seconds, with a fraction or not, or an HTTP date, which is compared with the server's own `Date`.
    None if there is no such header, or it cannot be read.
    """
    waits = (*_number(headers.get("retry-after-ms"), 1000), *_number(headers.get("Retry-After"), 1))
    for seconds in waits:
        return seconds
    when = _date(headers.get("Retry-After"))
    return None if when is None else max(0.0, (when - (_date(headers.get("Date")) or now)).total_seconds())


def _date(said: str | None) -> datetime | None:
    try:
        when = email.utils.parsedate_to_datetime(said or "")
    except (ValueError, OverflowError):
        return None
    return when.replace(tzinfo=when.tzinfo or UTC)


def _number(value: str | None, per_second: int) -> Iterator[float]:
    if value is not None and re.fullmatch(r"\s*[0-9]{1,30}(\.[0-9]{0,30})?\s*", value, re.ASCII):
        yield float(value) / per_second
