"""The job as its last run had it: with its first rows only, if the run had `--limit`."""

from __future__ import annotations

import logging

from batchgen.checkpoint.reader import Reader
from batchgen.job.job import Job

log = logging.getLogger("batchgen")


def as_last_run(job: Job, reader: Reader) -> Job:
    """Returns the job with the rows that its last run had. Raises NotRunYet."""
    start = reader.start_of(reader.latest())
    return job.with_limit(start.first_rows if start else None)


def warn_if_limited(job: Job) -> None:
    """Warns if these are only the first rows."""
    if job.first_rows is not None:
        log.warning(
            "warning: only the rows of the last run, which had --limit %d; without it, a run has all", job.first_rows
        )
