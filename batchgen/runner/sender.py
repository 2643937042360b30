"""Sends the rows of a plan: the dispatcher with its engine, limits and checkpoint, for the length of an event loop.

Holds no lock and publishes nothing: `run` does, before and after.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass

from batchgen import event_loop
from batchgen.api.connection import Connection
from batchgen.api.outcome import Failure
from batchgen.api.usage import Usage
from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.group_commit import GroupCommit
from batchgen.checkpoint.in_flight import InFlightLog
from batchgen.checkpoint.schema import Run
from batchgen.errors import EngineGone, MachineRefused
from batchgen.job.prices import price_of
from batchgen.job.sections import AUTO_MOST
from batchgen.runner.opening import now
from batchgen.runner.plan import Plan
from batchgen.runner.prepare import PreparedJob
from batchgen.runner.progress import Progress, progress
from batchgen.runner.remaining_time import RemainingTime
from batchgen.runner.signals import Signals
from batchgen.runner.tasks import tasks
from batchgen.send import other_runs, server_load, shared_server
from batchgen.send.check import with_check
from batchgen.send.concurrency import AdaptiveConcurrency
from batchgen.send.dispatcher import Dispatcher
from batchgen.send.engines.load_balancer import LoadBalancer
from batchgen.send.engines.local import Engine, EngineFactory
from batchgen.send.interfaces import Attempt, FoundConcurrency, Save
from batchgen.send.limits import Budget, RateLimiter
from batchgen.send.retry import Retries
from batchgen.send.stats import Stats
from batchgen.send.stops import Stops
from batchgen.storage import folders

CHECK_SECONDS = 0.25
"""Seconds between two checks whether the checkpoint is in its place, and has room. In two seconds, a run may store more
than is kept free."""
CLOCK_SECONDS = 1.0
"""Seconds between two looks at the clock, for `until.at`."""
OUTLOOK_SECONDS = 0.5
"""Seconds between two updates of the rate and the remaining time, which are stored with the next answers. The usage is
stored with all."""
CHECKPOINT_LOST = "the checkpoint was removed or replaced while the run was at work"
NEARLY_FULL = "the disk that holds the checkpoint is nearly full: make room"


log = logging.getLogger("batchgen")


@dataclass(frozen=True)
class SendResult:
    """The result of a pass. `stopped`: the reason why it ended early. `is_broken`: the engine was lost, or the disk is
    nearly full. `learned`: requests a minute that the server granted. `usage`: of this pass. `late`: requests
    that timed out while others were answered, and how many might be in flight at the end."""

    stats: Stats
    usage: Usage
    late: tuple[int, float]
    stopped: str | None
    fatal: Failure | None
    learned: float | None
    is_broken: bool


@dataclass(frozen=True)
class Sender:
    """Sends one run's rows. `record`: the run as stored in the checkpoint. `before`: what earlier runs have used."""

    setup: PreparedJob
    connection: Connection
    checkpoint: Checkpoint
    signals: Signals
    engine: EngineFactory
    budget: Budget
    record: Run
    before: Usage

    def run(self, plan: Plan, rate: float | None, found: int | None, *, quiet: bool) -> SendResult:
        """Sends the plan's rows. `rate`: requests a minute, and `found`: how many in flight, as an earlier run learned.
        Raises MachineRefused if answers cannot be stored."""
        most = self.setup.job.limits.most_in_flight
        with closing(InFlightLog(self.setup.state.in_flight, most)) as flight:
            return event_loop.run(self._dispatch(plan, flight, rate, found, quiet=quiet))

    async def _dispatch(
        self, plan: Plan, flight: InFlightLog, rate: float | None, found: int | None, *, quiet: bool
    ) -> SendResult:
        granted, stats = self.setup.job.limits, Stats(todo=plan.rows_left)
        usage = self._usage(plan, stats)
        limits = RateLimiter(granted.requests_per_minute, granted.tokens_per_minute, time.monotonic(), rate)

        def keep_usage() -> None:
            self.checkpoint.set_usage(self.record, usage())

        async with (
            GroupCommit(self.checkpoint, keep_usage) as writer,
            self.engine(self.connection, self.setup.job.engine) as engine,
        ):
            if granted.concurrency == "auto":
                limits.auto = _concurrency(engine, self.connection, found)
            dispatcher = self._dispatcher(plan, engine.attempt, writer.save, flight, limits, stats)
            outlook = RemainingTime(granted.requests_per_minute, granted.tokens_per_minute, time.monotonic())
            view = progress(
                self.setup.job.name,
                stats,
                outlook,
                plan.seconds,
                lambda: (usage(), self.before + usage()),
                quiet=quiet,
            )
            try:
                await self._watch(dispatcher, view, outlook)
            finally:
                view.close(stats)
                self._look_ahead(outlook, limits, stats)
                keep_usage()
        learned = limits.learned()
        self._refuse_lost_checkpoint(learned)
        return SendResult(
            stats,
            usage(),
            (limits.window.late, limits.most),
            dispatcher.stopped,
            dispatcher.fatal,
            learned,
            dispatcher.is_broken,
        )

    def _usage(self, plan: Plan, stats: Stats) -> Callable[[], Usage]:
        """Returns a function that says what this pass has used so far."""
        spent = self.budget.spent_cost
        is_priced = all(price_of(self.setup.job, model) is not None for model in plan.models)

        def usage() -> Usage:
            cost = max(self.budget.spent_cost - spent, 0.0) if is_priced else None
            return Usage(stats.prompt_tokens, stats.answer_tokens, stats.answers, stats.counted, cost)

        return usage

    async def _watch(self, dispatcher: Dispatcher, view: Progress, outlook: RemainingTime) -> None:
        """Runs the dispatcher to its end. Meanwhile shows and stores how far it is, shares servers and rates with other
        runs, and looks at clock and disk."""
        limits, stats, connection = dispatcher.limits, dispatcher.stats, self.connection
        is_shared = not self.setup.job.is_local  # the built-in server is this run's alone
        numbers = limits.auto.each(*connection.urls) if limits.auto and is_shared else {}
        with self.signals.handling(dispatcher), _sharing(limits, connection, numbers) as look:
            ticking = _ticking(
                (view.every, lambda: view.show(stats)),
                (other_runs.COUNT_SECONDS, look),
                (OUTLOOK_SECONDS, lambda: self._look_ahead(outlook, limits, stats)),
                (CHECK_SECONDS, lambda: self._stop_if_broken(dispatcher)),
                (CLOCK_SECONDS, lambda: self.budget.keep_time(time.monotonic(), time.time())),
            )
            async with ticking, server_load.watching(connection, numbers):
                await _run_until_end(dispatcher)

    def _look_ahead(self, outlook: RemainingTime, limits: RateLimiter, stats: Stats) -> None:
        """Keeps the current rate and the remaining time for the next COMMIT."""
        now = time.monotonic()
        moves = limits.auto.moves if limits.auto else ()
        stats.most = limits.auto.most if limits.auto else 0
        self.checkpoint.set_outlook(outlook.rate(stats, now) or None, outlook.seconds(stats, now), moves)

    def _dispatcher(
        self, plan: Plan, attempt: Attempt, save: Save, flight: InFlightLog, limits: RateLimiter, stats: Stats
    ) -> Dispatcher:
        setup, job, concurrency = self.setup, self.setup.job, self.setup.job.limits.most_in_flight
        retries = Retries(job.retry.attempts, job.retry.max_wait, job.check.retries)
        return Dispatcher(
            batches=tasks(setup, plan),
            attempt=with_check(attempt, setup.checker, setup.dialect.read_answer),
            save=save,
            flight=flight,
            limits=limits,
            budget=self.budget,
            retries=retries,
            stats=stats,
            concurrency=concurrency,
            stops=Stops(self.connection.fatal_kinds, retries.patience, is_proven=plan.reused > 0),
        )

    def _stop_if_broken(self, dispatcher: Dispatcher) -> None:
        if not self.checkpoint.is_in_place():
            dispatcher.stop(CHECKPOINT_LOST)
        elif dispatcher.stopped is None and folders.is_nearly_full(self.checkpoint.path.parent):
            dispatcher.stop(NEARLY_FULL, is_broken=True)
            log.warning("warning: %s: %s; no new requests", self.checkpoint.path.parent, NEARLY_FULL)

    def _refuse_lost_checkpoint(self, learned: float | None) -> None:
        if not self.checkpoint.is_in_place():
            path = self.checkpoint.path
            with suppress(MachineRefused):
                self.checkpoint.end_run(self.record, now(), "stopped", learned)  # in the copy, too
            rescued = self.checkpoint.rescue()
            raise MachineRefused(
                f"{path}: {CHECKPOINT_LOST}. All that it held, and everything since, is in {rescued}: the same command "
                "goes on with it, once nothing else stands in its place"
            )


