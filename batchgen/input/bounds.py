"""How much of an input is held at once, and the largest that is taken. Constants, and nothing that uses them."""

from __future__ import annotations

import polars as pl

BATCH_ROWS = 4096
BATCH_BYTES = 16 << 20
MAX_CELL = 16 << 20
MOST_UNFOLDED, UNFOLDS_FROM = 1000, 1 << 30
"""Times its size that a file or a column of it may unfold to, where that is a gigabyte or more."""

Schema = dict[str, pl.DataType]

UUID = pl.Extension("arrow.uuid", pl.Binary(), "")
"""The type of a Parquet file's UUIDs."""
