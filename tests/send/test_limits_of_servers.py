"""Limits that gateways really have, met by the whole dispatcher on a simulated clock: how much of each is used."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from contextlib import asynccontextmanager

import pytest

from batchgen.api.outcome import Answer, Failure, Kind, Scope, kinds_of
from batchgen.runner.rehearsal import _NoInFlightLog
from batchgen.send.dispatcher import Dispatcher
from batchgen.send.limits import Budget, RateLimiter
from batchgen.send.retry import Retries
from batchgen.send.stats import Stats
from batchgen.send.stops import Stops
from batchgen.send.task import Task
from batchgen.simulator.clock import SimulatedLoop


def now() -> float:
    return asyncio.get_running_loop().time()


class Bucket:
    """nginx' `limit_req`, at `rate` a second."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate, self.burst, self.level, self.at = rate, burst, float(burst), 0.0

    @asynccontextmanager
    async def place(self):
        self.level = min(self.burst, self.level + (now() - self.at) * self.rate)
        self.at = now()
        granted = self.level >= 1 - 1e-9
        self.level -= granted
        yield granted


class StickTable:
    """HAProxy's: `most` in a window, as an average that slides over two; it counts what is denied, too."""

    def __init__(self, most: int, window: float) -> None:
        self.most, self.window, self.counts, self.at = most, window, (0, 0), 0

    @asynccontextmanager
    async def place(self):
        number = math.floor(now() / self.window)
        before, here = (0, *self.counts, 0, 0)[1 + number - self.at :][:2] if number - self.at < 2 else (0, 0)
        self.counts, self.at = (before, here + 1), number
        yield here + 1 + before * (1 - now() / self.window % 1) <= self.most


class Queue:
    """HAProxy's `maxconn`: others wait, and are refused after `patience` seconds."""

    def __init__(self, slots: int, patience: float) -> None:
        self.free, self.patience, self.waiting = slots, patience, deque()

    @asynccontextmanager
    async def place(self):
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        self._next()
        try:
            async with asyncio.timeout(self.patience):
                await turn
        except TimeoutError:
            self.waiting.remove(turn)
            yield False
            return
        try:
            yield True
        finally:
            self.free += 1
            self._next()

    def _next(self) -> None:
        while self.free and self.waiting:
            self.free -= 1
            self.waiting.popleft().set_result(None)


def night(server, rows: int, latency: float, seed: int, **refusal) -> tuple[float, Stats]:
    """Seconds until every row has its answer; 64 in flight, no limit declared. `refusal`: as the server words it."""
    dice, stats, came = random.Random(seed), Stats(todo=rows), iter(range(1 << 30))
    random.seed(seed)  # the jitter's

    async def attempt(*_: object) -> Answer | Failure:
        await asyncio.sleep(0.001 + next(came) * 1e-7)  # timers that are due together come in no order
        async with server.place() as granted:
            if granted:
                await asyncio.sleep(latency * dice.uniform(0.5, 1.5))
        await asyncio.sleep(0.001)
        return Answer(b"", 1, 20) if granted else Failure(message="no", **refusal)

    async def run() -> float:
        tasks = [Task(n.to_bytes(16, "big"), b"", "m", None, 0, 5, 50, (0.0, 0.0)) for n in range(rows)]
        pump = Dispatcher(
            batches=iter([tasks]),
            attempt=attempt,
            save=lambda _: asyncio.sleep(0),
            flight=_NoInFlightLog(),
            limits=RateLimiter(None, None, now()),
            budget=Budget(),
            retries=Retries(6, 60),
            stats=stats,
            concurrency=64,
            stops=Stops(kinds_of(Scope.RUN), 360),
            clock=now,
        )
        await pump.run()
        return now()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(run()), stats


OVERLOADED = {"kind": Kind.TRANSIENT, "status": 503}
LIMITED = {"kind": Kind.BUSY, "status": 429}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("server", "latency", "refusal", "ideal", "used"),
    [
        pytest.param(lambda: Bucket(20, 1), 0.01, OVERLOADED, 300 / 20, 0.85, id="nginx, no burst, answers at once"),
        pytest.param(lambda: Bucket(20, 1), 0.3, OVERLOADED, 300 / 20, 0.85, id="nginx, no burst, answers take 0.3 s"),
        pytest.param(lambda: Bucket(20, 1), 0.3, LIMITED, 300 / 20, 0.85, id="nginx, no burst, limit_req_status 429"),
        pytest.param(lambda: Bucket(20, 1), 0.01, {**OVERLOADED, "retry_after": 1.0}, 300 / 20, 0.85, id="20/s, Retry-After: 1"),
        pytest.param(lambda: Bucket(20, 10), 0.05, {**OVERLOADED, "retry_after": 1.0}, 290 / 20, 0.8, id="20/s, a burst of 10, Retry-After: 1"),
        pytest.param(lambda: Bucket(20, 10), 0.05, OVERLOADED, 290 / 20, 0.9, id="nginx, a burst of 10"),
        pytest.param(lambda: StickTable(40, 2), 0.01, LIMITED, 260 / 20, 0.65, id="HAProxy, 40 in 2 s, 40 at the start"),
        pytest.param(lambda: Queue(8, 1.0), 0.4, OVERLOADED, 300 * 0.4 / 8, 0.75, id="HAProxy's queue"),
    ],
)  # fmt: skip
def test_how_much_of_a_limit_is_used_that_only_the_server_knows(server, latency, refusal, ideal, used, seed):
    seconds, stats = night(server(), 300, latency, seed, **refusal)
    assert stats.ok == 300
    assert ideal / seconds >= used
