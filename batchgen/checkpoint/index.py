"""The index of the checkpoint's keys, in about thirty bytes a row, for looking up batches of keys.

Keys are sorted by their first eight bytes, and searched by them; a hash table of the same rows costs ten times the
memory. Pure: it opens nothing.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import polars as pl

from batchgen.api.failure_kinds import Kind
from batchgen.checkpoint.row_key import KEY_BYTES
from batchgen.checkpoint.schema import DAMAGED, OK

KEYS_PER_CHUNK, KEYS_PER_LOOKUP = 10_000, 100_000
"""Keys that are read at once, and keys that are looked up at once. A larger lookup takes less time a key, and a few
megabytes."""
BYTES_PER_SPLIT = 1 << 20
"""Keys that are split at once: a split takes about a millisecond, however few they are."""


class State(enum.IntEnum):
    """A row's state, by its last attempt."""

    NEW = 0  # never tried
    OPEN = 1  # tried, and not done with
    FAILED = 2
    DONE = 3


class Index:
    """The newest answer of every key, else its last attempt. Attempts up to `floor` count as requests, but their
    answers are not reused; nor are damaged ones."""

    def __init__(
        self,
        states: Iterable[tuple[bytes, int, str, int, int]],
        floor: int,
        answered_at_once: Iterable[tuple[bytes, Sequence[int]]] = (),
    ) -> None:
        """Builds the index. `states`: (key, id, outcome, final, attempts), ordered by id. `answered_at_once`: joined
        keys, with their ids, of further attempts that were a row's first, and an answer."""
        columns = Columns(id=pl.Int64, state=pl.UInt8, attempts=pl.UInt32)
        for joined, some in answered_at_once:
            columns.add(joined, id=some, state=[State.DONE], attempts=[1])
        iterator, done = iter(states), State.DONE
        while chunk := list(islice(iterator, KEYS_PER_CHUNK)):
            keys, ids, outcomes, finals, attempts = zip(*chunk, strict=True)
            ended = zip(outcomes, finals, strict=True)
            state = [done if outcome == OK else _state(outcome, final) for outcome, final in ended]
            columns.add(_joined(keys), id=ids, state=state, attempts=attempts)
        self._frame = columns.frame(by_key=True)
        if floor:
            reusable = pl.when(pl.col("id") > floor).then(pl.col("state")).otherwise(pl.lit(State.NEW, pl.UInt8))
            self._frame = self._frame.with_columns(state=reusable)
        self._answers = _older_answers(self._frame)
        if (self._frame["state"] == _DAMAGED).any():
            self._frame = self._frame.with_columns(pl.col("state").replace(_DAMAGED, State.OPEN))

    def find(self, hi: pl.Series, lo: pl.Series) -> pl.DataFrame:
        """Returns `record` (an attempt's id, 0 for none), `state` and `attempts` for each key."""
        slices = range(0, max(hi.len(), 1), KEYS_PER_LOOKUP)
        return pl.concat(
            [self._find(hi.slice(start, KEYS_PER_LOOKUP), lo.slice(start, KEYS_PER_LOOKUP)) for start in slices]
        )

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
        last = pl.DataFrame({name: column.gather(at) for name, column in found.items()}).select(
            pl.when(known).then(pl.all()).otherwise(0)
        )
        return last if self._answers.is_empty() else self._with_answers(last, hi, lo)

    def _with_answers(self, last: pl.DataFrame, hi: pl.Series, lo: pl.Series) -> pl.DataFrame:
        """Replaces the last attempt of a key by its answer, where the answer is older."""
        keys = pl.DataFrame({"hi": hi, "lo": lo})
        answer = keys.join(self._answers, on=["hi", "lo"], how="left", maintain_order="left")["id"]
        return last.with_columns(
            record=pl.when(answer.is_null()).then("record").otherwise(answer),
            state=pl.when(answer.is_null()).then("state").otherwise(pl.lit(State.DONE, pl.UInt8)),
        )

    def others(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Returns the attempts after the floor that have the key of one of these rows, and are not its `record`: their
        `hi`, `lo`, `id` and `state`."""
        of_rows = self._frame.join(rows, on=["hi", "lo"], how="semi").filter(pl.col("state") != State.NEW)
        return of_rows.join(rows, left_on="id", right_on="record", how="anti").select("hi", "lo", "id", "state")

    def orphans(self, keys: pl.DataFrame) -> pl.Series:
        """Returns ids of attempts whose key is not in `keys` (`hi`, `lo`), or that lie at or below the floor."""
        under = pl.col("state") == State.NEW
        return pl.concat(
            [self._frame.filter(under), self._frame.filter(~under).join(keys, on=["hi", "lo"], how="anti")]
        )["id"]

    def superseded(self) -> pl.DataFrame:
        """Returns the answers whose key has a newer one: their `hi`, `lo` and `id`."""
        done = self._frame.lazy().filter(pl.col("state") == State.DONE)
        return done.filter(pl.col("id") < pl.col("id").max().over("hi", "lo")).select("hi", "lo", "id").collect()

    def done(self) -> int:
        """Returns how many keys have an answer."""
        last = sum(self._done(start) for start in range(0, self._frame.height, KEYS_PER_CHUNK))
        return last + self._answers.height

    def _done(self, start: int) -> int:
        """Counts the keys in a slice whose last attempt is an answer. The row after the slice shows whether the slice
        ends with a key's last attempt."""
        keys = self._frame["hi"].slice(start, KEYS_PER_CHUNK + 1)
        is_last = (keys != keys.shift(-1)).fill_null(value=True).head(KEYS_PER_CHUNK)
        return int(((self._frame["state"].slice(start, KEYS_PER_CHUNK) == State.DONE) & is_last).sum())


def _older_answers(frame: pl.DataFrame) -> pl.DataFrame:
    """Returns keys whose newest answer is not their last attempt (`hi`, `lo`), with that answer's `id`. A fresh run may
    have failed at a row that has an answer already. There are almost never any."""
    older = (frame["state"] == State.DONE) & (frame["hi"] == frame["hi"].shift(-1))
    if not older.any():
        return frame.clear()[["hi", "lo", "id"]]
    some = frame.filter(pl.col("hi").is_in(frame["hi"].filter(older).implode()))
    id_, state = pl.col("id"), pl.col("state")
    damaged = id_.filter(state == _DAMAGED).max().fill_null(0)
    by_key = some.group_by("hi", "lo").agg(id=id_.filter(state == State.DONE).max(), damaged=damaged, last=id_.max())
    return by_key.filter(pl.col("id") > pl.col("damaged"), pl.col("id") < pl.col("last")).select("hi", "lo", "id")


def _joined(keys: Sequence[bytes]) -> bytes:
    """Joins the keys; a damaged one becomes a key that matches no row."""
    return b"".join([key if isinstance(key, bytes) and len(key) == KEY_BYTES else bytes(KEY_BYTES) for key in keys])


_DAMAGED = 9
"""The state of a damaged answer, until the answers before it are discarded."""


def _state(outcome: str, final: int) -> int:
    """Returns the state that an attempt leaves behind, if it is no answer."""
    if outcome == DAMAGED:
        return _DAMAGED
    return State.FAILED if final and outcome in _KINDS else State.OPEN


_KINDS = frozenset(Kind)
"""A damaged outcome is not among these: the row is sent again."""


_PAIR = struct.Struct(">QQ")


class Columns:
    """A frame that grows by batches of rows: `hi` and `lo`, which order as the keys do, and columns of the given types.

    Kept in pieces: one array that grows would be copied again and again, and leave holes in memory.
    """

    def __init__(self, **types: type[pl.DataType]) -> None:
        self._types = types
        self._pieces: dict[str, list[pl.Series]] = {name: [] for name in ("hi", "lo", *types)}
        self._unsplit = bytearray()

    def add(self, keys: bytes, **values: Sequence[int]) -> None:
        """Appends rows. `keys`: joined bytes; every column gets one value a key, or one for all. What is not of
        the column's type, as damage leaves it, is 0."""
        self._unsplit += keys
        if len(self._unsplit) >= BYTES_PER_SPLIT:
            self._split()
        for name, dtype in self._types.items():
            self._pieces[name].append(_column(name, values[name], dtype, len(keys) // KEY_BYTES))

    def _split(self) -> None:
        for name, half in split(bytes(self._unsplit)).items():
            self._pieces[name].append(half)
        self._unsplit.clear()

    def frame(self, *, by_key: bool = False) -> pl.DataFrame:
        """Returns all rows as they came, or in the order of `hi`, those of one key by `id`. Frees the pieces on the
        way, so that two copies never exist at once."""
        self._split()
        order = _order(self._whole("hi"), self._whole("id")) if by_key else None
        columns = (self._pop(name) for name in ("hi", "lo", *self._types))
        return pl.DataFrame([column.rechunk() if order is None else column.gather(order) for column in columns])

    def _whole(self, name: str) -> pl.Series:
        """Returns a column in its pieces: one piece of all would be another copy."""
        dtype = self._types.get(name, pl.UInt64)
        return pl.concat([pl.Series(name, dtype=dtype), *self._pieces[name]], rechunk=False)

    def _pop(self, name: str) -> pl.Series:
        column = self._whole(name)
        del self._pieces[name]
        return column


def _column(name: str, values: Sequence[int], dtype: type[pl.DataType], rows: int) -> pl.Series:
    column = pl.Series(name, values, dtype=dtype, strict=False)
    column = column.fill_null(0) if column.null_count() else column
    return column if len(values) == rows else column.new_from_index(0, rows)


def _order(keys: pl.Series, ids: pl.Series) -> pl.Series:
    """Returns the row numbers in the order of their keys; rows of one key by their ids."""
    if not ids.is_sorted():
        by_id = ids.arg_sort()
        return by_id.gather(_order(keys.gather(by_id), ids.gather(by_id)))
    ordered = (
        some.arg_true().to_frame().select(pl.first().sort_by(keys.filter(some), maintain_order=True))
        for some in parts(keys)
    )
    return pl.concat(ordered).to_series()


def parts(keys: pl.Series) -> Iterator[pl.Series]:
    """Yields for each row whether its key is in the lowest sixteenth of the key space, in the next, and so on: sorting
    or counting part by part takes less memory. Few keys are one part."""
    size = 1 << (60 if keys.len() > KEYS_PER_LOOKUP else 64)
    for least in range(0, 1 << 64, size):
        yield keys.is_between(least, least + size - 1)


def split(keys: bytes) -> dict[str, pl.Series]:
    """Splits joined keys of 16 bytes into `hi` and `lo`."""
    if not keys:
        return {name: pl.Series(name, dtype=pl.UInt64) for name in ("hi", "lo")}
    numbers = pl.Array(pl.UInt64, len(keys) // 8)
    halves = pl.col("keys").bin.reinterpret(dtype=numbers, endianness="big").explode()
    whole = pl.DataFrame({"keys": [keys]}, schema={"keys": pl.Binary})
    return whole.select(hi=halves.gather_every(2), lo=halves.gather_every(2, 1)).to_dict()


def join(hi: int, lo: int) -> bytes:
    """Returns the key of two halves."""
    return _PAIR.pack(hi, lo)
