"""The commands as functions that return values; `cli` and notebooks only show them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchgen.errors import NotRunYet
from batchgen.job.job import Job
from batchgen.job.job_files import find_job_file
from batchgen.job.load import as_job
from batchgen.send.engines import local as here
from batchgen.ui import logs

if TYPE_CHECKING:
    from batchgen.output.publish import PublishResult
    from batchgen.runner.forecast import Forecast
    from batchgen.runner.shown_row import ShownRow
    from batchgen.runner.status import Status
    from batchgen.runner.summary import Summary
    from batchgen.runner.trial_result import Trial

JobLike = str | Path | Job | Mapping[str, Any]
"""A job file's path, or its name without suffix; a job; or the settings that a job file would hold (then paths are
relative to the working folder, and `name` is needed)."""
MIN_REST = 10
"""Times as long as a look at a large checkpoint took: watching a run must not slow it down."""


def _named(given: JobLike) -> str:
    """Returns how messages name a job: by its file, else by its name."""
    if isinstance(given, str | Path):
        return str(find_job_file(given))
    return str(given.name if isinstance(given, Job) else given["name"])


def _load(path: JobLike, limit: int | None, *, local: bool) -> Job:
    job = as_job(path).with_limit(limit)
    job = job.for_local_model() if local else job
    logs.name_job(job.name)
    return job


@contextmanager
def _run_first(job: Job) -> Iterator[None]:
    """Names the command that comes first, where the job has not run yet."""
    try:
        yield
    except NotRunYet as error:
        command = job.command("run")
        has_trial = not job.is_local and job.for_local_model().checkpoint.exists()
        trial = "; its run on the built-in model is seen with --local" if has_trial else ""
        raise NotRunYet(f"{error}: `{command}` runs it{trial}" if command else str(error)) from None


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
    own. `fresh`: buys every row anew. `limit`: the first so many rows only, as a trial. `retry_failed`: tries rows
    again that failed in an earlier run. `quiet`: shows no progress. `engine`: where attempts are made. `adopt`: takes
    over a checkpoint or results that are another job's. `take_in`: a checkpoint whose answers become this job's, too.

    >>> ended = batchgen.run("jobs/seo.yaml", local=True, limit=20)
    >>> ended.ok, ended.failed, ended.stopped
    (20, 0, None)
    >>> batchgen.load(ended.path)["text"].null_count()
    0

    An interrupt (Ctrl-C, the notebook's stop button) ends it in order: nothing new is sent, what is in flight gets a
    minute to end, everything is saved and published, and the summary says so in `stopped`. A second one gives up what
    is in flight. Rows that fail are counted in the summary, never raised.

    Raises BatchgenError where there is nothing to sum up: the job or its input is wrong, another run of it is at work,
    this machine refuses, or an interrupt came before anything was sent."""
    from batchgen.runner import notifications
    from batchgen.runner.opening import opened
    from batchgen.runner.run import Runner
    from batchgen.runner.signals import Signals

    with notifications.notifying(environ) as after, Signals() as signals:
        job = _load(path, limit, local=local)
        after.set_job(job)
        with opened(job, environ, _named(path), engine, adopt=adopt) as held:
            runner = Runner(held, signals, engine)
            path_in = None if take_in is None else Path(take_in).absolute()
            after.summary = runner.run(
                fresh=fresh, retry_failed=retry_failed, quiet=quiet, adopt=adopt, take_in=path_in
            )
    return after.summary


