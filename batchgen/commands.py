"""What each command does, as functions that return values; `cli.py` and notebooks only show them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.index import Index
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.state_files import StateFiles
from batchgen.job.job import Job
from batchgen.job.load import as_job
from batchgen.output import destination
from batchgen.runner import adoption, descriptors
from batchgen.runner.earlier import EarlierRuns, earlier_runs
from batchgen.runner.owner import owner_of, refuse_anothers_checkpoint, refuse_anothers_results
from batchgen.runner.plan import Plan, make_plan, with_prompts
from batchgen.runner.prepare import PreparedJob, key_of, prepare, today, warnings
from batchgen.send.engines import local as here
from batchgen.storage import folders
from batchgen.ui import logs
from batchgen.ui.humanize import pluralize

if TYPE_CHECKING:
    from batchgen.output.publish import PublishResult
    from batchgen.runner.forecast import Forecast
    from batchgen.runner.rehearsal import Rehearsal
    from batchgen.runner.shown_row import ShownRow
    from batchgen.runner.status import Status
    from batchgen.runner.summary import Summary

JobLike = str | Path | Job | Mapping[str, Any]
"""A job file's path, a job, or the settings that a job file would hold (then paths are relative to the working folder,
and `name` is needed)."""
LEAST_REST = 10
"""Times as long as a look at a large checkpoint took: watching a run must not slow it down."""

log = logging.getLogger("batchgen")


def _named(given: JobLike) -> str:
    """How messages name a job: by its file as it was given, else by its name."""
    return str(given) if isinstance(given, str | Path) else str(given.name if isinstance(given, Job) else given["name"])


def _load(path: JobLike, limit: int | None, *, local: bool) -> Job:
    job = as_job(path).with_limit(limit)
    job = job.for_local_model() if local else job
    logs.name(job.name)
    return job


def run(
    path: JobLike,
    *,
    local: bool = False,
    fresh: bool = False,
    limit: int | None = None,
    retry_failed: bool = True,
    quiet: bool = False,
    engine: here.EngineFactory = here.engine,
    adopt: bool = False,
    take_in: str | Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Summary:
    """Runs a job, or resumes it, and publishes its results.

    `path`: a job file, a `Job`, or a dict of its settings. `local`: on the built-in model, free, with results of its
    own. `fresh`: buys every row anew. `limit`: the first so many rows only. `retry_failed`: tries rows again that
    failed in an earlier run. `quiet`: shows no progress. `engine`: where attempts are made. `adopt`: takes over a
    checkpoint or results that are another job's. `take_in`: a checkpoint whose answers become this job's, too.

    >>> ended = batchgen.run("jobs/seo.yaml", local=True, limit=20)
    >>> ended.ok, ended.failed, ended.stopped
    (20, 0, None)
    >>> batchgen.load(ended.path)["text"].null_count()
    0

    An interrupt (Ctrl-C, the notebook's stop button) ends it in order: nothing new is sent, what is in flight gets a
    minute to end, everything is saved and published, and the summary says so in `stopped`. A second one gives up what
    is in flight. Rows that fail are counted in the summary, never raised.

    Raises BatchgenError where there is nothing to sum up: the job or its input is wrong, another run of it is at work,
    this machine refuses, or an interrupt came before anything was sent.
    """
    from batchgen.runner import notifications
    from batchgen.runner.run import Runner
    from batchgen.runner.signals import Signals

    with notifications.following(environ) as after, Signals() as signals:
        job = _load(path, limit, local=local)
        after.of(job)
        key = key_of(job, environ)
        setup = prepare(job, environ, _named(path))
        if engine is here.engine:
            descriptors.provide(setup.limits.most_in_flight)
        _prove_folders(job)
        with _held(setup, adopt=adopt) as (checkpoint, reader):
            if take_in is not None:
                taken = adoption.take_in(Path(take_in).absolute(), checkpoint, reader)
                log.info("%s: took in %s of %s", job.name, pluralize(taken, "answer"), Path(take_in).absolute())
            night = Runner(setup, key, checkpoint, reader, signals, engine)
            after.summary = night.run(fresh=fresh, retry_failed=retry_failed, quiet=quiet, adopt=adopt)
    return after.summary


def _prove_folders(job: Job) -> None:
    """Tries out where the run will write, before anything is spent. Raises BatchgenError where it cannot."""
    folders.make([job.state_folder])
    destination.of(job, today()).refuse_unwritable()
    folders.refuse_network(job.state_folder)
    if warning := folders.network_warning(job.state_folder):
        log.warning("warning: %s", warning)


def plan(
    path: JobLike,
    *,
    local: bool = False,
    limit: int | None = None,
    retry_failed: bool = True,
    rehearse: bool = False,
    rows: int = 3,
    environ: Mapping[str, str] = os.environ,
) -> Forecast:
    """Says what a run of a job would do, cost and take. Checks everything but the key, sends nothing, leaves no trace.
    Raises BatchgenError as `run` does.

    `rehearse`: also plays the night on a simulated clock. `rows`: shows so many prompts, of the rows to be sent first.

    >>> would = batchgen.plan("jobs/seo.yaml")
    >>> would.plan.todo, round(would.plan.cost, 2)
    (309, 0.57)
    """
    from batchgen.runner import notifications
    from batchgen.runner.forecast import Forecast

    job = _load(path, limit, local=local)
    notifications.check(job)
    setup = prepare(job, environ, _named(path))
    descriptors.provide(setup.limits.most_in_flight)
    folders.refuse_in_the_way(job.state_folder)
    with earlier_runs(setup, rehearse=rehearse) as known:
        made = with_prompts(known.plan(setup, retry_failed=retry_failed), setup.source, setup.requests, rows)
        date = known.next_date(made.requests)
    to = destination.of(job, date)
    to.refuse(setup.source)
    refuse_anothers_results(job, to.place)
    beside = [] if known.has_run else adoption.offers(job, made.rows.filter("todo"))
    return Forecast(
        name=job.name,
        path=str(job.output_path(date)),
        goes_on=date if date != today() else None,
        endpoint=job.endpoint.name or setup.base_url or "",
        plan=made,
        limits=setup.limits,
        latency_s=known.latency,
        learned=known.learned,
        warnings=[
            *warnings(setup, made.models, made.rows.height),
            *(adoption.told(offer, made.rows.height) for offer in beside),
            *to.obstacles(),
        ],
        in_all=known.usage,
        rehearsal=_rehearsed(setup, made, known) if rehearse and made.todo else None,
    )


def _rehearsed(setup: PreparedJob, made: Plan, known: EarlierRuns) -> Rehearsal:
    from batchgen.runner.rehearsal import rehearse

    return rehearse(setup, made, known.learned.per_minute if known.learned else None, known.answers)


def status(path: JobLike, *, local: bool = False) -> Status:
    """Works while the job runs. Raises NotRunYet where there is none."""
    from batchgen.runner.status import status_of

    return status_of(_load(path, None, local=local))


def watch(
    path: JobLike, *, local: bool = False, every: float = 2.0, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Status]:
    """The status again and again, `every` so many seconds, until no run is at work. Raises as `status`."""
    from batchgen.runner.status import RUNNING, status_of

    job = _load(path, None, local=local)
    while True:
        began = time.monotonic()
        now = status_of(job)
        took = time.monotonic() - began
        yield now
        if now.state != RUNNING:
            return
        sleep(max(every, LEAST_REST * took))


def show(
    path: JobLike,
    rows: Sequence[str] = (),
    *,
    failed: bool = False,
    pending: bool = False,
    local: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[ShownRow]:
    """Gives rows, in the input's order: what is sent, each attempt, the answer. Works while the job runs, and before.
    `rows`: their numbers, from 1, or their `input.id`; or all that `failed`, or all `pending` ones. Leaves no trace.
    Raises UsageError where one is none."""
    from batchgen.runner import show
    from batchgen.runner.which_rows import WhichRows

    which = WhichRows(rows, failed, pending)
    return show.show(prepare(_load(path, None, local=local), environ, _named(path)), which)


def export(
    path: JobLike, output: str | Path | None = None, *, local: bool = False, environ: Mapping[str, str] = os.environ
) -> PublishResult:
    """Publishes what is done so far, also while the job runs. Raises BatchgenError where there is nothing yet."""
    from batchgen.runner.publish import publish_run

    job = _load(path, None, local=local)
    formats = destination.PARQUET, destination.SPREADSHEET
    given = destination.given(job, output, formats) if output is not None else None
    with StateFiles.for_job(job).open_readonly() as reader:
        last = reader.latest()
        if output is None:
            refuse_anothers_checkpoint(job, reader.owner())
        start = reader.start_of(last)
        job = job.with_limit(start.first if start else None)
        setup = prepare(job, environ, _named(path))
        to = given or destination.of(job, last.date)
        if output is None:
            refuse_anothers_results(job, to.place)
        index = Index(reader.states(), last.floor)
        made = make_plan(setup.job, setup.source, setup.requests, index, iter(()), setup.limits, retry_failed=True)
        return publish_run(setup, made.rows, made.models, reader, last, to)


def report(
    path: JobLike, output: str | Path | None = None, *, local: bool = False, environ: Mapping[str, str] = os.environ
) -> Path:
    """Writes the last run, or the one at work, as an HTML page; where to. Raises BatchgenError where there is none."""
    from batchgen.reporting import write as reports
    from batchgen.runner.reported import subject_of

    job = _load(path, None, local=local)
    return reports.write(subject_of(job, environ, _named(path)), Path(output) if output is not None else None)


def prune(
    path: JobLike, agree: Callable[[int], bool], *, local: bool = False, environ: Mapping[str, str] = os.environ
) -> int:
    """Drops the stored attempts that the input no longer uses, if `agree` says so to their number.

    Raises AlreadyRunning while the job runs.
    """
    job = _load(path, None, local=local)
    setup = prepare(job, environ, _named(path))
    setup.state.open_readonly().close()  # raises where there is none yet, before one is made
    with _held(setup) as (checkpoint, reader):
        index = Index(reader.states(), 0)
        made = make_plan(job, setup.source, setup.requests, index, iter(()), setup.limits, retry_failed=True)
        unused = [*index.orphans(made.rows.select("hi", "lo")), *index.superseded()]
        if not unused or not agree(len(unused)):
            return 0
        checkpoint.drop(unused)
        return len(unused)


def salvage(path: JobLike, *, local: bool = False) -> tuple[int, int]:
    """Puts a sound checkpoint in a damaged one's place: (attempts saved, attempts lost). Raises AlreadyRunning,
    MachineRefused, and UsageError where there is none."""
    from batchgen.checkpoint import salvage as salvaging

    return salvaging.salvage(_load(path, None, local=local).checkpoint)


@contextmanager
def _held(setup: PreparedJob, *, adopt: bool = False) -> Iterator[tuple[Checkpoint, Reader]]:
    """The job's checkpoint, locked for this process. Raises as `open_for_run`, and UsageError where it is another job
    file's, unless that is to be adopted."""
    with setup.state.open_for_run() as (checkpoint, reader):
        owner = reader.owner()
        if not adopt:
            refuse_anothers_checkpoint(setup.job, owner)
        ours = owner_of(setup.job, setup.job.state_folder)
        if owner != ours:
            checkpoint.own(ours)
        yield checkpoint, reader
