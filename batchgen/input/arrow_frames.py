"""Arrow's tables -> frames that hold the same, or a refusal by column, or by row and column.

A dictionary is read as its values. What polars (2.1.0) has no type for is text: the times of a zone that is an offset
in the zone's own time (`2026-01-01 09:30:00+05:30`), and a UUID within a list, struct or map.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa

from batchgen.errors import UsageError
from batchgen.input.bounds import BATCH_BYTES, MAX_CELL, UUID
from batchgen.storage.listing import File

_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")
_UTC = ("Z", "+00:00", "-00:00")


def refuse_strange(path: File, schema: pa.Schema) -> None:
    """Raises UsageError for a column of a type that polars does not read, or panics at (2.1.0)."""
    for field in schema:
        if (what := _strange(field.type)) is not None:
            raise UsageError(
                f"{path}: column {field.name!r} holds {what}: write it as text, or leave it out of the file"
            )


def _strange(dtype: pa.DataType, *, nested: bool = False) -> str | None:
    if pa.types.is_decimal256(dtype):
        return f"decimals of {dtype.precision} digits, more than 38"
    if pa.types.is_timestamp(dtype) and not _is_zone(dtype.tz) and (nested or _offset(dtype.tz) is None):
        return f"times of the zone {dtype.tz}, which is none of the time zone database"
    inner = [dtype.field(at).type for at in range(dtype.num_fields)]
    return next((what for one in inner if (what := _strange(one, nested=True)) is not None), None)


def _is_zone(name: str | None) -> bool:
    """Whether polars knows it."""
    try:
        pl.Series([], dtype=pl.Datetime("us", name))
    except pl.exceptions.ComputeError:
        return False
    return True


def _offset(zone: str) -> dt.timedelta | None:
    """Of a zone that is one, such as +05:30."""
    if zone == "Z":
        return dt.timedelta()
    found = _OFFSET.fullmatch(zone)
    if found is None:
        return None
    size = dt.timedelta(hours=int(found[2]), minutes=int(found[3]))
    return -size if found[1] == "-" else size


def _holds_uuids(dtype: pa.DataType) -> bool:
    if dtype == pa.uuid():
        return True
    return any(_holds_uuids(dtype.field(at).type) for at in range(dtype.num_fields))


def first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]


def _decoded(table: pa.Table) -> pa.Table:
    """With dictionaries as their values."""
    if not any(isinstance(field.type, pa.DictionaryType) for field in table.schema):
        return table
    columns: Iterator[Any] = iter(table.columns)
    values = [c.cast(c.type.value_type) if isinstance(c.type, pa.DictionaryType) else c for c in columns]
    return pa.table(values, names=table.column_names)


def frame_of(table: pa.Table) -> pl.DataFrame:
    table = _decoded(table)
    by_offset = {
        at: field.type.tz
        for at, field in enumerate(table.schema)
        if pa.types.is_timestamp(field.type) and not _is_zone(field.type.tz)
    }
    for at in by_offset:
        naive: Any = table.column(at).cast(pa.timestamp(table.schema.field(at).type.unit))
        table = table.set_column(at, table.column_names[at], naive)
    frame = pl.DataFrame(table)
    made = [_local(table.column_names[at], zone) for at, zone in by_offset.items()]
    for field in table.schema:
        if field.type == pa.uuid():
            frame = frame.with_columns(frame[field.name].ext.to(UUID))  # polars has bytes
        elif _holds_uuids(field.type):
            made.append(_with_texts(pl.col(field.name), field.type).alias(field.name))
    return frame.with_columns(made) if made else frame


def _local(name: str, zone: str) -> pl.Expr:
    """A column of UTC as a zone that is an offset has it: a text, or a time where the zone is UTC itself."""
    column = pl.col(name)
    offset = _offset(zone)
    if not offset:
        return column.dt.replace_time_zone("UTC")
    return (column + offset).dt.strftime("%Y-%m-%d %H:%M:%S%.f") + zone


def _with_texts(cells: pl.Expr, dtype: Any) -> pl.Expr:
    """With the UUIDs in them as texts."""
    if dtype == pa.uuid():
        digits = cells.bin.encode("hex")
        groups = [digits.str.slice(start, length) for start, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
        return pl.concat_str(groups, separator="-")
    if not _holds_uuids(dtype):
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


def pieces_of(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The frame, cut where its texts are more than a batch."""
    size = int(frame.estimated_size())
    yield from frame.iter_slices(max(1, frame.height * BATCH_BYTES // max(size, 1)))


def refuse_long(path: File, frame: pl.DataFrame, before: int) -> None:
    if frame.estimated_size() <= MAX_CELL:
        return
    for name, column in frame.select(pl.col(pl.String, pl.Binary)).to_dict().items():
        length = column.str.len_bytes() if column.dtype == pl.String else column.bin.size()
        if (length.max() or 0) > MAX_CELL:  # type: ignore[operator]
            row = before + int(length.arg_max() or 0) + 1
            raise UsageError(f"{path}: row {row:,}: {name}: a cell of more than {MAX_CELL >> 20} MiB")


def legible(path: File, batch: pa.RecordBatch, before: int) -> pa.Table:
    """The batch, decoded. Raises UsageError for texts that are no UTF-8, at any depth: neither Arrow nor polars looks
    when it reads."""
    try:
        batch.validate(full=True)
        return _decoded(pa.Table.from_batches([batch]))
    except pa.ArrowInvalid as error:
        for row in range(batch.num_rows):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                _refuse_cell(f"{path}: row {before + row + 1:,}: {name}", column.slice(row, 1))
        raise UsageError(f"{path}: damaged: {first_line(error)}") from None


def _refuse_cell(where: str, cell: Any) -> None:
    try:
        own: Any = pa.concat_arrays([cell])  # without the rest of its column
        (own.dictionary_decode() if isinstance(own, pa.DictionaryArray) else own).validate(full=True)
    except pa.ArrowInvalid as error:
        said = "not UTF-8" if "UTF8" in str(error) else first_line(error)
        raise UsageError(f"{where}: {said}") from None
