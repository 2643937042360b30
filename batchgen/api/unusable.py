"""Finds what is wrong with a 200: an error inside it, an answer that broke off, or no answer at all. Pure."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterable
from dataclasses import replace

from batchgen.api.body import decompress
from batchgen.api.error_body import MAX_MESSAGE_CHARS, ErrorBody, describe, read_error, visible_text
from batchgen.api.error_responses import GUARDRAIL_CODES, QUOTA_CODES, is_context_full, names_the_model
from batchgen.api.failure_kinds import Kind, status_policy
from batchgen.api.outcome import Answer, Failure
from batchgen.api.types import FILTERED, WHOLE

_WORDS = [
    (re.compile(words, re.IGNORECASE), kind)
    for words, kind in (
        (r"^failed to get response", Kind.UNANSWERED),  # LMDeploy's balancer: no connection, or one that broke
        (r"rate.?limit|too.?many.?requests|throttl|per.?(second|minute)|resource.?exhausted", Kind.BUSY),
        (r"quota|billing|insufficient.?(fund|credit|balance)|out of credit", Kind.QUOTA),
        (r"overload|unavailable|capacity|try again|internal|server.?error|time.?out", Kind.TRANSIENT),
        (r"api.?key|unauthori[sz]ed|authenticat|permission|forbidden", Kind.KEY),
        (r"bad.?request|invalid|validation|context.?length|maximum context|(not |un)supported", Kind.INVALID),
    )
]
"""Words of errors that came with status 200, and the kind of failure that they mean. The first match counts."""

_STREAM = re.compile(rb"^(data|event|id|retry|error)?:", re.MULTILINE)
"""A line of server-sent events."""


def error_within(data: bytes, body: bytes, *, had_text: bool = False) -> Failure:
    """Returns the failure for an error inside a 200. `data`: the part that reports it. `body`: all of it. `had_text`:
    some text came before, so the answer was billed, and broke off."""
    error = read_error(data)
    if had_text and not is_context_full(error):
        return unusable(body, f"the answer broke off: {describe(200, error, data)}")
    return Failure(
        _kind(error), f"an error inside of a {describe(200, error, data)}"[:MAX_MESSAGE_CHARS], 200, body=body
    )


def _kind(error: ErrorBody) -> Kind:
    """Returns the kind of failure, by codes, then by a status in the body, then by words."""
    if error.codes & QUOTA_CODES:
        return Kind.QUOTA
    if error.codes & GUARDRAIL_CODES:
        return Kind.REFUSED
    if is_context_full(error):
        return Kind.BUSY
    if error.statuses:
        return status_policy(error.statuses[0]).kind
    if names_the_model(error, None):
        return Kind.MODEL
    texts = (" ".join(error.codes), error.description)
    return next((kind for text in texts for words, kind in _WORDS if words.search(text)), Kind.UNUSABLE)


def unreadable(body: bytes, why: Exception | str) -> Failure:
    """Returns the failure for a 200 that is not an answer: the error in it, or what a page shows, such as a login
    page, in HTML or in plain text."""
    error = read_error(body)
    if error.description or error.codes - {""}:
        return error_within(body, body)
    page, words = visible_text(body), _plain_text(body)
    if page:
        said = f"a page of HTML: {page}"
    elif words:
        said = f"a 200 that is neither JSON nor a stream: {words}"
    else:
        reason = "nested absurdly deep" if isinstance(why, RecursionError) else str(why)
        said = f"a 200 whose body is not the contract's: {reason if body.strip() else 'it is empty'}"
    return replace(unusable(body, said), is_page=bool(page or words) or not body.strip())


def _plain_text(body: bytes) -> str:
    """Returns the beginning of a body that is a text and nothing else; empty if it is JSON, a stream or bytes."""
    if body.removeprefix(BOM_UTF8).lstrip()[:1] in (b"{", b"[", b'"', b"") or _STREAM.search(body):
        return ""
    text = body[:300].decode(errors="replace").rstrip("\ufffd")
    return "" if "\ufffd" in text or "\0" in text else " ".join(text.split())


def broken_off(answer: Answer, reasons: Iterable[str | None]) -> Failure | None:
    """Returns the failure for an answer with these finish reasons; None if each is a good one, or there is none. A
    later choice may be withheld: the row's text is the first one's."""
    for at, bad in enumerate(reasons):
        if bad and bad.lower() not in WHOLE and not (at and bad.lower() == FILTERED):
            break
    else:
        return None
    if bad.lower() == FILTERED:
        return content_refusal(answer, "the service withholds the answer (finish_reason: content_filter)")
    return unusable(decompress(answer.body), f"the answer broke off: its finish_reason is {bad[:80]!r}")


def content_refusal(answer: Answer, message: str) -> Failure:
    """Returns the failure for a refusal with status 200: it was billed, and the answer is kept."""
    return Failure(Kind.REFUSED, message[:MAX_MESSAGE_CHARS], 200, body=decompress(answer.body), answer=answer)


def unusable(body: bytes, message: str) -> Failure:
    """Returns the failure for a 200 that cannot be used, with this message."""
    return Failure(Kind.UNUSABLE, message[:MAX_MESSAGE_CHARS], 200, body=body)
