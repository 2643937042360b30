"""Rows that are to be sent again: each once it is due, or once the others are done.

Times are in seconds of any steady clock.
"""

from __future__ import annotations

import heapq
import itertools
import math

from batchgen.send.task import Task


class Waiting:
    """The rows that wait, the earliest due first. Those that were set aside are due at infinity, until `release`."""

    def __init__(self) -> None:
        self._numbered = itertools.count()
        self._rows: list[tuple[float, int, Task]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> int:
        """Returns how many rows these are, with those that share an answer."""
        return sum(task.rows for _, _, task in self._rows)

    def add(self, task: Task, due: float) -> None:
        heapq.heappush(self._rows, (due, next(self._numbered), task))

    @property
    def are_set_aside(self) -> bool:
        """Returns whether some rows wait, and all of them were set aside."""
        return bool(self._rows) and self._rows[0][0] == math.inf

    def release(self, due: float) -> None:
        """Has those that were set aside be due then, where no other waits."""
        self._rows = [(due, number, task) for _, number, task in sorted(self._rows)]

    def first(self) -> Task:
        return self._rows[0][2]

    def pop(self) -> Task:
        return heapq.heappop(self._rows)[2]

    def is_due(self, now: float) -> bool:
        return bool(self._rows) and self._rows[0][0] <= now

    def seconds(self, now: float) -> float:
        """Returns the seconds until another row is due."""
        return self._rows[0][0] - now if self._rows and not self.is_due(now) else math.inf
