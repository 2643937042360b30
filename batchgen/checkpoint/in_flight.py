"""The requests that are in flight, in memory that outlives the process: a mapped file beside the checkpoint.

A kill leaves the marks in the page cache, so the next run can report exactly what may have been billed without an
answer. The file is never synced: after a power loss marks may be missing, which affects only that count. It is never
unlinked: it is locked as well (`storage/file_lock.py`), in case somebody removes the lock file.
"""

from __future__ import annotations

import mmap
import os
import struct
from contextlib import suppress
from pathlib import Path

from batchgen.errors import MachineRefused
from batchgen.storage import folders

_MARK = struct.Struct("=16sI12x")
"""Key, attempt, and padding: a mark never straddles a sector, so a power loss keeps it whole or not at all."""
_NONE = bytes(_MARK.size)


class InFlightLog:
    """One mark a slot: the row's key, and the number of this attempt at it, counted over all runs."""

    def __init__(self, path: Path, slots: int) -> None:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            with open(os.open(path, flags, 0o600), "r+b") as file:  # noqa: PTH123  a descriptor, not a path
                file.truncate(0)
                file.write(_NONE * slots)  # not a hole: a full disk is an error here, not a SIGBUS later
                file.flush()
                self._map = mmap.mmap(file.fileno(), slots * _MARK.size)
        except OSError as error:
            raise MachineRefused(f"{path}: cannot be created: {error.strerror}") from None

    def begin(self, slot: int, key: bytes, attempt: int) -> None:
        _MARK.pack_into(self._map, slot * _MARK.size, key, attempt)

    def end(self, slot: int) -> None:
        """Clears the slot's mark: the attempt's outcome is committed."""
        self._map[slot * _MARK.size : (slot + 1) * _MARK.size] = _NONE

    def close(self) -> None:
        self._map.close()


def leftovers(path: Path) -> list[tuple[bytes, int]]:
    """Returns (key, attempt) of each request that was in flight when the last run was killed."""
    marks = b""
    with suppress(FileNotFoundError):
        folders.refuse_special(path)
        marks = path.read_bytes()
    complete = len(marks) - len(marks) % _MARK.size
    return [(key, attempt) for key, attempt in _MARK.iter_unpack(marks[:complete]) if attempt]


def clear(path: Path) -> None:
    """Clears all marks, once they are recorded in the checkpoint."""
    with suppress(FileNotFoundError):
        os.truncate(path, 0)
