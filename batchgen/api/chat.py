"""Speaks chats: Writer's `POST /v1/chat`, and OpenAI's `POST /v1/chat/completions` as own servers implement it. Pure.

Sources: the vendor's chat reference and writer-sdk 3.0.0; OpenAI's API as vLLM, llama.cpp and LiteLLM implement it.
Where sources disagree, both forms are read (docs/chat.md).
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
"""Assumed by plans if a chat has no `max_tokens`: no service documents its default."""


class WriterRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Represents a request to Writer. Fields that are None are not sent. There is no seed."""

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
        """Returns how many answers are generated, and billed."""
        return self.n or 1

    def longest(self, default: int) -> int:
        """Returns the most tokens that all answers may have. `default`: tokens of one, if the request sets no limit."""
        return (self.max_tokens or default) * self.candidates


class OpenAIRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Represents a request to a server that implements OpenAI's chat. Fields that are None are not sent."""

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
        """Returns how many answers are generated, and billed."""
        return self.n or 1

    def longest(self, default: int) -> int:
        """Returns the most tokens that all answers may have. `default`: tokens of one, if the request sets no limit."""
        return (self.max_tokens or self.max_completion_tokens or default) * self.candidates


class _TextPart(msgspec.Struct, frozen=True, gc=False):
    """Reads one part of a `content` that is a list, as Mistral's servers send it."""

    text: str = ""


class _Message(msgspec.Struct, frozen=True, gc=False):
    """Reads a message. `content` is null beside a refusal or a tool call, and if reasoning used up all tokens."""

    content: str | list[_TextPart] | None = None
    refusal: msgspec.Raw = NULL
    reasoning_content: msgspec.Raw = NULL
    reasoning: msgspec.Raw = NULL

    @property
    def text(self) -> str:
        """Returns the content as one text."""
        content = self.content
        return "".join([part.text for part in content]) if isinstance(content, list) else content or ""


class _ProviderFields(msgspec.Struct, frozen=True, gc=False):
    native_finish_reason: Any = None


class _Choice(msgspec.Struct, frozen=True, gc=False):
    """Reads a choice. Whole answers have `message`, events have `delta`; Writer's older streams have `message`."""

    message: _Message | None = None
    delta: _Message | None = None
    index: int | None = None
    logprobs: msgspec.Raw = NULL
    finish_reason: str | None = None
    provider_specific_fields: msgspec.Raw = NULL

    @property
    def _content(self) -> _Message | None:
        return self.message if self.delta is None else self.delta

    @property
    def text(self) -> str | None:
        return None if self._content is None else self._content.text

    @property
    def reasoning(self) -> str | None:
        message = self._content
        return None if message is None else _text_of(message.reasoning_content) or _text_of(message.reasoning)

    @property
    def refusal(self) -> str | None:
        return None if self._content is None else _text_of(self._content.refusal)

    @property
    def native_reason(self) -> str | None:
        """Returns the finish reason of the server behind LiteLLM's proxy, where that keeps it: in whole answers."""
        if self.provider_specific_fields is NULL:
            return None
        try:
            reason = msgspec.json.decode(self.provider_specific_fields, type=_ProviderFields).native_finish_reason
        except ValueError:
            return None
        return reason if isinstance(reason, str) else None


class _Completion(sse.ErrorFields, frozen=True, gc=False):
    """Reads a whole answer, or one event of a stream. A last event may have `usage` and no choices."""

    choices: list[_Choice] | None = None
    model: str | None = None
    usage: msgspec.Raw = NULL


def _text_of(value: msgspec.Raw) -> str | None:
    """Returns a field's text. Some servers send something else in its place: then None."""
    if value is NULL or not bytes(value).startswith(b'"'):
        return None
    return msgspec.json.decode(value, type=str) or None


read: Any = partial(choices.read, decoder=msgspec.json.Decoder(_Completion))
judge = partial(choices.judge, read=read)
read_answer = partial(choices.read_completion, read=read)
