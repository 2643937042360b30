"""Limits: how much of an input is held in memory, the largest cell, and how far a file may decompress."""

from __future__ import annotations

import polars as pl

from batchgen.errors import UsageError
from batchgen.storage.listing import File, size_of

BATCH_ROWS = 4096
BATCH_BYTES = 16 << 20
MAX_CELL = 16 << 20
MAX_UNFOLDED, UNFOLDS_FROM = 1000, 1 << 30
"""A file or a column of it may decompress to so many times its size, or to so many bytes."""
EXCEL_CHARACTERS = 32_767
"""The most UTF-16 code units of a cell: Excel's specifications and limits."""
ROW_BYTES = 100
"""Bytes of an empty row in memory."""

Schema = dict[str, pl.DataType]

UUID = pl.Extension("arrow.uuid", pl.Binary(), "")
"""The type of a Parquet file's UUIDs."""


def refuse_unfolding(path: File, size: float, packed: float | None = None, advice: str = "") -> None:
    """Raises UsageError if a file decompresses to so many bytes, or more, from `packed` ones: all of its own unless
    given. `advice`: what the message ends with."""
    if size > UNFOLDS_FROM and size > MAX_UNFOLDED * (size_of(path) if packed is None else packed):
        raise UsageError(
            f"{path}: {size_of(path) / 1e6:,.1f} MB that decompress to more than {size // 1e9:,.0f} GB{advice}"
        )
