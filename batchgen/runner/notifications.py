"""Writes the metrics of a run, and notifies its webhook, however the run ended.

Never changes how the run ends: a failure here is one line of warning. A run that finds another one active does neither,
nor does a trial: one on the built-in model, or of the first rows alone.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from batchgen.api.proxy import proxy_of
from batchgen.errors import OK, AlreadyRunning, BatchgenError, Stopped, UsageError
from batchgen.job.job import Job
from batchgen.job.notify import EXIT_CODE
from batchgen.runner import metrics
from batchgen.runner.prepare import refuse_misplaced
from batchgen.runner.signals import Signals
from batchgen.runner.summary import Summary
from batchgen.storage import folders

CRASHED = 1

log = logging.getLogger("batchgen")


def check(job: Job) -> None:
    """Raises UsageError if the metrics cannot be written, or are not to lie there, before anything is spent."""
    if job.metrics is None:
        return
    path = Path(job.metrics)
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: is not a regular file: choose another path for metrics")
    folders.refuse_unwritable(path.parent)
    refuse_misplaced(job, path, "metrics")


@dataclass
class Notifications:
    """The notifications of one run. `summary` is None if the run ended before there was one."""

    environ: Mapping[str, str]
    job: Job | None = None
    address: str | None = None
    summary: Summary | None = None
    started: float = field(default_factory=time.monotonic)

    def set_job(self, job: Job) -> None:
        """Sets the job whose end is reported. Raises UsageError as `check` does, and if an address is missing."""
        self.job = job.model_copy(update={"metrics": None})  # until it is known that they may lie there
        try:
            check(job)
            self.job = job
        finally:
            self.address = job.notify.address(self.environ)

    def send(self, exit_code: int, message: str) -> None:
        """Writes the metrics, which are local and quick, then notifies the webhook. Does neither for the first rows
        alone: their success would be taken for the whole job's."""
        job, seconds = self.job, time.monotonic() - self.started
        if job is None or job.first_rows is not None:
            return
        with _harmless("the metrics were not written"):
            if job.metrics is not None:
                metrics.write(Path(job.metrics), job.name, self.summary, exit_code, seconds, time.time())
        with _harmless("nobody was notified"):
            if self.address is not None and job.notify.wants(exit_code):
                self._notify(self.address, job, _message(job, exit_code, message, seconds, self.summary))

    def _notify(self, address: str, job: Job, message: Mapping[str, object]) -> None:
        from batchgen.runner import webhook  # noqa: PLC0415  aiohttp takes long to import, and most runs notify nobody

        where = address.replace(EXIT_CODE, str(message["exit_code"]))
        proxy = proxy_of(job.endpoint.proxy, job.endpoint.proxy_env, self.environ)
        failure = webhook.post(where, json.dumps(message).encode(), proxy)
        if failure is not None:
            log.warning("warning: nobody was notified: %s", failure)


@contextmanager
def notifying(environ: Mapping[str, str]) -> Iterator[Notifications]:
    """Reports how the block ended, also after an exception."""
    after = Notifications(environ)
    try:
        yield after
    except AlreadyRunning:
        raise
    except BatchgenError as error:
        after.send(error.exit_code, str(error))
        raise
    except BaseException as error:
        after.send(CRASHED, f"crashed: {type(error).__name__}")  # its words may hold anything
        raise
    if after.summary is not None:
        after.send(after.summary.exit_code, after.summary.line())


@contextmanager
def _harmless(failure: str) -> Iterator[None]:
    """Turns every error of the block into a warning. A signal ends the block, too: the run is over."""
    try:
        with Signals():
            yield
    except BatchgenError as error:
        log.warning("warning: %s: %s", failure, error)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  whatever it is, the run ends as it ended
        log.warning("warning: %s: %s", failure, type(error).__name__)


def _message(job: Job, exit_code: int, text: str, seconds: float, summary: Summary | None) -> dict[str, object]:
    """Returns plain values. Those about rows are null if the run ended before there were any."""
    return {
        "job": job.name,
        "verdict": {OK: "finished", Stopped.exit_code: "stopped"}.get(exit_code, "failed"),
        "exit_code": exit_code,
        **{name: getattr(summary, name, None) for name in ("rows", "ok", "failed", "pending")},
        "seconds": round(seconds, 3),
        **{name: getattr(summary, name, None) for name in ("path", "report")},
        "message": text,
    }
