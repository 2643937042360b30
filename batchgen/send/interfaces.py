"""What the dispatcher is given: one attempt at a request, the store of its record, and marks of what is in flight."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from batchgen.api.outcome import Answer, Failure
from batchgen.checkpoint.schema import Record

Attempt = Callable[[bytes, str], Awaitable[Answer | Failure]]
"""Sends a body that asks for a model. Raises NeverSent if it is cancelled before any of the request left."""

Save = Callable[[Record], Awaitable[None]]
"""Returns once the record is stored for good."""


class InFlight(Protocol):
    """Marks requests that are in flight (`checkpoint/in_flight.py`)."""

    def begin(self, slot: int, key: bytes, attempt: int) -> None: ...

    def end(self, slot: int) -> None: ...
