"""Reads the rows to send in a thread, one batch ahead of those that are being sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from batchgen.send.task import Task


class ReadAhead:
    """The rows of `batches`, in their order, read from now on; needs a running loop. `rows` are those that have been
    read, and not been taken."""

    def __init__(self, batches: Iterator[list[Task]]) -> None:
        self.rows: deque[Task] = deque()
        self._batches = batches
        self._next = self._read()

    def _read(self) -> asyncio.Future[list[Task] | None]:
        return asyncio.get_running_loop().run_in_executor(None, next, self._batches, None)

    async def first(self) -> Task | None:
        """Returns the next row, which stays; None if there is none. Raises what `batches` raise. If the wait is
        cancelled, the batch is still read, once."""
        while not self.rows:
            if (batch := await asyncio.shield(self._next)) is None:
                return None
            self._next = self._read()
            self.rows.extend(batch)
        return self.rows[0]

    async def end(self) -> None:
        """Waits for the thread. What it raises no longer matters."""
        await asyncio.wait([self._next])
        self._next.exception()
