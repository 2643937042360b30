"""A remote file, read in few, large requests: block by block, with more blocks a request the longer a reader reads on
without a seek.

Parquet's readers come back: to the footer, to a dictionary, to the next column. So the blocks used last are cached, for
all readers of the same file.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

BLOCK_BYTES, BLOCKS_PER_REQUEST, CACHED_BLOCKS = 1 << 20, 8, 64
"""Bytes of a block, the most blocks of one request, and how many blocks are cached."""

Fetch = Callable[[int, int], bytes]
"""Returns the bytes from a start up to an end. Raises OSError."""


class BlockCache:
    """The cached blocks of a file of `size` bytes, read by `fetch`. Safe to use from any thread."""

    def __init__(self, size: int, fetch: Fetch) -> None:
        self.size = size
        self.fetch = fetch
        self._cached: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def block(self, number: int, wanted: int) -> bytes:
        """Returns one block. `wanted`: how many blocks from this one on will be read, surely or probably. Raises
        OSError."""
        with self._lock:
            if number not in self._cached:
                self._fetch_blocks(number, min(wanted, BLOCKS_PER_REQUEST))
            self._cached.move_to_end(number)
            return self._cached[number]

    def _fetch_blocks(self, first: int, count: int) -> None:
        """Fetches `count` blocks, or fewer: up to the next one that is cached."""
        last = next((at for at in range(first + 1, first + count) if at in self._cached), first + count)
        start = first * BLOCK_BYTES
        data = self.fetch(start, min(last * BLOCK_BYTES, self.size))
        for at in range(0, len(data), BLOCK_BYTES):
            self._cached[first + at // BLOCK_BYTES] = data[at : at + BLOCK_BYTES]
        while len(self._cached) > CACHED_BLOCKS:
            self._cached.popitem(last=False)


class BlockReader(io.RawIOBase):
    """A seekable, read-only file on top of a BlockCache. Used by one thread."""

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
        """Reads up to the end of a block."""
        end = min(self._at + len(buffer), self._blocks.size)
        if end <= self._at:
            return 0
        number, begin = divmod(self._at, BLOCK_BYTES)
        needed = -(-end // BLOCK_BYTES) - number
        data = memoryview(self._blocks.block(number, max(self._read_ahead(number), needed)))[begin:][: end - self._at]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read_ahead(self, number: int) -> int:
        """Returns how many blocks to read ahead: twice as many as before while the reader reads on without a seek."""
        if number != self._last:
            self._ahead = min(2 * self._ahead, BLOCKS_PER_REQUEST) if number == self._last + 1 else 1
            self._last = number
        return self._ahead

    def readall(self) -> bytes:
        """Reads the rest past the cache: a file that is read whole is not read again."""
        step = BLOCK_BYTES * BLOCKS_PER_REQUEST
        starts = range(self._at, self._blocks.size, step)
        pieces = [self._blocks.fetch(start, min(start + step, self._blocks.size)) for start in starts]
        self._at = max(self._at, self._blocks.size)
        return b"".join(pieces)
