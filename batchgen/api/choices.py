"""Reads answers that hold a list of choices, whole or streamed in pieces, and judges them. Pure.

OpenAI's completions and both kinds of chat differ in where a choice keeps its text, and in nothing else: a dialect
brings the type of its choices (`Piece`), and shares the rest.
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
from batchgen.api.types import WHOLE, RawChoice, RawCompletion, is_cut_off, is_json
from batchgen.api.unusable import broken_off, error_within, refused, unreadable, unusable

NO_REASON = "nothing says that the answer came to its end: it has no finish_reason"
ONE_FOR_ALL = " (a gateway that tells one end for all of a stream? Then leave out stream, or n)"
NO_END = (
    "the answer broke off: no finish_reason says that it came to its end (a server that serves "
    "one stream at a time? Then set limits.concurrency: 1)"
)


class Piece(Protocol):
    """A choice, or what one event of a stream adds to it."""

    index: int | None
    logprobs: msgspec.Raw
    finish_reason: str | None

    @property
    def text(self) -> str | None: ...
    @property
    def reasoning(self) -> str | None: ...
    @property
    def refusal(self) -> str | None: ...


class Read(NamedTuple):
    """A body's answer, as far as there is one. `reasons`: why each choice ended, None where that was not said.
    `refusal`: the service's words where it refuses. `error`: the event or body that told of an error, as it came."""

    choices: list[RawChoice]
    reasons: list[str | None]
    model: str | None
    usage: msgspec.Raw
    refusal: str | None
    error: bytes | None


class Part(Protocol):
    """A whole answer, or an event of a stream: then `choices` may be empty, and an error may come in their place."""

    choices: Any  # of some Piece: a Struct's field may not be narrower than a protocol's
    model: str | None
    usage: msgspec.Raw

    def is_error(self) -> bool: ...
    def breaks_off(self) -> bool: ...


def judge(body: bytes, read: Callable[[bytes], Read]) -> Answer | Failure:
    """Judges a 200's body. Log-probs are looked at when results are made: a text is kept without them.

    A choice is whole when it has said why it ended, `[DONE]` or not: servers and the proxies before them break answers
    off, and some say `[DONE]` then, too."""
    try:
        found = read(body)
    except (ValueError, RecursionError) as error:
        return unreadable(body, error)
    texts = [choice.text for choice in found.choices]
    if found.error is not None:
        return error_within(found.error, body, had_text=any(texts))
    if not texts:
        return unreadable(body, "it has no choices")
    tokens, prompt = tokens_of(texts, found.usage)
    has_log_probs = any(choice.log_probs != NULL for choice in found.choices)
    answer = Answer(body, len(texts), tokens, prompt, has_log_probs, is_cut_off(found.reasons[0]))
    if found.refusal is not None:
        return refused(answer, found.refusal)
    if None in found.reasons:
        return _without_end(found.reasons, body)
    return broken_off(answer, found.reasons) or answer


def _without_end(reasons: Sequence[str | None], body: bytes) -> Failure:
    """Returns the failure of an answer of which not every choice says why it ended. A stream that names no reason was
    cut, perhaps by chance. Otherwise the service names none to such requests: LiteLLM's proxy names one for all choices
    of a stream, under any index."""
    if any(reasons):
        told = len(reasons) - reasons.count(None)
        said = f"the answer broke off: of its {len(reasons)} choices only {told} said why it ended{ONE_FOR_ALL}"
    elif is_json(body):
        said = NO_REASON
    else:
        return unusable(body, NO_END)
    return replace(unusable(body, said), is_systematic=True)


def read_completion(body: bytes, read: Callable[[bytes], Read]) -> RawCompletion:
    """Reads the answer of a body that is kept, whatever it said of its end. Raises ValueError or RecursionError."""
    found = read(body)
    if not found.choices:
        raise ValueError("it has no choices")
    return RawCompletion(found.choices, found.model, found.usage)


def read(body: bytes, decoder: msgspec.json.Decoder[Any]) -> Read:
    """Reads a body, JSON or server-sent events. `decoder` is of a Part. Raises ValueError or RecursionError."""
    return _read_whole(body, decoded(decoder, body)) if is_json(body) else _read_stream(body, decoder)


def _read_whole(body: bytes, whole: Part) -> Read:
    pieces: Sequence[Piece] = whole.choices or ()
    if any(piece.text is None for piece in pieces):
        raise ValueError("a choice has no text")
    is_error = whole.is_error() if pieces else whole.breaks_off()
    return Read(
        [
            RawChoice(one.text or "", in_contract_shape(one.logprobs), one.finish_reason or None, one.reasoning)
            for one in pieces
        ],
        [one.finish_reason or None for one in pieces],
        whole.model,
        whole.usage,
        next((one.refusal for one in pieces if one.refusal), None),
        body if is_error else None,
    )


def _read_stream(body: bytes, decoder: msgspec.json.Decoder[Any]) -> Read:
    """Joins a stream's pieces to one answer."""
    pieces: dict[int, list[Piece]] = {}
    model, usage, error = None, NULL, None
    for name, data in sse.events(body):
        if data.strip() == sse.DONE:
            break
        part = None if name == sse.ERROR else decoded(decoder, data)
        if part is None or part.breaks_off():
            error = error or data
            continue
        for one in part.choices or ():
            pieces.setdefault(one.index or 0, []).append(one)
        model, usage = model or part.model, part.usage if part.usage != NULL else usage
    choices = [_joined(pieces[index]) for index in sorted(pieces)]
    refusals = "".join([one.refusal or "" for index in sorted(pieces) for one in pieces[index]])
    return Read(choices, [one.finish_reason for one in choices], model, usage, refusals or None, error)


def _joined(pieces: list[Piece]) -> RawChoice:
    return RawChoice(
        "".join([piece.text or "" for piece in pieces]),
        concatenated([piece.logprobs for piece in pieces]),
        _reason(pieces),
        "".join([piece.reasoning or "" for piece in pieces]) or None,
    )


def _reason(pieces: list[Piece]) -> str | None:
    """Returns why a choice ended: the worst of what was said."""
    said = [piece.finish_reason for piece in pieces if piece.finish_reason]
    return next((reason for reason in said if reason.lower() not in WHOLE), said[-1] if said else None)