def try_rows(
    path: JobLike, count: int = 5, *, random: bool = False, local: bool = False, environ: Mapping[str, str] = os.environ
) -> Trial:
    """Sends so many rows that have no answer yet, the first or any of them (`random`), and publishes nothing. What
    they buy is the job's. Checks all that a run checks; raises as `run`."""
    from batchgen.runner import notifications, trial
    from batchgen.runner.opening import opened
    from batchgen.runner.signals import Signals

    with Signals() as signals:
        job = _load(path, None, local=local)
        notifications.check(job)
        job.notify.address(environ)
        with opened(job, environ, _named(path), here.engine) as held_job:
            return trial.try_rows(held_job, signals, count, anywhere=random)


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

    `rehearse`: plays the night on a simulated clock, too. `rows`: shows so many prompts, of the rows to be sent first.
    The other options are those of `run`.

    >>> would = batchgen.plan("jobs/seo.yaml")
    >>> would.plan.todo, round(would.plan.cost, 2)
    (309, 0.57)

    Raises BatchgenError as `run` does.
    """
    from batchgen.runner import notifications
    from batchgen.runner.forecast import forecast_of
    from batchgen.runner.prepare import prepare

    job = _load(path, limit, local=local)
    notifications.check(job)
    return forecast_of(prepare(job, environ, _named(path)), retry_failed=retry_failed, rehearse=rehearse, prompts=rows)


def status(path: JobLike, *, local: bool = False) -> Status:
    """Returns how far the last run is, or the current one. Raises NotRunYet if there is none."""
    from batchgen.runner.status import status_of

    job = _load(path, None, local=local)
    with _run_first(job):
        return status_of(job)


def watch(
    path: JobLike, *, local: bool = False, every: float = 2.0, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Status]:
    """Yields the status every so many seconds, until no run is active. Raises as `status`."""
    from batchgen.runner.status import RUNNING, status_of

    job = _load(path, None, local=local)
    while True:
        began = time.monotonic()
        with _run_first(job):
            now = status_of(job)
        took = time.monotonic() - began
        yield now
        if now.state != RUNNING:
            return
        sleep(max(every, MIN_REST * took))


def show(
    path: JobLike,
    rows: Sequence[str] = (),
    *,
    failed: bool = False,
    pending: bool = False,
    local: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[ShownRow]:
    """Yields rows, in the input's order: what is sent, each attempt, the answer. Works during a run, and before the
    first. `rows`: their numbers, from 1, or their `input.id`; or all that `failed`, or all `pending` ones. Leaves no
    trace. Raises UsageError if a row does not exist."""
    from batchgen.runner import show
    from batchgen.runner.endpoints import warn_if_elsewhere
    from batchgen.runner.prepare import prepare
    from batchgen.runner.row_selection import RowSelection

    which = RowSelection(rows, failed, pending)
    setup = prepare(_load(path, None, local=local), environ, _named(path))
    warn_if_elsewhere(setup)
    return show.show(setup, which)


def export(
    path: JobLike,
    output: str | Path | None = None,
    *,
    local: bool = False,
    columns: str | Sequence[str] | None = None,
    status: str | Sequence[str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> PublishResult:
    """Publishes what is done so far, also while the job runs; returns what the file holds. `output`: where to, instead
    of the job's own output: a .parquet, .csv, .xlsx, .jsonl or .ndjson. With it, `columns`: these alone, in this order
    (by default all; in .csv and .xlsx all but `log_probs`), and `status`: rows of these alone ("ok", "failed",
    "pending"); either is a list, or a text with commas.

    Raises BatchgenError where there is nothing yet, or it cannot be written so."""
    from batchgen.output.selection import Selection
    from batchgen.runner.export import export_job

    selection = Selection.parse(columns, status)
    job = _load(path, None, local=local)
    with _run_first(job):
        return export_job(job, output, selection, environ, _named(path))


def report(
    path: JobLike, output: str | Path | None = None, *, local: bool = False, environ: Mapping[str, str] = os.environ
) -> Path:
    """Writes a report of the last run, or of the active one, as an HTML page. Returns its path. Raises BatchgenError if
    there is no run."""
    from batchgen.reporting import write as reports
    from batchgen.runner.prepare import refuse_misplaced
    from batchgen.runner.report_subject import subject_of

    job = _load(path, None, local=local)
    if output is not None:
        refuse_misplaced(job, Path(output).absolute(), "file for the report")
    with _run_first(job):
        return reports.write(subject_of(job, environ, _named(path)), Path(output) if output is not None else None)


def prune(
    path: JobLike, agree: Callable[[int], bool], *, local: bool = False, environ: Mapping[str, str] = os.environ
) -> int:
    """Drops the stored attempts that the input no longer uses, if `agree` returns true for their number. Returns how
    many were dropped.

    Raises AlreadyRunning while the job runs, UsageError where the answers belong to another endpoint than the one that
    `environ` names.
    """
    from batchgen.runner import prune as pruning
    from batchgen.runner.prepare import prepare

    job = _load(path, None, local=local)
    with _run_first(job):
        return pruning.prune(prepare(job, environ, _named(path)), agree)


def salvage(path: JobLike, *, local: bool = False) -> tuple[int, int | None]:
    """Replaces a damaged checkpoint by a sound one. Returns (attempts saved, attempts lost): None if the damage hides
    how many there were. Raises AlreadyRunning, MachineRefused, and UsageError if there is no checkpoint."""
    from batchgen.checkpoint import salvage as salvaging

    return salvaging.salvage(_load(path, None, local=local).checkpoint)
