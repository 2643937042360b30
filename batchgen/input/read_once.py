"""Reads a file twice and fetches it once: what is read ahead is kept until it is read again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


class ReadOnce(io.BufferedIOBase):
    """A seekable file on top of another, which it does not close. Used by one thread."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._kept: dict[tuple[int, int], bytes] = {}
        self._is_ahead = False

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Keeps what the block reads. The next read of as many bytes at the same place takes it."""
        self._is_ahead = True
        try:
            yield
        finally:
            self._is_ahead = False

    def forget(self) -> None:
        """Drops what was kept and not taken."""
        self._kept.clear()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        size = -1 if size is None else size
        place = (self.tell(), size)
        data = None if self._is_ahead else self._kept.pop(place, None)
        if data is not None:
            self.seek(place[0] + len(data))
            return data
        data = self._file.read(size)
        if self._is_ahead:
            self._kept[place] = data
        return data
