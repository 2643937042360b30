"""When attempts end that are never answered. All have the same time, so the first to begin is the first to end.

aiohttp's own time-out, and asyncio's, arm a timer for each request, which costs a tenth of it. This is one dictionary
and one timer for all; a deadline is kept to within a fiftieth of it, or a second.
"""

from __future__ import annotations

import asyncio

Task = asyncio.Task[object]
STALL = 0.2
"""Seconds that the loop is behind, from which on deadlines wait for it."""


class Deadlines:
    """For tasks of the running loop, each of which has one deadline at a time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._step = min(1.0, seconds / 50)
        self._loop = asyncio.get_running_loop()
        self._due: dict[Task, float] = {}
        self._missed: set[Task] = set()
        self._looked = self._loop.time()
        self._timer = self._loop.call_later(self._step, self._look)

    def begin(self) -> Task:
        """From now on the current task is cancelled when its time is over, until `end`."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine runs in one
        self._due[task] = self._loop.time() + self._seconds
        return task

    def end(self, task: Task) -> None:
        self._due.pop(task, None)
        self._missed.discard(task)

    def missed(self, task: Task) -> bool:
        """Whether its cancellation was for this alone. Then it is undone."""
        return task in self._missed and not task.uncancel()

    def _look(self) -> None:
        now = self._loop.time()
        stood_still = now - self._looked - self._step
        self._looked = now
        if stood_still > STALL:  # a lid, a SIGSTOP, a log that is full: what has arrived meanwhile is read first
            self._due = {task: due + stood_still for task, due in self._due.items()}
        late = []
        for task, due in self._due.items():
            if due > now:
                break
            late.append(task)
        for task in late:
            del self._due[task]
            self._missed.add(task)
            task.cancel()
        self._timer = self._loop.call_later(self._step, self._look)

    def close(self) -> None:
        self._timer.cancel()
