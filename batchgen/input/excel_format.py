"""Reads Excel workbooks: batches of a sheet's rows below its header, with the values that Excel shows.

A column has the narrowest type that holds the values of all files. A column of texts and other values is text; the
others are written as in a CSV. A sheet is read whole, and kept until another is read.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from batchgen.errors import UsageError
from batchgen.input.bounds import BATCH_ROWS, EXCEL_CHARACTERS, MAX_CELL, Schema
from batchgen.input.column_names import Unnamed, unique_names
from batchgen.input.common_schema import refuse_other_names
from batchgen.input.notes import of_first
from batchgen.input.template.values import iso_duration
from batchgen.input.workbook import COLUMNS, cell_name, scan_sheet, sheets
from batchgen.storage.listing import File
from batchgen.ui.humanize import first_line

Columns = dict[str, list[Any]]
"""The cells of each column, by name; None for empty cells."""
MAX_EXACT = 2**53
_NO_LEAP_YEAR = 1900
_TYPES: dict[type, pl.DataType] = {
    str: pl.String(), int: pl.Int64(), float: pl.Float64(), bool: pl.Boolean(), dt.date: pl.Date(),
    dt.datetime: pl.Datetime("us"), dt.time: pl.Time(), dt.timedelta: pl.Duration("us"),
}  # fmt: skip
_WIDER: list[tuple[set[type], type]] = [({int, float}, float), ({dt.date, dt.datetime}, dt.datetime)]


def filled_sheets(path: File) -> dict[str, int]:
    """Returns how many cells of each sheet are not empty, without the sheets that are."""
    with path.open("rb") as file:
        cells = {name: scan_sheet(path, file, name, part).cells for name, part in sheets(path, file).items()}
    return {name: count for name, count in cells.items() if count}


class Excel:
    def __init__(self, sheet: str | int | None) -> None:
        self._sheet = sheet
        self._unnamed = Unnamed()
        self._merged: dict[str, str] = {}
        self._full: dict[str, str] = {}
        self._called_by_number: dict[str, str] = {}
        self._kept: tuple[File, pl.DataFrame] | None = None

    def schema(self, paths: Sequence[File]) -> Schema:
        """Returns the columns of all files, each of the narrowest type. Raises UsageError if they differ."""
        kinds: dict[str, set[type]] = {}
        for path in paths:
            columns = self._read(path)
            kinds = kinds or {name: set() for name in columns}
            refuse_other_names(path, list(columns), paths[0], list(kinds))
            for name, cells in columns.items():
                kinds[name] |= {type(cell) for cell in cells if cell is not None}
        schema = {name: _TYPES[_narrowest(found)] for name, found in kinds.items()}
        if len(paths) == 1:
            self._kept = paths[0], _frame(columns, schema)
        return schema

    def batches(self, path: File, schema: Schema) -> Iterator[pl.DataFrame]:
        if self._kept is None or self._kept[0] != path:
            self._kept = path, _frame(self._read(path), schema)
        yield from self._kept[1].iter_slices(BATCH_ROWS)

    @property
    def notes(self) -> list[str]:
        """Returns which sheet may not be the one that was meant, which columns were named, which cells are merged, and
        which may have been cut."""
        told = [*of_first(self._called_by_number), *self._unnamed.notes]
        for path, cells in list(self._merged.items())[:1]:
            told.append(f"{path}: merged cells ({cells}): the first holds the value, the others are empty")
        return told + of_first(self._full, ": as many as a cell of Excel holds, so it may have been cut")

    def _read(self, path: File) -> Columns:
        with path.open("rb") as file:
            parts = sheets(path, file)
            name = self._chosen(path, parts, file)
            extent = scan_sheet(path, file, name, parts[name])
            if not extent.cells:
                raise UsageError(f"{path}: sheet {name!r} is empty: a table begins with a line of column names")
        where = f"{path}: sheet {name!r}"
        rows, left = self._cells(path, name)
        _refuse_no_days(where, rows, left, extent.no_days)
        return self._columns(path, where, rows, left)

    def _chosen(self, path: File, parts: dict[str, str], file: Any) -> str:
        """Returns the sheet's name. Raises UsageError if it does not exist, or if none is given and several hold
        cells."""
        names = list(parts)
        if self._sheet is None:
            filled = [one for one in names if len(names) == 1 or scan_sheet(path, file, one, parts[one]).cells]
            if len(filled) > 1:
                raise UsageError(
                    f"{path}: has several sheets: choose one with input.sheet: {', '.join(map(repr, filled))}"
                )
            names = filled or names
        elif isinstance(self._sheet, int):
            names = names[self._sheet - 1 : self._sheet]
        else:
            names = [one for one in names if one == self._sheet]
        called = f'the one that is called {self._sheet} is written `sheet: "{self._sheet}"`'
        other = isinstance(self._sheet, int) and str(self._sheet) in parts and names != [str(self._sheet)]
        if not names:
            hint = f": {called}" if other else ""
            told = ", ".join(map(repr, parts))
            raise UsageError(f"{path}: input.sheet: no sheet {self._sheet!r}; it has {told}{hint}")
        if other:
            self._called_by_number[str(path)] = f"input.sheet {self._sheet} is sheet {names[0]!r}; {called}"
        return names[0]

    def _cells(self, path: File, name: str) -> tuple[list[list[Any]], int]:
        """Returns all rows from the first column that is not empty, and that column's number."""
        from python_calamine import CalamineError, CalamineWorkbook  # noqa: PLC0415  for those alone who use it

        try:
            with path.open("rb") as file, CalamineWorkbook.from_filelike(file) as book:
                sheet = book.get_sheet_by_name(name)
                if merged := sheet.merged_cell_ranges:
                    (first, last), *_ = merged
                    more = f" and {len(merged) - 1} more" if len(merged) > 1 else ""
                    self._merged[str(path)] = f"{cell_name(*first)}:{cell_name(*last)}{more}"
                return list(sheet.iter_rows()), (sheet.start or (0, 0))[1]
        except CalamineError as error:
            raise UsageError(f"{path}: damaged workbook: {first_line(error)}") from None

    def _columns(self, path: File, where: str, rows: list[list[Any]], left: int) -> Columns:
        while rows and not any(cell != "" for cell in rows[-1]):
            rows.pop()
        at = next(at for at, row in enumerate(rows) if any(cell != "" for cell in row))
        header = [_text(_value(cell, where, at, left + n)) or "" for n, cell in enumerate(rows[at])]
        names = unique_names(f"{where}: row {at + 1}", header)
        if len(names) > 1 and rows[at] in rows[at + 1 :]:
            again = rows.index(rows[at], at + 1) + 1
            raise UsageError(
                f"{where}: row {again} is the row of column names again, as where tables were put one below another: "
                "delete such rows"
            )
        columns = {}
        for n, name in enumerate(names):
            cells = [_value(row[n], where, line, left + n) for line, row in enumerate(rows[at + 1 :], at + 1)]
            if header[n].strip() or any(cell is not None for cell in cells):
                _refuse_zero_days(where, cells, at + 1, left + n)
                columns[name] = cells
                self._add_full(path, cells, at + 1, left + n)
        unnamed = [name for name, cell in zip(names, header, strict=True) if not cell.strip() and name in columns]
        self._unnamed.add(f"{path}: {cell_name(at, left)}", unnamed, len(columns))
        return columns

    def _add_full(self, path: File, cells: list[Any], row: int, column: int) -> None:
        """Adds the first of the cells that is full, where the file has no earlier one. `row`: of the first cell."""
        if (first := next((at for at, cell in enumerate(cells) if _is_full(cell)), None)) is not None:
            said = f"{cell_name(row + first, column)} is a text of {EXCEL_CHARACTERS:,} characters"
            self._full.setdefault(str(path), said)


