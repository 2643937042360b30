"""Selects rows by `input.where`, a condition in SQL. Each row is looked at alone.

Where polars (2.1.0) means something else than SQL, and would take other rows without a word, the condition is made to
mean what SQL means by it.
"""

from __future__ import annotations

import io
import json
import re
from typing import Any

import polars as pl

from batchgen.errors import UsageError
from batchgen.input.bounds import Schema
from batchgen.input.file_hints import column_hint
from batchgen.ui.humanize import first_line

_TEXT_AND_NUMBER = re.compile(r"cannot compare string|string with numeric|arithmetic on string")
_UNPARSED = re.compile("unable to parse|invalid expression")
_DATE_AND_TEXT = "'date/datetime/time' to a string"
_OVER_ROWS = "input.where: looks at each row alone: no sum, count, rank or subquery over several rows"
_QUOTED = r"""'(?:[^']|'')*'|"(?:[^"]|"")*\""""
_TRUTH = re.compile(
    rf"\b(?:[ir]?like|regexp)\s+(?:{_QUOTED}|\w+)\s+is(?P<of_pattern>\s+not)?\s+(?:true|false)\b|{_QUOTED}"
    r"|\bis(?P<negation>\s+not)?\s+(?P<truth>true|false)\b",
    re.IGNORECASE,
)
"""A test whether something is true, which polars takes for `=`: null of a null. Not one within quotes, nor behind a
pattern: `<=>` would be the pattern's."""
_PATTERN = "input.where: put what comes before '{}' into parentheses: polars leaves out the rows where it is null"
_ENDLESS = "input.where: put each 'a is distinct from b' into parentheses: else all that follows is compared with a"
_COMPARISONS = ("Eq", "NotEq", "EqValidity", "NotEqValidity", "Lt", "LtEq", "Gt", "GtEq")
_OF_SEVERAL = {"Agg", "Len", "Over", "Rank", "Shift", "Range", "Explode", "SubPlan", "Sort", "SortBy", "Filter"}
"""Parts of a compiled expression whose value for a row depends on other rows (polars 2.1.0)."""


class Condition:
    """A condition over columns. Raises UsageError if it is invalid, or does not fit the columns."""

    def __init__(self, text: str, columns: Schema) -> None:
        try:
            self._expression = pl.sql_expr(_TRUTH.sub(_of_any_row, text))
            self._refuse_unknown(columns)
            empty = pl.DataFrame(schema=columns)
            given = _parts(self._expression)
            if (meant := _as_sql(given, empty)) != given:
                self._expression = _expression(meant)
            dtype = _dtype(self._expression, empty)
            empty.filter(self._expression)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            if "must be of type `Boolean`" in str(error):
                raise UsageError(f"input.where: {text!r} is not a condition that is true or false") from None
            raise UsageError(f"input.where: {_explained(error)}{_as_quoted(text, columns, error)}") from None
        if dtype != pl.Boolean:
            raise UsageError(f"input.where: {text!r} is {dtype}, not a condition that is true or false")
        if _is_over_rows(_parts(self._expression)):
            raise UsageError(_OVER_ROWS)

    def _refuse_unknown(self, columns: Schema) -> None:
        for name in self._expression.meta.root_names():
            if name.startswith("_POLARS_TMP"):
                raise UsageError(_OVER_ROWS)
            if name not in columns:
                hint = f"{column_hint(name, columns, _quoted)} (put text in 'single quotes')"
                raise UsageError(f"input.where: the input has no column {name!r}; {hint}")

    def places(self, frame: pl.DataFrame) -> pl.Series:
        """Returns the rows that meet the condition, counted from 0. Raises RowFault if it fails at a row."""
        try:
            return self._judged(frame)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            for at in range(frame.height):
                try:
                    self._judged(frame.slice(at, 1))
                except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                    raise RowFault(at, _explained(error)) from None
            raise

    def _judged(self, frame: pl.DataFrame) -> pl.Series:
        met = frame.select(is_met=self._expression).to_series()
        if met.len() != frame.height:  # a constant
            met = pl.repeat(met[0], frame.height, dtype=pl.Boolean, eager=True)
        return met.fill_null(value=False).arg_true()


class RowFault(Exception):
    """The condition fails at a row. `at`: its index in the frame, from 0."""

    def __init__(self, at: int, said: str) -> None:
        super().__init__(said)
        self.at = at


def _of_any_row(found: re.Match[str]) -> str:
    """Returns `is [not] true` as a comparison that is true or false of each row, also of a null."""
    if found["of_pattern"]:
        raise UsageError(_PATTERN.format(re.split(r"\s+(?=is\s+not\s)", found[0], flags=re.IGNORECASE)[-1]))
    return f"<=> {found['truth']}{' = false' if found['negation'] else ''}" if found["truth"] else found[0]