@contextmanager
def _sharing(
    limits: RateLimiter, connection: Connection, numbers: Mapping[str, AdaptiveConcurrency]
) -> Iterator[Callable[[], None]]:
    """Shares the declared rates with the other runs under this key. Shares each server whose number in flight is
    looked for, by its address, with the other runs that look for it. Yields a function to call regularly."""
    with _sharing_rate(limits, connection) as recount, shared_server.sharing(numbers) as look:

        def both() -> None:
            recount()
            look()

        yield both


@contextmanager
def _sharing_rate(limits: RateLimiter, connection: Connection) -> Iterator[Callable[[], None]]:
    if not limits.is_declared:
        yield lambda: None
        return
    with other_runs.register(" ".join(connection.urls), connection.key) as runs:
        limits.share(time.monotonic(), runs.count(), wait=2 * other_runs.COUNT_SECONDS)
        yield lambda: limits.share(time.monotonic(), runs.count())


def _concurrency(engine: Engine, connection: Connection, found: int | None) -> FoundConcurrency:
    """Returns how many requests may be in flight, to be found as answers come. `found`: by an earlier run."""
    if isinstance(engine, LoadBalancer):
        return engine.find_concurrency(AUTO_MOST, found)
    return AdaptiveConcurrency(AUTO_MOST, found, connection.total)


async def _run_until_end(dispatcher: Dispatcher) -> None:
    """Runs the dispatcher to its end, also where the engine is lost."""
    try:
        await dispatcher.run()
    except EngineGone as error:
        dispatcher.stopped, dispatcher.is_broken = str(error), True


@asynccontextmanager
async def _ticking(*calls: tuple[float, Callable[[], None]]) -> AsyncIterator[None]:
    """Calls each function every so many seconds while the block runs. One that fails is called again; of failures in a
    row, the first is logged."""

    async def tick(seconds: float, call: Callable[[], None]) -> None:
        has_failed = False
        while True:
            await asyncio.sleep(seconds)
            try:
                call()
            except Exception as error:  # noqa: BLE001  none of these is worth the run
                if not has_failed:
                    log.warning("warning: %s; the run goes on", str(error) or type(error).__name__)
                has_failed = True
            else:
                has_failed = False

    tickers = [asyncio.create_task(tick(*every)) for every in calls]
    try:
        yield
    finally:
        for ticker in tickers:
            ticker.cancel()
