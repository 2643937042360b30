"""Parquet files -> batches of rows, columns and types as the file has them; a dictionary is read as its values.

A file is not trusted to be as large as it looks: a few bytes may stand for ten million rows of a megabyte. So no more
rows are decoded at once than fit, by the longest value that their row group's dictionaries hold, and a file that
unfolds beyond all measure is refused. Never holds more than a batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchgen.errors import UsageError
from batchgen.rows.bounds import BATCH_BYTES, BATCH_ROWS, MAX_CELL, UUID, Schema
from batchgen.rows.files import File, size_of
from batchgen.stores import Object

MOST_UNFOLDED, UNFOLDS_FROM = 1000, 1 << 30
"""Times its size that a file or a column of it may unfold to, where that is a gigabyte or more."""
ROW_BYTES = 100
"""What a row of nothing takes, in memory."""
FEW_ROWS = 32
"""Decoded at once where nothing says how long a value may be."""
AT_A_TIME = 64 << 10
"""Bytes that are read of a chunk of which the dictionary alone is wanted."""


class Parquet:
    def schema(self, path: File) -> Schema:
        with _refusing(path, "not a readable Parquet file"), opened(path) as file:
            _refuse_folded(path, file)
            schema = file.schema_arrow
            names = schema.names
            _refuse_strange(path, schema)
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise UsageError(f"{path}: two columns are named {twice!r}")
            return dict(_frame(schema.empty_table()).schema)

    def batches(self, path: File, schema: Schema) -> Iterator[pl.DataFrame]:
        with _refusing(path, "damaged Parquet"), opened(path, pre_buffer=False) as file:
            unfolded = row = 0
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(_step(path, file, group), row_groups=[group], use_threads=False):
                    for frame in _pieces(_frame(pa.Table.from_batches([batch]))):
                        _refuse_long(path, frame, row)
                        row += frame.height
                        unfolded += int(frame.estimated_size()) + ROW_BYTES * frame.height
                        _refuse_unfolding(path, unfolded / row * file.metadata.num_rows)
                        yield frame.select(list(schema))


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
    if pa.types.is_timestamp(dtype) and re.fullmatch(r"[+-]\d\d:?\d\d", dtype.tz or ""):
        return f"times of the zone {dtype.tz}, which has no name"
    if nested and dtype == pa.uuid():
        return "UUIDs within a list or struct"
    inner = [dtype.field(at).type for at in range(dtype.num_fields)]
    return next((what for one in inner if (what := _strange(one, nested=True)) is not None), None)


def opened(path: File | BinaryIO, **how: Any) -> pq.ParquetFile:
    """A Parquet file, by its name or as a file that is open; as a context it is closed after. Its INT96 timestamps, as
    Spark writes them, are read in microseconds: in nanoseconds the year 9999 would be 1816 (pyarrow 26)."""
    file = path.open() if isinstance(path, Object) else path
    return pq.ParquetFile(file, coerce_int96_timestamp_unit="us", **how)


@contextmanager
def _refusing(path: File, what: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, pl.exceptions.PolarsError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the machine's; Arrow's own have no number
        said = str(error).split("\n", 1)[0]
        raise UsageError(f"{path}: {what}: {said}") from None


def _frame(table: pa.Table) -> pl.DataFrame:
    columns = [c.cast(c.type.value_type) if isinstance(c.type, pa.DictionaryType) else c for c in table.columns]
    frame = pl.DataFrame(pa.table(columns, names=table.column_names))
    uuids = [field.name for field in table.schema if field.type == pa.uuid()]
    return frame.with_columns(frame[name].ext.to(UUID) for name in uuids)  # which polars takes for bytes


def _texts(file: pq.ParquetFile, group: int) -> Iterator[Any]:
    """The chunks of a row group that hold texts or bytes."""
    of = file.metadata.row_group(group)
    chunks = (of.column(at) for at in range(of.num_columns))
    return (chunk for chunk in chunks if chunk.physical_type == "BYTE_ARRAY")


def _step(path: File, file: pq.ParquetFile, group: int) -> int:
    """How many rows of a row group may be decoded at once: with the longest values they are about four batches."""
    of = file.metadata.row_group(group)
    even = BATCH_BYTES * of.num_rows // max(of.total_byte_size, 1)
    longest = max((_longest(path, group, chunk) for chunk in _texts(file, group)), default=0)
    return max(1, min(BATCH_ROWS, even, 4 * BATCH_BYTES // max(longest, 1)))


def _longest(path: File, group: int, chunk: Any) -> int:
    """Bytes of the longest value that a chunk may repeat without taking the room for it; 0: none worth a look."""
    repeats = chunk.has_dictionary_page or "DELTA_BYTE_ARRAY" in chunk.encodings
    if not repeats or chunk.total_uncompressed_size * BATCH_ROWS <= 4 * BATCH_BYTES:
        return 0
    beyond_telling = 4 * BATCH_BYTES // FEW_ROWS
    if "DELTA_BYTE_ARRAY" in chunk.encodings:
        return beyond_telling
    name = chunk.path_in_schema
    with opened(path, read_dictionary=[name], pre_buffer=False, buffer_size=AT_A_TIME) as file:
        first = next(file.iter_batches(1, row_groups=[group], columns=[name], use_threads=False), None)
    values: Any = None if first is None or first.num_columns != 1 else first.column(0)
    if not isinstance(values, pa.DictionaryArray):
        return beyond_telling
    held: Any = values.dictionary
    return int(pc.max(pc.binary_length(held)).as_py() or 0)


def _pieces(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The frame, cut where its texts are more than a batch."""
    size = int(frame.estimated_size())
    yield from frame.iter_slices(max(1, frame.height * BATCH_BYTES // max(size, 1)))


def _refuse_long(path: File, frame: pl.DataFrame, before: int) -> None:
    for name, column in frame.select(pl.col(pl.String, pl.Binary)).to_dict().items():
        length = column.str.len_bytes() if column.dtype == pl.String else column.bin.size()
        if (length.max() or 0) > MAX_CELL:  # type: ignore[operator]
            row = before + int(length.arg_max() or 0) + 1
            raise UsageError(f"{path}: row {row:,}: {name}: a cell of more than {MAX_CELL >> 20} MiB")


def _refuse_folded(path: File, file: pq.ParquetFile) -> None:
    """By the sizes that the footer gives for what is compressed."""
    for group in range(file.num_row_groups):
        of = file.metadata.row_group(group)
        for chunk in (of.column(at) for at in range(of.num_columns)):
            size = chunk.total_uncompressed_size
            if size > UNFOLDS_FROM and size > MOST_UNFOLDED * chunk.total_compressed_size:
                raise _bomb(path, size)


def _refuse_unfolding(path: File, size: float) -> None:
    """By the rows that were decoded so far."""
    if size > UNFOLDS_FROM and size > MOST_UNFOLDED * size_of(path):
        raise _bomb(path, size)


def _bomb(path: File, size: float) -> UsageError:
    return UsageError(
        f"{path}: {size_of(path) / 1e6:,.1f} MB that unfold to {size / 1e9:,.0f} GB: write what repeats into the "
        "prompt, and leave the column out"
    )
