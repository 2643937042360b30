"""Writes results as NDJSON: one object per row.

Numbers keep their digits, decimals too. Nested values, such as log-probs, are JSON. Dates and durations are ISO 8601
texts, bytes base64 texts, NaN and infinity null: JSON has no form for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import polars as pl

from batchgen.input.texts import texts
from batchgen.output.selection import Piece


def write(file: BinaryIO, pieces: Iterator[Piece], names: list[str]) -> None:  # noqa: ARG001  a Write
    """Writes a line a row."""
    for piece in pieces:
        frame = piece.frame()
        plain = frame.with_columns(texts(column) for column in frame if isinstance(column.dtype, pl.Extension))
        file.writelines(f"{line}\n".encode() for line in texts(plain.to_struct()))
