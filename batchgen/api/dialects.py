"""The dialects of `POST /v1/completions` that are spoken: what is sent, and how answers are read. Pure.

Errors are told apart by one function for all (`refusals.classify`): proxies, too, answer in anybody's shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batchgen.api import openai, sse, types, writer
from batchgen.api.outcome import Answer, Failure
from batchgen.api.types import CompletionRequest, RawCompletion


@dataclass(frozen=True, eq=False)
class Dialect:
    """`path` follows the address; `default_tokens` is the longest answer to a request without `max_tokens`.

    `judge` says what a 200's body is worth. `read_answer` and `as_json`, which is the same in the contract's shape,
    raise ValueError or RecursionError where it is no answer; `as_json` may leave that to who reads what it returns.
    `is_done`: whether a stream has its mark of the end, where that is all that tells a whole one from one that was cut.
    """

    path: str
    request: type[CompletionRequest | openai.Request]
    default_tokens: int
    judge: Callable[[bytes], Answer | Failure]
    read_answer: Callable[[bytes], RawCompletion]
    as_json: Callable[[bytes], bytes]
    is_done: Callable[[bytes], bool] | None = None


WRITER = Dialect(
    types.PATH,
    CompletionRequest,
    types.SERVER_MAX_TOKENS,
    writer.judge,
    types.read_answer,
    types.as_json,
    sse.is_done,
)
OPENAI = Dialect(types.PATH, openai.Request, openai.DEFAULT_TOKENS, openai.judge, openai.read_answer, openai.as_json)
DIALECTS = {"writer": WRITER, "openai": OPENAI}
