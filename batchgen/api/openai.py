"""OpenAI's `POST /v1/completions` as own servers speak it (vLLM, llama.cpp, TGI, Ollama): requests, answers, streams.

Pure, as `contract`. Answers are read into the contract's own types, so that whoever makes columns of them knows one
shape: `logprobs` of parallel lists becomes a list of tokens; the newer one is the contract's already.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from batchgen.api import sse
from batchgen.api.models import estimate_tokens
from batchgen.api.outcome import Answer, Failure
from batchgen.api.repair import decoded
from batchgen.api.sse import NULL
from batchgen.api.types import (
    WHOLE,
    Int32,
    Int64,
    RawChoice,
    RawCompletion,
    TokenLogProb,
    TopLogProb,
    is_json,
)
from batchgen.api.unusable import broken_off, error_within, unreadable, unusable

NO_REASONS = "stop"
"""What is taken for a choice's reason where a whole answer has no such field: then the server knows none."""
DEFAULT_TOKENS = 16
"""What OpenAI and vLLM take where a request has no `max_tokens`; others end an answer where the model does."""


class Request(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is sent: a field that is None is not."""

    model: str
    prompt: str
    max_tokens: Int64 | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: list[str] | str | None = None
    best_of: Int32 | None = None
    seed: Int64 | None = None
    logprobs: Int32 | None = None
    stream: bool | None = None


class _Choice(msgspec.Struct, frozen=True, gc=False):
    """LiteLLM's proxy ends a stream with a choice that has no text."""

    text: str | None = None
    index: int | None = None
    logprobs: msgspec.Raw = NULL
    finish_reason: str | msgspec.UnsetType | None = msgspec.UNSET


class _Completion(sse.Telling, frozen=True, gc=False):
    """A whole answer, or a part of a stream: then `choices` may be empty, and an error may come in their place."""

    choices: list[_Choice] | None = None
    model: str | None = None
    usage: msgspec.Raw = NULL


Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Usage(msgspec.Struct, frozen=True, gc=False):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None


class _LogProbs(msgspec.Struct, frozen=True, gc=False):
    """Either shape: parallel lists by token, or `content` as the contract has it."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None
    content: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_completion = msgspec.json.Decoder(_Completion)
_usage = msgspec.json.Decoder(_Usage | None)
_log_probs = msgspec.json.Decoder(_LogProbs | None)
_contents = msgspec.json.Decoder(list[msgspec.Raw])


class _Read(NamedTuple):
    """A body's answer, as far as there is one. `error`: what it said that told of one, as it came; `reasons`: why each
    choice ended, None where it was not said."""

    choices: list[RawChoice]
    model: str | None
    usage: msgspec.Raw
    error: bytes | None
    reasons: list[str | None]


def judge(body: bytes) -> Answer | Failure:
    """What a 200's body is worth. Log-probs are looked at when results are made: a text is kept without them.

    A choice is whole when it has said why it ended, `[DONE]` or not: servers and the proxies before them break answers
    off, and some say `[DONE]` then, too."""
    try:
        read = _read(body)
    except (ValueError, RecursionError) as error:
        return unreadable(body, error)
    texts = [choice.text for choice in read.choices]
    if read.error is not None:
        return error_within(read.error, body, had_text=any(texts))
    if not texts:
        return unreadable(body, "it has no choices")
    prompt, tokens = _used(read.usage, is_empty=not any(texts))
    tokens = sum(map(estimate_tokens, texts)) if tokens is None else tokens
    answer = Answer(body, len(texts), tokens, prompt, any(choice.log_probs != NULL for choice in read.choices))
    if None in read.reasons:
        return unusable(
            body,
            "the answer broke off: no finish_reason says that it came to its end (a server that serves "
            "one stream at a time? Then set limits.concurrency: 1)",
        )
    return broken_off(answer, read.reasons) or answer


def read_answer(body: bytes) -> RawCompletion:
    """The completion in a 200's body, JSON or server-sent events: of one that is kept, whatever it said of its end.
    Raises ValueError or RecursionError."""
    read = _read(body)
    if not read.choices:
        raise ValueError("it has no choices")
    return RawCompletion(read.choices, read.model)


def as_json(body: bytes) -> bytes:
    """The answer in the contract's shape. Raises as `read_answer`."""
    return msgspec.json.encode(read_answer(body))


def _read(body: bytes) -> _Read:
    if not is_json(body):
        return _joined(body)
    whole = decoded(_completion, body)
    choices = whole.choices or []
    if any(choice.text is None for choice in choices):
        raise ValueError("a choice has no text")
    made = [RawChoice(choice.text or "", _as_contract(choice.logprobs)) for choice in choices]
    is_error = whole.is_error() if choices else whole.breaks_off()
    reasons = [choice.finish_reason for choice in choices]
    unsaid = [NO_REASONS if reason is msgspec.UNSET else reason or None for reason in reasons]
    return _Read(made, whole.model, whole.usage, body if is_error else None, unsaid)


def _joined(body: bytes) -> _Read:
    """A stream's parts as one answer."""
    pieces: dict[int, list[_Choice]] = {}
    model, usage, error = None, NULL, None
    for name, data in sse.events(body):
        if data.strip() == sse.DONE:
            break
        part = _Completion() if name == sse.ERROR else decoded(_completion, data)
        if name == sse.ERROR or part.breaks_off():
            error = error or data
            continue
        for choice in part.choices or ():
            pieces.setdefault(choice.index or 0, []).append(choice)
        model, usage = model or part.model, part.usage if part.usage != NULL else usage
    choices = [pieces[index] for index in sorted(pieces)]
    return _Read([_one(parts) for parts in choices], model, usage, error, [_reason(parts) for parts in choices])


def _one(pieces: list[_Choice]) -> RawChoice:
    return RawChoice("".join([piece.text or "" for piece in pieces]), _concatenated(pieces))


def _reason(pieces: list[_Choice]) -> str | None:
    """Why a choice ended: the worst of what was said."""
    said = [piece.finish_reason for piece in pieces if piece.finish_reason]
    return next((reason for reason in said if reason.lower() not in WHOLE), said[-1] if said else None)


def _concatenated(pieces: list[_Choice]) -> msgspec.Raw:
    """The pieces' log-probs, in the contract's shape; NULL where one cannot be read: a part would pass for all."""
    try:
        found = [_content(piece.logprobs) for piece in pieces]
        tokens = [token for content in found if content is not None for token in _contents.decode(content)]
    except (ValueError, RecursionError):
        return NULL
    return _wrapped(msgspec.json.encode(tokens)) if tokens else NULL


def _as_contract(logprobs: msgspec.Raw) -> msgspec.Raw:
    """NULL where there are none, or none that can be read."""
    try:
        content = _content(logprobs)
    except (ValueError, RecursionError):
        return NULL
    return NULL if content is None else _wrapped(content)


def _wrapped(content: bytes | msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(b'{"content":' + bytes(content) + b',"refusal":null}')


def _content(logprobs: msgspec.Raw) -> bytes | msgspec.Raw | None:
    """The list of tokens, as JSON. Raises ValueError or RecursionError where it is neither shape."""
    if logprobs == NULL or (given := _log_probs.decode(logprobs)) is None:
        return None
    if given.content is not msgspec.UNSET:
        return None if given.content == NULL else given.content
    return msgspec.json.encode(_tokens(given))


def _tokens(given: _LogProbs) -> list[TokenLogProb]:
    """Raises ValueError where the lists are not parallel."""
    if given.tokens is None:
        raise ValueError("log-probs without tokens")
    none = [None] * len(given.tokens)
    return [
        TokenLogProb(token, logprob, None, None if tops is None else [TopLogProb(*top) for top in tops.items()])
        for token, logprob, tops in zip(
            given.tokens, given.token_logprobs or none, given.top_logprobs or none, strict=True
        )
    ]


def _used(usage: msgspec.Raw, *, is_empty: bool) -> tuple[int | None, int | None]:
    """(tokens of the prompt, tokens of the answers), as the server counts them; None where it does not. A count of
    nothing beside a text is none: LiteLLM's proxy says 0 and 0 at the end of a stream."""
    try:
        told = _usage.decode(usage)
    except ValueError:
        return None, None
    if told is None or not told.prompt_tokens or not (told.completion_tokens or is_empty):
        return None, None
    return told.prompt_tokens, told.completion_tokens
