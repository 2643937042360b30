"""The formats of results, by the suffix of their file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from batchgen.output.destination import Destination
from batchgen.output.draft import PARQUET, Draft

if TYPE_CHECKING:
    import pyarrow as pa

CSV = ".csv"
SUFFIXES = (PARQUET, CSV)


class TableWriter(Protocol):
    """Writes results into a draft, within a `with` block: `write` once, then `finish`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, tables: Iterator[pa.Table]) -> None:
        """Writes all rows."""

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Ends the file, with metadata where the format has a place for them."""


class _PlainWriter:
    """One file that is not Parquet."""

    def __init__(self, draft: Draft, schema: pa.Schema) -> None:
        self._draft, self._schema = draft, schema
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def write(self, tables: Iterator[pa.Table]) -> None:
        from batchgen.output import csv_export  # noqa: PLC0415  it takes long, and a plan writes nothing

        csv_export.write(self._open.enter_context(self._draft.part(0)), tables, self._schema.names)

    def finish(self, metadata: Mapping[str, str]) -> None:  # noqa: ARG002  it has no place for them
        self._open.close()


def writer_for(to: Destination, draft: Draft, schema: pa.Schema) -> TableWriter:
    """Returns what writes results as the destination's suffix wants them; a folder's parts are Parquet."""
    from batchgen.output.parquet_writer import ParquetWriter  # noqa: PLC0415  as above

    if to.rows_per_file is None and to.place.suffix != PARQUET:
        return _PlainWriter(draft, schema)
    return ParquetWriter(draft, schema, to.rows_per_file)
