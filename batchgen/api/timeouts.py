"""Ends attempts that are not answered in time. All have the same time-out, so the first to begin is the first to end.

aiohttp's own time-outs and asyncio's arm a timer for each request, which costs a tenth of it. This needs one dictionary
and one timer for all; a deadline is kept to within a fiftieth of the time-out, or a second.
"""

from __future__ import annotations

import asyncio

Task = asyncio.Task[object]
STALL = 0.2
"""Seconds that the loop may lag; if it lags more, deadlines are moved by as much."""


class Deadlines:
    """Keeps deadlines for tasks of the running loop, one for each at a time. `seconds`: from `begin` on."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._step = min(1.0, seconds / 50)
        self._loop = asyncio.get_running_loop()
        self._due: dict[Task, float] = {}
        self._missed: set[Task] = set()
        self._looked = self._loop.time()
        self._timer = self._loop.call_later(self._step, self._look)

    def begin(self) -> Task:
        """Starts the time of the current task: it is cancelled when the time is over, unless `end` is called before."""
        task = asyncio.current_task(self._loop)  # to find the loop anew takes a system call, up to Python 3.11
        assert task is not None  # noqa: S101  coroutines run in tasks
        self._due[task] = self._loop.time() + self._seconds
        return task

    def end(self, task: Task) -> None:
        """Ends the time of a task."""
        self._due.pop(task, None)
        self._missed.discard(task)

    def missed(self, task: Task) -> bool:
        """Returns whether the task was cancelled only because its time was over. If so, undoes the cancellation."""
        return task in self._missed and not task.uncancel()

    def _look(self) -> None:
        """Cancels the tasks whose time is over."""
        now = self._loop.time()
        stood_still = now - self._looked - self._step
        self._looked = now
        if stood_still > STALL:  # a closed lid, SIGSTOP, a blocked log: answers that have arrived are read first
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
        """Stops the timer."""
        self._timer.cancel()
