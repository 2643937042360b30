"""What was committed last, kept outside of the database."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path


class Witness:
    """Keeps the id of the last attempt committed, outside of the database: SQLite drops what follows on a damaged page
    of its log without a word, and an older copy of the file is as sound as the newest.

    It stands in the lock's file, where there is one: 8 bytes, then their CRC-32. It is written after each COMMIT and
    never synced. So it may lag behind or be torn by a power cut, and is never ahead."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW) if path.is_file() else None

    def last_id(self) -> int:
        """0 where none is told."""
        told = os.pread(self._file, 12, 0) if self._file is not None else b""
        return int.from_bytes(told[:8], "big") if told[8:] == _crc(told[:8]) else 0

    def saw(self, id_: int) -> None:
        told = id_.to_bytes(8, "big")
        if self._file is not None:
            with suppress(OSError):  # a full disk ends the run by the database's own words
                os.pwrite(self._file, told + _crc(told), 0)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _crc(told: bytes) -> bytes:
    return zlib.crc32(told).to_bytes(4, "big")