def _parts(expression: pl.Expr) -> Any:
    return json.loads(expression.meta.serialize(format="json"))


def _expression(parts: Any) -> pl.Expr:
    return pl.Expr.deserialize(io.StringIO(json.dumps(parts)), format="json")


def _dtype(expression: pl.Expr, empty: pl.DataFrame) -> pl.DataType:
    return empty.lazy().select(expression.alias("value")).collect_schema()["value"]


def _as_sql(part: Any, empty: pl.DataFrame) -> Any:
    """Returns part of a compiled expression that adds, subtracts and multiplies whole numbers as such of 64 bits, and
    takes a moment's day by the clock of its zone. polars keeps to the bits that numbers are stored in, or that a
    function gives: of a short text, `length(name) - 100` is 4,294,967,201. Raises UsageError if the condition was
    compiled in another order than SQL's."""
    if isinstance(part, list):
        return [_as_sql(one, empty) for one in part]
    if not isinstance(part, dict) or "Column" in part or "Literal" in part:
        return part
    part = {key: _as_sql(value, empty) for key, value in part.items()}
    match part:
        case {"BinaryExpr": {"op": "EqValidity" | "NotEqValidity", "right": {"BinaryExpr": {"op": "And" | "Or"}}}}:
            raise UsageError(_ENDLESS)
        case {"BinaryExpr": {"op": "Plus" | "Minus" | "Multiply", "left": left, "right": right} as whole}:
            return {"BinaryExpr": {**whole, "left": _wide(left, empty), "right": _wide(right, empty)}}
        case {"Function": {"function": {"Sql": {"Binary": _}}, "input": numbers} as whole}:
            return {"Function": {**whole, "input": [_wide(number, empty) for number in numbers]}}
        case {"BinaryExpr": {"op": op, "left": left, "right": right} as whole} if op in _COMPARISONS:
            if pl.Date in (_dtype(_expression(left), empty), _dtype(_expression(right), empty)):
                return {"BinaryExpr": {**whole, "left": _by_clock(left, empty), "right": _by_clock(right, empty)}}
        case {"Cast": {"expr": moment, "dtype": {"Literal": "Date" | "Time"}} as whole}:
            return {"Cast": {**whole, "expr": _by_clock(moment, empty)}}
    return part


def _by_clock(part: Any, empty: pl.DataFrame) -> Any:
    """Returns part of an expression; a moment of a time zone as that zone's clock shows it, as prompts do. polars takes
    its day and its time of day in UTC."""
    dtype = _dtype(_expression(part), empty)
    is_of_zone = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    return _parts(_expression(part).dt.replace_time_zone(None)) if is_of_zone else part


def _wide(part: Any, empty: pl.DataFrame) -> Any:
    """Returns part of an expression, cast to 64 bits if it is a whole number of fewer; to 128 if it has no sign."""
    if "Literal" in part:
        return part
    dtype = _dtype(_expression(part), empty)
    if not dtype.is_integer() or dtype in (pl.Int64, pl.Int128):
        return part
    return _parts(_expression(part).cast(pl.Int128 if dtype == pl.UInt64 else pl.Int64))


def _is_over_rows(part: Any) -> bool:
    """Returns whether part of a compiled expression depends on several rows. Skips the names of columns and texts."""
    if isinstance(part, dict):
        return any(
            key in _OF_SEVERAL or (key not in ("Column", "Literal") and _is_over_rows(value))
            for key, value in part.items()
        )
    return part in _OF_SEVERAL if isinstance(part, str) else isinstance(part, list) and any(map(_is_over_rows, part))


def _quoted(name: str) -> str:
    """Returns the column's name as SQL writes it."""
    return name if re.fullmatch("[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


def _as_quoted(text: str, columns: Schema, error: BaseException) -> str:
    """Returns how a column is written whose name has blanks or signs, if that may be why a condition is invalid; else
    an empty text."""
    is_unparsed = _UNPARSED.search(first_line(error)) is not None
    names = [name for name in columns if re.search(r"\W", name) and _quoted(name) not in text]
    names = [name for name in names if name in text] or (names if is_unparsed else [])
    return f"; a name with blanks or signs is put in double quotes: {_quoted(names[0])}" if names else ""


def _explained(error: BaseException) -> str:
    said = first_line(error).rstrip(":")
    if _TEXT_AND_NUMBER.search(said):
        return f"a text is compared with a number: {said}: input.schema types a CSV's columns"
    if _DATE_AND_TEXT in said:
        return "a date is compared with a text: write date('2026-01-31'); input.schema types a CSV's columns"
    return said
