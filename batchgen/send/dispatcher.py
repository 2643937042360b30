"""The send loop: admits, attempts, retries, records. Knows neither files nor aiohttp nor SQLite.

A crew of `concurrency` workers limits what is in flight. A worker holds a slot from the moment its request is admitted
until the COMMIT of its outcome has returned; only an unbilled failure that may concern every row is stored later, once
that is decided (`parked`). No slot is held while waiting: a row to be retried lies in a heap, and the next free worker
takes it once it is due, ahead of new rows. Only new rows are probes while nothing gets through, so that no row uses up
its tries on an outage, and none that is refused for itself keeps the others waiting.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from batchgen.api.failure_kinds import Billed, Kind, Scope
from batchgen.api.never_sent import NeverSent
from batchgen.api.outcome import Answer, Failure
from batchgen.api.usage import billed_tokens
from batchgen.errors import INPUT_CHANGED, BatchgenError, InputChanged, UsageError
from batchgen.send.blame import Blame
from batchgen.send.interfaces import Attempt, InFlight, Save
from batchgen.send.limits import Budget, RateLimiter
from batchgen.send.parked import Parked
from batchgen.send.read_ahead import ReadAhead
from batchgen.send.retry import Retries
from batchgen.send.stats import Stats
from batchgen.send.stops import Stop, Stops
from batchgen.send.task import Task, to_record
from batchgen.send.waiting import Waiting
from batchgen.ui.humanize import pluralize

log = logging.getLogger("batchgen")


@dataclass
class Dispatcher:
    """Sends one run's rows through one engine."""

    batches: Iterator[list[Task]]
    attempt: Attempt
    save: Save
    flight: InFlight
    limits: RateLimiter
    budget: Budget
    retries: Retries
    stats: Stats
    concurrency: int
    stops: Stops
    clock: Callable[[], float] = time.monotonic

    stopped: str | None = field(default=None, init=False)
    is_broken: bool = field(default=False, init=False)
    fatal: Failure | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._admission = asyncio.Lock()
        self._changed = asyncio.Event()
        self._waiting = Waiting()
        self._crew: list[asyncio.Task[None]] = []
        self._blame = Blame(self.limits)
        self._outages = 0
        self._parked = Parked(self.save, self.stats)

    async def run(self) -> None:
        """Returns when every row is done, or when the run was stopped and everything in flight has ended.

        Raises what `save` and `batches` raise, except what is wrong with the input by now: it stops the run."""
        self._input = ReadAhead(self.batches)
        try:
            async with asyncio.TaskGroup() as crew:
                self._crew = [crew.create_task(self._work(slot)) for slot in range(self.concurrency)]
            if self.stopped is None:
                self._end_by(self.stops.refused(is_last=True))
            await self._parked.record(final=self.stopped is None)
        except BaseException as error:  # noqa: BLE001  it is raised again
            with suppress(BatchgenError):  # it may be the store that ended the run
                await self._parked.record(final=False)
            raise error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error from None
        finally:
            await self._input.end()

    def stop(self, reason: str, *, is_spent: bool = False, is_broken: bool = False) -> None:
        """Admits no further request; those in flight go on. `is_spent`: the budget is. `is_broken`: this machine is."""
        self.budget.is_spent |= is_spent
        self.is_broken |= is_broken
        self.stopped = self.stopped or reason
        self._changed.set()

    def abort(self) -> None:
        """Cancels what is in flight; answers that have arrived are still saved."""
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
        """Waits for the next task that may be sent. Returns None if nothing is left, or the run was stopped."""
        rows = self._input.rows
        if rows and not self._waiting and self.stopped is None and self.stops.undecided is None:
            now = self.clock()  # a new row, and nothing to wait for: skip the lock
            if self.limits.wait(now, self.stats.in_flight) <= 0 and self._reserve(rows[0], now):
                return rows.popleft()
        async with self._admission:
            while not await self._is_over():
                now = self.clock()
                again = self._waiting.is_due(now) and not (self.limits.is_closed() and await self._peek())
                task = self._waiting.first() if again else await self._peek()
                if task is None and not self.stats.in_flight and not self._try_last(now):
                    return None
                wait = math.inf if task is None else self.limits.wait(now, self.stats.in_flight)
                if task is not None and wait <= 0:
                    if self._reserve(task, now):
                        return self._waiting.pop() if again else rows.popleft()
                    wait = math.inf  # what is in flight may give back what this one needs
                wait = min(wait, self._waiting.seconds(now))
                if self.budget.left(now) <= wait < math.inf:
                    self.stop("the deadline has come", is_spent=True)  # nothing more can go before it
                elif self.stopped is None:
                    await self._until_changed(wait)
        return None

    async def _is_over(self) -> bool:
        """Returns whether nothing more may be sent. Where a refusal came before any answer, waits for what is in
        flight."""
        while self.stops.undecided and self.stats.in_flight and self.stopped is None:
            await self._until_changed(math.inf)
        if self.stopped is None:
            self._end_by(self.stops.refused(is_last=False))
        return self.stopped is not None

    def _end_by(self, stop: Stop | None) -> None:
        if stop is not None:
            self.fatal = self.fatal or stop.fatal
            self.stop(stop.reason)

    def _try_last(self, now: float) -> bool:
        """Returns whether rows wait, where no others are left. Those that were set aside are tried soon."""
        if self._waiting.are_set_aside:
            rows = pluralize(self._waiting.rows(), "row")
            log.warning("warning: refused again and again, while others were answered: %s, tried last", rows)
            self._blame.others_are_done(now)
            self._waiting.release(now + self.retries.back_off(1))
        return bool(self._waiting)

    async def _until_changed(self, seconds: float) -> None:
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._changed.wait()

    async def _peek(self) -> Task | None:
        """Returns the next row; None if there is none, or the input changed, or cannot be read again. What is in flight
        is of the input as it was, and goes on."""
        try:
            return await self._input.first()
        except InputChanged:
            self.stop(INPUT_CHANGED)
        except UsageError as error:
            self.stop(f"the input cannot be read again: {error}")
        return None

    def _reserve(self, task: Task, now: float) -> bool:
        """Reserves the estimated use of a request in limits and budget. Returns False if it has to wait for requests in
        flight, or if the budget has stopped the run."""
        tokens = self.limits.expected_tokens(task.prompt_tokens, task.answer_tokens)
        cost = task.cost(tokens - task.prompt_tokens)
        if reason := self.budget.exhausted(now, tokens, cost):
            may_be_freed = self.budget.may_be_freed(now)
            if may_be_freed and self.stats.in_flight:
                return False
            if not may_be_freed or not self.budget.is_mostly_unspent(task.prompt_tokens, task.cost(0)):
                self.stop(reason, is_spent=True)
                return False
        task.reserved, task.reserved_cost = tokens, cost
        self.limits.take(now, tokens)
        task.may_resend = self.budget.take(tokens, cost, self.concurrency)
        task.answers = self._blame.answers if task.answers is None else task.answers
        self.stats.in_flight += 1
        task.beside = self.stats.in_flight
        self.stats.sent += 1
        return True

    async def _serve(self, slot: int, task: Task) -> None:
        task.attempts += 1
        self.flight.begin(slot, task.key, task.attempts)
        sent_at = self.clock()
        try:
            outcome = await self.attempt(task.body, task.model, new_connection=not task.may_resend)
        except NeverSent as never:
            self._correct(task, never.failure)
            self._give_back(task, 0, 0)
            self.flight.end(slot)
            raise
        finally:
            self.budget.resends -= task.may_resend
        now = self.clock()
        if self.limits.is_per_server:  # which has room now; else only once the outcome is stored
            self._changed.set()
        if outcome.resent or isinstance(outcome, Failure):
            self._correct(task, outcome)
        answer = outcome.answer if isinstance(outcome, Failure) else outcome
        if answer is not None:
            prompt, tokens = billed_tokens(answer, task)
            self._give_back(task, prompt + tokens, task.cost(tokens, prompt))
            self.limits.answered(now, sent_at, task.answer_tokens, tokens, task.beside)
            self.budget.observe(now - sent_at)
        if isinstance(outcome, Answer):
            self._answered(task, sent_at)
            self.stats.billed(outcome, task)  # before it is stored: its COMMIT has the usage with it
            await self.save(to_record(task, outcome, now - sent_at, time.time_ns() // 1000))
            await self._parked.record(sent_at)  # a later request was answered: they are the rows' own
            self.stats.ok += task.rows
        else:
            await self._fail(task, outcome, sent_at, now)
        self.flight.end(slot)

    def _correct(self, task: Task, outcome: Answer | Failure) -> None:
        """Counts requests that were sent more than once, or never. What may have been read before it was sent again may
        be billed."""
        more = self.stats.ended(outcome)
        task.attempts += more
        self.budget.spent_requests += more
        self.budget.give_back(-outcome.lost * task.reserved, -outcome.lost * task.reserved_cost)

    def _answered(self, task: Task, sent_at: float) -> None:
        self._blame.answered(task, sent_at, self.clock())
        self.stops.answered(sent_at)
        self.stats.trouble = ""

    async def _fail(self, task: Task, failure: Failure, sent_at: float, now: float) -> None:
        if failure.kind.policy.billed is not Billed.MAYBE and failure.answer is None:
            self._give_back(task, 0, 0)
        log.debug("%s: attempt %d: %s", task.name or task.key.hex(), task.attempts, failure)
        failure = self._blame.as_refusal(task, failure, now)
        self.stats.tries[failure.kind] += 1
        if failure.answer is not None:
            self.stats.billed(failure.answer, task)
            self._answered(task, sent_at)
        self._blame.weigh(task, failure, now, self.stats.left)
        self._report_trouble(failure)
        delay = self._blame.postpone(task, failure, self.retries.delay(failure, task.tries), now)
        is_burst = self._slow_down(task, failure, sent_at, now)
        outage, is_its_own = self.limits.outage(now), self._blame.is_refused_for_itself(task, failure)
        before = is_its_own if failure.kind is Kind.BUSY else task.failed_before
        in_flight = self.concurrency if self.limits.auto is None else self.stats.in_flight
        stop = self.stops.failed(
            task.key, failure, now, in_flight=in_flight, outage=outage, is_burst=is_burst, failed_before=before
        )
        is_refused = self.fatal is not None or (stop is not None and stop.fatal is not None)  # the run: no row fails
        record = to_record(task, failure, now - sent_at, time.time_ns() // 1000, final=delay is None and not is_refused)
        if record.final and self.stops.may_concern_all(failure):
            self._parked.add(now, record, task.rows)
        else:
            await self.save(record)
        self._end_by(stop)
        if stop is not None:
            await self._parked.record(final=False)  # they may concern every row
        if record.final:
            self.stats.failed += task.rows
            self._blame.failed(task.key)
        elif delay is not None and not is_refused:
            self.stats.retries[failure.kind] += 1
            self._waiting.add(task, now + delay)

    def _slow_down(self, task: Task, failure: Failure, sent_at: float, now: float) -> bool:
        """Pauses all slots after a refusal. Returns whether it is the first refusal since this request was sent."""
        if failure.is_late:
            self.limits.unanswered(now, sent_at)
        is_for_all = not failure.others_serve and not self._blame.is_no_limit(task, failure, now)
        if not is_for_all or not failure.slows_everyone or (self.limits.outage(now) and not failure.retry_after):
            return False
        by_rate = failure.kind is Kind.BUSY
        pause = failure.retry_after or self.retries.pause(self.limits.refusals, by_rate=by_rate)
        return self.limits.refused(now, sent_at, self.retries.wait_for(pause), by_rate=by_rate, beside=task.beside)

    def _report_trouble(self, failure: Failure) -> None:
        """Shows what keeps the run from its answers, and warns once an outage begins."""
        self.stats.trouble = str(failure) if failure.kind.policy.scope is Scope.SERVER else ""
        if self.limits.outages > self._outages and self.stopped is None:
            self._outages = self.limits.outages
            log.warning("warning: nothing gets through: %s; probing with one request at a time", failure)

    def _give_back(self, task: Task, tokens: float, cost: float) -> None:
        """Gives back what was reserved and not used. Possibly billed attempts keep all of it."""
        self.limits.give_back(task.reserved - tokens)
        self.budget.give_back(task.reserved - tokens, task.reserved_cost - cost)
