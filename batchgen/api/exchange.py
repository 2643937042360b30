"""Defines what a client needs of HTTP: POSTs to one endpoint. `pool` chooses between two implementations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import aiohttp

T = TypeVar("T")

MAX_HEADER_BYTES, MAX_HEADERS = 64 << 10, 1000
"""The longest header line that is read, and the most lines. Gateways add headers; aiohttp's own limits, 8,190 and 128,
would lose an answer that was paid for."""

Read = Callable[[int, Mapping[str, str], aiohttp.StreamReader], Awaitable[T]]
"""Handles an answer: its status, its headers (case-insensitive), and its body."""


class NotHttp(aiohttp.ClientError):
    """Says that what came is not HTTP. Its text is the name of the error."""

    @classmethod
    def caused_by(cls, error: BaseException) -> Self:
        """Returns the error with the name of the first cause."""
        while error.__cause__ is not None:
            error = error.__cause__
        return cls(type(error).__name__)


@dataclass(slots=True)
class Sendings:
    """Counts how often a request was sent (`sent`), and how many of these ended before any byte of an answer came, so
    that they may or may not have been read (`lost`)."""

    sent: int = 0
    lost: int = 0


class Pool(Protocol):
    """Opens as many connections as are used at the same time, as an asynchronous context."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def post(self, body: bytes, read: Read[T], sendings: Sendings, *, new_connection: bool = False) -> T:
        """Returns what `read` makes of the answer. Raises NotHttp, or what aiohttp's session raises. `new_connection`:
        uses none that was kept."""
        ...