def _refuse_no_days(where: str, rows: list[list[Any]], left: int, no_days: Iterable[int]) -> None:
    """Raises UsageError for a number that stands for no day where it is shown as one. calamine makes a time of what is
    below 0, and 28 February of Excel's 29 February 1900; in workbooks that count from 1904, 60 is a day."""
    for row, column in (divmod(place, COLUMNS) for place in no_days):
        cell = rows[row][column - left]
        if isinstance(cell, dt.time) or (isinstance(cell, dt.date) and cell.year == _NO_LEAP_YEAR):
            raise UsageError(
                f"{where}: cell {cell_name(row, column)} is a number that stands for no day: write the date as text; "
                "a time below zero wants the format [h]:mm"
            )


def _refuse_zero_days(where: str, cells: list[Any], row: int, column: int) -> None:
    """Raises UsageError for a zero among days, as where a formula refers to an empty cell. Excel shows it as
    1900-01-00; calamine makes midnight of it, which it is among other times of day. `row`: of the first cell."""
    times = {cell for cell in cells if isinstance(cell, dt.time)}
    if times == {dt.time()} and any(isinstance(cell, dt.date) for cell in cells):
        raise UsageError(
            f"{where}: cell {cell_name(row + cells.index(dt.time()), column)} is 0, which is no day, in a column of "
            "days: clear it, or write the date as text"
        )


