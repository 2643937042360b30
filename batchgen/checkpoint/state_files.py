"""The state files of a job: the database, its lock, and the log of requests in flight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from batchgen.api.dialects import WRITER, Dialect
from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.replacement import finish_replacement, restore_rescued, standing_for
from batchgen.checkpoint.schema import IN_FLIGHT, LOCK
from batchgen.job.job import Job
from batchgen.storage import file_lock, folders

Opened = TypeVar("Opened", bound=Reader)


@dataclass(frozen=True)
class StateFiles:
    """The paths of a job's state. `dialect`: the stored answers'. `salvage`: the command that saves what can be read of
    a damaged database. `status`: the one that shows how far a run is."""

    database: Path
    dialect: Dialect = WRITER
    salvage: str | None = None
    status: str | None = None

    @classmethod
    def for_job(cls, job: Job) -> Self:
        return cls(job.checkpoint, job.dialect, job.command("salvage"), job.command("status"))

    @property
    def lock(self) -> Path:
        return self.database.with_suffix(LOCK)

    @property
    def in_flight(self) -> Path:
        return self.database.with_suffix(IN_FLIGHT)

    def is_running(self) -> bool:
        """Returns whether a run is active. Raises MachineRefused if that cannot be found out."""
        return file_lock.is_held(self.lock)

    @contextmanager
    def open_for_run(self) -> Iterator[tuple[Checkpoint, Reader]]:
        """Yields the open checkpoint and a reader, locked for this process. Two files are locked, in case somebody
        removes one. Raises AlreadyRunning, MachineRefused."""
        with file_lock.exclusive(self.lock, self.status), file_lock.exclusive(self.in_flight, self.status):
            if not folders.is_local(self.database.parent):
                file_lock.refuse_ineffective(self.lock)
            finish_replacement(self.database)
            restore_rescued(self.database)
            with closing(Checkpoint(self.database, self.salvage)) as checkpoint, self.open_readonly() as reader:
                yield checkpoint, reader

    def open_readonly(self, *, without_trace: bool = False) -> Reader:
        """Returns a reader, as a context, also during a run. See `Database` for the errors."""
        return self.open_as(Reader, without_trace=without_trace)

    def open_as(self, kind: type[Opened], *, without_trace: bool = False) -> Opened:
        """Opens a reader of another class; like `open_readonly`. Reads what the next run would go on with."""
        return kind(standing_for(self.database), self.dialect, without_trace=without_trace, salvage=self.salvage)
