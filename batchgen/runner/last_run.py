"""The job as its last run had it: with its first rows only, if the run had `--limit`."""

from __future__ import annotations

import logging

from batchgen.checkpoint.reader import Reader
from batchgen.job.job import Job

log = logging.getLogger("batchgen")


def as_last_run(job: Job, reader: Reader) -> Job:
    """Returns the job with the rows that its last run had, and warns if these are only the first. Raises NotRunYet."""
    start = reader.start_of(reader.latest())
    first = start.first if start else None
    if first is not None:
        log.warning("warning: only the rows of the last run, which had --limit %d; without it, a run has all", first)
    return job.with_limit(first)
