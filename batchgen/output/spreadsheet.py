"""Rules that CSV for spreadsheets and workbooks share: formulas, and the size of a cell."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from batchgen.input.bounds import EXCEL_CHARACTERS
from batchgen.ui.humanize import pluralize

SHOWN = 5
FORMULA = r"^\s*[=+\-@\t\r\n|%]"
NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"

log = logging.getLogger("batchgen")


class LongCell(NamedTuple):
    """A cell of more characters than Excel's. `at`: its index in the column."""

    at: int
    column: str
    characters: int


def is_formula(text: pl.Expr) -> pl.Expr:
    """Returns whether a spreadsheet would take a text for a formula (OWASP, CSV injection)."""
    return text.str.contains(FORMULA) & ~text.str.contains(NUMBER)


def long_cells(frame: pl.DataFrame) -> Iterator[LongCell]:
    """Yields the texts that a cell of Excel does not hold."""
    for column in frame.select(pl.col(pl.String)):
        for at in (column.str.len_bytes() > EXCEL_CHARACTERS).arg_true():
            size = len(column[at].encode("utf-16-le")) // 2
            if size > EXCEL_CHARACTERS:
                yield LongCell(at, column.name, size)


class Notes:
    """Collects cells that a spreadsheet does not show as they are: the names of the first few, and how many there
    are."""

    def __init__(self) -> None:
        self._shown: list[str] = []
        self._count = 0

    def add(self, cell: str) -> None:
        self._count += 1
        if len(self._shown) < SHOWN:
            self._shown.append(cell)

    def log(self, what: str) -> None:
        """Warns of them, if there are any."""
        if self._count:
            more = self._count - len(self._shown)
            log.warning(
                "warning: %s: %s%s",
                what,
                "; ".join(self._shown),
                f"; and {pluralize(more, 'more cell')}" if more else "",
            )
