"""Simulates how real servers slow down under load: slots with a queue, or a batch that shares a machine.

Uses the running event loop's clock, real or simulated. It must never import `send`, which is tested against it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Protocol

Capacity = Sequence[tuple[float, int]]
"""Pairs of seconds since the first request, and the capacity from then on."""


class Shape(Protocol):
    """Represents how a server behaves under load."""

    async def work(self, seconds: float, tokens: int) -> None:
        """Returns when an answer of so many tokens is ready. Alone it would take so many seconds."""
        ...

    def load(self) -> tuple[int, int] | None:
        """Returns how many requests are at work, and how many wait; None if it does not count them."""
        ...


class _Changing(ABC):
    """Knows the present capacity; its clock starts at the first request."""

    def __init__(self, capacity: Capacity) -> None:
        self._times = [at for at, _ in capacity]
        self._numbers = [number for _, number in capacity]
        self._first: float | None = None

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        if self._first is None:
            self._first = loop.time()
            for at in self._times[1:]:
                loop.call_at(self._first + at, self._changed)

    def _number(self) -> int:
        elapsed = asyncio.get_running_loop().time() - (self._first or 0.0)
        return self._numbers[max(bisect_right(self._times, elapsed + 1e-9) - 1, 0)]

    @abstractmethod
    def _changed(self) -> None: ...


class Slots(_Changing):
    """Serves so many requests at a time; others wait in their order of arrival."""

    def __init__(self, capacity: Capacity) -> None:
        super().__init__(capacity)
        self._at_work = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def work(self, seconds: float, tokens: int) -> None:  # noqa: ARG002  a Shape's
        self._begin()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._changed()
        try:
            await turn
            await asyncio.sleep(seconds)
        finally:
            if turn.done() and not turn.cancelled():
                self._at_work -= 1
            self._changed()

    def _changed(self) -> None:
        while self._waiting and self._at_work < self._number():
            turn = self._waiting.popleft()
            if not turn.done():  # else the client has gone
                self._at_work += 1
                turn.set_result(None)

    def load(self) -> tuple[int, int]:
        return self._at_work, sum(not turn.done() for turn in self._waiting)


class Batching(_Changing):
    """Simulates continuous batching: up to the capacity, each request gets `per_second` tokens a second; more requests
    share what these would get. `seconds` pass before the first token."""

    def __init__(self, capacity: Capacity, per_second: float) -> None:
        super().__init__(capacity)
        self._per_second = per_second
        self._given = self._at = 0.0  # tokens that a request in flight all the time has got, and when
        self._speed = 0.0
        self._ends: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbered = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    async def work(self, seconds: float, tokens: int) -> None:
        self._begin()
        await asyncio.sleep(seconds)
        self._pass()
        done = asyncio.get_running_loop().create_future()
        heapq.heappush(self._ends, (self._given + tokens, next(self._numbered), done))
        self._changed()
        try:
            await done
        finally:
            if done.cancelled():
                self._pass()
                self._ends = [end for end in self._ends if end[2] is not done]
                heapq.heapify(self._ends)
                self._changed()

    def load(self) -> tuple[int, int]:
        return sum(not done.done() for *_, done in self._ends), 0

    def _share(self, requests: int) -> float:
        """Returns what each of so many requests gets of the speed that it would have alone."""
        return min(1.0, self._number() / requests)

    def _pass(self) -> None:
        now = asyncio.get_running_loop().time()
        self._given += self._speed * (now - self._at)
        self._at = now

    def _changed(self) -> None:
        self._pass()
        while self._ends and self._ends[0][0] <= self._given + 1e-6:
            _, _, done = heapq.heappop(self._ends)
            if not done.done():
                done.set_result(None)
        self._speed = self._per_second * self._share(max(len(self._ends), 1))
        if self._timer is not None:
            self._timer.cancel()
        if self._ends:
            wait = max(self._ends[0][0] - self._given, 0.0) / max(self._speed, 1e-9)
            self._timer = asyncio.get_running_loop().call_later(wait, self._changed)


class Free:
    """Serves every request as if it were alone."""

    async def work(self, seconds: float, tokens: int) -> None:  # noqa: ARG002  a Shape's
        if seconds:
            await asyncio.sleep(seconds)

    def load(self) -> None:
        return None
