"""Which rows are asked for: by name, or by how they stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from batchgen.checkpoint.index import State
from batchgen.errors import UsageError
from batchgen.input.file_hints import closest_name
from batchgen.input.source import Source
from batchgen.input.texts import texts
from batchgen.job.shard import row_name
from batchgen.ui.humanize import inflect

_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+|\d+")
"""As a person writes it, and as messages do."""


@dataclass(frozen=True)
class RowSelection:
    """Says which rows to show: those of these `names`, which failed, or which are pending. `names`: their numbers in
    the files, or their `input.id`."""

    names: Sequence[str] = ()
    failed: bool = False
    pending: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError where none of them is asked for, or several."""
        if bool(self.names) + self.failed + self.pending != 1:
            raise UsageError("name rows, by number or input.id, or give --failed or --pending: one of the three")

    @property
    def states(self) -> list[int]:
        return [State.FAILED] if self.failed else [State.NEW, State.OPEN]


def named_rows(source: Source, names: Sequence[str]) -> list[int]:
    """Returns the job's rows of these names, in order and counted from 0: a name may be one row's number and another's
    id. Raises UsageError if it is neither."""
    numbers = {int(name.replace(",", "")) for name in names if _NUMBER.fullmatch(name)}
    places: list[int] = []
    found: set[str] = set()
    start = 0
    for frame, own in source.numbered():
        ids = texts(frame[source.spec.id]) if source.spec.id else own.cast(pl.String)  # else a number is all
        here = (own.is_in(list(numbers)) | ids.is_in(list(names)).fill_null(value=False)).arg_true()
        places += [start + at for at in here]
        found |= {str(number) for number in own.gather(here)} | set(ids.gather(here))
        start += frame.height
    for name in names:
        if name not in found and not (_NUMBER.fullmatch(name) and name.replace(",", "").lstrip("0") in found):
            raise UsageError(f"{source.spec.path}: {_no_row(source, name)}")
    return places


def _no_row(source: Source, name: str) -> str:
    """Says why there is no row of this name, and which one may be meant."""
    column = source.spec.id
    if _NUMBER.fullmatch(name):
        has = f"the job has no row {name}" + (f", and no row with this {column}" if column else "")
        of_ids = "" if column else "; a row is found by its id where input.id names the column"
        return f"{has}: {_numbered(source)}{of_ids}"
    if column is None:
        return f"{name!r} is not a row number, and the job has no input.id to name rows by"
    near: dict[str, int] = {}
    for frame, numbers in source.numbered():
        ids = texts(frame[column]).drop_nulls().to_list()
        if (close := closest_name(name, ids)) is not None:
            near[close] = numbers[ids.index(close)]
    close = closest_name(name, near)
    hint = f"; did you mean {row_name(near[close], close)}?" if close is not None else ""
    return f"no row's {column} is {name!r}{_left_out(source)}{hint}"


def _numbered(source: Source) -> str:
    """Says which rows there are."""
    ends = [(numbers[0], numbers[-1], numbers.len()) for _, numbers in source.numbered()]
    if not ends:
        return "it has none"
    first, last, count = ends[0][0], ends[-1][1], sum(rows for *_, rows in ends)
    return f"it has {count:,}, from row {first:,} to row {last:,}{_left_out(source)}"


def _left_out(source: Source) -> str:
    """Says which settings leave rows of the file out; empty if none does."""
    spec = source.spec
    why = [key for key, given in (("where", spec.where), ("limit", spec.limit), ("shard", spec.shard)) if given]
    keys, leave = " and ".join(f"input.{key}" for key in why), inflect(len(why), "leaves", "leave")
    return f" ({keys} {leave} others out)" if why else ""
