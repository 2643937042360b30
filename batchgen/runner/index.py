"""What the checkpoint knows of each key, in some thirty bytes a row, made for looking up batches of keys.

Keys are sorted by their first eight bytes and searched; a hash table of the same rows costs ten times the
memory. Pure: it reads what it is given and opens nothing.
"""

from __future__ import annotations

import enum
from array import array
from collections.abc import Iterable
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
        parts = [_frame([], floor)]
        iterator = iter(states)
        while chunk := list(islice(iterator, CHUNK)):
            parts.append(_frame(chunk, floor))
        frame = pl.concat(parts)
        if not frame["id"].is_sorted():
            frame = frame.sort("id")
        self._frame = frame.sort("hi", maintain_order=True)  # by both at once takes three times the memory
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


def _frame(chunk: list[tuple[bytes, int, str, int, int]], floor: int) -> pl.DataFrame:
    keys = b"".join(
        key if len(key) == KEY_BYTES else bytes(KEY_BYTES) for key, *_ in chunk
    )  # a damaged key fits no row
    return pl.DataFrame(
        {
            **split(keys),
            "id": pl.Series([id_ for _, id_, *_ in chunk], dtype=pl.Int64),
            "state": pl.Series(
                [_state(outcome, final, id_ > floor) for _, id_, outcome, final, _ in chunk], dtype=pl.UInt8
            ),
            "attempts": pl.Series([sent for *_, sent in chunk], dtype=pl.UInt32),
        }
    )


def _state(outcome: str, final: int, reusable: bool) -> State:  # noqa: FBT001  one caller
    if not reusable:
        return State.NEW
    if outcome == OK:
        return State.DONE
    return State.FAILED if final and outcome in _KINDS else State.OPEN


_KINDS = frozenset(Kind)
"""A damaged outcome is none of these: the row is sent again."""


def split(keys: bytes | bytearray) -> dict[str, pl.Series]:
    """Keys of 16 bytes, end to end -> `hi` and `lo`."""
    halves = array("Q", bytes(keys))
    return {"hi": pl.Series("hi", halves[::2], dtype=pl.UInt64), "lo": pl.Series("lo", halves[1::2], dtype=pl.UInt64)}
