"""OpenAI's `POST /v1/completions` as own servers speak it (vLLM, llama.cpp, TGI, Ollama): requests, answers, streams.

Pure. Answers are read into the contract's own types, so that whoever makes columns of them knows one shape.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from batchgen.api import choices, sse
from batchgen.api.sse import NULL
from batchgen.api.types import Int32, Int64

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
    n: Int32 | None = None

    @property
    def candidates(self) -> int:
        """Answers that are made, and billed, of which the best may be sent alone."""
        return max(self.best_of or 1, self.n or 1)

    def longest(self, default: int) -> int:
        """Tokens of all answers at their longest; `default`: of one where the request does not say."""
        return (self.max_tokens or default) * self.candidates


class _Choice(msgspec.Struct, frozen=True, gc=False):
    """LiteLLM's proxy ends a stream with a choice that has no text."""

    text: str | None = None
    index: int | None = None
    logprobs: msgspec.Raw = NULL
    finish_reason: str | None = None

    @property
    def reasoning(self) -> None:
        return None

    @property
    def refusal(self) -> None:
        return None


class _Completion(sse.Telling, frozen=True, gc=False):
    """A whole answer, or an event of a stream."""

    choices: list[_Choice] | None = None
    model: str | None = None
    usage: msgspec.Raw = NULL


read: Any = partial(choices.read, decoder=msgspec.json.Decoder(_Completion))
judge = partial(choices.judge, read=read)
read_answer = partial(choices.read_completion, read=read)
