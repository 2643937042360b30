"""Reads requests strictly, for the built-in server. A refusal names the field that is wrong.

The chats' types are the server's own, not the client's: neither would notice a mistake that they share.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from batchgen.api.types import CompletionRequest, Int32, Int64
from batchgen.simulator.answers import RejectedError

HOTTEST = 2.0
MAX_CANDIDATES = 20
MAX_ALTERNATIVES = 20
_FIELD = re.compile(r"at `\$\.(\w+)|field `((?:(?!` - at ).)+)`$")

Struct = TypeVar("Struct", bound=msgspec.Struct)


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["text"]
    text: str


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    include_usage: bool = False


class ChatRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Represents a request to `POST /v1/chat`. OpenAI's has these fields, too."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_tokens: Int64 | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: Int32 | None = None
    stop: list[str] | str | None = None
    logprobs: bool | None = None
    response_format: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Any = None
    tool_choice: Any = None


class OpenAIChatRequest(ChatRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Represents a request to `POST /v1/chat/completions`. `guided_json` and the fields after it are some servers' own;
    of these only `guided_json` has an effect."""

    max_completion_tokens: Int64 | None = None
    seed: Int64 | None = None
    top_logprobs: Int32 | None = None
    guided_json: dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    min_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    cache_prompt: bool | None = None


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode(decoder: msgspec.json.Decoder[Struct], body: bytes) -> Struct:
    """Decodes a request strictly: refuses unknown fields, and nulls, which no contract has. Raises RejectedError."""
    try:
        request = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        field = _FIELD.search(str(e))
        key = (field[1] or field[2]) if field else "body"
        raise _invalid(key, str(e).replace(" | null", "")) from None
    for name, value in _fields.decode(body).items() if b"null" in body else ():
        if bytes(value) == b"null":
            raise _invalid(name, f"{name} must not be null")
    return request


def check(request: CompletionRequest | ChatRequest) -> None:
    """Checks ranges. They are this server's own: the contracts give none. Raises RejectedError with 400."""
    for field, (right, wanted) in _RANGES.items():
        value = getattr(request, field, None)
        if value is not None and not right(value):
            raise _invalid(field, f"{field} must be {wanted}")
    for field in ("tools", "tool_choice"):
        if getattr(request, field, None) is not None:
            raise _invalid(field, "the built-in server calls no tools")
    if isinstance(request, OpenAIChatRequest) and request.top_logprobs is not None and not request.logprobs:
        raise _invalid("top_logprobs", "top_logprobs needs logprobs: true")


_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_tokens": (lambda value: value >= 1, "at least 1"),
    "max_completion_tokens": (lambda value: value >= 1, "at least 1"),
    "temperature": (lambda value: 0 <= value <= HOTTEST, f"from 0 to {HOTTEST}"),
    "top_p": (lambda value: 0 < value <= 1, "above 0, at most 1"),
    "best_of": (lambda value: 1 <= value <= MAX_CANDIDATES, f"from 1 to {MAX_CANDIDATES}"),
    "n": (lambda value: 1 <= value <= MAX_CANDIDATES, f"from 1 to {MAX_CANDIDATES}"),
    "top_logprobs": (lambda value: 0 <= value <= MAX_ALTERNATIVES, f"from 0 to {MAX_ALTERNATIVES}"),
}


def _invalid(field: str, description: str) -> RejectedError:
    return RejectedError(400, "InvalidInputParameters", description, field)
