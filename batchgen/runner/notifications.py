"""What follows on a run, however it ended: its metrics are written, and who asked for it is told.

Never changes how the run ends: what goes wrong here is told in one line. A run that finds another one at work leaves
this to that one, and a trial on the built-in model tells nobody.
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
from batchgen.errors import OK, AlreadyRunning, BatchgenError, MachineRefused, Stopped, UsageError
from batchgen.job.job import Job
from batchgen.runner import metrics
from batchgen.runner.signals import Signals
from batchgen.runner.summary import Summary
from batchgen.storage import folders

CRASHED = 1

log = logging.getLogger("batchgen")


def check(job: Job) -> None:
    """Raises UsageError where the metrics cannot be written, before anything is spent."""
    if job.metrics is None:
        return
    path = Path(job.metrics)
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: is no file: give metrics the name of one")
    folders.refuse_unwritable(path.parent)


@dataclass
class Notifications:
    """Of one run. `summary` is None where it ended before there was one."""

    environ: Mapping[str, str]
    job: Job | None = None
    address: str | None = None
    summary: Summary | None = None
    started: float = field(default_factory=time.monotonic)

    def of(self, job: Job) -> None:
        """From here on it is known whose end it is. Raises UsageError as `check`, and where an address is missing."""
        self.job = job
        self.address = job.notify.address(self.environ)
        check(job)

    def tell(self, exit_code: int, message: str) -> None:
        """Metrics first: they are on this machine, and quick."""
        job, seconds = self.job, time.monotonic() - self.started
        if job is None:
            return
        with _harmless("the metrics were not written"):
            if job.metrics is not None:
                metrics.write(Path(job.metrics), job.name, self.summary, exit_code, seconds, time.time())
        with _harmless("nobody was notified"):
            if self.address is not None and job.notify.wants(exit_code):
                self._notify(self.address, job, _message(job, exit_code, message, seconds, self.summary))

    def _notify(self, address: str, job: Job, message: Mapping[str, object]) -> None:
        from batchgen.runner import webhook  # noqa: PLC0415  aiohttp takes long to import, and most nights tell nobody

        where = address.replace("{exit_code}", str(message["exit_code"]))
        proxy = proxy_of(job.endpoint.proxy, job.endpoint.proxy_env, self.environ)
        failure = webhook.post(where, json.dumps(message).encode(), proxy)
        if failure is not None:
            log.warning("warning: nobody was notified: %s", failure)


@contextmanager
def following(environ: Mapping[str, str]) -> Iterator[Notifications]:
    """Tells how the block ended, whatever way that was."""
    after = Notifications(environ)
    try:
        yield after
    except AlreadyRunning:
        raise
    except BatchgenError as error:
        after.tell(error.exit_code, str(error))
        raise
    except BaseException as error:
        after.tell(CRASHED, f"crashed: {type(error).__name__}")  # its words may hold anything
        raise
    if after.summary is not None:
        after.tell(after.summary.exit_code, after.summary.line())


@contextmanager
def _harmless(said: str) -> Iterator[None]:
    """A signal gives it up, too: the run is over."""
    try:
        with Signals():
            yield
    except MachineRefused as error:
        log.warning("warning: %s: %s", said, error)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  whatever it is, the run ends as it ended
        log.warning("warning: %s: %s", said, type(error).__name__)


def _message(job: Job, exit_code: int, said: str, seconds: float, summary: Summary | None) -> dict[str, object]:
    """Plain values; those of rows are null where the run ended before there were any."""
    return {
        "job": job.name,
        "verdict": {OK: "finished", Stopped.exit_code: "stopped"}.get(exit_code, "failed"),
        "exit_code": exit_code,
        **{name: getattr(summary, name, None) for name in ("rows", "ok", "failed", "pending")},
        "seconds": round(seconds, 3),
        **{name: getattr(summary, name, None) for name in ("path", "report")},
        "message": said,
    }
