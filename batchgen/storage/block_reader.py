"""What is far away, read as a file in few, large requests: block by block, more of them at once the longer a reader
goes straight on.

Parquet's readers come back: to the footer, to a dictionary that they looked at, to the next column. So the last blocks
are kept, for all who have the thing open.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

BLOCK, AT_ONCE, KEPT = 1 << 20, 8, 64
"""Bytes of a block, the most blocks of a request, and how many are kept."""

Fetch = Callable[[int, int], bytes]
"""The bytes from one place up to another. Raises OSError."""


class BlockCache:
    """Of `size` bytes, which `fetch` brings. For any thread."""

    def __init__(self, size: int, fetch: Fetch) -> None:
        self.size = size
        self.fetch = fetch
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def block(self, number: int, wanted: int) -> bytes:
        """`wanted`: of how many from this one on it is known or likely that they will be asked for. Raises OSError."""
        with self._lock:
            if number not in self._kept:
                self._bring(number, min(wanted, AT_ONCE))
            self._kept.move_to_end(number)
            return self._kept[number]

    def _bring(self, first: int, count: int) -> None:
        """Up to the next one that is there."""
        last = next((at for at in range(first + 1, first + count) if at in self._kept), first + count)
        start = first * BLOCK
        data = self.fetch(start, min(last * BLOCK, self.size))
        for at in range(0, len(data), BLOCK):
            self._kept[first + at // BLOCK] = data[at : at + BLOCK]
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)


class BlockReader(io.RawIOBase):
    """A file of blocks. One thread's."""

    def __init__(self, blocks: BlockCache) -> None:
        self._blocks = blocks
        self._at = 0
        self._last = -1
        self._ahead = 1

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._blocks.size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Up to the end of a block."""
        end = min(self._at + len(buffer), self._blocks.size)
        if end <= self._at:
            return 0
        number, begin = divmod(self._at, BLOCK)
        needed = -(-end // BLOCK) - number
        data = memoryview(self._blocks.block(number, max(self._foreseen(number), needed)))[begin:][: end - self._at]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _foreseen(self, number: int) -> int:
        """Twice as many as before where it goes straight on."""
        if number != self._last:
            self._ahead = min(2 * self._ahead, AT_ONCE) if number == self._last + 1 else 1
            self._last = number
        return self._ahead

    def readall(self) -> bytes:
        """Past the blocks that are kept: nobody comes back to what is read whole."""
        step = BLOCK * AT_ONCE
        starts = range(self._at, self._blocks.size, step)
        pieces = [self._blocks.fetch(start, min(start + step, self._blocks.size)) for start in starts]
        self._at = max(self._at, self._blocks.size)
        return b"".join(pieces)
