"""What each command does, as functions that return values; `cli.py` and notebooks only show them."""

from __future__ import annotations

import datetime as dt
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from batchgen import aftermath, folders, logs
from batchgen import job as jobs
from batchgen import rehearsal as rehearsals
from batchgen.errors import NotRunYet, UsageError
from batchgen.job import Job
from batchgen.night import Night, Summary
from batchgen.publishing import publish_run
from batchgen.rehearsal import Rehearsal
from batchgen.results import report as reports
from batchgen.results.parquet import SPREADSHEET, Published, refuse_target
from batchgen.runner import lock
from batchgen.runner.checkpoint import OK, Checkpoint, Run
from batchgen.runner.index import Index
from batchgen.runner.judging import restate
from batchgen.runner.plan import Plan, make_plan
from batchgen.runner.reader import LearnedRate, Reader
from batchgen.setup import Setup, key_of, set_up, today, warnings
from batchgen.signals import Signals

log = logging.getLogger("batchgen")


def _load(path: str | Path, limit: int | None, *, local: bool) -> Job:
    job = jobs.load(path).with_limit(limit)
    job = job.localised() if local else job
    logs.name(job.name)
    return job


def run(
    path: str | Path,
    *,
    local: bool = False,
    fresh: bool = False,
    limit: int | None = None,
    retry_failed: bool = True,
    quiet: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Summary:
    """Runs or resumes a job and publishes its results.

    Raises BatchgenError where there is nothing to sum up: nothing was sent, or the machine gave way.
    """
    with aftermath.following(environ) as after, Signals() as signals:
        job = _load(path, limit, local=local)
        after.of(job)
        key = key_of(job, environ)
        setup = set_up(job, environ, path)
        folders.make([job.state_folder])
        folders.refuse_unwritable(job.output_path(today()).parent)  # made when there is something to put into it
        folders.refuse_network(job.state_folder)
        with _held(setup) as (checkpoint, reader):
            night = Night(setup, key, checkpoint, reader, signals)
            after.summary = night.run(fresh=fresh, retry_failed=retry_failed, quiet=quiet)
    return after.summary


@dataclass(frozen=True)
class Forecast:
    """What a run would do. `latency_s`: the median of the last answers, None before there are any;
    `learned`: the rate that an earlier run found; `rehearsal`: where one was asked for."""

    name: str
    path: str
    endpoint: str
    plan: Plan
    limits: jobs.Limits
    latency_s: float | None
    learned: LearnedRate | None
    warnings: list[str]
    rehearsal: Rehearsal | None


def plan(
    path: str | Path,
    *,
    local: bool = False,
    limit: int | None = None,
    retry_failed: bool = True,
    rehearse: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Forecast:
    """Checks everything a run would check but the key, and leaves no trace. Raises BatchgenError as `run` does.

    `rehearse`: plays the night on a simulated clock, too.
    """
    job = _load(path, limit, local=local)
    aftermath.check(job)
    setup = set_up(job, environ, path)
    folders.refuse_unwritable(job.state_folder)
    date, index, latency, learned = today(), Index((), 0), None, None
    names: list[str] = []
    answers: list[tuple[float, int]] = []
    restated: Callable[[pl.DataFrame], pl.DataFrame] | None = None
    with ExitStack() as held:
        with suppress(NotRunYet):
            reader = held.enter_context(closing(Reader(setup.checkpoint, without_trace=True)))
            date, floor = reader.next_run(date, reuse=job.reuse)
            index, names = Index(reader.states(), floor), list(reader.names())
            latency, learned = reader.median_latency(), reader.learned()
            answers = reader.last_answers() if rehearse else []
            restated = partial(restate, reader=reader, fitness=setup.fitness)
        refuse_target(job.targets(date), setup.source)
        made = make_plan(
            job,
            setup.source,
            setup.requests,
            index,
            iter(names),
            setup.limits,
            retry_failed=retry_failed,
            restated=restated,
        )
    rate = learned.per_minute if learned else None
    return Forecast(
        name=job.name,
        path=str(job.output_path(date)),
        endpoint=job.endpoint.name or setup.base_url or "",
        plan=made,
        limits=setup.limits,
        latency_s=latency,
        learned=learned,
        warnings=warnings(setup, made.models),
        rehearsal=rehearsals.rehearse(setup, made, rate, answers) if rehearse and made.todo else None,
    )


@dataclass(frozen=True)
class Status:
    """The last run of a job, or the one at work. Counts are of rows; `rate` is rows a second, `left_s` seconds."""

    name: str
    state: str
    rows: int
    done: int
    failed: int
    left: int
    sent: int
    rate: float | None
    left_s: float | None
    started_at: str


def status(path: str | Path, *, local: bool = False) -> Status:
    """Works while the job runs. Raises NotRunYet where there is none."""
    job = _load(path, None, local=local)
    with closing(Reader(job.checkpoint)) as reader:
        last = reader.last_run()
        if last is None:
            raise NotRunYet(f"{job.checkpoint}: the job has not run yet")
        counts = reader.outcomes_of(last)
    ok = sum(n for (outcome, _), n in counts.items() if outcome == OK)
    failed = sum(n for (outcome, final), n in counts.items() if final and outcome != OK)
    live = lock.is_held(job.checkpoint.with_suffix(".lock"))
    left = last.todo - ok - failed
    ended = time.time() if last.ended_at is None else last.ended_at / 1e6
    rate = (ok + failed) / max(ended - last.started_at / 1e6, 1e-3) if ok + failed else None
    return Status(
        name=job.name,
        state="running" if live else last.outcome or "killed",
        rows=last.rows,
        done=last.rows - last.todo + ok,
        failed=failed,
        left=left,
        sent=sum(counts.values()),
        rate=rate if live else None,
        left_s=left / rate if live and rate else None,
        started_at=dt.datetime.fromtimestamp(last.started_at / 1e6, dt.UTC).isoformat(timespec="seconds"),
    )


def export(
    path: str | Path, output: str | Path | None = None, *, local: bool = False, environ: Mapping[str, str] = os.environ
) -> Published:
    """Publishes what is done so far, also while the job runs. Raises BatchgenError where there is nothing yet."""
    if output is not None and Path(output).suffix not in (".parquet", SPREADSHEET):
        raise UsageError(f"{output}: should end in .parquet or {SPREADSHEET}")
    job = _load(path, None, local=local)
    setup = set_up(job, environ, path)
    with closing(Reader(setup.checkpoint)) as reader:
        last = reader.last_run()
        if last is None:
            raise NotRunYet(f"{setup.checkpoint}: the job has not run yet")
        return _export(setup, reader, last, None if output is None else Path(output).absolute())


def report(
    path: str | Path, output: str | Path | None = None, *, local: bool = False, environ: Mapping[str, str] = os.environ
) -> Path:
    """Writes the last run, or the one at work, as an HTML page; where to. Raises BatchgenError where there is none."""
    job = _load(path, None, local=local)
    return reports.write(_subject(job, path, environ), Path(output) if output is not None else None)


def _subject(job: Job, path: str | Path, environ: Mapping[str, str]) -> reports.Subject:
    """With the prompts, where the input is still there and fits the job; they are not in the checkpoint."""
    try:
        setup = set_up(job, environ, path)
        index = Index((), 0)
        with suppress(NotRunYet), closing(Reader(setup.checkpoint)) as reader:
            index = Index(reader.states(), 0)
        made = make_plan(job, setup.source, setup.requests, index, iter(()), jobs.Limits(), retry_failed=True)
    except UsageError as error:
        log.warning("warning: the report shows no prompts: %s", error)
        return reports.Subject(job, job.limits, job.endpoint.name or "")
    known = reports.Known(setup.source, setup.requests, made.rows["record"], reports.mean_tokens(made.rows))
    return reports.Subject(job, setup.limits, job.endpoint.name or setup.base_url or "", known)


def prune(
    path: str | Path, agree: Callable[[int], bool], *, local: bool = False, environ: Mapping[str, str] = os.environ
) -> int:
    """Drops the stored attempts that the input no longer uses, if `agree` says so to their number.

    Raises AlreadyRunning while the job runs.
    """
    job = _load(path, None, local=local)
    setup = set_up(job, environ, path)
    Reader(setup.checkpoint).close()  # raises where there is none yet, before one is made
    with _held(setup) as (checkpoint, reader):
        last = reader.last_run()
        index = Index(reader.states(), last.floor if last else 0)
        made = make_plan(job, setup.source, setup.requests, index, iter(()), setup.limits, retry_failed=True)
        unused = index.foreign(made.rows.select("hi", "lo")).to_list()
        if not unused or not agree(len(unused)):
            return 0
        checkpoint.drop(unused)
        return len(unused)


@contextmanager
def _held(setup: Setup) -> Iterator[tuple[Checkpoint, Reader]]:
    """The job's checkpoint, locked for this process: by two files, for the day when somebody removes one."""
    with (
        lock.exclusive(setup.lock),
        lock.exclusive(setup.flight),
        closing(Checkpoint(setup.checkpoint)) as checkpoint,
        closing(Reader(setup.checkpoint)) as reader,
    ):
        yield checkpoint, reader


def _export(setup: Setup, reader: Reader, last: Run, target: Path | None) -> Published:
    index = Index(reader.states(), last.floor)
    made = make_plan(setup.job, setup.source, setup.requests, index, iter(()), setup.limits, retry_failed=True)
    return publish_run(setup, made.rows, made.models, reader, last, target)
