"""Group commit: one thread that repeatedly commits everything queued so far; no timer, no batch size.

Between two commits the event loop turns once: tasks that waited for the first go on before the next begins. With three
turns the commits are larger and no cheaper a row, and of 2,000 slots 1 to 3 % more wait for them.

The event loop hands over all queued records at once, and waits for their COMMIT. It never calls SQLite itself.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Self

from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.schema import Record

Waiting = tuple[Record, asyncio.Future[None]]


class GroupCommit:
    """A queue of records to commit, used from one event loop, as a context. `save` returns when the record's COMMIT has
    returned."""

    def __init__(self, checkpoint: Checkpoint, before: Callable[[], None] = lambda: None) -> None:
        """`before`: called in the event loop before each COMMIT, when its records are complete."""
        self._checkpoint = checkpoint
        self._before = before
        self._waiting: list[Waiting] = []
        self._batches: queue.SimpleQueue[list[Waiting] | None] = queue.SimpleQueue()
        self._is_busy = False
        self._thread = threading.Thread(target=self._work, name="checkpoint", daemon=True)
        self._failure: Exception | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Commits everything queued before it returns, also after a cancellation. Raises what a commit has raised: who
        was cancelled while waiting for it has not heard of it."""
        self._hand_over()
        self._batches.put(None)
        self._thread.join()
        if kind is None and self._failure is not None:
            raise self._failure

    async def save(self, record: Record) -> None:
        """Commits a record. Raises MachineRefused if it cannot be saved; then every later call raises it, too."""
        if self._failure is not None:
            raise self._failure
        committed = self._loop.create_future()
        self._waiting.append((record, committed))
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._hand_over)  # with all that this turn of the loop brings
        await committed

    def _hand_over(self) -> None:
        batch, self._waiting = self._waiting, []
        self._is_busy = bool(batch)
        if batch:
            self._before()
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
