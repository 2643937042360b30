"""What the checkpoint knows of each key, in some thirty bytes a row, made for looking up batches of keys.

Keys stand in order and are searched by their first eight bytes; a hash table of the same rows costs ten times
the memory, and sorting them here three times: so they come sorted. Pure: it reads what it is given and opens nothing.
"""

from __future__ import annotations

import enum
import struct
import sys
from array import array
from collections.abc import Iterable
from functools import cache
from itertools import islice

import polars as pl

from batchgen.api.contract import Kind
from batchgen.rows.identity import KEY_BYTES
from batchgen.runner.checkpoint import OK

CHUNK = 50_000


class State(enum.IntEnum):
    """Of a row, by its last attempt."""

    NEW = 0  # never tried
    OPEN = 1  # tried, and not done with
    FAILED = 2
    DONE = 3


class Index:
    """The last attempt of every key. Attempts up to `floor` count as requests, but their answers are not reused."""

    def __init__(self, states: Iterable[tuple[bytes, int, str, int, int]], floor: int) -> None:
        """`states`: (key, id, outcome, final, attempts), ordered by key, then id."""
        columns = {"hi": array("Q"), "lo": array("Q"), "id": array("q"), "state": array("B"), "attempts": array("I")}
        iterator = iter(states)
        while chunk := list(islice(iterator, CHUNK)):
            keys, ids, outcomes, finals, attempts = zip(*chunk, strict=True)
            add_keys(columns, _whole(keys))
            columns["id"].extend(ids)
            columns["state"].extend(map(_state, outcomes, finals))
            columns["attempts"].extend(attempts)
        self._frame = to_frame(columns)
        if floor:
            reusable = pl.when(pl.col("id") > floor).then(pl.col("state")).otherwise(pl.lit(State.NEW, pl.UInt8))
            self._frame = self._frame.with_columns(state=reusable)
        self._is_last = self._frame["hi"] != self._frame["hi"].shift(-1)

    def find(self, hi: pl.Series, lo: pl.Series) -> pl.DataFrame:
        """`record` (an attempt's id, 0 for none), `state` and `attempts` for each key."""
        slices = range(0, max(hi.len(), 1), CHUNK)
        return pl.concat([self._find(hi.slice(start, CHUNK), lo.slice(start, CHUNK)) for start in slices])

    def _find(self, hi: pl.Series, lo: pl.Series) -> pl.DataFrame:
        frame = self._frame
        if frame.is_empty():
            return pl.select(
                record=pl.repeat(0, hi.len(), dtype=pl.Int64),
                state=pl.repeat(State.NEW, hi.len(), dtype=pl.UInt8),
                attempts=pl.repeat(0, hi.len(), dtype=pl.UInt32),
            )
        after = frame["hi"].search_sorted(hi, side="right")
        at = (after.cast(pl.Int64) - 1).clip(lower_bound=0)
        known = (frame["hi"].gather(at) == hi) & (frame["lo"].gather(at) == lo)
        found = {"record": frame["id"], "state": frame["state"], "attempts": frame["attempts"]}
        return pl.DataFrame({name: column.gather(at) for name, column in found.items()}).select(
            pl.when(known).then(pl.all()).otherwise(0)
        )

    def foreign(self, keys: pl.DataFrame) -> pl.Series:
        """Ids of all attempts that are of none of these keys (`hi`, `lo`), or lie under the floor."""
        under = pl.col("state") == State.NEW
        return pl.concat(
            [self._frame.filter(under), self._frame.filter(~under).join(keys, on=["hi", "lo"], how="anti")]
        )["id"]

    def done(self) -> int:
        """Keys that have an answer."""
        return int(((self._frame["state"] == State.DONE) & self._is_last.fill_null(value=True)).sum())


def _whole(keys: Iterable[bytes]) -> bytes:
    """The keys end to end; a damaged one becomes a key that fits no row."""
    return b"".join([key if len(key) == KEY_BYTES else bytes(KEY_BYTES) for key in keys])


@cache
def _state(outcome: str, final: int) -> State:
    if outcome == OK:
        return State.DONE
    return State.FAILED if final and outcome in _KINDS else State.OPEN


_KINDS = frozenset(Kind)
"""A damaged outcome is none of these: the row is sent again."""


_PAIR = struct.Struct(">QQ")
_TYPES = {"Q": pl.UInt64, "q": pl.Int64, "I": pl.UInt32, "H": pl.UInt16, "B": pl.UInt8}


def split(keys: bytes) -> dict[str, pl.Series]:
    """Keys of 16 bytes, end to end -> `hi` and `lo`, which order as the keys do."""
    columns = {"hi": array("Q"), "lo": array("Q")}
    add_keys(columns, keys)
    return to_frame(columns).to_dict()


def join(hi: int, lo: int) -> bytes:
    """The key again."""
    return _PAIR.pack(hi, lo)


def add_keys(columns: dict[str, array[int]], keys: bytes) -> None:
    """Adds keys, end to end, to the columns `hi` and `lo`."""
    halves = array("Q", keys)
    if sys.byteorder == "little":
        halves.byteswap()
    columns["hi"].extend(halves[::2])
    columns["lo"].extend(halves[1::2])


def to_frame(columns: dict[str, array[int]]) -> pl.DataFrame:
    """The columns as a frame. Empties `columns` on the way, so that no two copies of all of them exist."""
    names = list(columns)
    series = []
    for name in names:
        values = columns.pop(name)
        series.append(pl.Series(name, values, dtype=_TYPES[values.typecode]))
    return pl.DataFrame(series)
