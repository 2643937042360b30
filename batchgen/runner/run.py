"""One run of a job, from the lock to the published file: recover, plan, send, publish, sum up.

The order makes it safe: nothing is sent before everything was checked, nothing is published that is not committed, and
the lock is held throughout.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path

import polars as pl

from batchgen.api.usage import NOTHING
from batchgen.checkpoint.schema import DAMAGED, Record, RowCounts, Run, Start
from batchgen.errors import INPUT_CHANGED, BatchgenError, InputChanged, Stopped, UsageError, exit_code_of
from batchgen.output import destination
from batchgen.output.owner import refuse_anothers_results
from batchgen.output.publish import PublishResult
from batchgen.reporting import write as reports
from batchgen.reporting.subject import InputIndex, Subject, mean_tokens
from batchgen.runner import adoption
from batchgen.runner.opening import OpenedJob, now, plan_from, recover, start_run, warn
from batchgen.runner.passes import Passes, describe_fatal, send
from batchgen.runner.plan import Plan
from batchgen.runner.prepare import reopen, today
from batchgen.runner.publish import PUBLISHED_COLUMNS, publish_run
from batchgen.runner.signals import Signals
from batchgen.runner.summary import Summary
from batchgen.send.engines.local import EngineFactory
from batchgen.storage import folders
from batchgen.ui.humanize import pluralize

MAX_PUBLISH_TRIES = 3
"""How often results are published again because the input changed meanwhile."""
RERUN_ADVICE = "every answer is kept: run the same command again"

log = logging.getLogger("batchgen")


class Runner:
    """One run, under the lock."""

    def __init__(self, held: OpenedJob, signals: Signals, engine: EngineFactory) -> None:
        self._held = held
        self._setup, _, self._checkpoint, self._reader, self._budget = held
        self._job = held.setup.job
        self._signals = signals
        self._engine = engine
        self._sent = Passes()
        self._run: Run | None = None

    def run(
        self, *, fresh: bool, retry_failed: bool, quiet: bool, adopt: bool = False, take_in: Path | None = None
    ) -> Summary:
        """Runs the job. `adopt`: also where the output's path holds another job's results. `take_in`: another
        checkpoint, whose answers it takes in.

        Raises BatchgenError if there is nothing to sum up: before anything was sent, or on a broken machine. What turns
        out to be wrong only after that, such as a folder in the place of the results, is Stopped.
        """
        try:
            interrupted = recover(self._setup, self._checkpoint, self._reader)
            floor = self._reader.next_floor(reuse=self._job.reuse, fresh=fresh, first_rows=self._job.first_rows)
            if take_in is not None:  # above the floor: they are taken in to be used
                taken = adoption.adopt(take_in, self._checkpoint, self._reader)
                log.info("%s: took in %s of %s", self._job.name, pluralize(taken, "answer"), take_in)
            return self._run_passes(
                floor, interrupted, fresh=fresh, retry_failed=retry_failed, quiet=quiet, adopt=adopt
            )
        except (BatchgenError, OSError) as error:
            if self._run is not None:
                with suppress(BatchgenError):  # the machine may refuse this, too
                    self._checkpoint.end_run(self._run, now(), "stopped", self._sent.learned)
            if isinstance(error, UsageError) and self._has_sent:
                raise Stopped(f"{error}; {RERUN_ADVICE}") from None
            raise

    def _run_passes(
        self, floor: int, interrupted: int, *, fresh: bool, retry_failed: bool, quiet: bool, adopt: bool
    ) -> Summary:
        started = time.monotonic()
        plan = self.plan(floor, retry_failed=retry_failed)
        date = self._reader.next_date(today(), plan.requests)
        to = destination.of(self._job, date)
        to.refuse(self._setup.source)
        if not adopt:
            refuse_anothers_results(self._job, to)
        if fresh and self._reader.unfinished_fresh_run(self._job.first_rows) is not None:
            log.info("%s: continues the fresh run that did not finish", self._job.name)
        warn(self._setup, plan, self._checkpoint, self._reader, interrupted)
        while True:
            folders.refuse_full(self._job.state_folder, plan.todo)
            start = Start(fresh or not self._job.reuse, self._job.first_rows, plan.requests)
            self._run = run = start_run(self._checkpoint, self._setup, plan, date, floor, start)
            self._signals.defer()
            if plan.todo:
                self._sent.add(send(self._held, plan, run, self._signals, self._engine, quiet=quiet))
            rows, models, prompt_tokens = self._current_rows(plan, run), plan.models, mean_tokens(plan.rows)
            del plan  # memory that publishing can use
            if not adopt:
                refuse_anothers_results(self._job, to)  # it may have put them there while this one was at work
            rows, published = self._publish(rows, models, run, retry_failed=retry_failed)
            if not published.damaged or self._sent.stopped:
                break
            self._discard_damaged(published)
            retry_failed = False  # failed rows have used up their tries
            plan = self.plan(floor, retry_failed=retry_failed)
        counts = RowCounts(published.rows, published.ok, published.failed, published.pending)
        self._checkpoint.put_row("published", (run.id, *counts))
        self._checkpoint.end_run(run, now(), "stopped" if published.pending else "finished", self._sent.learned)
        index = InputIndex(self._setup.source, self._setup.requests, rows["record"], prompt_tokens)
        del rows
        return self._sum_up(published, interrupted, time.monotonic() - started, self._report(index, date, published))

    def plan(self, floor: int, *, retry_failed: bool) -> Plan:
        return plan_from(self._setup, self._reader, floor, retry_failed=retry_failed)

    def _current_rows(self, plan: Plan, run: Run) -> pl.DataFrame:
        """Returns the plan's rows, updated by what this run has stored."""
        rows = plan.rows.select(name for name in PUBLISHED_COLUMNS if name in plan.rows.columns)
        if self._reader.last_id() <= run.first:
            return rows
        new = self._reader.index(run.floor, after=run.first).find(plan.rows["hi"], plan.rows["lo"])
        new = new[plan.rows["answered_by"]] if "answered_by" in plan.rows.columns else new
        newer = (
            pl.when(new["record"] > 0).then(new[name]).otherwise(pl.col(name)).alias(name)
            for name in ("record", "state")
        )
        return rows.with_columns(newer)

    @property
    def _has_sent(self) -> bool:
        return self._sent.total(lambda stats: stats.sent) > 0

    def _publish(
        self, rows: pl.DataFrame, models: tuple[str, ...], run: Run, *, retry_failed: bool
    ) -> tuple[pl.DataFrame, PublishResult]:
        """Publishes what is done. If the input changed after something was sent, it publishes by a new plan of the
        input as it is now.

        Raises Stopped if the input, changed or not, cannot be read now: the next run publishes, and buys nothing.
        """
        to = destination.of(self._job, run.date)
        for _ in range(MAX_PUBLISH_TRIES):
            to.refuse(self._setup.source)
            try:
                return rows, publish_run(self._setup, rows, models, self._reader, run, to)
            except UsageError as error:
                if not self._has_sent:
                    raise
                if not isinstance(error, InputChanged):
                    to.try_again()  # if this can be done, what is refused is the input
                    raise Stopped(f"the input cannot be read again ({error}); {RERUN_ADVICE}") from None
            self._sent.stopped = self._sent.stopped or INPUT_CHANGED
            try:
                self._setup = reopen(self._setup)
                plan = self.plan(run.floor, retry_failed=retry_failed)
            except UsageError as error:
                raise Stopped(f"{INPUT_CHANGED}, and cannot be read now ({error}); {RERUN_ADVICE}") from None
            rows, models = self._current_rows(plan, run), plan.models
        raise Stopped(f"{INPUT_CHANGED} again and again; {RERUN_ADVICE}")

    def _discard_damaged(self, published: PublishResult) -> None:
        """Discards damaged answers; the next pass buys them again."""
        for row in published.damaged.values():
            log.warning(
                "warning: %s: its stored answer is damaged and is bought again, unless an older one serves", row
            )
        keys = self._reader.keys_of(list(published.damaged))
        known = self._reader.attempts_of(list(keys.values()))
        at, error = now(), "the stored answer was damaged"
        self._checkpoint.add(
            [Record(key=k, outcome=DAMAGED, attempts=known[k], error=error, finished_at=at) for k in keys.values()]
        )

    def _report(self, index: InputIndex, date: str, published: PublishResult) -> str | None:
        if not self._job.report:
            return None
        subject = Subject(self._job, self._setup.endpoint, index, published)
        return reports.after_run(subject, date, sent=self._has_sent)

    def _sum_up(self, published: PublishResult, interrupted: int, seconds: float, report: str | None) -> Summary:
        sent = self._sent
        fresh, usage = sent.total(lambda stats: stats.ok), sum(sent.usages, NOTHING)
        return Summary(
            name=self._job.name,
            path=str(published.path),
            exit_code=self._exit_code(published),
            rows=published.rows,
            ok=published.ok,
            reused=max(published.ok - fresh, 0),  # an edited input may leave answers without a row
            failed=published.failed,
            pending=published.pending,
            reasons=dict(published.reasons),
            failures=published.failures,
            sent=sent.total(lambda stats: stats.sent),
            retries=sent.total(lambda stats: stats.repeated),
            possibly_billed=sent.total(lambda stats: stats.possibly_billed),
            interrupted=interrupted,
            seconds=seconds,
            stopped=self._why_stopped(published),
            rejected=published.rejected,
            partial=published.partial,
            report=report,
            prompt_tokens=usage.prompt_tokens,
            answer_tokens=usage.answer_tokens,
            counted=usage.counted,
            cost=usage.cost,
            in_all=self._reader.total_usage(),
            cut_off=published.cut_off,
            empty=published.empty,
            answers=sent.total(lambda stats: stats.answers),
            runs_left=-(-published.pending // fresh) if self._budget.is_spent and fresh and published.pending else None,
            show_failed=self._job.command("show", "--failed") if published.failed else None,
        )

    def _why_stopped(self, published: PublishResult) -> str | None:
        if self._sent.fatal is not None:
            return describe_fatal(self._sent.fatal, self._job)
        return self._sent.stopped if published.pending else None

    def _exit_code(self, published: PublishResult) -> int:
        return exit_code_of(
            is_refused=self._sent.fatal is not None,
            is_broken=self._sent.is_broken,
            has_pending=published.pending > 0,
            has_failed=bool(published.failed or published.rejected),
        )
