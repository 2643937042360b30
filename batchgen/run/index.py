"""What the checkpoint knows of each key, in some thirty bytes a row, made for looking up batches of keys.

Keys are sorted by their first eight bytes and searched; a hash table of the same rows costs ten times the
memory. Pure: it reads what it is given and opens nothing.
"""

from __future__ import annotations

import enum
from array import array
from collections.abc import Iterable

import polars as pl

from batchgen.run.checkpoint import OK


class State(enum.IntEnum):
    """Of a row, by its last attempt."""

    NEW = 0  # never tried
    OPEN = 1  # tried, and not done with
    FAILED = 2
    DONE = 3


class Index:
    """The last attempt of every key. Attempts up to `floor` count as requests, but their answers are not reused."""

    def __init__(self, states: Iterable[tuple[bytes, int, str, int, int]], floor: int) -> None:
        keys = bytearray()
        ids, state, attempts = array("q"), array("B"), array("I")
        for key, id_, outcome, final, sent in states:
            keys += key if len(key) == 16 else bytes(16)  # noqa: PLR2004  a damaged key matches no row
            ids.append(id_)
            state.append(_state(outcome, final, id_ > floor))
            attempts.append(sent)
        self._frame = pl.DataFrame(
            {**split(keys), "id": pl.Series(ids), "state": pl.Series(state), "attempts": pl.Series(attempts)},
            schema_overrides={"id": pl.Int64, "state": pl.UInt8, "attempts": pl.UInt32},
        ).sort("hi", "id")
        self._is_last = self._frame["hi"] != self._frame["hi"].shift(-1)

    def find(self, hi: pl.Series, lo: pl.Series) -> pl.DataFrame:
        """`record` (an attempt's id, 0 for none), `state` and `attempts` for each key."""
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

    def unused(self, used: pl.Series) -> pl.Series:
        """Ids of the attempts, superseded ones too, that are none of these records."""
        return self._frame["id"].filter(~self._frame["id"].is_in(used.implode()))

    def done(self) -> int:
        """Keys that have an answer."""
        return int(((self._frame["state"] == State.DONE) & self._is_last.fill_null(value=True)).sum())


def _state(outcome: str, final: int, reusable: bool) -> State:  # noqa: FBT001  one caller
    if not reusable:
        return State.NEW
    if outcome == OK:
        return State.DONE
    return State.FAILED if final else State.OPEN


def split(keys: bytes | bytearray) -> dict[str, pl.Series]:
    """Keys of 16 bytes, end to end -> `hi` and `lo`."""
    halves = array("Q", bytes(keys))
    return {"hi": pl.Series("hi", halves[::2], dtype=pl.UInt64), "lo": pl.Series("lo", halves[1::2], dtype=pl.UInt64)}
