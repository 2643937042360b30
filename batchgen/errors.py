"""The exceptions that stop a run, each with the exit code that the shell sees.

A failed row is never an exception: it is a value (`api.outcome.Failure`).
The docstring of each class is its default message.
"""

from __future__ import annotations

from typing import Self

OK = 0
ROWS_FAILED = 1
_CHANGED = "changed while the job was at work"
INPUT_CHANGED = f"the input {_CHANGED}"


class BatchgenError(Exception):
    """batchgen stopped."""

    exit_code = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class UsageError(BatchgenError):
    """The job file or the input is wrong; nothing was sent."""

    exit_code = 2


class InputChanged(UsageError):
    """The input changed while the job was at work; every answer is kept: run it again."""

    @classmethod
    def of(cls, path: str) -> Self:
        """Returns the error of the input at this path."""
        return cls(f"{path}: {_CHANGED}; every answer is kept: run it again")


class Stopped(BatchgenError):
    """Stopped before the end; what is done is published, the rest resumes with the next run."""

    exit_code = 3


class ServiceRefused(BatchgenError):
    """The service refuses the run; fix the cause and run the same command again."""

    exit_code = 4


class MachineRefused(BatchgenError):
    """This machine refuses the run; nothing that was finished is lost."""

    exit_code = 5


class EngineGone(MachineRefused):
    """What makes the attempts is gone; what has arrived is published, and the rest resumes with the next run."""


class NotRunYet(MachineRefused):
    """The job has not run yet."""


class NoSuchFile(UsageError, FileNotFoundError):
    """A file that a function is to read is not there: Python's own error, too."""


class AlreadyRunning(BatchgenError):
    """Another run of this job holds the lock."""

    exit_code = 75


def exit_code_of(*, is_refused: bool, is_broken: bool, has_pending: bool, has_failed: bool) -> int:
    """Returns the exit code by what became of some rows. `is_refused`: by the service. `is_broken`: this machine could
    not go on."""
    if is_refused:
        return ServiceRefused.exit_code
    if has_pending:
        return MachineRefused.exit_code if is_broken else Stopped.exit_code
    return ROWS_FAILED if has_failed else OK
