"""Writes tables to Parquet files, row group by row group, and reads each file back.

Never holds more than two row groups, and the pieces of the next one.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.errors import MachineRefused
from batchgen.output.draft import Draft
from batchgen.output.selection import Piece

ROW_GROUP_BYTES = 8 << 20
ROW_GROUP_ROWS = 128 << 10


class ParquetWriter:
    """Writes one file, or parts of a number of rows. A part is finished when the next one begins, the last one by
    `finish`."""

    def __init__(self, draft: Draft, schema: pa.Schema, rows_per_file: int | None = None) -> None:
        self._draft, self._schema, self._rows_per_file = draft, schema, rows_per_file
        self._open = ExitStack()
        self._part: _Part | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def write(self, pieces: Iterator[Piece]) -> None:
        """Writes all rows. Call it once, and then `finish`."""
        for number, some in _parts((piece.table for piece in pieces), self._rows_per_file):
            self.finish({})
            file = self._open.enter_context(self._draft.part(number))
            self._part = self._open.enter_context(_Part(file, self._schema))
            self._part.write(_row_groups(some))

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Ends the open part, with metadata of its own, and reads it back. Raises MachineRefused if that fails."""
        if self._part is not None:
            self._part.finish(metadata)
        self._open.close()


class _Part:
    """One Parquet file."""

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._file, self._schema = file, schema
        repetitive: Any = _repetitive(schema)
        self._encoder = pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=repetitive)
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._encoder.close()

    def write(self, groups: Iterator[list[pa.Table]]) -> None:
        """Writes row groups. Each is encoded in another thread while the next is gathered."""
        with ThreadPoolExecutor(1) as beside:
            written: list[Future[int]] = []
            for tables in groups:
                self._rows += sum(before.result() for before in written)
                written = [beside.submit(self._put, tables)]
            self._rows += sum(last.result() for last in written)

    def _put(self, tables: list[pa.Table]) -> int:
        group = pa.concat_tables(tables).cast(self._schema)
        self._encoder.write_table(group, row_group_size=group.num_rows)
        return group.num_rows

    def finish(self, metadata: Mapping[str, str]) -> None:
        self._encoder.add_key_value_metadata(dict(metadata))
        self._encoder.close()
        _verify(self._file, self._schema, self._rows)


def _parts(tables: Iterator[pa.Table], rows: int | None) -> Iterator[tuple[int, Iterator[pa.Table]]]:
    """Yields the tables of each part, by its number: one part at least. Use up each before you take the next."""
    if rows is None:
        yield 0, tables
        return
    pieces = _pieces(tables, rows)
    first = next(pieces, None)
    if first is None:
        yield 0, iter(())
        return
    for number, part in itertools.groupby(itertools.chain([first], pieces), key=operator.itemgetter(0)):
        yield number, (table for _, table in part)


def _pieces(tables: Iterator[pa.Table], rows: int) -> Iterator[tuple[int, pa.Table]]:
    """Yields pieces of the tables, each with the number of its part."""
    row = 0
    for table in tables:
        start = 0
        while start < table.num_rows:
            piece = table.slice(start, rows - row % rows)
            yield row // rows, piece
            start, row = start + piece.num_rows, row + piece.num_rows


def _repetitive(schema: pa.Schema) -> list[str]:
    """Returns the paths of the columns that get a dictionary: all but fractions, as log-probs are. Those hardly
    repeat; without a dictionary they take a sixth less time to write, and an eighth less space."""
    empty = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), empty)
    leaves: Any = pq.ParquetFile(pa.BufferReader(empty.getvalue())).schema
    return [leaf.path for leaf in leaves if leaf.physical_type not in {"FLOAT", "DOUBLE"}]


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[list[pa.Table]]:
    waiting: list[pa.Table] = []
    size = rows = 0
    for table in tables:
        if not table.num_rows:
            continue  # pyarrow refuses an empty group
        waiting.append(table)
        size, rows = size + table.nbytes, rows + table.num_rows
        if size >= ROW_GROUP_BYTES or rows >= ROW_GROUP_ROWS:
            yield waiting
            waiting, size, rows = [], 0, 0
    if waiting:
        yield waiting


def _verify(file: BinaryIO, schema: pa.Schema, rows: int) -> None:
    """Reads back what a reader will rely on, before the old file is given up."""
    file.flush()
    file.seek(0)
    written = pq.ParquetFile(file)
    if written.metadata.num_rows != rows or not written.schema_arrow.equals(schema):
        raise MachineRefused("the file that was written does not read back as it was written: it was not published")
