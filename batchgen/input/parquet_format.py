"""Reads Parquet files: batches of rows, with the file's columns and types. A dictionary becomes its values.

A file is not trusted to be as large as it looks: a few bytes may stand for ten million rows of a megabyte. So no more
rows are decoded at once than fit, given the longest value in their row group's dictionaries. A file that decompresses
beyond all measure is refused. Never holds more than a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.errors import UsageError
from batchgen.input.arrow_frames import columns_of, refuse_long, refusing, slices, to_frame, validated
from batchgen.input.bounds import BATCH_BYTES, ROW_BYTES, Schema, refuse_unfolding
from batchgen.input.common_schema import common_schema
from batchgen.input.file_hints import identify
from batchgen.input.parquet_steps import TOGETHER, broken_column, enums_as_text, intervals, open_parquet, planned_reads
from batchgen.input.read_once import ReadOnce
from batchgen.storage.listing import File, size_of
from batchgen.ui.humanize import pluralize

_ADVICE = ": write what repeats into the prompt, and leave the column out"


class Parquet:
    """Columns, their types and order are the same in all files."""

    def __init__(self) -> None:
        self._intervals: dict[str, File] = {}

    @property
    def notes(self) -> list[str]:
        """Returns which columns are read as what they are stored as."""
        if not self._intervals:
            return []
        (name, path), *more = self._intervals.items()
        others = f" and {pluralize(len(more), 'other')}" if more else ""
        return [f"{path}: column {name!r}{others}: intervals of Parquet, read as the 12 bytes of each"]

    def schema(self, paths: Sequence[File]) -> Schema:
        return common_schema(paths, self._schema)

    def _schema(self, path: File) -> Schema:
        with refusing(path, "not a readable Parquet file"), _seen(path), open_parquet(path) as file:
            if broken := broken_column(file, size_of(path)):
                raise UsageError(f"{path}: column {broken[0]!r} cannot be read: {broken[1]}")
            _refuse_impossible(path, file)
            held = file.schema_arrow
            for at, field in enums_as_text(file).items():
                held = held.set(at, field)
            schema = columns_of(path, held)
            self._intervals.update(dict.fromkeys(intervals(file), path))
            return schema

    def batches(self, path: File, schema: Schema) -> Iterator[pl.DataFrame]:
        with refusing(path, "damaged Parquet"), _opened_once(path) as (source, file):
            unfolded = row = due = 0
            enums = enums_as_text(file)
            for groups, step in planned_reads(source, file):
                decoded = _as_text(file.iter_batches(step, row_groups=groups, use_threads=False), enums)
                for table in _gathered(_validated(path, decoded, row)):
                    for frame in slices(to_frame(table)):
                        refuse_long(path, frame, row)
                        row += frame.height
                        unfolded += int(frame.estimated_size()) + ROW_BYTES * frame.height
                        refuse_unfolding(path, unfolded / row * file.metadata.num_rows, advice=_ADVICE)
                        yield frame if list(schema) == frame.columns else frame.select(list(schema))
                due += sum(file.metadata.row_group(group).num_rows for group in groups)
                if row != due:
                    raise UsageError(
                        f"{path}: damaged Parquet: it holds {row:,} of the {pluralize(due, 'row')} that its footer says"
                    )


def _as_text(batches: Iterable[pa.RecordBatch], enums: dict[int, Any]) -> Iterator[pa.RecordBatch]:
    """Yields the batches with the bytes of enums as text, which is not looked at yet."""
    for batch in batches:
        read = batch
        for at, field in enums.items():
            read = read.set_column(at, field, read.column(at).view(field.type))
        yield read


def _validated(path: File, batches: Iterable[pa.RecordBatch], before: int) -> Iterator[pa.Table]:
    for batch in batches:
        yield validated(path, batch, before)
        before += batch.num_rows


def _gathered(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yields the tables, several as one up to TOGETHER rows or BATCH_BYTES: to make a frame of one takes as long as
    some thousand rows do."""
    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        waiting.append(table)
        rows, size = rows + table.num_rows, size + table.nbytes
        if rows >= TOGETHER or size >= BATCH_BYTES:
            yield pa.concat_tables(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting)


@contextmanager
def _opened_once(path: File) -> Iterator[tuple[ReadOnce, pq.ParquetFile]]:
    with path.open("rb") as raw:
        source = ReadOnce(raw)
        with open_parquet(source, pre_buffer=False) as file:
            yield source, file


@contextmanager
def _seen(path: File) -> Iterator[None]:
    """Raises UsageError for what the file is, where it is something else."""
    try:
        yield
    except pa.ArrowInvalid:
        with path.open("rb") as file:
            begin = file.read(1024)
        if begin[:4] != b"PAR1" and (what := identify(begin)):
            raise UsageError(f"{path}: {what}") from None
        raise


def _refuse_impossible(path: File, file: pq.ParquetFile) -> None:
    """Raises UsageError if the footer names more rows than its row groups have, or a column that unfolds beyond
    measure."""
    held = 0
    for group in range(file.num_row_groups):
        of = file.metadata.row_group(group)
        held += of.num_rows
        for chunk in (of.column(at) for at in range(of.num_columns)):
            refuse_unfolding(path, chunk.total_uncompressed_size, chunk.total_compressed_size, _ADVICE)
    if held != file.metadata.num_rows:
        rows = file.metadata.num_rows
        raise UsageError(f"{path}: damaged Parquet: its footer says {rows:,} rows, and its row groups hold {held:,}")
