"""Writes results as CSV for spreadsheets, without formulas.

The file begins with a byte order mark: without one, Excel assumes another encoding. A text that a spreadsheet would
take for a formula gets an apostrophe in front; numbers are left alone. Values without a form in CSV become text
(`input.texts`): nested values JSON, durations ISO 8601, bytes base64. To read results again, use the Parquet file.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

import polars as pl

from batchgen.input.bounds import EXCEL_CHARACTERS
from batchgen.input.texts import has_polars_text, texts
from batchgen.job.shard import row_name
from batchgen.output.selection import Piece
from batchgen.output.spreadsheet import Notes, is_formula, long_cells


def write(file: BinaryIO, pieces: Iterator[Piece], names: list[str]) -> None:
    """Writes a header and a line a row. Warns of cells that Excel cuts."""
    header = pl.DataFrame({"": names}).select(_defused(pl.col("")).alias(""))[""].to_list()
    file.write(codecs.BOM_UTF8)
    pl.DataFrame(schema=dict.fromkeys(header, pl.String)).write_csv(file)
    long = Notes()
    for piece in pieces:
        frame = _flat(piece.frame())
        for cell in long_cells(frame):
            long.add(f"{row_name(piece.rows[cell.at])}: {cell.column} has {cell.characters:,}")
        frame.with_columns(_defused(pl.col(pl.String))).write_csv(file, include_header=False)
    long.log(f"Excel shows {EXCEL_CHARACTERS:,} characters of a cell, and the file has longer cells")


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Returns every column as what polars writes."""
    return frame.with_columns(texts(column) for column in frame if not has_polars_text(column))


def _defused(text: pl.Expr) -> pl.Expr:
    return pl.when(is_formula(text)).then(text.str.replace("^", "'")).otherwise(text)
