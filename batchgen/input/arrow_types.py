"""Arrow's types: which ones polars (2.1.0) reads, which ones it reads as others, and which ones are refused."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa

from batchgen.errors import UsageError
from batchgen.storage.listing import File

_MAX_DIGITS = 38
"""Digits of a decimal."""
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")
_UTC = ("Z", "+00:00", "-00:00")
_ids: Any = pa.lib
_INTERVALS = {_ids.Type_INTERVAL_MONTHS, _ids.Type_INTERVAL_DAY_TIME, _ids.Type_INTERVAL_MONTH_DAY_NANO}
_REFUSED: dict[str, Callable[[Any], bool]] = {
    "intervals": lambda dtype: dtype.id in _INTERVALS,
    "values of several types (a union)": pa.types.is_union,
    "run-end encoded values": pa.types.is_run_end_encoded,
    "list views": lambda dtype: pa.types.is_list_view(dtype) or pa.types.is_large_list_view(dtype),
}
"""Types that polars panics at or does not know, and that pyarrow (26.0.1) does not turn into others."""


def refuse_unreadable(path: File | str, schema: pa.Schema) -> None:
    """Raises UsageError for a column of a type, or with a name, that cannot be read. `path`: the file, or what else
    the table is called."""
    for at, field in enumerate(schema, 1):
        if (what := _unreadable_name(field)) is not None:
            raise UsageError(f"{path}: column {at} has {what}: write the table anew without it")
        if (what := _unreadable(field.type)) is not None:
            raise UsageError(f"{path}: column {field.name!r} holds {what}: write it as text, or leave it out")


def _unreadable_name(field: Any) -> str | None:
    """Returns what polars (2.1.0) panics at in a column's own name or metadata, or in those of its fields; None if
    there is nothing."""
    try:
        shown = field.name
        for text in (text for pair in (field.metadata or {}).items() for text in pair):
            text.decode()
    except UnicodeDecodeError:
        return "a name, or metadata, that are not UTF-8"
    if "\0" in shown:
        return f"the name {shown!r}, with a NUL character"
    inner = (field.type.field(at) for at in range(field.type.num_fields))
    return next((what for one in inner if (what := _unreadable_name(one)) is not None), None)


def _unreadable(dtype: Any, *, nested: bool = False) -> str | None:
    """Returns what a column holds that cannot be read; None if it can be read."""
    if refused := next((what for what, is_it in _REFUSED.items() if is_it(dtype)), None):
        return refused
    if pa.types.is_decimal(dtype) and (digits := dtype.precision - min(dtype.scale, 0)) > _MAX_DIGITS:
        return f"decimals of {digits} digits, more than {_MAX_DIGITS}"
    if pa.types.is_timestamp(dtype) and not _is_readable_zone(dtype.tz, nested=nested):
        return f"times of the zone {dtype.tz}, which is not in the time zone database"
    if isinstance(dtype, pa.BaseExtensionType):
        return _unreadable(dtype.storage_type, nested=True)
    inner = [dtype.field(at).type for at in range(dtype.num_fields)]
    return next((what for one in inner if (what := _unreadable(one, nested=True)) is not None), None)


def _is_readable_zone(name: str | None, *, nested: bool) -> bool:
    return name in _UTC or is_zone(name) or (not nested and offset(str(name)) is not None)


def is_zone(name: str | None) -> bool:
    """Returns whether polars knows the time zone."""
    try:
        pl.Series([], dtype=pl.Datetime("us", name))
    except pl.exceptions.ComputeError:
        return False
    return True


def offset(zone: str) -> dt.timedelta | None:
    """Returns the offset of a zone such as +05:30; None if the zone is a name."""
    found = _OFFSET.fullmatch(zone)
    if found is None:
        return None
    size = dt.timedelta(hours=int(found[2]), minutes=int(found[3]))
    return -size if found[1] == "-" else size


def holds_uuids(dtype: Any) -> bool:
    if dtype == pa.uuid():
        return True
    return any(holds_uuids(dtype.field(at).type) for at in range(dtype.num_fields))


def rebuilt(dtype: Any, leaf: Callable[[Any], Any]) -> Any:
    """Returns the type with `leaf` applied to every type within it that is not a list, struct or map."""
    if isinstance(dtype, pa.StructType):
        return pa.struct([field.with_type(rebuilt(field.type, leaf)) for field in dtype])
    if isinstance(dtype, pa.MapType):
        return pa.map_(*(field.with_type(rebuilt(field.type, leaf)) for field in (dtype.key_field, dtype.item_field)))
    if not isinstance(dtype, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        return leaf(dtype)
    item = dtype.value_field.with_type(rebuilt(dtype.value_type, leaf))
    if isinstance(dtype, pa.FixedSizeListType):
        return pa.list_(item, dtype.list_size)
    return pa.large_list(item) if isinstance(dtype, pa.LargeListType) else pa.list_(item)


def with_moments(table: pa.Table) -> pa.Table:
    """Returns the table with moments in place of days that are counted in milliseconds, as polars reads them."""
    types = [
        rebuilt(field.type, lambda leaf: pa.timestamp("ms") if pa.types.is_date64(leaf) else leaf)
        for field in table.schema
    ]
    return table if types == table.schema.types else table.cast(pa.schema([*map(pa.field, table.column_names, types)]))


def readable(dtype: Any) -> Any:
    """Returns the type as which a column is read. It holds the same values. A column's own dictionary becomes its
    values. An extension type becomes its storage type if that cannot be read, or within other types, where pyarrow does
    not write it; there UUIDs stay."""
    if isinstance(dtype, pa.DictionaryType):
        return readable(dtype.value_type)
    if isinstance(dtype, pa.BaseExtensionType):
        storage = rebuilt(dtype.storage_type, _readable_within)
        return dtype if storage == dtype.storage_type else storage
    return rebuilt(dtype, _readable_within)


def _readable_within(dtype: Any) -> Any:
    if isinstance(dtype, pa.BaseExtensionType) and dtype != pa.uuid():
        return rebuilt(dtype.storage_type, _readable_within)
    if pa.types.is_decimal(dtype):
        scale = max(dtype.scale, 0)
        return pa.decimal128(dtype.precision - dtype.scale + scale, scale)
    if pa.types.is_timestamp(dtype):
        return pa.timestamp(_unit(dtype), "UTC" if dtype.tz in _UTC else dtype.tz)
    if pa.types.is_duration(dtype):
        return pa.duration(_unit(dtype))
    return pa.date32() if pa.types.is_date64(dtype) else dtype


def _unit(dtype: Any) -> Any:
    """Returns the unit that polars has. It makes 0 of seconds that are too many milliseconds; pyarrow refuses them."""
    return "ms" if dtype.unit == "s" else dtype.unit
