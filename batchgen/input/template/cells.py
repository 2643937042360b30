"""Turns cells into the values that a template works with, of any type and at any depth, without loss.

Narrow floats are the numbers of their own shortest digits (19.99, not 19.989999771118164). Nanoseconds are kept, which
Python does not have. NaN is null.
"""

from __future__ import annotations

import datetime as dt
import struct
import uuid
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from batchgen.input.bounds import UUID
from batchgen.input.template.values import Absent, Clock, Duration, Exact, Fields, Moment, Null, TemplateFault

Read = Callable[[Any], Any]
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SECOND = 1_000_000_000
_SUBNORMAL = 2.0**-126
PER_UNIT = {"ms": 1_000_000, "us": 1_000, "ns": 1}


class Column:
    """Reads a column's cells as template values. `names_printed` receives the name of each null that gets printed.

    A date that Python has not is a value that refuses any use. Raises TemplateFault if the column holds bytes."""

    def __init__(self, name: str, dtype: pl.DataType, names_printed: list[str]) -> None:
        if isinstance(dtype, pl.Extension) and dtype != UUID:
            dtype = type_of(dtype.ext_storage())
        self.name = name
        self._null = Null(name, names_printed)
        self._distant = Absent(f"column {name!r} holds a date or time beyond the years 1 to 9999")
        self._physical = physical(dtype)
        self._is_float = dtype.is_float()
        self._read = _reader(name, dtype, names_printed)

    def values(self, cells: pl.Series) -> list[Any]:
        """Returns one value for each cell."""
        if isinstance(cells.dtype, pl.Extension):
            cells = cells.ext.storage()
        if self._is_float:
            cells = cells.fill_nan(None)
        if self._physical is not None:
            cells = cells.cast(self._physical)
        if self._read is None:
            return [self._null if cell is None else cell for cell in cells] if cells.null_count() else cells.to_list()
        return [self._null if cell is None else self._value(self._read, cell) for cell in cells.to_list()]

    def _value(self, read: Read, cell: Any) -> Any:
        try:
            return read(cell)
        except (ValueError, OverflowError):
            return self._distant


def physical(dtype: pl.DataType) -> pl.DataType | None:
    """Returns the type that keeps what Python loses: nanoseconds, years beyond 9999, at which polars panics, and
    maps with nested keys, of which it makes no dict. None if the type itself keeps everything."""
    if isinstance(dtype, pl.Date | pl.Datetime | pl.Time | pl.Duration):
        return pl.Int64()
    if isinstance(dtype, pl.List):
        inner = physical(type_of(dtype.inner))
        return inner and pl.List(inner)
    if isinstance(dtype, pl.Array):
        inner = physical(type_of(dtype.inner))
        return inner and pl.Array(inner, dtype.size)
    if isinstance(dtype, pl.Struct):
        fields = {field.name: physical(type_of(field.dtype)) for field in dtype.fields}
        kept = {field.name: fields[field.name] or type_of(field.dtype) for field in dtype.fields}
        return pl.Struct(kept) if any(fields.values()) else None
    if isinstance(dtype, pl.Map):
        key, value = type_of(dtype.key), type_of(dtype.value)
        return pl.List(pl.Struct({"key": physical(key) or key, "value": physical(value) or value}))
    return None


def type_of(dtype: Any) -> pl.DataType:
    """Returns an instance of a type: polars gives a nested type as a class or as an instance."""
    known: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return known


def _reader(name: str, dtype: pl.DataType, printed_names: list[str]) -> Read | None:
    """Returns a function that makes a template value of a cell that is not null; None if the cell is the value."""
    if dtype == pl.Binary:
        raise TemplateFault(f"bytes{f' ({name})' if set(name) & set('.[') else ''}, not text")
    if (read := leaf(dtype)) is not None:
        return read
    if isinstance(dtype, pl.List | pl.Array):
        item = _or_null(f"{name}[]", type_of(dtype.inner), printed_names)
        return lambda cell: [item(value) for value in cell]
    if isinstance(dtype, pl.Struct):
        fields = {f.name: _or_null(f"{name}.{f.name}", type_of(f.dtype), printed_names) for f in dtype.fields}
        return lambda cell: Fields({key: read(cell[key]) for key, read in fields.items()})
    if isinstance(dtype, pl.Map):
        if type_of(dtype.key).is_nested():
            raise TemplateFault("maps whose keys are lists or structs: write them as text, or leave them out")
        key = _reader(f"{name}.key", type_of(dtype.key), printed_names) or (lambda value: value)
        value = _or_null(f"{name}.value", type_of(dtype.value), printed_names)
        return lambda cell: _mapping(name, [(key(entry["key"]), value(entry["value"])) for entry in cell])
    return (lambda cell: str(uuid.UUID(bytes=cell))) if dtype == UUID else None


