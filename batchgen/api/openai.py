"""Speaks OpenAI's `POST /v1/completions` as own servers implement it (vLLM, llama.cpp, TGI, Ollama). Pure.

Answers are read into the contract's own types: results are made from one shape only.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from batchgen.api import choices, sse
from batchgen.api.sse import NULL
from batchgen.api.types import Int32, Int64

DEFAULT_TOKENS = 16
"""The default of OpenAI and vLLM if a request has no `max_tokens`; others let the model end the answer."""


class Request(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Represents a request. Fields that are None are not sent."""

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
    n: Int32 | None = None

    @property
    def candidates(self) -> int:
        """Returns how many answers are generated, and billed; perhaps only the best is sent."""
        return max(self.best_of or 1, self.n or 1)

    def longest(self, default: int) -> int:
        """Returns the most tokens that all answers may have. `default`: tokens of one, if the request sets no limit."""
        return (self.max_tokens or default) * self.candidates


class _Delta(msgspec.Struct, frozen=True, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True, gc=False):
    """Reads a choice. LiteLLM's proxy ends a stream with one that has no text; out of its cache they have a chat's
    `delta`."""

    own_text: str | None = msgspec.field(default=None, name="text")
    delta: _Delta | None = None
    index: int | None = None
    logprobs: msgspec.Raw = NULL
    finish_reason: str | None = None

    @property
    def text(self) -> str | None:
        return self.own_text if self.delta is None else self.delta.content

    @property
    def reasoning(self) -> None:
        return None

    @property
    def refusal(self) -> None:
        return None

    @property
    def native_reason(self) -> None:
        return None


class _Completion(sse.ErrorFields, frozen=True, gc=False):
    """Reads a whole answer, or one event of a stream."""

    choices: list[_Choice] | None = None
    model: str | None = None
    usage: msgspec.Raw = NULL


read: Any = partial(choices.read, decoder=msgspec.json.Decoder(_Completion))
judge = partial(choices.judge, read=read)
read_answer = partial(choices.read_completion, read=read)
