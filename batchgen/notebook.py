"""The commands for notebooks, also where an event loop is running already, as in Jupyter. What they return shows
itself: as HTML where it is a cell's last value, as text by `print`."""

from __future__ import annotations

from pathlib import Path

from batchgen import commands
from batchgen.job.job import Job
from batchgen.job.load import load_job
from batchgen.runner.forecast import Forecast
from batchgen.runner.summary import Summary

__all__ = ["Forecast", "Job", "Summary", "plan", "read_job", "run"]


def run(
    path: str | Path,
    *,
    local: bool = False,
    fresh: bool = False,
    limit: int | None = None,
    retry_failed: bool = True,
    quiet: bool = False,
) -> Summary:
    """Runs a job, or resumes it, and publishes its results.

    `local`: on the built-in model, free, with results of its own. `fresh`: buys every row anew. `limit`: the first so
    many rows only. `retry_failed`: tries rows again that failed in an earlier run. `quiet`: shows no progress.

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
    return commands.run(path, local=local, fresh=fresh, limit=limit, retry_failed=retry_failed, quiet=quiet)


def plan(
    path: str | Path,
    *,
    local: bool = False,
    limit: int | None = None,
    retry_failed: bool = True,
    rehearse: bool = False,
) -> Forecast:
    """What a run of a job would do, cost and take. Checks everything but the key, sends nothing, leaves no trace.

    `rehearse`: plays the night on a simulated clock, too; the other options are those of `run`.

    >>> would = batchgen.plan("jobs/seo.yaml")
    >>> would.plan.todo, round(would.plan.cost, 2)
    (309, 0.57)

    Raises BatchgenError as `run` does.
    """
    return commands.plan(path, local=local, limit=limit, retry_failed=retry_failed, rehearse=rehearse)


def read_job(path: str | Path) -> Job:
    """A job file, checked, with every setting; opens no input and needs no key.

    >>> job = batchgen.read_job("jobs/seo.yaml")
    >>> job.request.model, job.limits.concurrency
    ('palmyra-x5', 64)

    Raises UsageError, which names each mistake with its place.
    """
    return load_job(path)
