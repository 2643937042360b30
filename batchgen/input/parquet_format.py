"""Parquet files -> batches of rows, columns and types as the file has them; a dictionary is read as its values.

A file is not trusted to be as large as it looks: a few bytes may stand for ten million rows of a megabyte. So no more
rows are decoded at once than fit, by the longest value that their row group's dictionaries hold, and a file that
unfolds beyond all measure is refused. Never holds more than a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.errors import UsageError
from batchgen.input.bounds import BATCH_BYTES, MAX_CELL, UUID, Schema
from batchgen.input.foreign import seen
from batchgen.input.parquet_steps import broken_column, opened, runs
from batchgen.storage.listing import File, size_of

MOST_UNFOLDED, UNFOLDS_FROM = 1000, 1 << 30
"""Times its size that a file or a column of it may unfold to, where that is a gigabyte or more."""
ROW_BYTES = 100
"""What a row of nothing takes, in memory."""


class Parquet:
    def schema(self, path: File) -> Schema:
        with _refusing(path, "not a readable Parquet file"), _seen(path), opened(path) as file:
            if broken := broken_column(file, size_of(path)):
                raise UsageError(f"{path}: column {broken[0]!r} cannot be read: {broken[1]}")
            _refuse_impossible(path, file)
            schema = file.schema_arrow
            names = schema.names
            _refuse_strange(path, schema)
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise UsageError(f"{path}: two columns are named {twice!r}")
            return dict(_frame(schema.empty_table()).schema)

    def batches(self, path: File, schema: Schema) -> Iterator[pl.DataFrame]:
        with _refusing(path, "damaged Parquet"), opened(path, pre_buffer=False) as file:
            unfolded = row = due = 0
            for groups, step in runs(path, file):
                for batch in file.iter_batches(step, row_groups=groups, use_threads=False):
                    for frame in _pieces(_frame(_legible(path, batch, row))):
                        _refuse_long(path, frame, row)
                        row += frame.height
                        unfolded += int(frame.estimated_size()) + ROW_BYTES * frame.height
                        _refuse_unfolding(path, unfolded / row * file.metadata.num_rows)
                        yield frame if list(schema) == frame.columns else frame.select(list(schema))
                due += sum(file.metadata.row_group(group).num_rows for group in groups)
                if row != due:
                    raise UsageError(
                        f"{path}: damaged Parquet: of {due:,} rows that its footer names {row:,} are there"
                    )


def _refuse_strange(path: File, schema: pa.Schema) -> None:
    """Raises UsageError for a column of a type that polars does not read, or panics at (2.1.0)."""
    for field in schema:
        if (what := _strange(field.type)) is not None:
            raise UsageError(
                f"{path}: column {field.name!r} holds {what}: write it as text, or leave it out of the file"
            )


def _strange(dtype: pa.DataType, *, nested: bool = False) -> str | None:
    if pa.types.is_decimal256(dtype):
        return f"decimals of {dtype.precision} digits, more than 38"
    if pa.types.is_timestamp(dtype) and not _is_zone(dtype.tz):
        return f"times of the zone {dtype.tz}, which is none of the time zone database"
    if nested and dtype == pa.uuid():
        return "UUIDs within a list or struct"
    inner = [dtype.field(at).type for at in range(dtype.num_fields)]
    return next((what for one in inner if (what := _strange(one, nested=True)) is not None), None)


def _is_zone(name: str | None) -> bool:
    """Whether polars knows it."""
    try:
        pl.Series([], dtype=pl.Datetime("us", name))
    except pl.exceptions.ComputeError:
        return False
    return True


@contextmanager
def _refusing(path: File, what: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the machine's; Arrow's own have no number
        raise UsageError(f"{path}: {what}: {_first_line(error)}") from None


@contextmanager
def _seen(path: File) -> Iterator[None]:
    """Raises UsageError for what the file is, where it is something else."""
    try:
        yield
    except pa.ArrowInvalid:
        with path.open("rb") as file:
            begin = file.read(1024)
        if begin[:4] != b"PAR1" and (what := seen(begin)):
            raise UsageError(f"{path}: {what}") from None
        raise


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]


def _decoded(table: pa.Table) -> pa.Table:
    """With dictionaries as their values."""
    if not any(isinstance(field.type, pa.DictionaryType) for field in table.schema):
        return table
    columns: Iterator[Any] = iter(table.columns)
    values = [c.cast(c.type.value_type) if isinstance(c.type, pa.DictionaryType) else c for c in columns]
    return pa.table(values, names=table.column_names)


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.DataFrame(_decoded(table))
    uuids = [field.name for field in table.schema if field.type == pa.uuid()]
    return frame.with_columns(frame[name].ext.to(UUID) for name in uuids) if uuids else frame  # polars has bytes


def _pieces(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The frame, cut where its texts are more than a batch."""
    size = int(frame.estimated_size())
    yield from frame.iter_slices(max(1, frame.height * BATCH_BYTES // max(size, 1)))


def _refuse_long(path: File, frame: pl.DataFrame, before: int) -> None:
    if frame.estimated_size() <= MAX_CELL:
        return
    for name, column in frame.select(pl.col(pl.String, pl.Binary)).to_dict().items():
        length = column.str.len_bytes() if column.dtype == pl.String else column.bin.size()
        if (length.max() or 0) > MAX_CELL:  # type: ignore[operator]
            row = before + int(length.arg_max() or 0) + 1
            raise UsageError(f"{path}: row {row:,}: {name}: a cell of more than {MAX_CELL >> 20} MiB")


def _legible(path: File, batch: pa.RecordBatch, before: int) -> pa.Table:
    """The batch, decoded. Raises UsageError for texts that are no UTF-8, at any depth: neither Arrow nor polars looks
    when it reads."""
    try:
        batch.validate(full=True)
        return _decoded(pa.Table.from_batches([batch]))
    except pa.ArrowInvalid as error:
        for row in range(batch.num_rows):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                _refuse_cell(f"{path}: row {before + row + 1:,}: {name}", column.slice(row, 1))
        raise UsageError(f"{path}: damaged Parquet: {_first_line(error)}") from None


def _refuse_cell(where: str, cell: Any) -> None:
    try:
        own: Any = pa.concat_arrays([cell])  # without the rest of its column
        (own.dictionary_decode() if isinstance(own, pa.DictionaryArray) else own).validate(full=True)
    except pa.ArrowInvalid as error:
        said = "not UTF-8" if "UTF8" in str(error) else _first_line(error)
        raise UsageError(f"{where}: {said}") from None


def _refuse_impossible(path: File, file: pq.ParquetFile) -> None:
    """By what the footer says: of more rows than its row groups have, or what is compressed beyond measure."""
    held = 0
    for group in range(file.num_row_groups):
        of = file.metadata.row_group(group)
        held += of.num_rows
        for chunk in (of.column(at) for at in range(of.num_columns)):
            size = chunk.total_uncompressed_size
            if size > UNFOLDS_FROM and size > MOST_UNFOLDED * chunk.total_compressed_size:
                raise _bomb(path, size)
    if held != file.metadata.num_rows:
        rows = file.metadata.num_rows
        raise UsageError(f"{path}: damaged Parquet: its footer names {rows:,} rows, and row groups of {held:,}")


def _refuse_unfolding(path: File, size: float) -> None:
    """By the rows that were decoded so far."""
    if size > UNFOLDS_FROM and size > MOST_UNFOLDED * size_of(path):
        raise _bomb(path, size)


def _bomb(path: File, size: float) -> UsageError:
    return UsageError(
        f"{path}: {size_of(path) / 1e6:,.1f} MB that unfold to {size / 1e9:,.0f} GB: write what repeats into the "
        "prompt, and leave the column out"
    )
