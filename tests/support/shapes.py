"""The whole dispatcher against servers of several shapes, on a simulated clock: a fixed number in flight, or `auto`."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from support.connections import connection

from batchgen.api.failure_kinds import Kind, Scope, kinds_of
from batchgen.api.outcome import Answer, Failure
from batchgen.job.sections import AUTO_MOST
from batchgen.runner.rehearsal import NoInFlightLog
from batchgen.send.concurrency import AdaptiveConcurrency
from batchgen.send.dispatcher import Dispatcher
from batchgen.send.engines.load_balancer import LoadBalancer
from batchgen.send.limits import Budget, RateLimiter
from batchgen.send.other_runs import Others
from batchgen.send.retry import Retries
from batchgen.send.stats import Stats
from batchgen.send.stops import Stops
from batchgen.send.task import Task
from batchgen.simulator.clock import SimulatedLoop
from batchgen.simulator.shapes import Batching, Shape, Slots


class Unsteady(Slots):
    """A server whose pace changes by itself, as one does that shares its machine: all answers of some seconds take
    longer, or less."""

    def __init__(self, slots: int, seconds: float, deviation: float) -> None:
        super().__init__(((0, slots),))
        self._seconds, self._deviation = seconds, deviation

    async def work(self, seconds: float, tokens: int) -> None:
        dice = random.Random(asyncio.get_running_loop().time() // self._seconds)
        await super().work(seconds * dice.lognormvariate(0, self._deviation), tokens)


class Drifting(Slots):
    """A server that warms up, or slows down: answers take so many times as long, by the seconds since the start."""

    def __init__(self, slots: int, slowness: Callable[[float], float]) -> None:
        super().__init__(((0, slots),))
        self._slowness = slowness

    async def work(self, seconds: float, tokens: int) -> None:
        await super().work(seconds * self._slowness(asyncio.get_running_loop().time()), tokens)


class Deaf(Slots):
    """A server that answers so many at a time, as fast as they come, and those beyond them never: it has a thread for
    each connection, say. `is_stuck`: they also take up the place of others until they give up."""

    def __init__(self, most: int, *, is_stuck: bool = False) -> None:
        super().__init__(((0, AUTO_MOST),))
        self._most, self._is_stuck, self._there = most, is_stuck, 0

    async def work(self, seconds: float, tokens: int) -> None:
        is_heard = self._there < self._most
        self._there += is_heard or self._is_stuck
        try:
            await super().work(seconds if is_heard else math.inf, tokens)
        finally:
            self._there -= is_heard or self._is_stuck


class ByTokens(Slots):
    """A server whose answers take as long as they have tokens."""

    def __init__(self, slots: int, per_second: float) -> None:
        super().__init__(((0, slots),))
        self._per_second = per_second

    async def work(self, seconds: float, tokens: int) -> None:
        await super().work(seconds + tokens / self._per_second, tokens)


class SoftBatching(Batching):
    """A batch with no clear limit: each request more slows the others down, and brings a little less than the last."""

    def __init__(self, knee: int) -> None:
        super().__init__(((0, knee),), 50)

    def _share(self, requests: int) -> float:
        return self._number() / requests * (1 - math.exp(-requests / self._number()))


@dataclass
class Played:
    """`answers`: when each came, its latency, and whether in time; `in_flight`: every half second."""

    answers: list[tuple[float, float, bool]] = field(default_factory=list)
    in_flight: list[tuple[float, int]] = field(default_factory=list)
    auto: AdaptiveConcurrency | None = None

    def throughput(self, begin: float, end: float) -> float:
        return sum(ok for at, _, ok in self.answers if begin <= at < end) / (end - begin)

    def latency(self, begin: float, end: float) -> float:
        return statistics.median(took for at, took, ok in self.answers if ok and begin <= at < end)

    def late(self) -> float:
        return sum(not ok for *_, ok in self.answers) / len(self.answers)

    def numbers(self, begin: float, end: float) -> list[int]:
        return [number for at, number in self.in_flight if begin <= at < end]

    def reached(self, number: float) -> float:
        return next((at for at, now in self.in_flight if now >= number), math.inf)


def play(  # noqa: PLR0913, PLR0917  a night in a row of a table
    shape: Shape,
    latency: Callable[[random.Random], float],
    tokens: Callable[[random.Random], int],
    concurrency: int | None,
    seconds: float,
    seed: int = 1,
    total: float = 300.0,
    per_minute: float | None = None,
    others: int | None = None,
) -> Played:
    """`concurrency`: None for auto; `per_minute`: requests, declared; `others`: the server tells its queue, and counts
    as many requests of others in it."""
    dice, played = random.Random(seed), Played()
    random.seed(seed)
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        draw = lambda: (latency(dice), tokens(dice))  # noqa: E731
        runner.run(_run(shape, draw, concurrency, seconds, total, per_minute, others, played))
    return played


def _batches() -> Iterator[list[Task]]:
    for first in itertools.count(0, 1000):
        numbers = range(first, first + 1000)
        yield [Task(n.to_bytes(16, "big"), b"", "m", None, 0, 5, 200, (0.0, 0.0)) for n in numbers]


@dataclass
class Simulated:
    """What a client is to the dispatcher, with a server of some shape behind it."""

    shape: Shape
    draw: Callable[[], tuple[float, int]]
    total: float
    played: Played
    in_flight: int = 0

    async def attempt(self, *_: object, **__: object) -> Answer | Failure:
        clock = asyncio.get_running_loop().time
        began = clock()
        takes, tokens = self.draw()
        self.in_flight += 1
        try:
            async with asyncio.timeout(self.total):
                await self.shape.work(takes, tokens)
        except TimeoutError:
            self.played.answers.append((clock(), clock() - began, False))
            return Failure(Kind.UNANSWERED, "no answer in time", is_late=True)
        finally:
            self.in_flight -= 1
        self.played.answers.append((clock(), clock() - began, True))
        return Answer(b"", 1, tokens)


def play_several(
    shapes: Sequence[Shape],
    latency: Callable[[random.Random], float],
    tokens: Callable[[random.Random], int],
    seconds: float,
    seed: int = 1,
    storing: float = 0,
) -> tuple[Played, list[list[int]]]:
    """`auto` on several servers, and what was in flight at each of them every half second. `storing`: seconds that each
    answer's takes."""
    dice, played, at_each = random.Random(seed), Played(), []

    async def run() -> None:
        clock = asyncio.get_running_loop().time
        balancer = LoadBalancer(connection(*(f"http://server{n}" for n in range(len(shapes)))), clock)
        balancer._clients = [Simulated(one, lambda: (latency(dice), tokens(dice)), 300.0, played) for one in shapes]
        limits = RateLimiter(None, None, clock())
        limits.auto = balancer.find_concurrency(AUTO_MOST, None)
        watched = lambda: at_each.append([one.in_flight for one in balancer._clients])  # noqa: E731
        await _dispatch(balancer.attempt, limits, AUTO_MOST, seconds, played, watched, storing)

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(run())
    return played, at_each


