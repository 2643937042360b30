"""What is wrong with a 200: an error inside of it, an answer that broke off, or nothing that is one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from batchgen.api.body import decompress
from batchgen.api.error_body import MOST_SAID, ErrorBody, read_error, say, visible
from batchgen.api.error_responses import GUARDRAIL_CODES, QUOTA_CODES, names_the_model
from batchgen.api.outcome import Answer, Failure, Kind, status_policy
from batchgen.api.types import FILTERED, WHOLE

_WORDS = [
    (re.compile(words, re.IGNORECASE), kind)
    for words, kind in (
        (r"rate.?limit|too.?many.?requests|throttl|per.?(second|minute)|resource.?exhausted", Kind.BUSY),
        (r"quota|billing|insufficient.?(fund|credit|balance)|out of credit", Kind.QUOTA),
        (r"overload|unavailable|capacity|try again|internal|server.?error|time.?out", Kind.TRANSIENT),
        (r"api.?key|unauthori[sz]ed|authenticat|permission|forbidden", Kind.KEY),
        (r"bad.?request|invalid|validation|context.?length|maximum context|(not |un)supported", Kind.INVALID),
    )
]
"""What an error says that came with status 200, and so without one of its own. The first that fits."""


def error_within(data: bytes, body: bytes, *, had_text: bool = False) -> Failure:
    """What an error means that came inside of a 200. `data`: what tells of it, `body`: the whole one. With some text
    before it the answer was billed, and broke off."""
    error = read_error(data)
    if had_text:
        return unusable(body, f"the answer broke off: {say(200, error, data)}")
    return Failure(_kind(error), f"an error inside of a {say(200, error, data)}"[:MOST_SAID], 200, body=body)


def _kind(error: ErrorBody) -> Kind:
    if error.codes & QUOTA_CODES:
        return Kind.QUOTA
    if error.codes & GUARDRAIL_CODES:
        return Kind.REFUSED
    if error.statuses:
        return status_policy(error.statuses[0]).kind
    if names_the_model(error, None):
        return Kind.MODEL
    said = (" ".join(error.codes), error.description)
    return next((kind for text in said for words, kind in _WORDS if words.search(text)), Kind.UNUSABLE)


def unreadable(body: bytes, why: Exception | str) -> Failure:
    """A 200 that is no answer: what it tells of an error, or what a page shows, as of a proxy that wants a login."""
    error = read_error(body)
    if error.description or error.codes - {""}:
        return error_within(body, body)
    said = "nested absurdly deep" if isinstance(why, RecursionError) else str(why)
    page = visible(body)
    return unusable(body, f"a page of HTML: {page}" if page else f"a 200 whose body is not the contract's: {said}")


def broken_off(answer: Answer, reasons: Iterable[str | None]) -> Failure | None:
    """What is wrong with an answer that ended for these reasons; None where each is a good one, or none was given."""
    for bad in reasons:
        if bad and bad.lower() not in WHOLE:
            break
    else:
        return None
    if bad.lower() == FILTERED:
        return refused(answer, "the service withholds the answer (finish_reason: content_filter)")
    return unusable(decompress(answer.body), f"the answer broke off: its finish_reason is {bad[:80]!r}")


def refused(answer: Answer, said: str) -> Failure:
    """A refusal with status 200: it was billed, and the answer is kept."""
    return Failure(Kind.REFUSED, said[:MOST_SAID], 200, body=decompress(answer.body), answer=answer)


def unusable(body: bytes, said: str) -> Failure:
    return Failure(Kind.UNUSABLE, said[:MOST_SAID], 200, body=body)
