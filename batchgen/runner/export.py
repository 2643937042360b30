"""What is done of a job so far, published again: at the job's own place, or into a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import Run
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import UsageError
from batchgen.job.job import Job
from batchgen.output import destination, formats
from batchgen.output.destination import Destination
from batchgen.output.owner import (
    refuse_among_parts,
    refuse_anothers_checkpoint,
    refuse_anothers_file,
    refuse_anothers_results,
)
from batchgen.output.publish import PublishResult
from batchgen.output.selection import Selection
from batchgen.runner.endpoints import warn_if_elsewhere
from batchgen.runner.last_run import as_last_run, warn_if_limited
from batchgen.runner.opening import plan_from
from batchgen.runner.prepare import PreparedJob, prepare
from batchgen.runner.publish import publish_run
from batchgen.storage import folders


def export_job(
    job: Job, output: str | Path | None, selection: Selection, environ: Mapping[str, str], file: str
) -> PublishResult:
    """Publishes what is selected, also while the job runs. `output`: a file of its own; None: the job's own place.
    `file`: how messages name the job file.

    Raises UsageError where a selection has no file of its own, NotRunYet where there is nothing yet, else as
    `publish_run`."""
    given = destination.from_option(job, output, formats.SUFFIXES) if output is not None else None
    if given is None and not selection.is_all:
        raise UsageError("--columns and --status choose what a file of its own has: name one with -o")
    with StateFiles.for_job(job).open_readonly() as reader:
        last = reader.latest()
        if given is None:
            refuse_anothers_checkpoint(job, reader.owner())
        whole, job = job, as_last_run(job, reader)
        if given is not None:
            refuse_among_parts(given.place, [destination.of(one, last.date) for one in (whole, job)])
            refuse_anothers_file(job, given)
            _refuse_some_rows(given, destination.of(whole, last.date), job)
        warn_if_limited(job)
        setup = prepare(job, environ, file)
        warn_if_elsewhere(setup)
        to = given or destination.of(job, last.date)
        if given is None:
            refuse_anothers_results(job, to)
        before = reader.last_id()
        done = _publish(setup, reader, last, to, selection)
        if done.partial is not None and reader.last_id() > before:  # a run has put more there meanwhile
            done = _publish(setup, reader, last, to, selection)
        return done


def _refuse_some_rows(given: Destination, whole: Destination, job: Job) -> None:
    """Raises UsageError if the rows of a limited run would replace the results of all rows."""
    if job.first_rows is not None and folders.is_same(given.place, whole.place):
        raise UsageError(
            f"{given.place}: is the job's own output, for all rows, and the last run had --limit {job.first_rows}: "
            "name another file for its rows"
        )


def _publish(setup: PreparedJob, reader: Reader, run: Run, to: Destination, selection: Selection) -> PublishResult:
    made = plan_from(setup, reader, run.floor, retry_failed=True)
    return publish_run(setup, made.rows, made.models, reader, run, to, selection=selection)
