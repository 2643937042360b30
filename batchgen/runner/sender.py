"""What a plan leaves to do, sent: the pump with its engine, its limits and its writer, for the length of an event loop.

Holds no lock and publishes nothing: `night` does, before and after.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager, nullcontext
from dataclasses import dataclass

from batchgen import event_loop
from batchgen.api.outcome import Failure
from batchgen.api.usage import Usage
from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.group_commit import GroupCommit
from batchgen.checkpoint.in_flight import InFlightLog
from batchgen.checkpoint.schema import Run
from batchgen.errors import EngineGone, MachineRefused
from batchgen.job.prices import price_of
from batchgen.job.sections import AUTO_MOST, Until
from batchgen.runner.plan import Plan
from batchgen.runner.prepare import PreparedJob
from batchgen.runner.progress import progress
from batchgen.runner.remaining_time import RemainingTime
from batchgen.runner.signals import Signals
from batchgen.runner.tasks import tasks
from batchgen.send import shared_rate
from batchgen.send.check import checked
from batchgen.send.concurrency import AdaptiveConcurrency
from batchgen.send.dispatcher import Dispatcher
from batchgen.send.engines import local
from batchgen.send.engines.local import EngineFactory
from batchgen.send.limits import Budget, RateLimiter
from batchgen.send.retry import Retries
from batchgen.send.stats import Stats
from batchgen.send.stops import Stops
from batchgen.simulator.child import child

LOOKS_EVERY = 2.0
"""Seconds between two looks whether the checkpoint is still in its place."""
TOLD_EVERY = 0.5
"""Seconds between two notes of how far the run is, which go into the checkpoint with the next answers."""
LOST = "the checkpoint was removed or replaced while the run was at work"


@dataclass(frozen=True)
class SendResult:
    """How it went. `stopped`: by what, before all was done; `is_gone`: since what makes the attempts is; `learned`:
    requests a minute that were found to be granted; `usage`: of this pass; `late`: requests that had no answer in time
    while others did, and how many might be in flight in the end."""

    stats: Stats
    usage: Usage
    late: tuple[int, float]
    stopped: str | None
    refusal: Failure | None
    learned: float | None
    is_gone: bool


@dataclass(frozen=True)
class Sender:
    """`record`: the run as the checkpoint has it; `before`: what the job's earlier runs have used."""

    setup: PreparedJob
    key: str
    checkpoint: Checkpoint
    signals: Signals
    engine: EngineFactory
    budget: Budget
    record: Run
    before: Usage

    def run(self, plan: Plan, rate: float | None, found: int | None, *, quiet: bool) -> SendResult:
        """`rate`: requests a minute, and `found`: how many in flight, as an earlier run learned. Raises MachineRefused
        where answers cannot be kept."""
        with (
            self._service() as base_url,
            closing(InFlightLog(self.setup.state.in_flight, self.setup.limits.most_in_flight)) as flight,
        ):
            return event_loop.run(self._pump(plan, base_url, flight, rate, found, quiet=quiet))

    def _service(self) -> AbstractContextManager[str]:
        return child() if self.setup.base_url is None else nullcontext(self.setup.base_url)

    async def _pump(
        self, plan: Plan, base_url: str, flight: InFlightLog, rate: float | None, found: int | None, *, quiet: bool
    ) -> SendResult:
        setup, job, granted = self.setup, self.setup.job, self.setup.limits
        stats, spent = Stats(todo=plan.todo), self.budget.spent_cost
        is_priced = all(price_of(job, model) is not None for model in plan.models)

        def usage() -> Usage:
            cost = max(self.budget.spent_cost - spent, 0.0) if is_priced else None
            return Usage(stats.prompt_tokens, stats.answer_tokens, stats.ok, stats.counted, cost)

        def tell() -> None:
            now = time.monotonic()
            moves = limits.auto.moves if limits.auto else ()
            stats.most = limits.auto.most if limits.auto else 0
            self.checkpoint.tell(
                self.record, usage(), outlook.rate(stats, now) or None, outlook.seconds(stats, now), moves
            )

        limits = RateLimiter(granted.requests_per_minute, granted.tokens_per_minute, time.monotonic(), rate)
        if granted.concurrency == "auto":
            limits.auto = AdaptiveConcurrency(AUTO_MOST, found, job.timeout.total)
        retries = Retries(job.retry.attempts, job.retry.max_wait, job.check.retries)
        async with GroupCommit(self.checkpoint) as writer, self.engine(job, base_url, self.key) as engine:
            pump = Dispatcher(
                batches=tasks(job, setup.source, setup.requests, plan),
                attempt=checked(engine.attempt, setup.fitness, setup.dialect.read_answer),
                save=writer.save,
                flight=flight,
                limits=limits,
                budget=self.budget,
                retries=retries,
                stats=stats,
                concurrency=granted.most_in_flight,
                stops=Stops(local.stops(job), retries.patience, granted.most_in_flight, is_proven=plan.reused > 0),
            )
            outlook = RemainingTime(granted.requests_per_minute, granted.tokens_per_minute, time.monotonic())
            view = progress(
                job.name, stats, outlook, plan.seconds, lambda: (usage(), self.before + usage()), quiet=quiet
            )
            try:
                with self.signals.to(pump), self._shared(limits, base_url) as look:
                    seen = (view.every, lambda: view.show(stats)), (shared_rate.LOOKS_EVERY, look), (TOLD_EVERY, tell)
                    async with _ticking(*seen, (LOOKS_EVERY, lambda: self._look_at_checkpoint(pump))):
                        is_gone = await _is_gone_at_the_end(pump)
            finally:
                view.close(stats)
                tell()
        learned = limits.learned(time.monotonic())
        self._refuse_lost_checkpoint()
        return SendResult(
            stats, usage(), (limits.window.late, limits.most), pump.stopped, pump.refusal, learned, is_gone
        )

    def _look_at_checkpoint(self, pump: Dispatcher) -> None:
        if not self.checkpoint.is_in_place():
            pump.stop(LOST)

    def _refuse_lost_checkpoint(self) -> None:
        if not self.checkpoint.is_in_place():
            path = self.checkpoint.path
            rescued = self.checkpoint.rescue()
            raise MachineRefused(
                f"{path}: {LOST}. All that it held, and what has come since, is in {rescued}: move that to its place, "
                "and run the same command again"
            )

    @contextmanager
    def _shared(self, limits: RateLimiter, base_url: str) -> Iterator[Callable[[], None]]:
        """The declared rates are the key's, whoever spends them. Yields what is to be called now and then."""
        if not limits.declared:
            yield lambda: None
            return
        with shared_rate.register(base_url, self.key) as runs:
            limits.share(time.monotonic(), runs(), wait=2 * shared_rate.LOOKS_EVERY)
            yield lambda: limits.share(time.monotonic(), runs())


def budget_of(until: Until) -> Budget:
    """What a run that begins now may spend, all its passes together."""
    seconds = until.seconds(dt.datetime.now().astimezone())
    deadline = None if seconds is None else time.monotonic() + seconds
    return Budget(deadline, until.requests, until.tokens, until.cost)


async def _is_gone_at_the_end(pump: Dispatcher) -> bool:
    """Runs it to its end; whether that came since what makes the attempts is gone."""
    try:
        await pump.run()
    except EngineGone as error:
        pump.stopped = str(error)
        return True
    return False


@asynccontextmanager
async def _ticking(*calls: tuple[float, Callable[[], None]]) -> AsyncIterator[None]:
    """Each is called every so many seconds while the block lasts."""

    async def tick(seconds: float, call: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            call()

    tickers = [asyncio.create_task(tick(*every)) for every in calls]
    try:
        yield
    finally:
        for ticker in tickers:
            ticker.cancel()
