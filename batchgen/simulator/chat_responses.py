"""Encodes answers of chats: whole, or streamed with an event for each token. Both services use the same shapes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, zip_longest
from typing import Literal

import msgspec

from batchgen.api.types import LogProbs, TokenLogProb
from batchgen.simulator.model import Generated

FinishReason = Literal["stop", "length", "content_filter"]


class Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Message(msgspec.Struct, frozen=True):
    content: str | None
    refusal: str | None = None
    role: Literal["assistant"] = "assistant"


class Choice(msgspec.Struct, frozen=True):
    index: int
    finish_reason: FinishReason
    message: Message
    logprobs: LogProbs | None = None


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: str | None = None


class ChunkChoice(msgspec.Struct, frozen=True):
    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: LogProbs | None = None


class Header(msgspec.Struct, frozen=True):
    """Holds the fields that an answer and all of its events share."""

    id: str
    created: int
    model: str


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | msgspec.UnsetType = msgspec.UNSET


def choice(index: int, generated: Generated, *, has_log_probs: bool) -> Choice:
    logprobs = LogProbs(content=generated.content, refusal=None) if has_log_probs else None
    return Choice(index, "length" if generated.is_cut else "stop", Message(generated.text), logprobs)


def refusal(index: int, content: str | None, words: str) -> Choice:
    return Choice(index, "content_filter", Message(content, words))


def whole(header: Header, choices: list[Choice], usage: Usage) -> bytes:
    """Encodes a whole answer as JSON."""
    return msgspec.json.encode(Completion(**msgspec.structs.asdict(header), choices=choices, usage=usage))


def events(header: Header, choices: list[Choice], tokens: list[list[TokenLogProb]], usage: Usage | None) -> list[bytes]:
    """Encodes the choices as events, a token of each in turn; then `usage` without a choice, then `[DONE]`."""
    fields = msgspec.structs.asdict(header)
    turns = zip_longest(*map(_deltas, choices, tokens))
    chunks = [Chunk(**fields, choices=[delta]) for delta in chain.from_iterable(turns) if delta is not None]
    chunks += [Chunk(**fields, choices=[], usage=usage)] if usage is not None else []
    return [*(b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in chunks), b"data: [DONE]\n\n"]


def _deltas(choice: Choice, tokens: list[TokenLogProb]) -> Iterator[ChunkChoice]:
    """Yields a choice's events: first the role, last the finish reason."""
    yield ChunkChoice(choice.index, Delta(role="assistant", content=""))
    if choice.message.refusal is not None:
        yield ChunkChoice(choice.index, Delta(refusal=choice.message.refusal))
    for t in tokens:
        logprobs = LogProbs(content=[t], refusal=None) if choice.logprobs is not None else None
        yield ChunkChoice(choice.index, Delta(content=t.token), logprobs=logprobs)
    yield ChunkChoice(choice.index, Delta(), choice.finish_reason)
