"""Group commit: one thread that commits whatever is queued, again and again; no timer, no batch size.

The event loop hands records over and waits for their COMMIT; it never touches SQLite itself.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Self

from batchgen.runner.checkpoint import Checkpoint, Record


class Writer:
    """Used from one event loop, as a context. `save` returns when the record's COMMIT has returned."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._queue: queue.SimpleQueue[tuple[Record, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="checkpoint", daemon=True)
        self._failure: Exception | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Whatever was queued is committed before this returns, also after a cancellation."""
        self._queue.put(None)
        self._thread.join()

    async def save(self, record: Record) -> None:
        """Raises MachineRefused where it cannot be saved; then nothing more can."""
        if self._failure is not None:
            raise self._failure
        committed = self._loop.create_future()
        self._queue.put((record, committed))
        await committed

    def _work(self) -> None:
        open_ = True
        while open_:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            open_ = batch[-1] is not None
            self._commit([item for item in batch if item is not None])

    def _commit(self, batch: list[tuple[Record, asyncio.Future[None]]]) -> None:
        if not batch:
            return
        if self._failure is None:
            try:
                self._checkpoint.add([record for record, _ in batch])
            except Exception as error:  # noqa: BLE001  it is raised again by every save
                self._failure = error
        self._loop.call_soon_threadsafe(_settle, [future for _, future in batch], self._failure)


def _settle(futures: list[asyncio.Future[None]], failure: Exception | None) -> None:
    for future in futures:
        if future.done():
            continue  # the waiter was cancelled; the record is committed all the same
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failure)
