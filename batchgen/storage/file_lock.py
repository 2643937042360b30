"""One run a job: an flock on a file that is never unlinked.

The kernel gives a killed holder's lock back, so nothing here expires and nothing is cleaned up. The lock
is of the open file, so the inode is compared after locking: whoever locked a file that was since replaced
holds nothing. The descriptor is not inherited by children (PEP 446).
"""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchgen.errors import AlreadyRunning, MachineRefused
from batchgen.storage import folders

GOT_IT = 75
_SECOND = f"""
import fcntl, sys
try:
    fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit(0)
sys.exit({GOT_IT})
"""
"""What the second process does."""
GLIMPSES = 4
"""`is_held` takes the lock for an instant; a run that meets it looks again so often, 20 ms apart."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Raises AlreadyRunning at once where another process holds it, MachineRefused where it cannot be made."""
    try:
        descriptor = _lock(path)
    except OSError as error:
        raise MachineRefused(f"{path}: cannot be locked: {error.strerror}; {folders.ELSEWHERE}") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int:
    for glimpse in range(GLIMPSES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(descriptor, path):
                return descriptor
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                os.close(descriptor)
                raise
            time.sleep(0.02 * (glimpse < GLIMPSES - 1))
        os.close(descriptor)
    raise AlreadyRunning(f"another run of this job holds {path}")


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def refuse_useless(path: Path) -> None:
    """Has another process ask for a lock that this one holds. Raises MachineRefused where it gets it."""
    asked = subprocess.run([sys.executable, "-I", "-S", "-c", _SECOND, path], check=False, stdin=subprocess.DEVNULL)  # noqa: S603  our own words
    if asked.returncode == GOT_IT:
        raise MachineRefused(
            f"{path}: a lock on this file system keeps nobody out, and two runs would buy everything twice: "
            f"{folders.ELSEWHERE}"
        )


def is_held(path: Path) -> bool:
    """Whether a run is at work. Raises MachineRefused where that cannot be known."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise MachineRefused(f"{path}: cannot be read: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
