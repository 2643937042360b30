"""The only loop: admits, attempts, retries, records. Knows neither files nor aiohttp nor SQLite.

A crew of `concurrency` workers is the semaphore: each holds a slot from the moment its request is admitted
until the COMMIT of its outcome has returned. Nobody holds a slot while waiting: a row that is to be tried
again lies in a heap, and whoever comes to the door takes it, when it is due, before any new row. Only the probes
of an outage are new rows, so that no row uses up its tries on it.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from batchgen.api.contract import POSSIBLY_BILLED, SLOWS_EVERYONE, STOPS_THE_RUN, Answer, Failure, Kind
from batchgen.packed import Body
from batchgen.runner.checkpoint import OK, Record
from batchgen.runner.feed import Task
from batchgen.runner.limits import Budget, Limits
from batchgen.runner.retry import Retries

NOTHING_BILLED = frozenset({Kind.TRANSIENT, Kind.UNSENT})
WITHOUT_THE_SERVICE = NOTHING_BILLED | {Kind.UNANSWERED}
"""How attempts end when the service is away."""


@dataclass
class Stats:
    """What the run has done so far; only ever counted up, but for `in_flight`. Tokens are of answered requests."""

    todo: int
    ok: int = 0
    failed: int = 0
    sent: int = 0
    in_flight: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    tries: Counter[Kind] = field(default_factory=Counter)  # attempts that failed, by how
    retries: Counter[Kind] = field(default_factory=Counter)  # those of them that are tried again

    @property
    def left(self) -> int:
        return self.todo - self.ok - self.failed


class Marks(Protocol):
    """Where it is marked what is in flight (`flight.py`)."""

    def begin(self, slot: int, key: bytes, attempt: int) -> None: ...

    def end(self, slot: int) -> None: ...


Attempt = Callable[[bytes, str], Awaitable[Answer | Failure]]
Save = Callable[[Record], Awaitable[None]]

log = logging.getLogger("batchgen")


@dataclass
class Pump:
    """One run's worth of rows through one engine. `batches` is read in a thread, one batch ahead."""

    batches: Iterator[list[Task]]
    attempt: Attempt
    save: Save
    flight: Marks
    limits: Limits
    budget: Budget
    retries: Retries
    stats: Stats
    concurrency: int
    stops: frozenset[Kind] = STOPS_THE_RUN
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    stopped: str | None = field(default=None, init=False)
    refusal: Failure | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._door = asyncio.Lock()
        self._changed = asyncio.Event()
        self._rows: deque[Task] = deque()
        self._waiting: list[tuple[float, int, Task]] = []
        self._next: asyncio.Future[list[Task] | None] | None = None
        self._crew: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Returns when every row is done with, or the run was stopped and what was in flight has ended.

        Raises what `save` and `batches` raise: then no further request is sent, and those in flight end.
        """
        self._prefetch()
        try:
            async with asyncio.TaskGroup() as crew:
                self._crew = [crew.create_task(self._work(slot)) for slot in range(self.concurrency)]
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            if self._next is not None:
                await asyncio.wait([self._next])
                self._next.exception()

    def stop(self, reason: str) -> None:
        """Admits nothing more; what is in flight goes on."""
        self.stopped = self.stopped or reason
        self._changed.set()

    def abort(self) -> None:
        """Gives up what is in flight; what has arrived is saved all the same."""
        for worker in self._crew:
            worker.cancel()

    async def _work(self, slot: int) -> None:
        while (task := await self._admit()) is not None:
            try:
                await self._serve(slot, task)
            except BaseException:
                self.stop("an error")
                raise
            finally:
                self.stats.in_flight -= 1
                self._changed.set()

    async def _admit(self) -> Task | None:
        """The next task, when it may go; None when nothing is left, or the run was stopped."""
        if self._rows and not self._waiting and self.stopped is None:
            now = self.clock()  # a new row and nothing to wait for: who queues here makes all others queue
            if self.limits.wait(now, self.stats.in_flight) <= 0 and self._reserve(self._rows[0], now):
                return self._rows.popleft()
        async with self._door:
            while self.stopped is None:
                now = self.clock()
                again = self._is_due(now) and not (self.limits.outage_likely() and await self._peek())
                task = self._waiting[0][2] if again else await self._peek()
                if task is None and not self._waiting and not self.stats.in_flight:
                    return None
                wait = math.inf if task is None else self.limits.wait(now, self.stats.in_flight)
                if task is None or wait > 0:
                    await self._until_changed(min(wait, self._next_due(now)))
                elif self._reserve(task, now):
                    return heapq.heappop(self._waiting)[2] if again else self._rows.popleft()
        return None

    def _is_due(self, now: float) -> bool:
        return bool(self._waiting) and self._waiting[0][0] <= now

    def _next_due(self, now: float) -> float:
        return self._waiting[0][0] - now if self._waiting and not self._is_due(now) else math.inf

    async def _until_changed(self, seconds: float) -> None:
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._changed.wait()

    async def _peek(self) -> Task | None:
        while not self._rows:
            if self._next is None or (batch := await asyncio.shield(self._next)) is None:
                return None
            self._prefetch()
            self._rows.extend(batch)
        return self._rows[0]

    def _prefetch(self) -> None:
        loop = asyncio.get_running_loop()
        self._next = loop.run_in_executor(None, next, self.batches, None)

    def _reserve(self, task: Task, now: float) -> bool:
        """Takes what the request may use from limits and budget; False: the budget stops the run."""
        most, cost = task.prompt_tokens + task.answer_tokens, task.cost(task.answer_tokens)
        if reason := self.budget.exhausted(now, most, cost):
            self.stop(reason)
            return False
        task.reserved = self.limits.expect(task.prompt_tokens, task.answer_tokens)
        self.limits.take(now, task.reserved)
        self.budget.take(most, cost)
        self.stats.in_flight += 1
        self.stats.sent += 1
        return True

    async def _serve(self, slot: int, task: Task) -> None:
        task.attempts += 1
        self.flight.begin(slot, task.key, task.attempts)
        sent_at = self.clock()
        outcome = await self.attempt(task.body, task.model)
        now = self.clock()
        answer = outcome.answer if isinstance(outcome, Failure) else outcome
        if answer is not None:
            prompt = answer.prompt_tokens or task.prompt_tokens
            self._settle(task, prompt + answer.tokens, task.cost(answer.tokens, prompt))
            self.limits.answered(now, sent_at, task.answer_tokens, answer.tokens)
            self.budget.observe(now - sent_at)
        if isinstance(outcome, Answer):
            await self.save(self._record(task, outcome, now - sent_at))
            self.stats.ok += 1
            self.stats.prompt_tokens += task.prompt_tokens
            self.stats.answer_tokens += outcome.tokens
        else:
            await self._fail(task, outcome, sent_at, now)
        self.flight.end(slot)

    async def _fail(self, task: Task, failure: Failure, sent_at: float, now: float) -> None:
        if failure.kind not in POSSIBLY_BILLED and failure.answer is None:
            self._settle(task, 0, 0)
        log.debug("%s: attempt %d: %s", task.name or task.key.hex(), task.attempts, failure)
        self.stats.tries[failure.kind] += 1
        self._weigh(task, failure, now)
        delay = self.retries.delay(failure, task.tries)
        slows = failure.status in SLOWS_EVERYONE and not failure.others_serve
        if slows and (failure.retry_after or not self.limits.outage(now)):
            pause = failure.retry_after or self.retries.back_off(1 + self.limits.refusals)
            self.limits.refused(now, sent_at, self.retries.capped(pause), by_rate=failure.kind is Kind.BUSY)
        stops = self._stops_the_run(failure)
        await self.save(self._record(task, failure, now - sent_at, final=delay is None and not stops))
        if stops:
            self.refusal = self.refusal or failure
            self.stop(str(failure))
        elif delay is None:
            self.stats.failed += 1
        else:
            self.stats.retries[failure.kind] += 1
            heapq.heappush(self._waiting, (now + delay, self.stats.retries.total(), task))

    def _weigh(self, task: Task, failure: Failure, now: float) -> None:
        """In an outage a failure is not the row's, and is not held against it."""
        if failure.kind in WITHOUT_THE_SERVICE:
            self.limits.failed(now)
        outage = self.limits.outage(now)
        if not (outage and failure.kind in NOTHING_BILLED):
            task.tries[failure.cause] = task.tries.get(failure.cause, 0) + 1
        if outage > self.retries.patience:
            self.stop(f"no answer for {outage:,.0f} s: {failure}")

    def _stops_the_run(self, failure: Failure) -> bool:
        """An address that has answered before is no wrong address: then it is about this row."""
        return failure.kind in self.stops and not (failure.kind is Kind.MISDIRECTED and self.stats.ok)

    def _settle(self, task: Task, tokens: float, cost: float) -> None:
        """Gives back what was reserved beyond what was used. Possibly billed attempts keep all of it."""
        self.limits.give_back(task.reserved - tokens)
        most = task.prompt_tokens + task.answer_tokens
        self.budget.give_back(most - tokens, task.cost(task.answer_tokens) - cost)

    def _record(self, task: Task, result: Answer | Failure, latency: float, *, final: bool = True) -> Record:
        outcome, status, error, choices, body = _told(result)
        finished_at = int(self.wall() * 1_000_000)
        return Record(
            task.key, outcome, final, task.attempts, status, error, latency, finished_at, choices, task.name, body
        )


def _told(result: Answer | Failure) -> tuple[str, int | None, str | None, int, Body | None]:
    """(outcome, HTTP status, error, choices, body): a body that was billed is kept as it came."""
    if isinstance(result, Answer):
        return OK, 200, None, result.choices, result.body
    billed = result.kind in (Kind.UNUSABLE, Kind.UNFIT)
    choices = result.answer.choices if result.answer else 0
    return str(result.kind), result.status, result.message, choices, result.body if billed else None
