"""Defines the dialects: what is sent, and how answers are read. Pure.

Errors are classified by one function for all (`error_responses.classify`): proxies answer in any shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from batchgen.api import chat, openai, sse, types, writer
from batchgen.api.outcome import Answer, Failure
from batchgen.api.types import RawCompletion, is_json


@dataclass(frozen=True, eq=False)
class Dialect:
    """Describes what is sent, and how answers are read. `name` is that of the constant below: a pickle holds only that.

    `path` follows the address; `request` is the type of what is sent. `default_tokens` is the longest answer to a
    request without `max_tokens`, and `documented` whether the service says so.

    `judge` returns the answer in a 200's body, or the failure if it cannot be used. `read_answer` raises ValueError or
    RecursionError if the body is not an answer. `is_contract`: JSON answers have the contract's shape already.
    `is_done`: returns whether a stream has its end mark, if nothing else tells a whole stream from a cut one.

    `is_own_server`: the job must give the address, which may end in /v1; a key is sent only if the job names one.
    `open`: a request may hold fields that are not known here (`request.extra`). `instead`: what to write in place of a
    field that the service lacks.
    """

    name: str
    path: str
    request: Any
    default_tokens: int
    judge: Callable[[bytes], Answer | Failure]
    read_answer: Callable[[bytes], RawCompletion]
    documented: bool = True
    is_contract: bool = False
    is_done: Callable[[bytes], bool] | None = None
    is_own_server: bool = False
    open: bool = False
    instead: Mapping[str, str] = field(default_factory=dict)

    def __reduce__(self) -> str:
        return self.name

    @property
    def is_chat(self) -> bool:
        """Returns whether requests have messages in place of a prompt."""
        return "messages" in self.request.__struct_fields__

    def has(self, name: str) -> bool:
        """Returns whether its requests have a field of this name."""
        return name in self.request.__struct_fields__

    def as_json(self, body: bytes) -> bytes:
        """Returns an answer's body in the contract's shape. A body that has it already is not parsed.

        Raises ValueError or RecursionError if it is not an answer."""
        return body if self.is_contract and is_json(body) else msgspec.json.encode(self.read_answer(body))


_ONLY_CHATS = "only chats have it: give messages in place of prompt"
WRITER = Dialect(
    "WRITER",
    types.PATH,
    types.CompletionRequest,
    types.SERVER_MAX_TOKENS,
    writer.judge,
    types.read_answer,
    is_contract=True,
    is_done=sse.is_done,
    instead={
        "seed": "writer's name for it is random_seed",
        "logprobs": "writer sends log-probs unasked",
        "top_logprobs": "writer sends log-probs unasked",
        "n": "writer's completions have best_of",
        "response_format": _ONLY_CHATS,
        "stream_options": _ONLY_CHATS,
        "extra": "with api: writer every field is known",
    },
)
OPENAI = Dialect(
    "OPENAI",
    types.PATH,
    openai.Request,
    openai.DEFAULT_TOKENS,
    openai.judge,
    openai.read_answer,
    is_own_server=True,
    open=True,
    instead={
        "random_seed": "OpenAI's name for it is seed",
        "top_logprobs": "in completions `logprobs: N` says how many",
        "max_completion_tokens": "in completions its name is max_tokens",
        "response_format": f"{_ONLY_CHATS}, or write it into request.extra if this server takes it",
        "stream_options": "write it into request.extra if this server takes it",
    },
)
WRITER_CHAT = Dialect(
    "WRITER_CHAT",
    chat.WRITER_PATH,
    chat.WriterRequest,
    chat.DEFAULT_TOKENS,
    chat.judge,
    chat.read_answer,
    documented=False,
    instead={
        "best_of": "a chat's name for it is n",
        "random_seed": "a chat of writer's has no seed: leave it out",
        "seed": "a chat of writer's has no seed: leave it out",
        "top_logprobs": "writer sends as many as it likes: `logprobs: true` asks for them",
        "max_completion_tokens": "writer's name for it is max_tokens",
        "extra": "with api: writer every field is known",
    },
)
OPENAI_CHAT = Dialect(
    "OPENAI_CHAT",
    chat.OPENAI_PATH,
    chat.OpenAIRequest,
    chat.DEFAULT_TOKENS,
    chat.judge,
    chat.read_answer,
    documented=False,
    is_own_server=True,
    open=True,
    instead={
        "best_of": "a chat's name for it is n",
        "random_seed": "OpenAI's name for it is seed",
    },
)
COMPLETIONS = {"writer": WRITER, "openai": OPENAI}
CHATS = {"writer": WRITER_CHAT, "openai": OPENAI_CHAT}
