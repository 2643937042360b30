"""Rows that send the same request: keys that differ by their occurrence, or one answer for all of them.

A row keeps the key of its own occurrence if answers are shared, too: an answer that was bought for any of them is found
whether or not the next run shares. Pure; works in parts, to spare memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from batchgen.checkpoint.index import State, join, parts, split
from batchgen.checkpoint.row_key import occurrence_key

_AT = pl.int_range(pl.len(), dtype=pl.UInt32)


def with_occurrence_keys(rows: pl.DataFrame) -> pl.DataFrame:
    """Replaces `hi` and `lo` of the bodies by those of the keys, which differ for repeated bodies. Adds `occurrence` if
    a body occurs more than once."""
    if not _repeats(rows["hi"]):
        return rows
    again = rows.lazy().select("hi", "lo", at=_AT, occurrence=_AT.over("hi"))
    repeated = again.filter(pl.col("occurrence") > 0).collect()
    keys = b"".join(
        occurrence_key(join(hi, lo), occurrence)
        for hi, lo, occurrence in repeated.select("hi", "lo", "occurrence").iter_rows()
    )
    new = {**split(keys), "occurrence": repeated["occurrence"]}
    rows = rows.with_columns(occurrence=pl.lit(0, pl.UInt32))
    return rows.with_columns(**{name: rows[name].scatter(repeated["at"], values) for name, values in new.items()})


def _repeats(keys: pl.Series) -> bool:
    """Returns whether a key occurs twice."""
    return any(part.n_unique() < part.len() for part in map(keys.filter, parts(keys)))


def first_of_each(rows: pl.DataFrame) -> pl.Series | None:
    """Returns for each row the number of the first with the same body (`hi`, `lo`); None if all bodies differ."""
    if not _repeats(rows["hi"]):
        return None
    first = _numbers(rows.height)
    for some in parts(rows["hi"]):
        part = some.arg_true()
        keyed = rows.select(pl.col("hi", "lo").gather(part)).with_columns(at=part.cast(pl.UInt32))
        first = first.scatter(part, keyed.select(pl.col("at").first().over("hi", "lo")).to_series())
    return first


def share_answers(rows: pl.DataFrame, first: pl.Series) -> pl.DataFrame:
    """Lets the rows with the same `first` share an answer: all get `record`, `state` and `attempts` of the row among
    them that is furthest on, or of the first such row. Adds `answered_by`, its number, and `sharing`, how many they
    are."""
    rank = (State.DONE - rows["state"]).cast(pl.UInt64) * 2**32 + _numbers(rows.height).cast(pl.UInt64)
    groups = pl.DataFrame({"first": first, "rank": rank})
    found = groups.select(
        answered_by=(pl.col("rank").min().over("first") % 2**32).cast(pl.UInt32),
        sharing=pl.len().over("first").cast(pl.UInt32),
    )
    by = found["answered_by"]
    return rows.with_columns(rows.select(pl.col("record", "state", "attempts").gather(by))).hstack(found)


def is_sent(rows: pl.DataFrame) -> pl.Expr:
    """Returns whether a row is the one that is sent for all that share its answer; true for each row if none do."""
    return pl.col("answered_by") == _AT if "answered_by" in rows.columns else pl.lit(value=True)


def shared_keys(rows: pl.DataFrame) -> Iterator[tuple[bytes, int]]:
    """Yields the keys whose answers are shared, each with the number of its rows."""
    if "sharing" in rows.columns:
        sent = rows.lazy().filter(is_sent(rows), pl.col("sharing") > 1).select("hi", "lo", "sharing").collect()
        yield from ((join(hi, lo), sharing) for hi, lo, sharing in sent.iter_rows())


def _numbers(count: int) -> pl.Series:
    return pl.int_range(count, dtype=pl.UInt32, eager=True)
