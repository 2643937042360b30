"""Tables -> Parquet files, row group by row group, each read back.

Never holds more than two row groups, and the pieces that the next one is made of.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.errors import MachineRefused
from batchgen.output.destination import Writing

ROW_GROUP_BYTES = 8 << 20
ROW_GROUP_ROWS = 128 << 10


def write(
    part: Writing,
    tables: Iterator[pa.Table],
    schema: pa.Schema,
    rows_per_file: int | None,
    metadata: Callable[[], dict[str, str]] = dict,
) -> None:
    """As Parquet: one file or parts, each of which is read back. `metadata` are asked for and added when a file's rows
    are all written."""
    for number, some in _parts(tables, rows_per_file):
        with part(number) as file:
            rows = _encode(file, _row_groups(some), schema, metadata)
            _verify(file, schema, rows)


def _parts(tables: Iterator[pa.Table], rows: int | None) -> Iterator[tuple[int, Iterator[pa.Table]]]:
    """The tables, cut after every so many rows; one part at least. Each is used up before the next."""
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
    """(part, rows of that part alone)."""
    row = 0
    for table in tables:
        start = 0
        while start < table.num_rows:
            piece = table.slice(start, rows - row % rows)
            yield row // rows, piece
            start, row = start + piece.num_rows, row + piece.num_rows


def _encode(
    file: BinaryIO, groups: Iterator[list[pa.Table]], schema: pa.Schema, metadata: Callable[[], dict[str, str]]
) -> int:
    """How many rows were written. One row group is encoded and written beside the gathering of the next, without the
    interpreter's lock. `metadata` are asked for when all are written."""

    def put(tables: list[pa.Table]) -> int:
        group = pa.concat_tables(tables).cast(schema)
        writer.write_table(group, row_group_size=group.num_rows)
        return group.num_rows

    rows = 0
    repetitive: Any = _repetitive(schema)
    writer = pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=repetitive)
    with writer, ThreadPoolExecutor(1) as beside:
        written: list[Future[int]] = []
        for tables in groups:
            rows += sum(before.result() for before in written)
            written = [beside.submit(put, tables)]
        rows += sum(last.result() for last in written)
        writer.add_key_value_metadata(metadata())
    return rows


def _repetitive(schema: pa.Schema) -> list[str]:
    """The paths of the columns that get a dictionary: all but numbers with a fraction, as log-probs are. Those hardly
    repeat; without one they take a sixth less time to write, and an eighth less space."""
    empty = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), empty)
    leaves: Any = pq.ParquetFile(pa.BufferReader(empty.getvalue())).schema
    return [leaf.path for leaf in leaves if leaf.physical_type not in {"FLOAT", "DOUBLE"}]


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[list[pa.Table]]:
    waiting: list[pa.Table] = []
    size = rows = 0
    for table in tables:
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
        raise MachineRefused("the file that was written does not read back as what was meant: it was not published")
