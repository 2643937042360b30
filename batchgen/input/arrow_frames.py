"""Turns Arrow's tables into frames with the same values, or refuses them by column, or by row and column.

A dictionary becomes its values. Types that polars (2.1.0) does not have become text: times of a zone that is an offset,
in the zone's own time (`2026-01-01 09:30:00+05:30`), and UUIDs within lists, structs and maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa

from batchgen.errors import UsageError
from batchgen.input.arrow_types import holds_uuids, is_zone, offset, readable, refuse_unreadable
from batchgen.input.bounds import BATCH_BYTES, BATCH_ROWS, MAX_CELL, UUID, Schema
from batchgen.storage.listing import File
from batchgen.ui.humanize import first_line

_ADVICE = {"Integers with more than 64 bits": "cast them to decimals of 38 digits, or to text"}
"""What to do about what pyarrow (26.0.1) does not read, by its words."""


def explained(error: BaseException) -> str:
    """Returns a library's words, and what to do where that is known."""
    line = first_line(error)
    return next((f"{line}: {advice}" for words, advice in _ADVICE.items() if words in line), line)


@contextmanager
def refusing(path: File, what: str) -> Iterator[None]:
    """Raises UsageError for what a library says of a file. `what`: what the file is then."""
    try:
        yield
    except (pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the machine's; Arrow's own have no number
        raise UsageError(f"{path}: {what}: {explained(error)}") from None


def columns_of(path: File, schema: pa.Schema) -> Schema:
    """Returns a file's columns. Raises UsageError if one cannot be read, or if two have the same name."""
    refuse_unreadable(path, schema)
    names = schema.names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{path}: two columns are named {twice!r}")
    return dict(to_frame(pa.Table.from_batches([], schema)).schema)


def _as_readable(table: pa.Table) -> pa.Table:
    """Returns the table with its columns' types as `readable` has them."""
    types = [readable(field.type) for field in table.schema]
    if types == table.schema.types:
        return table
    return pa.table(list(map(_cast, table.columns, types)), names=table.column_names)


def _cast(column: Any, dtype: Any) -> Any:
    if isinstance(column.type, pa.DictionaryType):
        values = column.type.value_type
        column = pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks], values)
    return column if column.type == dtype else column.cast(dtype)


def to_frame(table: pa.Table) -> pl.DataFrame:
    table = _as_readable(table).replace_schema_metadata()  # polars (2.1.0) panics if they are not UTF-8
    by_offset = {
        at: field.type.tz
        for at, field in enumerate(table.schema)
        if pa.types.is_timestamp(field.type) and not is_zone(field.type.tz)
    }
    for at in by_offset:
        naive: Any = table.column(at).cast(pa.timestamp(table.schema.field(at).type.unit))
        table = table.set_column(at, table.column_names[at], naive)
    frame = pl.DataFrame(table)
    made = [_local(table.column_names[at], zone) for at, zone in by_offset.items()]
    for field in table.schema:
        if field.type == pa.uuid():
            frame = frame.with_columns(frame[field.name].ext.to(UUID))  # polars has bytes
        elif holds_uuids(field.type):
            made.append(_with_texts(pl.col(field.name), field.type).alias(field.name))
    return frame.with_columns(made) if made else frame


def _local(name: str, zone: str) -> pl.Expr:
    """Returns a column of UTC as texts in the time of a zone that is an offset."""
    return (pl.col(name) + offset(zone)).dt.strftime("%Y-%m-%d %H:%M:%S%.f") + zone


def _with_texts(cells: pl.Expr, dtype: Any) -> pl.Expr:
    """Returns the cells with every UUID in them as text."""
    if dtype == pa.uuid():
        digits = cells.bin.encode("hex")
        groups = [digits.str.slice(start, length) for start, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
        return pl.concat_str(groups, separator="-")
    if not holds_uuids(dtype):
        return cells
    if isinstance(dtype, pa.StructType):
        fields = [_with_texts(cells.struct.field(one.name), one.type).alias(one.name) for one in dtype]
        return pl.when(cells.is_not_null()).then(pl.struct(fields))
    if isinstance(dtype, pa.MapType):
        entry = {"key": dtype.key_type, "value": dtype.item_type}
        fields = [_with_texts(pl.element().struct.field(name), one).alias(name) for name, one in entry.items()]
        return cells.map.entries().list.eval(pl.struct(fields)).list.to_map()
    items = cells.arr if isinstance(dtype, pa.FixedSizeListType) else cells.list
    return items.eval(_with_texts(pl.element(), dtype.value_type))


def slices(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yields the frame in slices of at most a batch's rows and bytes."""
    size = int(frame.estimated_size())
    yield from frame.iter_slices(max(1, min(BATCH_ROWS, frame.height * BATCH_BYTES // max(size, 1))))


def refuse_long(path: File, frame: pl.DataFrame, before: int) -> None:
    if frame.estimated_size() <= MAX_CELL:
        return
    for name, column in frame.select(pl.col(pl.String, pl.Binary)).to_dict().items():
        length = column.str.len_bytes() if column.dtype == pl.String else column.bin.size()
        if (length.max() or 0) > MAX_CELL:  # type: ignore[operator]
            row = before + int(length.arg_max() or 0) + 1
            raise UsageError(f"{path}: row {row:,}: {name}: a cell is larger than {MAX_CELL >> 20} MiB")


def validated(path: File, batch: pa.RecordBatch, before: int) -> pa.Table:
    """Returns the batch as a table of readable types. Raises UsageError for text that is not UTF-8, at any depth:
    neither Arrow nor polars checks it when it reads."""
    try:
        batch.validate(full=True)
        return _as_readable(pa.Table.from_batches([batch]))
    except pa.ArrowInvalid as error:
        for row in range(batch.num_rows):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                _refuse_cell(f"{path}: row {before + row + 1:,}: {name}", column.slice(row, 1))
        raise UsageError(f"{path}: damaged: {explained(error)}") from None


def _refuse_cell(where: str, cell: Any) -> None:
    try:
        own: Any = pa.concat_arrays([cell])  # without the rest of its column
        own = own.dictionary_decode() if isinstance(own, pa.DictionaryArray) else own
        own.validate(full=True)
        own.cast(readable(own.type))
    except pa.ArrowInvalid as error:
        said = "not UTF-8" if "UTF8" in str(error) else explained(error)
        raise UsageError(f"{where}: {said}") from None
