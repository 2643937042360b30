"""What a client asks of HTTP: a POST to one endpoint, again and again. `pool` has two ways to do it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import aiohttp

T = TypeVar("T")

LINE, LINES = 64 << 10, 1000
"""Bytes of a header's line that are read, and lines: gateways add to them, and aiohttp's own bounds, 8,190 and 128,
lose an answer that was paid for."""

Read = Callable[[int, Mapping[str, str], aiohttp.StreamReader], Awaitable[T]]
"""Makes something of an answer: its status, its headers, whose names come in any case, and its body."""


class NotHttp(aiohttp.ClientError):
    """What came is no answer in HTTP. Its text is the name of what was wrong with it."""

    @classmethod
    def caused_by(cls, error: BaseException) -> Self:
        while error.__cause__ is not None:
            error = error.__cause__
        return cls(type(error).__name__)


@dataclass(slots=True)
class Sendings:
    """How often a request left, and how many of these ended before a byte came and may yet have been read."""

    left: int = 0
    lost: int = 0


class Pool(Protocol):
    """As many connections as are used at once, as an asynchronous context."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def post(self, body: bytes, read: Read[T], sendings: Sendings, *, fresh: bool = False) -> T:
        """Returns what `read` makes of the answer. Raises NotHttp, or what aiohttp's session raises.

        `fresh`: not over a connection that was kept."""
        ...
