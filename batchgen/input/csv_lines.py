"""Reads the lines of a CSV file: one by one, or all whole lines of a block at once."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, Self

from batchgen.errors import UsageError
from batchgen.input.bounds import MAX_CELL
from batchgen.input.file_hints import cp1252_hint
from batchgen.storage.listing import File

BLOCK = 2 << 20
MAX_LINE = 8 * MAX_CELL
BOM = b"\xef\xbb\xbf"
_EXCELS_LINE = re.compile(rb'"?sep=([ -~\t]?)"?(?:\r\n|\n|\r|$)')


class Lines:
    """Reads a file's lines, one by one for the exact reader, or all whole lines of a block at once.

    `opened`: some lines of the current block were read, and some are left. `number`: of the last line read.
    """

    def __init__(self, path: File, file: BinaryIO, size: int) -> None:
        """`size`: of a block, in bytes, without the rest of its last record."""
        self.path, self._size = path, size
        self.number = 0
        self._file = file
        self._block: bytes | None = None
        self._rest = b""
        self._begins = True
        self._lines: deque[bytes] = deque()

    @property
    def opened(self) -> bool:
        return bool(self._lines)

    def block(self) -> bytes:
        """Returns the next whole lines without consuming them; b"" at the end of the file."""
        if self._block is None:
            self._block = self._read()
        return self._block

    def separator(self, given: str | None) -> str:
        """Returns the separator of cells: `given`, or the one that a first line for Excel names, else a comma.
        Consumes that line. Raises UsageError if the two differ."""
        found = _EXCELS_LINE.match(self.block())
        if found is None:
            return given or ","
        named = found[1].decode()
        if not named or named.isalnum() or named == '"':
            raise UsageError(
                f"{self.path}:1: {found[0].strip().decode()!r} should name the separator of cells: remove it"
            )
        if given not in (None, named):
            raise UsageError(f"{self.path}:1: says that {named!r} separates cells, and input.separator {given!r}")
        self._block = self.block()[found.end() :] or None
        self.number += 1
        return named

    def put_back(self) -> None:
        """Makes a block again of the lines that are left of the current one."""
        self._block = b"".join(self._lines) or None
        self._lines.clear()

    def pass_over(self, records: int) -> None:
        """Consumes the current block, which was read otherwise. It has as many lines as records, except for line
        ends within quotes."""
        block = self.block()
        self.number += count_lines(block) if b'"' in block else records
        self._block = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        """Raises UsageError if the line is not UTF-8."""
        if not self._lines:
            self._lines.extend(self.block().splitlines(keepends=True))
            self._block = None
        if not self._lines:
            raise StopIteration
        self.number += 1
        line = self._lines.popleft()
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            byte = f"0x{line[error.start]:02x}{cp1252_hint(line, error.start)}"
            said = f"not UTF-8: byte {byte} (save the file as UTF-8, or set input.encoding, as cp1252)"
            raise UsageError(f"{self.path}:{self.number}: {said}") from None

    def _read(self) -> bytes:
        while True:
            more = self._file.read(self._size)
            more = b"".join([more, *self._end_of_record(more)])  # so that there is seldom a rest to be copied
            block = self._rest + more
            if self._begins:
                block = block.removeprefix(BOM)
            self._begins = False
            end = max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1 if more else len(block)
            self._rest = block[end:]
            if end or not more:
                return block[:end]
            if len(block) > MAX_LINE:
                raise UsageError(f"{self.path}:{self.number + 1}: a line is longer than {MAX_LINE >> 20} MiB")

    def _end_of_record(self, begun: bytes) -> Iterator[bytes]:
        """Yields the rest of the last line, and the further lines of a cell with line ends in it: two blocks' length
        at most. If the cut is wrong, as after a stray quote, the exact reader takes the block."""
        size, within = 0, begun.count(b'"') % 2 if b'"' in begun else 0
        while size < BLOCK and (line := self._file.readline(BLOCK)):
            yield line
            size, within = size + len(line), (within + line.count(b'"')) % 2
            if not within:
                return


def count_lines(block: bytes) -> int:
    return block.count(b"\n") + (not block.endswith(b"\n"))