def _value(cell: Any, where: str, row: int, column: int) -> Any:
    """Returns a cell's value; None if it is empty. Raises UsageError for numbers that Excel does not hold exactly."""
    if cell == "":
        return None
    if isinstance(cell, float):
        if not cell.is_integer():
            return cell
        if abs(cell) >= MAX_EXACT:
            raise UsageError(
                f"{where}: cell {cell_name(row, column)}: a whole number that Excel cannot hold exactly: "
                "write it as text"
            )
        return int(cell)
    if isinstance(cell, str) and len(cell) > MAX_CELL:
        raise UsageError(f"{where}: cell {cell_name(row, column)}: a cell is larger than {MAX_CELL >> 20} MiB")
    return cell


def _is_full(cell: Any) -> bool:
    """Returns whether a text is as long as a cell's can be. Excel counts UTF-16 code units; polars and openpyxl, which
    cut what is longer, count characters."""
    if not isinstance(cell, str) or 2 * len(cell) < EXCEL_CHARACTERS:
        return False
    return EXCEL_CHARACTERS in (len(cell), len(cell.encode("utf-16-le")) // 2)


def _narrowest(kinds: set[type]) -> type:
    if len(kinds) <= 1:
        return next(iter(kinds), str)
    return next((wide for those, wide in _WIDER if kinds == those), str)


def _frame(columns: Columns, schema: Schema) -> pl.DataFrame:
    return pl.DataFrame([_series(name, columns[name], dtype) for name, dtype in schema.items()])


def _series(name: str, cells: list[Any], dtype: pl.DataType) -> pl.Series:
    if dtype == pl.String:
        return pl.Series(name, [_text(cell) for cell in cells], dtype)
    if isinstance(dtype, pl.Datetime):
        cells = [_moment(cell) for cell in cells]
    return pl.Series(name, cells, dtype, strict=False)


def _moment(cell: dt.date | None) -> dt.datetime | None:
    if cell is None or isinstance(cell, dt.datetime):
        return cell
    return dt.datetime.combine(cell, dt.time())


def _text(cell: Any) -> str | None:
    """Returns a cell's text as Excel saves it in a CSV, with dates in ISO 8601."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, dt.datetime):
        return cell.isoformat(" ")
    if isinstance(cell, dt.timedelta):
        return iso_duration(round(cell.total_seconds() * 1_000_000) * 1000)
    return str(cell)
