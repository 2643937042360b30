"""Group commit: one thread that commits whatever has come together, again and again; no timer, no batch size.

Between two commits the loop turns once: those who waited for the one go on before the next is begun. With three turns
the commits are larger and no cheaper a row, and of 2,000 slots 1 to 3 % more wait for them.

The event loop hands records over, all that wait in one go, and waits for their COMMIT; it never touches SQLite itself.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Self

from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.schema import Record

Waiting = tuple[Record, asyncio.Future[None]]


class GroupCommit:
    """Used from one event loop, as a context. `save` returns when the record's COMMIT has returned."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._waiting: list[Waiting] = []
        self._batches: queue.SimpleQueue[list[Waiting] | None] = queue.SimpleQueue()
        self._at_work = False
        self._thread = threading.Thread(target=self._work, name="checkpoint", daemon=True)
        self._failure: Exception | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Whatever was given is committed before this returns, also after a cancellation."""
        self._hand_over()
        self._batches.put(None)
        self._thread.join()

    async def save(self, record: Record) -> None:
        """Raises MachineRefused where it cannot be saved; then nothing more can."""
        if self._failure is not None:
            raise self._failure
        committed = self._loop.create_future()
        self._waiting.append((record, committed))
        if not self._at_work:
            self._at_work = True
            self._loop.call_soon(self._hand_over)  # with all that this turn of the loop brings
        await committed

    def _hand_over(self) -> None:
        batch, self._waiting = self._waiting, []
        self._at_work = bool(batch)
        if batch:
            self._batches.put(batch)

    def _settle(self, batch: list[Waiting]) -> None:
        for _, committed in batch:
            if committed.done():
                continue  # the waiter was cancelled; the record is committed all the same
            if self._failure is None:
                committed.set_result(None)
            else:
                committed.set_exception(self._failure)
        self._loop.call_soon(self._hand_over)

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            if self._failure is None:
                try:
                    self._checkpoint.add([record for record, _ in batch])
                except Exception as error:  # noqa: BLE001  it is raised again by every save
                    self._failure = error
            self._loop.call_soon_threadsafe(self._settle, batch)
