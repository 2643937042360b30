"""The id of the last committed attempt, kept outside of the database."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path


class Witness:
    """The id of the last committed attempt, kept outside of the database. SQLite silently drops what follows a damaged
    page of its log, and an older copy of the file looks as sound as the newest.

    It lies in the lock file, if there is one: 8 bytes, then their CRC-32. It is written after each COMMIT and never
    synced. So it may lag behind or be torn by a power cut, and is never ahead.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW) if path.is_file() else None

    def last_id(self) -> int:
        """Returns the id; 0 if there is none."""
        data = os.pread(self._file, 12, 0) if self._file is not None else b""
        return int.from_bytes(data[:8], "big") if data[8:] == _crc(data[:8]) else 0

    def record(self, id_: int) -> None:
        """Writes the id of the last committed attempt."""
        data = id_.to_bytes(8, "big")
        if self._file is not None:
            with suppress(OSError):  # on a full disk the database raises its own error
                os.pwrite(self._file, data + _crc(data), 0)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")
