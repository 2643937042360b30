"""Result tables -> CSV for spreadsheets, of which no cell is a formula (OWASP, CSV injection).

A text that a spreadsheet would take for a formula gets an apostrophe in front; numbers are left alone. What is
nested is JSON, bytes are base64. For reading in again there is the Parquet file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import msgspec
import polars as pl
import pyarrow as pa

_FORMULA = r"^\s*[=+\-@\t\r\n|%]"
_NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"


def write(file: BinaryIO, tables: Iterator[pa.Table], names: list[str]) -> None:
    header = pl.DataFrame({"": names}).select(_defused(pl.col("")).alias(""))[""].to_list()
    pl.DataFrame(schema=dict.fromkeys(header, pl.String)).write_csv(file)
    for table in tables:
        frame = pl.from_arrow(table)
        if isinstance(frame, pl.DataFrame):
            _flat(frame).write_csv(file, include_header=False)


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    nested = [_json(frame[name]) for name, dtype in frame.schema.items() if dtype.is_nested()]
    flat = frame.with_columns(nested).with_columns(pl.col(pl.Binary).bin.encode("base64"))
    return flat.with_columns(_defused(pl.col(pl.String)))


def _json(column: pl.Series) -> pl.Series:
    values = [None if value is None else msgspec.json.encode(value).decode() for value in column.to_list()]
    return pl.Series(column.name, values, dtype=pl.String)


def _defused(text: pl.Expr) -> pl.Expr:
    active = text.str.contains(_FORMULA) & ~text.str.contains(_NUMBER)
    return pl.when(active).then(text.str.replace("^", "'")).otherwise(text)
