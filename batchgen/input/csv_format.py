"""Reads CSV files: batches of rows, with every column as text and every empty cell as null.

A column without a name is called `column_N`, by its position. It is dropped if it is empty in every row, as after a
trailing comma. Rows of empty cells at the end of a file, as spreadsheets leave them, are skipped.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate

import polars as pl

from batchgen.errors import UsageError
from batchgen.input import csv_records
from batchgen.input.bounds import BATCH_ROWS, Schema
from batchgen.input.column_names import Unnamed, unique_names
from batchgen.input.common_schema import common_schema
from batchgen.input.csv_records import CsvDialect
from batchgen.input.encoding import may_be_cp1252
from batchgen.input.file_hints import control_hint
from batchgen.input.notes import of_first
from batchgen.storage.listing import File
from batchgen.ui.humanize import inflect, pluralize


class Csv:
    """Columns and their order are the same in all files."""

    def __init__(self, dialect: CsvDialect) -> None:
        self._dialect = dialect
        self._unnamed = Unnamed()
        self._passed_over: dict[str, str] = {}
        self._repeated: dict[str, str] = {}
        self._controls: dict[str, str] = {}
        self._may_be_cp1252 = may_be_cp1252(dialect.encoding)
        self._blocks: dict[str, list[int]] = {}

    def schema(self, paths: Sequence[File]) -> Schema:
        return common_schema(paths, self._schema)

    def _schema(self, path: File) -> Schema:
        header = csv_records.header(path, self._dialect)
        if not any(cell.strip() for cell in header):
            raise UsageError(f"{path}: empty: a CSV file begins with a line of column names")
        names = unique_names(f"{path}:1", header)
        unnamed = [name for name, cell in zip(names, header, strict=True) if not cell.strip()]
        empty = _empty(path, self._dialect, unnamed)
        self._unnamed.add(f"{path}:1", [name for name in unnamed if name not in empty], len(names) - len(empty))
        return {name: pl.String() for name in names if name not in empty}

    def batches(self, path: File, schema: Schema, row: int = 0) -> Iterator[pl.DataFrame]:
        """Yields a file's rows, as `Format` says, from `start_of(path, row)` on."""
        columns, empty, repeated = list(schema), 0, 0
        blocks = self._blocks.setdefault(str(path), [])
        skip = self._blocks_before(path, row)
        for frame in csv_records.batches(path, self._dialect, partial(unique_names, f"{path}:1"), blocks, skip):
            filled = frame.height - _empty_at_end(frame)
            repeated += int((frame.to_series() == frame.columns[0]).sum()) if frame.width == 1 else 0
            if self._may_be_cp1252 and str(path) not in self._controls:
                self._look_for_controls(path, frame)
            if filled:
                yield from _nulls(empty, schema)
                rows = frame if filled == frame.height else frame.head(filled)
                yield rows if rows.columns == columns else rows.select(columns)
                empty = 0
            empty += frame.height - filled
        if empty and not skip:
            self._passed_over[str(path)] = f"{pluralize(empty, 'row')} of empty cells at its end, skipped"
        if repeated and not skip:
            are = inflect(repeated, "is", "are")
            self._repeated[str(path)] = f"{pluralize(repeated, 'row')} {are} the column's name again"

    def start_of(self, path: File, row: int) -> int:
        """Returns the first row of the block with this row, or an earlier row: from there on it can be read again
        without those before, if the file was read already."""
        return sum(self._blocks.get(str(path), [])[: self._blocks_before(path, row)])

    def _blocks_before(self, path: File, row: int) -> int:
        """Returns how many blocks end before this row."""
        return bisect_right(list(accumulate(self._blocks.get(str(path), []))), row)

    def _look_for_controls(self, path: File, frame: pl.DataFrame) -> None:
        for column in frame:
            found = column.filter(column.str.contains("[\\x80-\\x9f]"))
            if found.len() and (hint := control_hint(found[0])):
                self._controls[str(path)] = f"{column.name} has {hint}"
                return

    @property
    def notes(self) -> list[str]:
        """Returns what was named and skipped, as far as the files were read."""
        return [
            *self._unnamed.notes,
            *of_first(self._passed_over),
            *of_first(self._repeated, ": if files were joined by `cat`, delete such lines"),
            *of_first(self._controls),
        ]


def _empty(path: File, dialect: CsvDialect, names: list[str]) -> set[str]:
    """Returns those of the columns that are empty in every row. Reads the whole file if there are any."""
    empty = set(names)
    if not empty:
        return empty
    for frame in csv_records.batches(path, dialect, partial(unique_names, f"{path}:1"), []):
        empty = {name for name in empty if frame[name].null_count() == frame.height}
        if not empty:
            break
    return empty


def _empty_at_end(frame: pl.DataFrame) -> int:
    """Returns how many rows at the end consist of empty cells. In a single column, such a row is a blank line, which
    is not a row, or an empty text in quotes."""
    if frame.width == 1 or any(frame.row(-1)):
        return 0
    filled = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    return frame.height - (int(filled[-1]) + 1 if filled.len() else 0)


def _nulls(rows: int, schema: Schema) -> Iterator[pl.DataFrame]:
    for start in range(0, rows, BATCH_ROWS):
        yield pl.DataFrame(schema=schema).clear(min(BATCH_ROWS, rows - start))
