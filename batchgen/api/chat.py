"""Chats: writer's `POST /v1/chat`, and OpenAI's `POST /v1/chat/completions` as own servers speak it. Pure.

Sources: the vendor's chat reference and writer-sdk 3.0.0; OpenAI's API as vLLM, llama.cpp and LiteLLM speak it. Where
sources disagree, both are read (docs/chat.md).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from batchgen.api import choices, sse
from batchgen.api.sse import NULL
from batchgen.api.types import Int32, Int64

WRITER_PATH = "/v1/chat"
OPENAI_PATH = "/v1/chat/completions"
DEFAULT_TOKENS = 1024
"""What plans reckon with where a chat has no `max_tokens`: no service documents where it cuts."""


class WriterRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is sent to writer: a field that is None is not. It has no seed."""

    model: str
    messages: msgspec.Raw
    max_tokens: Int64 | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: Int32 | None = None
    stop: list[str] | str | None = None
    logprobs: bool | None = None
    response_format: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None

    @property
    def candidates(self) -> int:
        """Answers that are made, and billed."""
        return self.n or 1

    def longest(self, default: int) -> int:
        """Tokens of all answers at their longest; `default`: of one where the request does not say."""
        return (self.max_tokens or default) * self.candidates


class OpenAIRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is sent to a server that speaks OpenAI's chat."""

    model: str
    messages: msgspec.Raw
    max_tokens: Int64 | None = None
    max_completion_tokens: Int64 | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: Int32 | None = None
    stop: list[str] | str | None = None
    seed: Int64 | None = None
    logprobs: bool | None = None
    top_logprobs: Int32 | None = None
    response_format: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None

    @property
    def candidates(self) -> int:
        """Answers that are made, and billed."""
        return self.n or 1

    def longest(self, default: int) -> int:
        """Tokens of all answers at their longest; `default`: of one where the request does not say."""
        return (self.max_tokens or self.max_completion_tokens or default) * self.candidates


class _TextPart(msgspec.Struct, frozen=True, gc=False):
    """A part of a content that is a list, as Mistral's servers write it."""

    text: str = ""


class _Message(msgspec.Struct, frozen=True, gc=False):
    """`content` is null beside a refusal, beside a tool call, and where reasoning took all tokens."""

    content: str | list[_TextPart] | None = None
    refusal: msgspec.Raw = NULL
    reasoning_content: msgspec.Raw = NULL
    reasoning: msgspec.Raw = NULL

    @property
    def text(self) -> str:
        content = self.content
        return "".join([part.text for part in content]) if isinstance(content, list) else content or ""


class _Choice(msgspec.Struct, frozen=True, gc=False):
    """`message` of a whole answer, `delta` of an event; writer's older streams have `message` in its place."""

    message: _Message | None = None
    delta: _Message | None = None
    index: int | None = None
    logprobs: msgspec.Raw = NULL
    finish_reason: str | None = None

    @property
    def _said(self) -> _Message | None:
        return self.message if self.delta is None else self.delta

    @property
    def text(self) -> str | None:
        return None if self._said is None else self._said.text

    @property
    def reasoning(self) -> str | None:
        said = self._said
        return None if said is None else _text_of(said.reasoning_content) or _text_of(said.reasoning)

    @property
    def refusal(self) -> str | None:
        return None if self._said is None else _text_of(self._said.refusal)


class _Completion(sse.Telling, frozen=True, gc=False):
    """A whole answer, or an event of a stream: the last may have `usage` and no choices."""

    choices: list[_Choice] | None = None
    model: str | None = None
    usage: msgspec.Raw = NULL


def _text_of(value: msgspec.Raw) -> str | None:
    """Returns what a field says that is a text in one server and something else in another."""
    if value is NULL or not bytes(value).startswith(b'"'):
        return None
    return msgspec.json.decode(value, type=str) or None


read: Any = partial(choices.read, decoder=msgspec.json.Decoder(_Completion))
judge = partial(choices.judge, read=read)
read_answer = partial(choices.read_completion, read=read)
