"""Turns any column into texts, for rows' names, CSV, and what Parquet does not hold. Nested values become JSON.

Dates and durations are ISO 8601 to the last digit, even if Python has no such date (+12000-01-01). Decimals keep their
digits, bytes are base64. NaN is null within JSON, and `NaN` as a cell of its own.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import polars as pl

from batchgen.input.bounds import UUID
from batchgen.input.template.cells import PER_UNIT, leaf, physical, type_of
from batchgen.input.template.values import iso_duration

Write = Callable[[Any], str]
_FIRST, _LAST = (day.toordinal() - dt.date(1970, 1, 1).toordinal() for day in (dt.date.min, dt.date.max))
"""The first and last day that Python, and so polars' own texts, have."""
_DAY, _SECOND = 86_400_000_000_000, 1_000_000_000
"""In nanoseconds."""
_CYCLE_DAYS, _CYCLE_YEARS = 146_097, 400


def texts(column: pl.Series) -> pl.Series:
    """Returns a column's cells as texts. Nulls stay null."""
    dtype = column.dtype
    loses_digits = isinstance(dtype, pl.Time | pl.Float16)  # in polars' texts
    if has_polars_text(column) and not loses_digits:
        return column if dtype == pl.String else column.cast(pl.String)
    if isinstance(dtype, pl.Extension):
        column = column.ext.storage()
    if dtype != UUID and isinstance(dtype, pl.Extension):
        return texts(column)
    kept = physical(dtype)
    cells = (column if kept is None else column.cast(kept)).to_list()
    write = _json(dtype) if dtype.is_nested() else _text(dtype)
    return pl.Series(column.name, [None if cell is None else write(cell) for cell in cells], pl.String)


def has_polars_text(column: pl.Series) -> bool:
    """Returns whether polars can make a text of each cell: it panics at distant dates (2.1.0), and has no text for
    durations."""
    dtype = column.dtype
    if isinstance(dtype, pl.Date | pl.Datetime):
        return not _is_distant(column)
    return not (dtype.is_nested() or isinstance(dtype, pl.Binary | pl.Duration | pl.Extension))


def _is_distant(column: pl.Series) -> bool:
    counts = column.cast(pl.Int64)
    per_day = _per_day(column.dtype)
    least, most = counts.min(), counts.max()
    return least is not None and not (_FIRST * per_day <= int(least) and int(most) < (_LAST + 1) * per_day)  # type: ignore[arg-type]


def _per_day(dtype: Any) -> int:
    return _DAY // PER_UNIT[dtype.time_unit] if isinstance(dtype, pl.Datetime) else 1


def _text(dtype: pl.DataType) -> Write:
    """Returns a writer for cells of a physical type that is not nested."""
    if isinstance(dtype, pl.Date):
        return _day
    if isinstance(dtype, pl.Datetime):
        return _moment(dtype)
    if isinstance(dtype, pl.Duration):
        per_unit = PER_UNIT[dtype.time_unit or "us"]
        return lambda count: iso_duration(count * per_unit)
    if isinstance(dtype, pl.Decimal):
        return lambda value: format(value, "f")
    if dtype == UUID:
        return lambda value: str(uuid.UUID(bytes=value))
    if isinstance(dtype, pl.Binary):
        return lambda value: base64.b64encode(value).decode()
    read = leaf(dtype)
    return str if read is None else lambda value: str(read(value))


def _day(days: int) -> str:
    cycles, rest = divmod(days - _FIRST, _CYCLE_DAYS)  # after which the calendar repeats
    date = dt.date.fromordinal(1 + rest)
    year = date.year + cycles * _CYCLE_YEARS
    return f"{year:04}{date:-%m-%d}" if 0 < year <= dt.MAXYEAR else f"{year:+05}{date:-%m-%d}"


def _moment(dtype: pl.Datetime) -> Write:
    per_day, read = _per_day(dtype), leaf(dtype)

    def text(count: int) -> str:
        days, rest = divmod(count, per_day)
        if read is not None and _FIRST < days < _LAST:
            return str(read(count))
        seconds, below = divmod(rest * PER_UNIT[dtype.time_unit], _SECOND)
        clock = dt.time(seconds // 3600, seconds // 60 % 60, seconds % 60, below // 1000)
        return f"{_day(days)} {clock}{'+00:00' if dtype.time_zone else ''}"

    return text


def _json(dtype: pl.DataType) -> Write:
    """Returns a writer of JSON for cells that are not null."""
    if _is_json(dtype):
        return lambda value: msgspec.json.encode(value).decode()
    if isinstance(dtype, pl.List | pl.Array):
        return _list(_json(type_of(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        return _object({field.name: _json(type_of(field.dtype)) for field in dtype.fields})
    if isinstance(dtype, pl.Map):
        return _map(type_of(dtype.key), _json(type_of(dtype.value)))
    if dtype.is_float():
        read = leaf(dtype) or float
        return lambda value: repr(read(value)) if math.isfinite(value) else "null"
    write = _text(dtype)
    return write if isinstance(dtype, pl.Decimal) else lambda value: json.dumps(write(value), ensure_ascii=False)


def _list(item: Write) -> Write:
    return lambda values: f"[{','.join('null' if value is None else item(value) for value in values)}]"


def _object(fields: dict[str, Write]) -> Write:
    names = {name: json.dumps(name, ensure_ascii=False) for name in fields}

    def text(cell: dict[str, Any]) -> str:
        pairs = (f"{names[n]}:{'null' if cell[n] is None else write(cell[n])}" for n, write in fields.items())
        return f"{{{','.join(pairs)}}}"

    return text


def _map(key: pl.DataType, value: Write) -> Write:
    """Returns a writer for maps: an object, or a list of keys and values if the keys are lists or structs."""
    if key.is_nested():
        return _list(_object({"key": _json(key), "value": value}))
    write = _text(key)

    def text(entries: list[dict[str, Any]]) -> str:
        pairs = ((write(entry["key"]), entry["value"]) for entry in entries)
        told = (f"{json.dumps(k, ensure_ascii=False)}:{'null' if v is None else value(v)}" for k, v in pairs)
        return f"{{{','.join(told)}}}"

    return text


def _is_json(dtype: pl.DataType) -> bool:
    """Returns whether JSON's own types hold the values."""
    if isinstance(dtype, pl.List | pl.Array):
        return _is_json(type_of(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return all(_is_json(type_of(field.dtype)) for field in dtype.fields)
    return dtype in (pl.String, pl.Boolean, pl.Float64, pl.Null) or dtype.is_integer()
