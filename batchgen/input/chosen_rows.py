"""Reads some rows of the input, each with its number, its name and its request. Stops after the last of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn

from batchgen.errors import InputChanged
from batchgen.input.request import PreparedRequest, Requests
from batchgen.input.source import Source
from batchgen.input.texts import texts


class ChosenRow(NamedTuple):
    """A row of the input. `at`: counted from 0 over the job's rows. `number`: counted from 1 over the files' rows.
    `name`: its `input.id`."""

    at: int
    number: int
    name: str | None
    request: PreparedRequest


def read_rows(source: Source, requests: Requests, rows: Sequence[int]) -> Iterator[list[ChosenRow]]:
    """Yields these of the job's rows, batch by batch. `rows`: counted from 0, in order. Raises InputChanged if they
    no longer exist."""
    done, start = 0, source.start_of(min(rows, default=0))
    for frame, numbers in source.numbered(start) if rows else ():
        end = bisect_left(rows, start + frame.height)
        if here := rows[done:end]:
            places = [at - start for at in here]
            own = frame[places]
            names = texts(own[source.spec.id]).to_list() if source.spec.id else [None] * len(here)
            made = [one if isinstance(one, PreparedRequest) else _changed(source) for one in requests.of(own)]
            yield list(map(ChosenRow, here, numbers[places].to_list(), names, made))
        start, done = start + frame.height, end
        if done == len(rows):
            break
    source.verify()
    if done < len(rows):
        _changed(source)


def _changed(source: Source) -> NoReturn:
    raise InputChanged(f"{source.spec.path}: changed while it was read: run it again")
