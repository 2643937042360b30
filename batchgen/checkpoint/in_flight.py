"""Which requests are in flight, in memory that outlives the process: a mapped file beside the checkpoint.

A kill leaves the marks in the page cache, so the next run can say exactly what may have been billed without
an answer. Never synced: after a power loss marks may be missing, and nothing but that count depends on them.
Never unlinked: the file is locked as well (`lock.py`), for the day when somebody removes the lock file.
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
"""Key, attempt, and padding: no mark straddles a sector, so a power loss keeps it whole or not at all."""
_NONE = bytes(_MARK.size)


class InFlightLog:
    """One mark a slot: the row's key, and which attempt at it this is, counted over all runs."""

    def __init__(self, path: Path, slots: int) -> None:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            with open(os.open(path, flags, 0o600), "r+b") as file:  # noqa: PTH123  a descriptor, not a path
                file.truncate(0)
                file.write(_NONE * slots)  # not a hole: a full disk is an error here, and no SIGBUS later
                file.flush()
                self._map = mmap.mmap(file.fileno(), slots * _MARK.size)
        except OSError as error:
            raise MachineRefused(f"{path}: cannot be made: {error.strerror}") from None

    def begin(self, slot: int, key: bytes, attempt: int) -> None:
        _MARK.pack_into(self._map, slot * _MARK.size, key, attempt)

    def end(self, slot: int) -> None:
        """The attempt's outcome is committed."""
        self._map[slot * _MARK.size : (slot + 1) * _MARK.size] = _NONE

    def close(self) -> None:
        self._map.close()


def leftovers(path: Path) -> list[tuple[bytes, int]]:
    """(key, attempt) of what was in flight when the last run ended without ending its requests."""
    marks = b""
    with suppress(FileNotFoundError):
        folders.refuse_special(path)
        marks = path.read_bytes()
    whole = len(marks) - len(marks) % _MARK.size
    return [(key, attempt) for key, attempt in _MARK.iter_unpack(marks[:whole]) if attempt]


def clear(path: Path) -> None:
    """What was left behind is recorded in the checkpoint now."""
    with suppress(FileNotFoundError):
        os.truncate(path, 0)
