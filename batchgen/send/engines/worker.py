"""The remote side of an engine that is spread over processes: makes attempts, and returns finished ones in batches.

Knows nothing of what carries its calls. The key comes in a call and stays in this process's memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from msgspec.structs import replace

from batchgen.api.body import compress
from batchgen.api.connection import Connection
from batchgen.api.outcome import Answer, Failure
from batchgen.errors import MachineRefused
from batchgen.send.engines.build import build
from batchgen.send.engines.local import client_of

Request = tuple[int, bytes, str, bool]
"""The caller's number for it, the body, the model that the body names, and whether it goes over a new connection."""
Ended = tuple[int, Answer | Failure | MachineRefused]

BATCH_DELAY = 0.01
"""Seconds in which more requests or outcomes may join the first: a call costs as much as ten rows."""
HEARTBEAT = 10.0
"""Seconds after which `ended` returns even if nothing has ended."""
BYTES_PER_CALL = 8 << 20
"""Bytes of answers in one call; a larger answer goes alone."""


class Worker:
    """Makes attempts. Used from one event loop."""

    def __init__(self) -> None:
        self._attempts: set[asyncio.Task[None]] = set()
        self._ended: deque[Ended] = deque()
        self._some = asyncio.Event()

    async def begin(self, connection: Connection) -> str:
        """Prepares the worker; called before anything else. Returns the build. Raises UsageError if the connection's
        `ca_file` is not here."""
        self._engine = await client_of(connection).__aenter__()
        return build()

    async def take(self, requests: list[Request]) -> None:
        """Begins attempts at the requests."""
        for request in requests:
            attempt = asyncio.create_task(self._attempt(*request))
            self._attempts.add(attempt)
            attempt.add_done_callback(self._attempts.discard)

    async def ended(self) -> list[Ended]:
        """Returns what has ended since the last call. Waits for it, at most HEARTBEAT seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT):
                await self._some.wait()
                await asyncio.sleep(BATCH_DELAY)
        ended, size = [], 0
        while self._ended and size < BYTES_PER_CALL:
            ended.append(self._ended.popleft())
            size += _size(ended[-1])
        if not self._ended:
            self._some.clear()
        return ended

    async def _attempt(self, number: int, body: bytes, model: str, new_connection: bool) -> None:  # noqa: FBT001  a Request
        try:
            outcome = await self._engine.attempt(body, model, new_connection=new_connection)
        except Exception as error:  # noqa: BLE001  the caller must learn of it; its text may hold anything
            self._end(number, MachineRefused(f"an attempt broke off in its worker: {type(error).__name__}"))
        else:
            self._end(number, replace(outcome, body=compress(outcome.body)) if isinstance(outcome, Answer) else outcome)

    def _end(self, number: int, outcome: Answer | Failure | MachineRefused) -> None:
        self._ended.append((number, outcome))
        self._some.set()


def _size(ended: Ended) -> int:
    _, outcome = ended
    return 0 if isinstance(outcome, MachineRefused) else len(outcome.body)
