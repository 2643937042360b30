"""One run a job, and one publication at a time: an flock on a file that is never unlinked.

The kernel releases the lock of a killed process, so nothing here expires and nothing is cleaned up. The lock belongs to
the open file. So the inode is compared after locking: a lock on a file that was replaced since is worthless. Children
do not inherit the descriptor (PEP 446).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from batchgen.errors import AlreadyRunning, MachineRefused
from batchgen.storage import folders

ACQUIRED_EXIT_CODE = 75
_LOCK_PROBE = f"""
import fcntl, sys
try:
    fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit(0)
sys.exit({ACQUIRED_EXIT_CODE})
"""
"""The program of the second process: it tries to take the lock."""
LOCK_TRIES = 4
"""How often a run tries, 20 ms apart: `is_held` takes the lock for an instant."""

log = logging.getLogger("batchgen")


@contextmanager
def exclusive(path: Path, status: str | None = None) -> Iterator[None]:
    """Holds the lock while the block runs. `status`: the command that shows how far another run is. Raises
    AlreadyRunning at once if another process holds it, MachineRefused if the file cannot be locked."""
    try:
        descriptor = _lock(path, status)
    except OSError as error:
        folders.refuse_anothers(path)
        if error.errno == errno.EROFS:  # elsewhere would be another checkpoint, without the answers of this one
            raise MachineRefused(f"{path}: cannot be written: {error.strerror}: have it mounted for writing") from None
        raise MachineRefused(f"{path}: cannot be locked: {error.strerror}; {folders.LOCAL_DISK_ADVICE}") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path, status: str | None) -> int:
    for attempt in range(LOCK_TRIES):
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(descriptor, path):
                return descriptor
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                os.close(descriptor)
                raise
            time.sleep(0.02 * (attempt < LOCK_TRIES - 1))
        os.close(descriptor)
    raise AlreadyRunning(
        f"another run of this job holds {path}" + (f": `{status}` shows how far it is" if status else "")
    )


@contextmanager
def in_turn(path: Path, waits: str) -> Iterator[None]:
    """Holds the lock while the block runs, once no other process does: `waits` is logged if one does now. Without a
    lock where the file cannot be locked, such as in a folder that only others may write."""
    with ExitStack() as held:
        with suppress(OSError):
            held.callback(os.close, _lock_in_turn(path, waits))
        yield


def _lock_in_turn(path: Path, waits: str) -> int:
    while True:
        descriptor = _open(path)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info(waits)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_current(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def refuse_ineffective(path: Path) -> None:
    """Starts another process that tries to take a lock which this one holds. Raises MachineRefused if it succeeds."""
    probe = subprocess.run([sys.executable, "-I", "-S", "-c", _LOCK_PROBE, path], check=False, stdin=subprocess.DEVNULL)  # noqa: S603  a program of our own
    if probe.returncode == ACQUIRED_EXIT_CODE:
        raise MachineRefused(
            f"{path}: a lock on this file system does not keep other processes out, and two runs would buy "
            f"everything twice: {folders.LOCAL_DISK_ADVICE}"
        )


def is_held(path: Path) -> bool:
    """Returns whether a run is active. Raises MachineRefused if that cannot be found out."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError as error:
        folders.refuse_anothers(path, os.R_OK)
        raise MachineRefused(f"{path}: cannot be read: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
