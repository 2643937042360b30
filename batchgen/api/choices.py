"""Reads answers that are lists of choices, whole or streamed, and decides whether they can be used. Pure.

OpenAI's completions and both kinds of chat differ only in where a choice keeps its text. Each dialect brings the type
of its choices (`ChoicePart`) and shares everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import msgspec

from batchgen.api import sse
from batchgen.api.log_probs import concatenated, in_contract_shape
from batchgen.api.outcome import Answer, Failure
from batchgen.api.repair import decoded
from batchgen.api.sse import NULL
from batchgen.api.token_counts import tokens_of
from batchgen.api.types import BROKEN, WHOLE, RawChoice, RawCompletion, is_cut_off, is_json
from batchgen.api.unusable import broken_off, content_refusal, error_within, unreadable, unusable

NO_REASON = (
    "nothing says that the answer came to its end: it has no finish_reason (an old server? Then try stream: true, or "
    "a newer one)"
)
ONE_FOR_ALL = " (a gateway that tells one end for all of a stream? Then leave out stream, or n)"
NO_END = (
    "the answer broke off: no finish_reason says that it came to its end (a server that serves "
    "one stream at a time? Then set limits.concurrency: 1)"
)


class ChoicePart(Protocol):
    """Represents a choice, or what one event of a stream adds to it."""

    index: int | None
    logprobs: msgspec.Raw
    finish_reason: str | None

    @property
    def text(self) -> str | None: ...
    @property
    def reasoning(self) -> str | None: ...
    @property
    def refusal(self) -> str | None: ...
    @property
    def native_reason(self) -> str | None: ...


class ParsedBody(NamedTuple):
    """Holds what a body contains. `reasons`: the finish reason of each choice, None if it has none. `refusal`: the
    service's words if it refuses the first choice, whose text is the row's. `error`: the event or body that reports an
    error, as it came."""

    choices: list[RawChoice]
    reasons: list[str | None]
    model: str | None
    usage: msgspec.Raw
    refusal: str | None
    error: bytes | None


class AnswerPart(Protocol):
    """Represents a whole answer, or one event of a stream. An event may have an error and no choices."""

    choices: Any  # of some ChoicePart: a Struct's field may not be narrower than a protocol's
    model: str | None
    usage: msgspec.Raw

    def is_error(self) -> bool: ...
    def breaks_off(self) -> bool: ...


def judge(body: bytes, read: Callable[[bytes], ParsedBody]) -> Answer | Failure:
    """Returns the answer in a 200's body, or the failure if it cannot be used. Log-probs are not checked here: a text
    is kept without them.

    A choice is whole if it has a finish reason, with or without `[DONE]`: servers, and proxies in front of them, cut
    streams, and some send `[DONE]` even then."""
    try:
        parsed = read(body)
    except (ValueError, RecursionError) as error:
        return unreadable(body, error)
    texts = [choice.text for choice in parsed.choices]
    if parsed.error is not None:
        return error_within(parsed.error, body, had_text=any(texts))
    if not texts:
        return unreadable(body, "it has no choices")
    tokens, prompt = tokens_of(texts, parsed.usage)
    has_log_probs = any(choice.log_probs != NULL for choice in parsed.choices)
    answer = Answer(body, len(texts), tokens, prompt, has_log_probs, is_cut_off(parsed.reasons[0]))
    if parsed.refusal is not None:
        return content_refusal(answer, parsed.refusal)
    if None in parsed.reasons:
        return _without_end(parsed.reasons, body)
    return broken_off(answer, parsed.reasons) or answer


def _without_end(reasons: Sequence[str | None], body: bytes) -> Failure:
    """Returns the failure of an answer in which some choice has no finish reason. A stream without any was cut, perhaps
    by chance. Otherwise the service sends none for such requests: LiteLLM's proxy sends one for all choices of a
    stream, under any index."""
    if any(reasons):
        ended = len(reasons) - reasons.count(None)
        message = f"the answer broke off: of its {len(reasons)} choices only {ended} said why it ended{ONE_FOR_ALL}"
    elif is_json(body):
        message = NO_REASON
    else:
        return unusable(body, NO_END)
    return replace(unusable(body, message), is_systematic=True)


def read_completion(body: bytes, read: Callable[[bytes], ParsedBody]) -> RawCompletion:
    """Reads the answer in a stored body, whatever its finish reasons. Raises ValueError or RecursionError."""
    parsed = read(body)
    if not parsed.choices:
        raise ValueError("it has no choices")
    return RawCompletion(parsed.choices, parsed.model, parsed.usage)


def read(body: bytes, decoder: msgspec.json.Decoder[Any]) -> ParsedBody:
    """Reads a body, JSON or server-sent events. `decoder`: of an AnswerPart. Raises ValueError or RecursionError."""
    return _read_whole(body, decoded(decoder, body)) if is_json(body) else _read_stream(body, decoder)


def _read_whole(body: bytes, whole: AnswerPart) -> ParsedBody:
    # mistral.rs has them in the order in which they ended.
    parts: list[ChoicePart] = sorted(whole.choices or (), key=lambda one: one.index or 0)
    if any(part.text is None for part in parts):
        raise ValueError("a choice has no text")
    is_error = whole.is_error() if parts else whole.breaks_off()
    return ParsedBody(
        [
            RawChoice(one.text or "", in_contract_shape(one.logprobs), one.finish_reason or None, one.reasoning)
            for one in parts
        ],
        [_own_reason(one) or one.finish_reason or None for one in parts],
        whole.model,
        whole.usage,
        parts[0].refusal if parts else None,
        body if is_error else None,
    )


def _read_stream(body: bytes, decoder: msgspec.json.Decoder[Any]) -> ParsedBody:
    """Joins the events of a stream to one answer."""
    parts: dict[int, list[ChoicePart]] = {}
    model, usage, error = None, NULL, None
    for name, data in sse.events(body):
        if data.strip() == sse.DONE:
            break
        part = None if name == sse.ERROR else decoded(decoder, data)
        if part is None or part.breaks_off():
            error = error or data
            continue
        for one in part.choices or ():
            parts.setdefault(one.index or 0, []).append(one)
        model, usage = model or part.model, part.usage if part.usage != NULL else usage
    choices = [_joined(parts[index]) for index in sorted(parts)]
    refusal = "".join([one.refusal or "" for one in parts[min(parts)]]) if parts else ""
    return ParsedBody(choices, [one.finish_reason for one in choices], model, usage, refusal or None, error)


def _own_reason(part: ChoicePart) -> str | None:
    """Returns why the model's server broke an answer off that a gateway says is whole."""
    native = part.native_reason
    return native if native in BROKEN else None


def _joined(parts: list[ChoicePart]) -> RawChoice:
    """Joins the parts of one choice."""
    return RawChoice(
        "".join([part.text or "" for part in parts]),
        concatenated([part.logprobs for part in parts]),
        _reason(parts),
        "".join([part.reasoning or "" for part in parts]) or None,
    )


def _reason(parts: list[ChoicePart]) -> str | None:
    """Returns the finish reason of a choice; a bad one if there is any."""
    reasons = [part.finish_reason for part in parts if part.finish_reason]
    return next((reason for reason in reasons if reason.lower() not in WHOLE), reasons[-1] if reasons else None)
