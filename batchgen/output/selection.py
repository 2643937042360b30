"""Selects what an export has of the results: all of them, some columns, or rows of some status."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from batchgen.errors import UsageError
from batchgen.input.bounds import UUID
from batchgen.input.file_hints import closest_name

STATUSES = ("ok", "failed", "pending")


class Piece(NamedTuple):
    """Some rows of the results. `rows`: their numbers in the input's files, from 1."""

    rows: pl.Series
    table: pa.Table

    def frame(self) -> pl.DataFrame:
        """Returns the table with UUIDs that polars takes for such."""
        frame = pl.DataFrame(self.table)
        uuids = [field.name for field in self.table.schema if field.type == pa.uuid()]
        return frame.with_columns(frame[name].ext.to(UUID) for name in uuids)


@dataclass(frozen=True)
class Selection:
    """A selection of results. `columns`: names, in order; None: those that the format has by default. `statuses`:
    None: every row."""

    columns: tuple[str, ...] | None = None
    statuses: frozenset[str] | None = None

    @classmethod
    def parse(cls, columns: str | Sequence[str] | None, status: str | Sequence[str] | None) -> Selection:
        """Parses names, or texts with commas between them. Raises UsageError if there is no such status, or if a
        column is named twice."""
        names = _names(columns) or None
        statuses = _names(status)
        if strange := [one for one in statuses if one not in STATUSES]:
            raise UsageError(f"status: there is no {strange[0]!r}; there are {', '.join(STATUSES)}")
        if names and (twice := [name for name in names if names.count(name) > 1]):
            raise UsageError(f"columns: {twice[0]!r} is given twice")
        return cls(names, frozenset(statuses) or None)

    @property
    def is_all(self) -> bool:
        return self.columns is None and self.statuses is None

    def names(self, known: Sequence[str], left_out: Sequence[str]) -> list[str]:
        """Returns the columns' names. `left_out`: those that must be asked for. Raises UsageError if one is asked
        for that is not known."""
        if self.columns is None:
            return [name for name in known if name not in left_out]
        if unknown := [name for name in self.columns if name not in known]:
            near = closest_name(unknown[0], known)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"columns: the results have no {unknown[0]!r}; {hint}")
        return list(self.columns)

    def pieces(self, pieces: Iterator[Piece], names: Sequence[str]) -> Iterator[Piece]:
        """Yields what is selected of all results."""
        for rows, table in pieces:
            chosen = table.select(list(names))
            if self.statuses is None:
                yield Piece(rows, chosen)
            else:
                wanted: Any = pc.is_in(table["status"], pa.array(sorted(self.statuses), pa.string()))
                yield Piece(rows.filter(pl.Series(wanted)), chosen.filter(wanted))


ALL = Selection()


def _names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(given, str):
        given = [name.strip() for name in given.split(",")]
    return tuple(given or ())
