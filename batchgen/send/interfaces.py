"""What the dispatcher is given: one attempt at a request, the store of its record, marks of what is in flight, and how
many requests may be."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from batchgen.api.outcome import Answer, Failure
from batchgen.checkpoint.schema import ConcurrencyChange, Record
from batchgen.send.concurrency import AdaptiveConcurrency

Save = Callable[[Record], Awaitable[None]]
"""Returns once the record is stored for good."""


class Attempt(Protocol):
    """Sends a body that asks for a model."""

    def __call__(self, body: bytes, model: str, *, new_connection: bool = False) -> Awaitable[Answer | Failure]:
        """`new_connection`: over a connection of its own, so that it leaves once at most; over a kept one that was
        closed, it may leave twice. Raises NeverSent if it is cancelled before any of the request left, or may
        be billed."""
        ...


class InFlight(Protocol):
    """Marks requests that are in flight (`checkpoint/in_flight.py`)."""

    def begin(self, slot: int, key: bytes, attempt: int) -> None: ...

    def end(self, slot: int) -> None: ...


class FoundConcurrency(Protocol):
    """How many requests may be in flight, as found from what becomes of them: of one server, or of several, each with a
    number of its own (`is_per_server`)."""

    @property
    def is_per_server(self) -> bool: ...

    @property
    def most(self) -> int: ...

    @property
    def moves(self) -> Sequence[ConcurrencyChange]: ...

    def has_room(self, in_flight: int) -> bool:
        """Returns whether one more may be in flight. `in_flight`: as of `RateLimiter.wait`."""
        ...

    def each(self, *urls: str) -> Mapping[str, AdaptiveConcurrency]: ...

    def answered(self, now: float, sent_at: float, tokens: float, beside: int, allowed: float = math.inf) -> None: ...

    def unanswered(self, now: float, sent_at: float) -> None: ...
