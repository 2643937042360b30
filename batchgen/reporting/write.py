"""Writes the report of a job: one HTML page of what its checkpoint says, for a person who looks in the morning.

Opens the checkpoint read-only, also during a run. The page appears whole: a temporary file in the same folder, fsync,
rename. Must never cost a run anything: a report that fails is reported, and the results remain.
"""

from __future__ import annotations

import logging
from pathlib import Path

from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import BatchgenError, UsageError
from batchgen.job.job import Job
from batchgen.reporting.queries import ReportReader
from batchgen.reporting.subject import Subject
from batchgen.storage.atomic import replacing

SUFFIX = ".html"

log = logging.getLogger("batchgen")


def path_of(job: Job, date: str) -> Path:
    """Returns the page's path: beside the results of a run of that date; beside the checkpoint if those are in an
    object store."""
    where = job.output_path(date)
    folder = where.parent if isinstance(where, Path) else job.state_folder
    return folder / f"{where.name.removesuffix('.parquet')}.report{SUFFIX}"


def write(subject: Subject, path: Path | None = None) -> Path:
    """Writes the page, by default beside the last run's results, and returns its path.

    Raises NotRunYet if there is nothing to report, MachineRefused if the checkpoint cannot be read or the page cannot
    be written, UsageError if the input has changed meanwhile.
    """
    if path is not None and (path.suffix != SUFFIX or path.is_dir()):
        raise UsageError(f"{path}: should be a file that ends in {SUFFIX}")
    from batchgen.reporting.facts import gather  # noqa: PLC0415  many a run leaves the last one's page
    from batchgen.reporting.page import render  # noqa: PLC0415

    with StateFiles.for_job(subject.job).open_as(ReportReader) as reader:
        facts = gather(reader, subject)
    target = (path or path_of(subject.job, facts.run.date)).absolute()
    page = render(facts, target.parent).encode()
    with replacing(target) as file:
        file.write(page)
    return target


def after_run(subject: Subject, date: str, *, sent: bool) -> str | None:
    """Writes the page of a run that has just ended; if it sent nothing, an existing page that is up to date remains.
    Returns the page's path, or None if it failed: then one line says why, and the run loses nothing."""
    job, target = subject.job, path_of(subject.job, date)
    judged = job.gate.is_set or job.check.is_set  # by what may have changed
    try:
        if sent or judged or not _is_up_to_date(target, subject):
            write(subject, target)
    except BatchgenError as error:
        log.warning("warning: there is no report of this run: %s", error)
    except Exception as error:  # noqa: BLE001  the results are there, and whole
        log.warning("warning: there is no report of this run: %s: %.200s", type(error).__name__, error)
    else:
        return str(target)
    return None


def _is_up_to_date(page: Path, subject: Subject) -> bool:
    """Returns whether the page shows what one that is made now would show."""
    if not page.exists():
        return False
    with StateFiles.for_job(subject.job).open_as(ReportReader) as reader:
        return subject.fingerprint(reader.fingerprint()) in page.read_text(encoding="utf-8", errors="replace")
