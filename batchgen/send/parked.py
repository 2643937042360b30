"""Failures that are set aside, until it is known whether they are their rows' own or concern every row."""

from __future__ import annotations

import math
from collections import deque

from msgspec.structs import replace

from batchgen.checkpoint.schema import Record
from batchgen.send.interfaces import Save
from batchgen.send.stats import Stats


class Parked:
    """Parked failures, the oldest first. None of them is billed, so nothing is bought twice if they are lost."""

    def __init__(self, save: Save, stats: Stats) -> None:
        self._save, self._stats = save, stats
        self._failures: deque[tuple[float, Record, int]] = deque()

    def add(self, ended_at: float, record: Record, rows: int) -> None:
        """Sets the failure of so many rows aside. `ended_at`: when its attempt did."""
        self._failures.append((ended_at, record, rows))

    async def record(self, before: float = math.inf, *, final: bool = True) -> None:
        """Saves those whose attempts ended by `before`. `final`: the rows have failed. If it is cancelled, the others
        stay."""
        while self._failures and self._failures[0][0] <= before:
            _, record, rows = self._failures.popleft()
            self._stats.failed -= 0 if final else rows
            await self._save(replace(record, final=final))
