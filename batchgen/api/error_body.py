"""Reads what the body of an error says, in any shape that services use. Pure: bytes in, words and numbers out."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any

import msgspec

MAX_MESSAGE_CHARS = 500
"""Characters that are kept of an error's message."""
_OWN, _MIN_ECHO = 4000, 16
"""Characters of a request that are searched for in an error, and the fewest that count as an echo."""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """Holds what an error says: its type (`tpe`), its other names, its message, the statuses that it names, and the
    field of the request that it is about."""

    tpe: str = ""
    keys: tuple[str, ...] = ()
    description: str = ""
    statuses: tuple[int, ...] = ()
    param: str | None = None

    @property
    def codes(self) -> set[str]:
        return {self.tpe, *self.keys}

    def without(self, request: bytes) -> ErrorBody:
        """Returns the same error without what its message repeats of the request: a prompt may hold any words."""
        said = self.description
        for own in _texts_of(request):
            said = _without(said, own)
        return replace(self, description=said)


def read_error(body: bytes) -> ErrorBody:
    """Reads whatever is there: a proxy's HTML, nothing, or part of a documented shape. Those shapes are Writer's
    `errors`, OpenAI's `error` (an object; with some servers a text, or the body itself), FastAPI's `detail`, and the
    `text` beside an `error_code` of LMDeploy's balancer."""
    try:
        value = msgspec.json.decode(body.removeprefix(BOM_UTF8))
    except (ValueError, RecursionError):
        return ErrorBody()
    if not isinstance(value, dict):
        return ErrorBody()
    parts = [value, *(part for name in ("errors", "error", "detail") for part in _objects(value.get(name)))]
    types, codes = _names(parts, "tpe", "type", "error_type"), _names(parts, "key", "code", "param")
    said = _texts(parts, "description", "message", "msg", "error", "errors", "detail")
    if isinstance(value.get("error_code"), int):
        said += _texts([value], "text")
    numbers = [str(part.get(name)) for part in parts for name in ("status", "status_code", "code")]
    return ErrorBody(
        types[0] if types else "",
        (*types[1:], *codes),
        "; ".join(filter(None, dict.fromkeys(said)))[:_OWN],
        tuple(int(number) for number in numbers if re.fullmatch("[345][0-9]{2}", number)),
        next(iter(_names(parts, "param")), None),
    )


def describe(status: int, error: ErrorBody, body: bytes) -> str:
    """Says in one line: the status, the error's type, and its message, or the beginning of a body without one."""
    said = error.description or visible_text(body) or body[:300].decode(errors="replace")
    parts = (str(status), error.tpe, said)
    return _CONTROL.sub(" ", " ".join(part for part in parts if part))[:MAX_MESSAGE_CHARS].strip()


def visible_text(body: bytes) -> str:
    """Returns the beginning of the text that a page of HTML shows; empty if the body is not HTML."""
    if body.lstrip()[:1] != b"<":
        return ""
    return " ".join(_TAGS.sub(b" ", body[:8000]).decode(errors="replace").split())[:300]


_TAGS = re.compile(rb"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def _texts(parts: Iterable[dict[str, Any]], *names: str) -> list[str]:
    return [part[name] for part in parts for name in names if isinstance(part.get(name), str)]


def _names(parts: Iterable[dict[str, Any]], *names: str) -> list[str]:
    """Returns the texts that are names. LiteLLM's proxy 1.108.7 writes "None" where it has none."""
    return [name for name in _texts(parts, *names) if name not in ("", "None", "null")]


def _texts_of(request: bytes) -> list[str]:
    """Returns the request's own texts: all but the model's name."""
    try:
        fields = msgspec.json.decode(request)
    except ValueError:
        return []
    return [value for name, value in fields.items() if isinstance(value, str) and name != "model"]


def _without(said: str, own: str) -> str:
    """Removes from an error what it repeats of one of the request's texts."""
    if len(own) < _MIN_ECHO:
        return said.replace(own, "") if len(own) > 3 else said  # noqa: PLR2004  a word that short is anybody's
    own = own if len(own) <= 2 * _OWN else own[:_OWN] + own[-_OWN:]
    blocks = SequenceMatcher(None, said, own, autojunk=False).get_matching_blocks()
    for start, _, size in reversed(blocks):
        if size >= _MIN_ECHO:
            said = said[:start] + said[start + size :]
    return said
