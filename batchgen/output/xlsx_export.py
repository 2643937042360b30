"""Writes results as an Excel workbook, row by row, in the memory of a few rows.

Texts stay texts, never formulas, links or numbers. Whole numbers and decimals of more than 15 digits, of which a cell
keeps 15, are text too, and so are times; fractions keep 16 digits. Control characters, which workbooks cannot hold, are
shown by their pictures (U+2400 to U+241F). What does not fit is refused.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, BinaryIO, Self

import polars as pl
import xlsxwriter
from xlsxwriter.exceptions import FileCreateError, FileSizeError

from batchgen.errors import UsageError
from batchgen.input.bounds import EXCEL_CHARACTERS
from batchgen.input.template.cells import leaf
from batchgen.input.texts import texts
from batchgen.job.shard import row_name
from batchgen.output.selection import Piece
from batchgen.output.spreadsheet import Notes, is_formula, long_cells

MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384
"""The most rows and columns of a sheet, with the header: Excel's specifications and limits."""
EXACT = 10**15
"""Whole numbers below it keep all their digits in a cell."""
ELSEWHERE = "export a .csv, a .jsonl or a .parquet file, or choose with --columns and --status"
_CONTROL = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x{FFFE}\x{FFFF}]"
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if code not in b"\t\n\r"} | dict.fromkeys(
    (0xFFFE, 0xFFFF), "\N{REPLACEMENT CHARACTER}"
)
_DAY_ONE, _FIRST, _LAST = 25_569, 61, 2_958_465
"""1970-01-01, 1900-03-01 and 9999-12-31 as days of a workbook's calendar, in which 1900 is a leap year."""

Put = Callable[[int, int, Any], Any]


def write(file: BinaryIO, pieces: Iterator[Piece], names: list[str]) -> None:
    """Writes a header and a row for each. Warns of control characters. Raises UsageError if a row, a column or a
    text does not fit."""
    if len(names) > MAX_COLUMNS:
        raise UsageError(f"the results have {len(names):,} columns, and a sheet {MAX_COLUMNS:,}: {ELSEWHERE}")
    try:
        with _scratch(file) as folder, _Workbook(file, folder) as book:
            book.header(names)
            for piece in pieces:
                book.add(piece)
            book.controls.log("control characters, which no workbook holds, are shown by their pictures")
    except FileSizeError:
        raise UsageError(f"the results are larger than a workbook can be: {ELSEWHERE}") from None


@contextmanager
def _scratch(file: BinaryIO) -> Iterator[str]:
    """Yields a folder in which the library puts a workbook together. Raises OSError, which names it if no room is left
    there, and more where the file is."""
    with TemporaryDirectory() as folder:
        try:
            yield folder
        except (OSError, FileCreateError) as error:
            cause = error.args[0] if isinstance(error, FileCreateError) else error
            if cause.errno == errno.ENOSPC and os.statvfs(folder).f_bavail < os.fstatvfs(file.fileno()).f_bavail:
                where = f"in {gettempdir()}, where a workbook is put together (TMPDIR names another folder)"
                cause.strerror = f"{cause.strerror} {where}"
            raise cause from None


def refuse_rows(rows: int) -> None:
    """Raises UsageError if so many do not fit below the header."""
    if rows >= MAX_ROWS:
        raise UsageError(f"{rows:,} rows and a header do not fit into a sheet, which has {MAX_ROWS:,}: {ELSEWHERE}")


class _Workbook:
    """One sheet. `controls`: the cells in which control characters stood."""

    def __init__(self, file: BinaryIO, scratch: str) -> None:
        self.controls = Notes()
        self._book = xlsxwriter.Workbook(file, {"constant_memory": True, "tmpdir": scratch})
        self._sheet = self._book.add_worksheet("results")
        self._sheet.freeze_panes(1, 0)
        self._day = self._book.add_format({"num_format": "yyyy-mm-dd"})
        self._quoted = self._book.add_format({"quote_prefix": True})
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._book.close()

    def header(self, names: list[str]) -> None:
        bold = self._book.add_format({"bold": True})
        for at, name in enumerate(names):
            self._put_text(0, at, name.translate(_PICTURES), bold)

    def add(self, piece: Piece) -> None:
        """Adds rows below the last."""
        refuse_rows(self._rows + len(piece.rows))
        frame = piece.frame()
        frame = frame.with_columns(texts(column) for column in frame if not _is_plain(column.dtype))
        for cell in long_cells(frame):
            raise UsageError(
                f"{row_name(piece.rows[cell.at])}: {cell.column} has {cell.characters:,} characters, and a cell of a "
                f"workbook {EXCEL_CHARACTERS:,}: {ELSEWHERE}"
            )
        columns = [self._cells(column, piece) for column in frame]
        for cells in zip(*columns, strict=True):
            self._rows += 1
            for at, (put, value) in enumerate(cells):
                if value is not None:
                    put(self._rows, at, value)

    def _cells(self, column: pl.Series, piece: Piece) -> Iterator[tuple[Put, Any]]:
        """Yields the values of a column, each with what puts it into a cell."""
        if column.dtype == pl.String:
            active = column.to_frame().select(is_formula(pl.col(column.name)))[column.name]
            for text, is_active in zip(self._printable(column, piece), active, strict=True):
                yield (self._put_quoted if is_active else self._put_text), text
        elif column.dtype == pl.Boolean:
            yield from ((self._sheet.write_boolean, value) for value in column)
        elif column.dtype == pl.Date:
            for day, text in zip(column.cast(pl.Int64), texts(column), strict=True):
                number = None if day is None else day + _DAY_ONE
                is_day = number is not None and _FIRST <= number <= _LAST
                yield (self._put_day, number) if is_day else (self._put_text, text)
        else:
            read = leaf(column.dtype) if column.dtype.is_float() else None
            for given, text in zip(column, texts(column), strict=True):
                value = given if given is None or read is None else read(given)
                yield (self._sheet.write_number, value) if _is_exact(value) else (self._put_text, text)

    def _printable(self, column: pl.Series, piece: Piece) -> list[str | None]:
        cells: list[str | None] = column.to_list()
        for at in column.str.contains(_CONTROL).arg_true():
            cells[at] = str(cells[at]).translate(_PICTURES)
            self.controls.add(f"{row_name(piece.rows[at])}: {column.name}")
        return cells

    def _put_text(self, row: int, at: int, text: str, style: Any = None) -> None:
        if text.startswith("<r>") and text.endswith("</r>"):  # which the library takes for markup of its own
            self._sheet.write_rich_string(row, at, text[0], text[1], text[2:], *([style] if style else []))
        else:
            self._sheet.write_string(row, at, text, style)

    def _put_quoted(self, row: int, at: int, text: str) -> None:
        """Puts a text that stays text when its cell is edited."""
        self._put_text(row, at, text, self._quoted)

    def _put_day(self, row: int, at: int, day: int) -> None:
        self._sheet.write_number(row, at, day, self._day)


def _is_plain(dtype: pl.DataType) -> bool:
    """Returns whether a sheet has such values; all others are written as text."""
    return dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Date)


def _is_exact(value: Any) -> bool:
    """Returns whether a cell keeps the number; of a float, as many digits as it has room for."""
    if isinstance(value, int):
        return abs(value) < EXACT
    if isinstance(value, Decimal):
        return value.is_finite() and len(value.as_tuple().digits) < len(str(EXACT))
    return isinstance(value, float) and abs(value) < float("inf")
