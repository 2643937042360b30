"""Sends a few rows of a job and shows them. Their answers are the job's: to the checkpoint this is a run that was
stopped after so many rows. Publishes nothing, and leaves results and report as they are."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping

import polars as pl

from batchgen.checkpoint.index import State
from batchgen.checkpoint.schema import Run, Start
from batchgen.input.chosen_rows import ChosenRow, read_rows
from batchgen.output import destination
from batchgen.output.owner import refuse_anothers_results
from batchgen.runner.opening import OpenedJob, now, plan_from, recover, start_run, warn
from batchgen.runner.passes import describe_fatal, send
from batchgen.runner.plan import Plan
from batchgen.runner.prepare import today
from batchgen.runner.signals import Signals
from batchgen.runner.trial_result import Attempt, Trial, TriedRow, tried_row
from batchgen.send.engines import local
from batchgen.storage import folders


def try_rows(held: OpenedJob, signals: Signals, count: int, *, anywhere: bool) -> Trial:
    """Sends `count` of the rows that have no answer yet: those that a run would send first, or random ones
    (`anywhere`). Raises BatchgenError if nothing was sent, or on a broken machine."""
    setup, checkpoint, reader = held.setup, held.checkpoint, held.reader
    job = setup.job
    interrupted = recover(setup, checkpoint, reader)
    floor = reader.next_floor(reuse=job.reuse)
    plan = plan_from(setup, reader, floor, retry_failed=True)
    date = reader.next_date(today(), plan.requests)
    to = destination.of(job, date)
    to.refuse(setup.source)
    refuse_anothers_results(job, to)
    warn(setup, plan, checkpoint, reader, interrupted)
    rows = choose(plan, count, anywhere=anywhere)
    if rows.is_empty():
        return Trial(job.name, [])
    found = read_rows(setup.source, setup.requests, rows.sort().to_list())
    chosen = {row.at: row for batch in found for row in batch}
    folders.refuse_full(job.state_folder, rows.len())
    continues = reader.continued_run(plan.requests) is not None
    start = Start(not job.reuse, None, plan.requests if continues else "")  # the next run has a date of its own
    run = start_run(checkpoint, setup, plan, date, floor, start)
    learned = None
    try:
        signals.defer()
        sent = send(held, only(plan, rows), run, signals, local.engine, quiet=False)
        learned = sent.learned
    finally:
        checkpoint.end_run(run, now(), "stopped", learned)
    stopped = describe_fatal(sent.fatal, job) if sent.fatal is not None else sent.stopped
    shown = [*_shown(held, run, plan, rows, chosen)]
    return Trial(job.name, shown, sent.usage, stopped, is_refused=sent.fatal is not None, is_broken=sent.is_broken)


def choose(plan: Plan, count: int, *, anywhere: bool) -> pl.Series:
    """Returns the numbers of the rows to try, in the order in which they are shown."""
    waiting = plan.rows["todo"].arg_true() if plan.order is None else plan.order
    if not anywhere:
        return waiting[:count]
    drawn = random.sample(range(waiting.len()), min(count, waiting.len()))
    return waiting.gather(drawn).sort()


def only(plan: Plan, rows: pl.Series) -> Plan:
    """Returns the plan with nothing to send but these rows."""
    todo = pl.repeat(value=False, n=plan.rows.height, eager=True).scatter(rows, values=True)
    order = None if plan.order is None else rows
    return dataclasses.replace(plan, rows=plan.rows.with_columns(todo=todo), order=order)


def _shown(
    held: OpenedJob, run: Run, plan: Plan, rows: pl.Series, chosen: Mapping[int, ChosenRow]
) -> Iterator[TriedRow]:
    """Yields the rows with what became of them."""
    job, reader = held.setup.job, held.reader
    keys = plan.rows.select("hi", "lo")[rows]
    found = reader.index(run.floor, after=run.first).find(keys["hi"], keys["lo"])
    for row, id_, state in zip(rows, found["record"], found["state"], strict=True):
        record = reader.records([id_]).get(id_)  # each alone: one may have 64 MB
        answer = reader.answer(record) if record is not None and state in (State.DONE, State.FAILED) else None
        yield tried_row(job, chosen[row], Attempt(State(state), record, answer))
