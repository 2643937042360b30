"""Types the cells of CSV columns, as `input.schema` says. What a type would change is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import polars as pl

from batchgen.input.digits import keeps_digits
from batchgen.input.template.cells import leaf

_BOOLEANS = {"true": True, "false": False}
_DAY, _TIMES = "%Y-%m-%d", ("%H:%M:%S%.f", "%H:%M")
_MOMENTS = [f"{_DAY}{joint}{time}" for joint in "T " for time in _TIMES] + [_DAY]
_YEAR, _MICROSECONDS = r"^\d{4}-", r"^[^.]*(?:\.\d{1,6}0*)?$"
"""Of 24-01-31 polars (2.1.0) makes the year 24. It cuts off what is below a microsecond."""
_LEAP_SECOND = ":60"
"""Which polars makes the next minute."""
_WRITTEN = {"Boolean": "true or false", "Date": "2026-01-31", "Datetime": "2026-01-31 22:00:00"}
_PARSERS: dict[str, Callable[[pl.Expr], pl.Expr]] = {  # ISO 8601 only: no guess which of 01/02 is the month
    "Boolean": lambda c: c.str.to_lowercase().replace_strict(_BOOLEANS, default=None, return_dtype=pl.Boolean),
    "Date": lambda c: pl.when(c.str.contains(_YEAR)).then(c.str.to_date(_DAY, strict=False)),
    "Datetime": lambda c: pl.when(_is_moment(c)).then(
        pl.coalesce([c.str.to_datetime(moment, strict=False, time_unit="us") for moment in _MOMENTS])
    ),
}
_SHORT, _LEAST = {"Float32": 6, "Float64": 15}, {"Float32": 2.0**-126, "Float64": 2.0**-1022}
"""Digits that a float always keeps from this number on; smaller ones lose some."""
_ZERO = "0.00"
_AS_TEXT = "without a type in input.schema it is text as it stands"


class WrongCell(NamedTuple):
    """The first cell that is not of its type. `at`: its place in the column, from 0. `said`: why, and what to do."""

    at: int
    said: str


def typed(column: pl.Series, dtype: str, decimal: str | None) -> pl.Series | WrongCell:
    """Returns a column of texts with its type. `decimal`: what begins a fraction; None: a point."""
    given, made, is_float = pl.col("given"), pl.col("made"), dtype.startswith("Float")
    text = _with_point(given) if decimal == "," and is_float else given
    parsed = _PARSERS[dtype](text) if dtype in _PARSERS else text.cast(getattr(pl, dtype), strict=False)
    cells = column.rename("given").to_frame().with_columns(made=parsed)
    lost = cells.select(given.is_not_null() & (made.is_null() | (made.is_infinite() if is_float else False)))
    if (wrong := lost.to_series().arg_true()).len():
        cell = column[wrong[0]]
        return WrongCell(wrong[0], f"{cell!r} is not a valid {dtype}{_hint(cell, dtype, decimal)}")
    rounded = _first_rounded(cells.with_columns(text=text), dtype) if is_float else None
    if rounded is not None:
        return WrongCell(rounded, f"{column[rounded]!r} has more digits than a {dtype} holds; {_AS_TEXT}")
    return cells["made"].rename(column.name)


def _with_point(text: pl.Expr) -> pl.Expr:
    return pl.when(~text.str.contains(".", literal=True)).then(text.str.replace(",", ".", literal=True))


def _is_moment(column: pl.Expr) -> pl.Expr:
    text = column.str
    return text.contains(_YEAR) & text.contains(_MICROSECONDS) & ~text.contains(_LEAP_SECOND, literal=True)


def _first_rounded(cells: pl.DataFrame, dtype: str) -> int | None:
    """Returns the first cell of which the float (`made`) has other digits than the `text`. Most long ones are a float's
    shortest digits, which polars compares all at once."""
    text, made = pl.col("text"), pl.col("made")
    size = text.str.len_bytes()
    is_long = (size > _SHORT[dtype]) | ((made.abs() < _LEAST[dtype]) & (size > len(_ZERO)))
    long = cells.select(pl.arg_where(is_long & made.is_not_nan())).to_series()
    if not long.len():
        return None
    shortest = leaf(cells["made"].dtype) or float
    looked_at = cells[long].with_columns(at=long).filter(made.cast(pl.String) != text)
    for written, value, at in looked_at.select("text", "made", "at").iter_rows():
        if not keeps_digits(written, value, shortest(value)):
            return int(at)
    return None


def _hint(cell: str, dtype: str, decimal: str | None) -> str:
    """Returns what to do with a cell that is not of its type."""
    if dtype in _WRITTEN:
        return f", which is written {_WRITTEN[dtype]}; {_AS_TEXT}"
    if not dtype.startswith("Float") or not re.fullmatch(r"[-+]?[\d.]*,?[\d.]*", cell):
        return ""
    if decimal == "," and "." in cell:
        means = "the decimal separator is a comma, and the point may stand for thousands"
        return f": input.decimal says that {means}; {_AS_TEXT}"
    return ': if the comma is its decimal separator, set input.decimal: ","' if "," in cell and decimal is None else ""
