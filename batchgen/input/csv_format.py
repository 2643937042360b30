"""CSV files -> batches of rows, of which every column is text and an empty cell is a null.

A column without a name is called `column_N`, by its position; where it is empty throughout, as after a comma too many,
it is none. Rows of empty cells at the end of a file, as spreadsheets leave them, are none either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import polars as pl

from batchgen.errors import UsageError
from batchgen.input import csv_records
from batchgen.input.bounds import BATCH_ROWS, Schema
from batchgen.storage.listing import File
from batchgen.ui.humanize import pluralize


class Csv:
    def __init__(self) -> None:
        self._unnamed: dict[str, list[str]] = {}
        self._passed_over: dict[str, int] = {}

    def schema(self, path: File) -> Schema:
        header = csv_records.header(path)
        if not any(cell.strip() for cell in header):
            raise UsageError(f"{path}: empty: a CSV file begins with a line of column names")
        if re.fullmatch("sep=.?", header[0]):
            raise UsageError(f"{path}:1: {header[0]!r} is a line for Excel: remove it, and separate cells by commas")
        names = _names(path, header)
        unnamed = [name for name, cell in zip(names, header, strict=True) if not cell.strip()]
        empty = _empty(path, unnamed)
        if unnamed := [name for name in unnamed if name not in empty]:
            self._unnamed[str(path)] = unnamed
        return {name: pl.String() for name in names if name not in empty}

    def batches(self, path: File, schema: Schema) -> Iterator[pl.DataFrame]:
        columns, empty = list(schema), 0
        for frame in csv_records.batches(path, partial(_names, path)):
            filled = frame.height - _empty_at_end(frame)
            if filled:
                yield from _nulls(empty, schema)
                rows = frame if filled == frame.height else frame.head(filled)
                yield rows if rows.columns == columns else rows.select(columns)
                empty = 0
            empty += frame.height - filled
        if empty:
            self._passed_over[str(path)] = empty

    @property
    def notes(self) -> list[str]:
        """What was named and passed over, as far as the files were read."""
        told = []
        for path, names in list(self._unnamed.items())[:1]:
            called = f"{pluralize(len(names), 'column')} without a name, called {', '.join(names[:5])}"
            told.append(f"{path}:1: {called}{_elsewhere(len(self._unnamed) - 1)}; input.rename names them otherwise")
        for path, rows in list(self._passed_over.items())[:1]:
            told.append(
                f"{path}: {pluralize(rows, 'row')} of empty cells at its end, passed over"
                f"{_elsewhere(len(self._passed_over) - 1)}"
            )
        return told


def _elsewhere(files: int) -> str:
    return f", and so in {pluralize(files, 'other file')}" if files else ""


def _names(path: File, header: list[str]) -> list[str]:
    """The columns' names. Raises UsageError where two have the same."""
    taken: set[str] = set()
    for name in header:
        if name in taken and name.strip():
            raise UsageError(f"{path}:1: two columns are named {name!r}")
        taken.add(name)
    return [name if name.strip() else _name(at, taken) for at, name in enumerate(header, 1)]


def _name(position: int, taken: set[str]) -> str:
    name = f"column_{position}"
    while name in taken:
        name += "_"
    return name


def _empty(path: File, names: list[str]) -> set[str]:
    """Those of the columns that hold nothing throughout: then the whole file is read."""
    empty = set(names)
    if not empty:
        return empty
    for frame in csv_records.batches(path, partial(_names, path)):
        empty = {name for name in empty if frame[name].null_count() == frame.height}
        if not empty:
            break
    return empty


def _empty_at_end(frame: pl.DataFrame) -> int:
    """Rows of empty cells. The line of a single column is blank then, and no row, or an empty text in quotes."""
    if frame.width == 1 or any(frame.row(-1)):
        return 0
    filled = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    return frame.height - (int(filled[-1]) + 1 if filled.len() else 0)


def _nulls(rows: int, schema: Schema) -> Iterator[pl.DataFrame]:
    for start in range(0, rows, BATCH_ROWS):
        yield pl.DataFrame(schema=schema).clear(min(BATCH_ROWS, rows - start))
