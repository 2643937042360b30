"""The input's columns in the results: in types that every reader of Parquet knows, else as JSON text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from batchgen.input.bounds import UUID, Schema
from batchgen.input.texts import texts

_PLAIN_DEPTH = 20


def json_columns(columns: Schema) -> list[str]:
    """Returns the columns whose types the Parquet writer refuses or changes, so that they are written as JSON text.
    It is tried on a file without rows."""
    return [name for name, dtype in columns.items() if not _is_plain(dtype) and not _is_written(name, dtype)]


def _is_plain(dtype: Any, depth: int = 0) -> bool:
    """Returns whether the type is known to be written, so that a plan need not load the writer."""
    if isinstance(dtype, pl.List):
        return depth < _PLAIN_DEPTH and _is_plain(dtype.inner, depth + 1)
    if isinstance(dtype, pl.Struct):
        fields = dtype.fields
        return depth < _PLAIN_DEPTH and bool(fields) and all(_is_plain(field.dtype, depth + 1) for field in fields)
    whole = dtype.is_integer() and dtype not in (pl.Int128, pl.UInt128)
    return whole or dtype.is_float() or dtype.is_temporal() or dtype in (pl.String, pl.Boolean, pl.Binary, pl.Null)


def _is_written(name: str, dtype: pl.DataType) -> bool:
    import pyarrow as pa  # noqa: PLC0415  it takes long, and a plan without such columns writes nothing
    import pyarrow.parquet as pq  # noqa: PLC0415

    buffer = pa.BufferOutputStream()
    try:
        table = arrow(pl.DataFrame(schema={name: dtype}))
        plain = pa.schema([field.with_type(plain_type(field.type)) for field in table.schema])
        pq.write_table(table.cast(plain), buffer)
        return bool(pq.ParquetFile(pa.BufferReader(buffer.getvalue())).schema_arrow.equals(plain))
    except (pa.ArrowException, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False


def arrow(frame: pl.DataFrame, as_json: Iterable[str] = ()) -> Any:
    """Returns the frame as an Arrow table. `as_json`: the columns to write as text."""
    import pyarrow as pa  # noqa: PLC0415

    frame = frame.with_columns(texts(frame[name]) for name in as_json)
    uuids = [name for name, dtype in frame.schema.items() if dtype == UUID]
    table = frame.with_columns(frame[name].ext.storage() for name in uuids).to_arrow(
        compat_level=pl.CompatLevel.oldest()
    )
    for name in uuids:
        at = table.column_names.index(name)
        storage: Any = table.column(at).cast(pa.binary(16)).combine_chunks()
        table = table.set_column(at, name, pa.ExtensionArray.from_storage(pa.uuid(), storage))
    return table


def plain_type(dtype: Any) -> Any:
    """Returns the type without polars' 64-bit offsets and dictionaries, which not every reader knows."""
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_large_string(dtype):
        return pa.string()
    if pa.types.is_large_binary(dtype):
        return pa.binary()
    if isinstance(dtype, pa.LargeListType):
        return pa.list_(plain_type(dtype.value_type))
    if isinstance(dtype, pa.FixedSizeListType):
        return pa.list_(plain_type(dtype.value_type), dtype.list_size)
    if isinstance(dtype, pa.MapType):
        return pa.map_(plain_type(dtype.key_type), plain_type(dtype.item_type))
    if isinstance(dtype, pa.StructType):
        return pa.struct([field.with_type(plain_type(field.type)) for field in dtype])
    return plain_type(dtype.value_type) if isinstance(dtype, pa.DictionaryType) else dtype