def _mapping(name: str, entries: list[tuple[Any, Any]]) -> dict[Any, Any] | Absent:
    mapping = dict(entries)
    return mapping if len(mapping) == len(entries) else Absent(f"{name} holds a key more than once")


def leaf(dtype: pl.DataType) -> Read | None:
    """Returns a function that makes a value of a cell of a physical type that is not nested; None if the cell is the
    value."""
    return next((make(dtype) for kind, make in _LEAVES.items() if isinstance(dtype, kind)), None)


def _or_null(name: str, dtype: pl.DataType, printed_names: list[str]) -> Read:
    """Returns a reader of nested values, which may be null. NaN counts as null."""
    null, read = Null(name, printed_names), _reader(name, dtype, printed_names)
    if dtype.is_float():
        return lambda value: null if value is None or value != value else read(value) if read else value  # noqa: PLR0124  NaN
    return lambda value: null if value is None else read(value) if read else value


def _narrow(code: str, least: int, most: int) -> Read:
    """Returns a reader for a float that was stored in fewer bits (`code`: its format of `struct`). It returns the
    number of the float's shortest digits, `least` to `most` of them. NaN stays NaN."""

    def is_same(value: float, shorter: float) -> bool:
        try:
            return bool(struct.unpack(code, struct.pack(code, shorter))[0] == value)
        except OverflowError:  # rounded up, the greatest is beyond the type
            return False

    def read(value: float) -> float:
        begin = 1 if abs(value) < _SUBNORMAL else least  # which have fewer digits
        shorter = (float(f"{value:.{count}g}") for count in range(begin, most + 1))
        return next((number for number in shorter if is_same(value, number)), value)

    return read


def _decimal(dtype: Any) -> Read | None:
    """Returns a reader for scales of seven and more, for which Python may print an exponent."""
    return Exact if dtype.scale > 6 else None  # noqa: PLR2004


def _date(days: int) -> dt.date:
    return dt.date.fromordinal(_EPOCH.toordinal() + days)


def _datetime(dtype: Any) -> Read:
    zone = _zone(dtype.time_zone) if dtype.time_zone else None
    per_unit = PER_UNIT[dtype.time_unit]

    def read(count: int) -> dt.datetime:
        microseconds, below = divmod(count * per_unit, 1000)
        moment = _EPOCH + dt.timedelta(microseconds=microseconds)
        moment = moment.astimezone(zone) if zone else moment.replace(tzinfo=None)
        return _with_nanoseconds(moment, below) if below else moment

    return read


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise TemplateFault(f"times of the zone {name}, which this machine does not know") from None


def _with_nanoseconds(moment: dt.datetime, below: int) -> Moment:
    made = Moment.combine(moment.date(), moment.timetz()).replace(fold=moment.fold)
    made.below_us = below
    return made


def _time(nanoseconds: int) -> dt.time:
    seconds, below = divmod(nanoseconds, _SECOND)
    given = seconds // 3600, seconds // 60 % 60, seconds % 60, below // 1000
    if not below % 1000:
        return dt.time(*given)
    made = Clock(*given)
    made.below_us = below % 1000
    return made


def _duration(dtype: Any) -> Read:
    per_unit = PER_UNIT[dtype.time_unit]

    def read(count: int) -> Duration:
        made = Duration(microseconds=count * per_unit // 1000)
        made.nanoseconds = count * per_unit
        return made

    return read


_LEAVES: dict[type[pl.DataType], Callable[[Any], Read | None]] = {
    pl.Float16: lambda _: _narrow("e", 1, 5),
    pl.Float32: lambda _: _narrow("f", 6, 9),
    pl.Decimal: _decimal,
    pl.Date: lambda _: _date,
    pl.Datetime: _datetime,
    pl.Time: lambda _: _time,
    pl.Duration: _duration,
}
