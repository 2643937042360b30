"""Makes a polars frame of a table that Python has; or refuses it by column."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import polars as pl

from batchgen.errors import UsageError
from batchgen.input.texts import texts
from batchgen.ui.humanize import first_line

T = TypeVar("T")
_REMEDY = "make it text, numbers or dates first"


def as_polars(frame: Any) -> pl.DataFrame:
    """Returns the table: of polars, pandas, whatever speaks Arrow's PyCapsule interface, or a list of dicts. Columns
    that Parquet cannot hold become JSON text. Raises UsageError."""
    made = _made(frame)
    if not made.width:
        raise UsageError("frame: has no columns")
    odd = [name for name, dtype in made.schema.items() if dtype == pl.Object]
    if odd:
        raise UsageError(f"frame: column {odd[0]!r} holds Python objects: {_REMEDY}")
    return made.with_columns(texts(made[name]) for name, dtype in made.schema.items() if _is_unkept(dtype))


def _made(frame: Any) -> pl.DataFrame:
    if isinstance(frame, pl.DataFrame | pl.LazyFrame):
        return frame.lazy().collect()
    if isinstance(frame, Sequence) and not isinstance(frame, str | bytes):
        return _from_dicts(list(frame))
    kind = f"{type(frame).__module__.partition('.')[0]}.{type(frame).__name__}"
    if kind == "pandas.DataFrame":
        return _from_pandas(frame)
    if not hasattr(frame, "__arrow_c_stream__") or kind == "pandas.Series":
        what = kind.removeprefix("builtins.")
        raise UsageError(f"frame: should be a table (polars, pandas, pyarrow, DuckDB) or a list of dicts, not {what}")
    return _from_arrow(frame)


def _from_arrow(frame: Any) -> pl.DataFrame:
    """Returns the table. Looks at its types first: polars panics at some, and writes that to stderr."""
    import pyarrow as pa  # noqa: PLC0415  it takes long, and most tables are polars' or pandas'

    from batchgen.input.arrow_types import refuse_unreadable  # noqa: PLC0415

    stream: Any = pa.RecordBatchReader
    try:
        reader = stream.from_stream(frame)
    except pa.ArrowException:  # a column alone
        return _read(lambda: pl.DataFrame(frame))
    refuse_unreadable("frame", reader.schema)
    return _read(lambda: pl.DataFrame(reader))


def _from_dicts(rows: list[Any]) -> pl.DataFrame:
    if not all(isinstance(row, Mapping) for row in rows):
        raise UsageError("frame: a list should hold a dict for each row")
    return _read(lambda: pl.DataFrame(rows, infer_schema_length=None))


def _from_pandas(frame: Any) -> pl.DataFrame:
    """Returns the table; each level of its index that has a name is a column, too."""
    levels = [name for name in frame.index.names if name is not None]
    names = [*levels, *frame.columns]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"frame: column {twice[0]!r} is there twice: rename one")
    whole = frame.reset_index(level=levels) if levels else frame
    periods = [name for name in whole.columns if str(whole[name].dtype).startswith("period")]
    if periods:
        raise UsageError(f"frame: column {str(periods[0])!r} holds periods: {_REMEDY}")
    try:
        return pl.DataFrame(whole)
    except (Exception, pl.exceptions.PanicException):  # as below
        for name in whole.columns:
            _read(partial(pl.DataFrame, whole[[name]]), f"column {str(name)!r}")
        raise


def _read(make: Callable[[], T], what: str = "a column") -> T:
    """Makes the table. Raises UsageError if a library refuses its values."""
    try:
        return make()
    except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001  each library has its own
        reason = first_line(error)
        raise UsageError(
            f"frame: {what} holds values of several kinds, or Python objects: {_REMEDY} ({reason:.200})"
        ) from None


def _is_unkept(dtype: pl.DataType) -> bool:
    """Returns whether Parquet cannot hold the type, such as that of dicts without keys. It is tried without rows."""
    if not dtype.is_nested():
        return False
    try:
        pl.DataFrame(schema={"it": dtype}).write_parquet(io.BytesIO())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return True
    return False