def play_together(
    shape: Shape,
    latency: Callable[[random.Random], float],
    begins: Sequence[float],
    seconds: float,
    seed: int = 1,
) -> list[Played]:
    """Several runs of `auto` on one server, which begin at these seconds and look at each other every second."""
    dice, runs = random.Random(seed), [Played() for _ in begins]
    clients = [Simulated(shape, lambda: (latency(dice), 50), 300.0, played) for played in runs]
    autos = [AdaptiveConcurrency(AUTO_MOST) for _ in begins]

    async def look(at: int) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            there = [n for n in range(len(begins)) if n != at and begins[n] <= clock()]
            settled = [autos[n].settled for n in there]
            is_looking = any(n < at and autos[n].is_looking for n in there)
            in_flight = sum(clients[n].in_flight for n in there)
            autos[at].share(clock(), Others(1 + len(there), in_flight, tuple(filter(None, settled)), is_looking))
            await asyncio.sleep(1)

    async def run(at: int) -> None:
        await asyncio.sleep(begins[at])
        limits = RateLimiter(None, None, begins[at])
        limits.auto = autos[at]
        looking = asyncio.create_task(look(at))
        await _dispatch(clients[at].attempt, limits, AUTO_MOST, seconds, runs[at], lambda: None)
        looking.cancel()

    async def all_of_them() -> None:
        await asyncio.gather(*map(run, range(len(begins))))

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(all_of_them())
    return runs


async def _run(shape, draw, concurrency, seconds, total, per_minute, others, played) -> None:  # noqa: PLR0917  as above
    limits = RateLimiter(per_minute, None, asyncio.get_running_loop().time())
    if concurrency is None:
        limits.auto = played.auto = AdaptiveConcurrency(AUTO_MOST, None, total)
    attempt = Simulated(shape, draw, total, played).attempt
    clock = asyncio.get_running_loop().time

    def tell() -> None:
        if others is not None:
            at_work, waiting = shape.load()
            played.auto.told(clock(), at_work, waiting + others)

    await _dispatch(attempt, limits, concurrency or AUTO_MOST, seconds, played, tell)


async def _dispatch(attempt, limits, concurrency, seconds, played, watched, storing=0) -> None:  # noqa: PLR0917
    clock = asyncio.get_running_loop().time
    dispatcher = Dispatcher(
        batches=_batches(),
        attempt=attempt,
        save=lambda _: asyncio.sleep(storing),
        flight=NoInFlightLog(),
        limits=limits,
        budget=Budget(deadline=seconds),
        retries=Retries(6, 60),
        stats=Stats(todo=1 << 30),
        concurrency=concurrency,
        stops=Stops(kinds_of(Scope.RUN), 360),
        clock=clock,
    )

    async def watch() -> None:
        while True:
            played.in_flight.append((clock(), dispatcher.stats.in_flight))
            watched()
            await asyncio.sleep(0.5)

    watching = asyncio.create_task(watch())
    await dispatcher.run()
    watching.cancel()
