"""Result tables -> CSV for spreadsheets, of which no cell is a formula (OWASP, CSV injection).

A text that a spreadsheet would take for a formula gets an apostrophe in front; numbers are left alone. What CSV has no
form for is text (`rows.texts`): what is nested as JSON, durations as ISO 8601, bytes as base64. For reading in again
there is the Parquet file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import polars as pl
import pyarrow as pa

from batchgen.input.bounds import UUID
from batchgen.input.texts import is_told_by_polars, texts

_FORMULA = r"^\s*[=+\-@\t\r\n|%]"
_NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"


def write(file: BinaryIO, tables: Iterator[pa.Table], names: list[str]) -> None:
    header = pl.DataFrame({"": names}).select(_defused(pl.col("")).alias(""))[""].to_list()
    pl.DataFrame(schema=dict.fromkeys(header, pl.String)).write_csv(file)
    for table in tables:
        frame = pl.DataFrame(table)
        uuids = [field.name for field in table.schema if field.type == pa.uuid()]
        _flat(frame.with_columns(frame[name].ext.to(UUID) for name in uuids)).write_csv(file, include_header=False)


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """With every column as what polars writes."""
    flat = frame.with_columns(texts(column) for column in frame if not is_told_by_polars(column))
    return flat.with_columns(_defused(pl.col(pl.String)))


def _defused(text: pl.Expr) -> pl.Expr:
    active = text.str.contains(_FORMULA) & ~text.str.contains(_NUMBER)
    return pl.when(active).then(text.str.replace("^", "'")).otherwise(text)
