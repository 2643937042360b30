"""Limits that gateways really have, met by the whole dispatcher on a simulated clock: how much of each is used."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from contextlib import asynccontextmanager

import pytest

from batchgen.api.failure_kinds import Kind, Scope, kinds_of
from batchgen.api.outcome import Answer, Failure
from batchgen.runner.rehearsal import NoInFlightLog
from batchgen.send.dispatcher import Dispatcher
from batchgen.send.limits import Budget, RateLimiter
from batchgen.send.retry import Retries
from batchgen.send.stats import Stats
from batchgen.send.stops import Stops
from batchgen.send.task import Task
from batchgen.simulator.clock import SimulatedLoop

pytestmark = pytest.mark.simulated


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


class Window:
    """So many in each window of a clock, or in the last so many seconds; `counts_refused`: what it denies, too."""

    def __init__(self, most: int, seconds: float, *, slides: bool = False, counts_refused: bool = False) -> None:
        self.most, self.seconds, self.slides, self.counts_refused = most, seconds, slides, counts_refused
        self.times: deque[float] = deque()

    @asynccontextmanager
    async def place(self):
        begin = now() - self.seconds if self.slides else math.floor(now() / self.seconds) * self.seconds
        while self.times and self.times[0] < begin:
            self.times.popleft()
        granted = len(self.times) < self.most
        if granted or self.counts_refused:
            self.times.append(now())
        yield granted


class AtRandom:
    """Refuses this share for no reason, before another limit is asked."""

    def __init__(self, share: float, server) -> None:
        self.share, self.server, self.dice = share, server, random.Random(9)

    @asynccontextmanager
    async def place(self):
        if self.dice.random() < self.share:
            yield False
            return
        async with self.server.place() as granted:
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


def night(server, rows: int, latency: float, seed: int, **refusal) -> tuple[float, Stats, list[float]]:
    """Seconds until every row has its answer, and when each was granted; 64 in flight, no limit declared. `refusal`: as
    the server words it."""
    dice, stats, grants = random.Random(seed), Stats(todo=rows), []
    came, read = iter(range(1 << 30)), iter(range(1 << 30))
    random.seed(seed)  # the jitter's

    async def attempt(*_: object, **__: object) -> Answer | Failure:
        await asyncio.sleep(0.001 + next(came) * 1e-7)  # timers that are due together come in no order
        async with server.place() as granted:
            if granted:
                grants.append(now())
                await asyncio.sleep(latency * dice.uniform(0.5, 1.5))
        await asyncio.sleep(0.001)
        return Answer(b"", 1, 20) if granted else Failure(message="no", **refusal)

    async def run() -> float:
        tasks = [Task(n.to_bytes(16, "big"), b"", "m", None, 0, 5, 50, (0.0, 0.0)) for n in range(rows)]
        dispatcher = Dispatcher(
            batches=iter([tasks]),
            attempt=attempt,
            save=lambda _: asyncio.sleep(0),
            flight=NoInFlightLog(),
            limits=RateLimiter(None, None, now()),
            budget=Budget(),
            retries=Retries(6, 60),
            stats=stats,
            concurrency=64,
            stops=Stops(kinds_of(Scope.RUN), 360),
            clock=lambda: now() + next(read) * 1e-9,  # no two readings are the same
        )
        await dispatcher.run()
        return now()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(run()), stats, grants


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
        pytest.param(lambda: Bucket(20, 10), 0.05, {**OVERLOADED, "retry_after": 1.0}, 290 / 20, 0.85, id="20/s, a burst of 10, Retry-After: 1"),
        pytest.param(lambda: Bucket(20, 10), 0.05, OVERLOADED, 290 / 20, 0.9, id="nginx, a burst of 10"),
        pytest.param(lambda: StickTable(40, 2), 0.01, LIMITED, 260 / 20, 0.65, id="HAProxy, 40 in 2 s, 40 at the start"),
        pytest.param(lambda: Queue(8, 1.0), 0.4, OVERLOADED, 300 * 0.4 / 8, 0.85, id="HAProxy's queue"),
    ],
)  # fmt: skip
def test_how_much_of_a_limit_is_used_that_only_the_server_knows(server, latency, refusal, ideal, used, seed):
    seconds, stats, _ = night(server(), 300, latency, seed, **refusal)
    print(f"{ideal / seconds:.0%} of the limit, from the first second to the last")  # noqa: T201  for docs/
    assert stats.ok == 300
    assert ideal / seconds >= used


SAYS_A_SECOND = {**LIMITED, "retry_after": 1.0}
LASTING = [
    pytest.param(lambda: Bucket(1, 1), 1, 0.3, LIMITED, id="1/s, no burst"),
    pytest.param(lambda: Bucket(1, 1), 1, 1.0, {**OVERLOADED, "retry_after": 1.0}, id="1/s, no burst, 503, Retry-After: 1"),
    pytest.param(lambda: Bucket(1, 10), 1, 0.3, LIMITED, id="1/s, a burst of 10"),
    pytest.param(lambda: Bucket(5, 1), 5, 0.3, OVERLOADED, id="5/s, no burst, 503"),
    pytest.param(lambda: Bucket(20, 1), 20, 0.3, SAYS_A_SECOND, id="20/s, no burst, Retry-After: 1"),
    pytest.param(lambda: Bucket(20, 60), 20, 0.05, SAYS_A_SECOND, id="20/s, a burst of 60, Retry-After: 1"),
    pytest.param(lambda: Bucket(100, 10), 100, 0.05, LIMITED, id="100/s, a burst of 10"),
    pytest.param(lambda: StickTable(300, 10), 30, 0.01, OVERLOADED, id="HAProxy, 300 in 10 s, 503, answers at once"),
    pytest.param(lambda: StickTable(300, 10), 30, 0.3, LIMITED, id="HAProxy, 300 in 10 s"),
    pytest.param(lambda: StickTable(40, 2), 20, 0.3, LIMITED, id="HAProxy, 40 in 2 s"),
    pytest.param(lambda: Window(40, 2), 20, 0.05, LIMITED, id="40 in each 2 s"),
    pytest.param(lambda: Window(40, 2, slides=True), 20, 0.05, LIMITED, id="40 in the last 2 s"),
    pytest.param(lambda: Window(40, 2, slides=True, counts_refused=True), 20, 0.3, SAYS_A_SECOND, id="40 in the last 2 s, denials counted"),
    pytest.param(lambda: Window(300, 10, slides=True, counts_refused=True), 30, 0.05, LIMITED, id="300 in the last 10 s, denials counted"),
    pytest.param(lambda: AtRandom(0.03, Bucket(20, 10)), 20, 0.05, LIMITED, id="20/s, a burst of 10, and 3 % at random"),
]  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("server", "rate", "latency", "refusal"), LASTING)
def test_half_a_minute_after_the_start_a_limit_is_used_to_the_full(server, rate, latency, refusal, seed):
    _, stats, grants = night(server(), rate * 100, latency, seed, **refusal)
    full = sum(30 <= at < 80 for at in grants) / 50 / rate
    print(f"{full:.0%} of the limit from 30 s on, {sum(stats.tries.values())} refused of {rate * 100}")  # noqa: T201  for docs/
    assert stats.failed == 0
    assert full >= (0.85 if rate > 1 else 0.75)


def test_a_server_that_refuses_many_at_random_is_found_out():
    _, stats, grants = night(AtRandom(0.15, Bucket(200, 200)), 9000, 0.05, 1, **LIMITED)
    assert stats.failed == 0
    assert sum(60 <= at < 80 for at in grants) / 20 >= 0.85 * 200
