"""Makes the subject of a report that no run writes: the job as it is now, with the rows that its last run had, and its
input if that still fits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress

from batchgen.checkpoint.index import Index
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import NotRunYet, UsageError
from batchgen.job.job import Job
from batchgen.reporting.subject import InputIndex, Subject, mean_tokens
from batchgen.runner.endpoints import warn_if_elsewhere
from batchgen.runner.last_run import as_last_run, warn_if_limited
from batchgen.runner.plan import make_plan
from batchgen.runner.prepare import prepare

log = logging.getLogger("batchgen")


def subject_of(job: Job, environ: Mapping[str, str], file: str) -> Subject:
    """Returns the subject, with the prompts if the input still exists and fits the job; they are not in the
    checkpoint."""
    index = Index((), 0)
    with suppress(NotRunYet), StateFiles.for_job(job).open_readonly() as reader:
        job = as_last_run(job, reader)
        warn_if_limited(job)
        index = reader.index(0)
    try:
        setup = prepare(job, environ, file)
        warn_if_elsewhere(setup)
        made = make_plan(setup, lambda: index, iter(()), retry_failed=True)
    except UsageError as error:
        log.warning("warning: the report shows no prompts: %s", error)
        return Subject(job, job.endpoint.name or "")
    of_input = InputIndex(setup.source, setup.requests, made.rows["record"], mean_tokens(made.rows))
    return Subject(setup.job, setup.endpoint, of_input)
