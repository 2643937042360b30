"""The formats of results, by the suffix of their file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self

from batchgen.output.destination import Destination
from batchgen.output.draft import PARQUET, Draft

if TYPE_CHECKING:
    import pyarrow as pa

    from batchgen.output.selection import Piece

CSV, WORKBOOK = ".csv", ".xlsx"
SUFFIXES = (PARQUET, CSV, WORKBOOK, ".jsonl", ".ndjson")
LEFT_OUT = {CSV: ("log_probs",), WORKBOOK: ("log_probs",)}
"""Columns that a format has only on request: nobody reads them in a cell."""

Write = Callable[[BinaryIO, "Iterator[Piece]", list[str]], None]
"""Writes a whole file: its rows, and the names of their columns."""


class TableWriter(Protocol):
    """Writes results into a draft, within a `with` block: `write` once, then `finish`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, pieces: Iterator[Piece]) -> None:
        """Writes all rows."""

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Ends the file, with metadata if the format has a place for it."""


class _PlainWriter:
    """One file that is not Parquet."""

    def __init__(self, draft: Draft, write: Write, names: list[str]) -> None:
        self._draft, self._write, self._names = draft, write, names
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def write(self, pieces: Iterator[Piece]) -> None:
        self._write(self._open.enter_context(self._draft.part(0)), pieces, self._names)

    def finish(self, metadata: Mapping[str, str]) -> None:  # noqa: ARG002  it has no place for them
        self._open.close()


def left_out(to: Destination) -> tuple[str, ...]:
    """Returns the columns that are not written there unless they are asked for."""
    return LEFT_OUT.get(_suffix(to), ())


def has_short_cells(to: Destination) -> bool:
    """Returns whether a cell holds 32,767 characters at most, as Excel's do."""
    return _suffix(to) == WORKBOOK


def writer_for(to: Destination, draft: Draft, schema: pa.Schema) -> TableWriter:
    """Returns what writes results as the destination wants them."""
    from batchgen.output.parquet_writer import ParquetWriter  # noqa: PLC0415  it takes long, and a plan writes nothing

    suffix = _suffix(to)
    if suffix == PARQUET:
        return ParquetWriter(draft, schema, to.rows_per_file)
    return _PlainWriter(draft, _plain(suffix), schema.names)


def refuse_rows(to: Destination, rows: int) -> None:
    """Raises UsageError if the format does not hold so many."""
    if _suffix(to) == WORKBOOK:
        from batchgen.output.xlsx_export import refuse_rows  # noqa: PLC0415

        refuse_rows(rows)


def _suffix(to: Destination) -> str:
    """Returns the suffix that decides the format. A folder's parts are Parquet."""
    return PARQUET if to.is_folder else to.place.suffix


def _plain(suffix: str) -> Write:
    if suffix == CSV:
        from batchgen.output.csv_export import write  # noqa: PLC0415  as above
    elif suffix == WORKBOOK:
        from batchgen.output.xlsx_export import write  # noqa: PLC0415
    else:
        from batchgen.output.ndjson_export import write  # noqa: PLC0415
    return write
