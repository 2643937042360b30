"""Makes a polars frame of a table that Python has, with the same values; or refuses it by column, or by row."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from numbers import Number
from typing import Any, TypeVar

import polars as pl

from batchgen.errors import UsageError
from batchgen.input.texts import texts
from batchgen.ui.humanize import first_line, quoted

T = TypeVar("T")
_REMEDY = "make it text, numbers or dates first"
_EXACT: tuple[set[type], ...] = ({str}, {int}, {float}, {bool})
"""Kinds of values that, alone in a column, no type of polars changes."""
_OF_128_BITS = (pl.Int128, pl.UInt128)
"""polars makes whole numbers of these of a list that holds one of 2^63. No other tool reads them in Parquet."""
_COMPARED: tuple[type, ...] = (Number, str, bytes, dt.date, dt.time, dt.timedelta)


def as_polars(frame: Any) -> pl.DataFrame:
    """Returns the table: of polars, pandas, whatever speaks Arrow's PyCapsule interface, or a list of dicts. Columns
    that Parquet cannot hold become JSON text. Raises UsageError."""
    made = _made(frame)
    if not made.width:
        raise UsageError("frame: has no columns")
    odd = [name for name, dtype in made.schema.items() if dtype == pl.Object]
    if odd:
        raise UsageError(f"frame: column {odd[0]!r} holds Python objects: {_REMEDY}")
    made = made.with_columns(_readable(made[name]) for name, dtype in made.schema.items() if dtype in _OF_128_BITS)
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
    """Returns the table, read as a file's. Looks at its types first: polars (2.1.0) panics at some, among them decimals
    of 32 and 64 bits, and writes that to stderr."""
    import pyarrow as pa  # noqa: PLC0415  it takes long, and most tables are polars' or pandas'

    from batchgen.input.arrow_frames import to_frame  # noqa: PLC0415
    from batchgen.input.arrow_types import refuse_unreadable, with_moments  # noqa: PLC0415

    stream: Any = pa.RecordBatchReader
    try:
        reader = stream.from_stream(frame)
    except pa.ArrowException:  # a column alone
        return _read(lambda: pl.DataFrame(frame))
    _refuse_twice(reader.schema.names)
    refuse_unreadable("frame", reader.schema)
    table = with_moments(_read(reader.read_all))
    return _of_columns(to_frame, table, ((name, table.select([name])) for name in table.column_names))


def _from_dicts(rows: list[Any]) -> pl.DataFrame:
    """Returns the table. Raises UsageError for values that would not stay what they are beside the column's others."""
    if not all(isinstance(row, Mapping) for row in rows):
        raise UsageError("frame: a list should hold a dict for each row")
    names = list(dict.fromkeys(chain.from_iterable(rows)))
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise UsageError(f"frame: a dict has the key {quoted(wrong[0])}: a column's name should be a text")
    columns = ((name, [{name: row.get(name)} for row in rows]) for name in names)
    frame = _of_columns(partial(pl.DataFrame, infer_schema_length=None), rows, columns)
    for name, dtype in frame.schema.items():
        given = [row.get(name) for row in rows]
        if dtype == pl.Object or {*map(type, given)} - {type(None)} in _EXACT:
            continue
        held = frame[name].to_list()
        for number, (value, kept) in enumerate(zip(given, held, strict=True), 1):
            if not _is_same(value, kept):
                raise UsageError(
                    f"frame: row {number:,}: column {name!r} holds {quoted(value)}, which would become {quoted(kept)} "
                    f"beside values of other kinds: {_REMEDY}"
                )
        without = list(map(_without_nan, given, held))
        if without != held:
            frame = frame.with_columns(pl.Series(name, without, dtype))
    return frame


def _without_nan(given: Any, kept: Any) -> Any:
    """Returns what a column keeps of a value, with null for NaN among texts. pandas has it for a missing text."""
    if isinstance(kept, dict) and isinstance(given, Mapping):
        return {key: _without_nan(given.get(key), value) for key, value in kept.items()}
    return None if isinstance(kept, str) and isinstance(given, Number) and given != given else kept  # noqa: PLR0124


def _is_same(given: Any, kept: Any) -> bool:
    """Returns whether a column keeps a value. Its text may stand for it: `5`, `true`. Objects of other kinds
    are polars' own matter."""
    if isinstance(kept, dict) and isinstance(given, Mapping):
        return all(_is_same(value, kept.get(key)) for key, value in given.items())
    if isinstance(kept, list) and hasattr(given, "__len__"):
        return len(given) == len(kept) and all(map(_is_same, given, kept))
    if not isinstance(given, _COMPARED) and not _is_truth(given):
        return True
    if isinstance(kept, str) and not isinstance(given, str):
        return kept.casefold() == str(given).casefold()
    return _is_truth(given) == _is_truth(kept) and bool(given == kept or given != given)  # noqa: PLR0124  NaN


def _is_truth(value: Any) -> bool:
    return type(value).__name__ in ("bool", "bool_")  # NumPy's, too


def _from_pandas(frame: Any) -> pl.DataFrame:
    """Returns the table; each level of its index that has a name is a column, too."""
    levels = [name for name in frame.index.names if name is not None]
    _refuse_twice([*levels, *frame.columns])
    whole = frame.reset_index(level=levels) if levels else frame
    periods = [name for name in whole.columns if str(whole[name].dtype).startswith("period")]
    if periods:
        raise UsageError(f"frame: column {str(periods[0])!r} holds periods: {_REMEDY}")
    return _of_columns(pl.DataFrame, whole, ((str(name), whole[[name]]) for name in whole.columns))


def _refuse_twice(names: list[Any]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"frame: column {twice[0]!r} is there twice: rename one")


def _of_columns(make: Callable[[Any], pl.DataFrame], whole: Any, columns: Iterable[tuple[str, Any]]) -> pl.DataFrame:
    """Makes the table. Raises UsageError where a library refuses its values, and names the column: `columns` are tables
    of one column each."""
    try:
        return _read(partial(make, whole))
    except UsageError:
        for name, column in columns:
            _read(partial(make, column), f"column {name!r}")
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


def _readable(numbers: pl.Series) -> pl.Series:
    """Returns whole numbers in the first type that holds them all, and that Parquet's readers know."""
    for dtype in (pl.Int64, pl.UInt64, pl.Decimal(38, 0)):
        with suppress(pl.exceptions.PolarsError):
            return numbers.cast(dtype)
    raise UsageError(f"frame: column {numbers.name!r} holds whole numbers of more than 38 digits: make it text first")


def _is_unkept(dtype: pl.DataType) -> bool:
    """Returns whether Parquet cannot hold the type, such as that of dicts without keys. It is tried without rows."""
    if not dtype.is_nested():
        return False
    try:
        pl.DataFrame(schema={"it": dtype}).write_parquet(io.BytesIO())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return True
    return False
