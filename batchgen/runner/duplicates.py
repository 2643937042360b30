"""Rows that send the same request: told apart by their occurrence, or with one answer for all of them.

A row keeps the key of its own occurrence where answers are shared, too: an answer that was bought for any of them is
found by whatever way the job goes next. Pure, and part by part where a whole input would take memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from batchgen.checkpoint.index import State, join, sixteenths, split
from batchgen.checkpoint.row_key import occurrence_key

_AT = pl.int_range(pl.len(), dtype=pl.UInt32)


def told_apart(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with `hi` and `lo` of their bodies -> with those of their keys, and `occurrence` where a body is there more
    than once."""
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
    """Whether any is there twice."""
    return any(keys.gather(rows).n_unique() < rows.len() for rows in sixteenths(keys))


def first_of_each(rows: pl.DataFrame) -> pl.Series | None:
    """For each row the number of the first with the same body (`hi`, `lo`); None where no two have the same."""
    if not _repeats(rows["hi"]):
        return None
    first = _numbers(rows.height)
    for part in sixteenths(rows["hi"]):
        keyed = rows.select(pl.col("hi", "lo").gather(part)).with_columns(at=part.cast(pl.UInt32))
        first = first.scatter(part, keyed.select(pl.col("at").first().over("hi", "lo")).to_series())
    return first


def shared(rows: pl.DataFrame, first: pl.Series) -> pl.DataFrame:
    """A plan's rows, where those with one `first` share an answer: of the one that has come furthest, or the first of
    these, all have `record`, `state` and `attempts`. `answered_by` is its number, `sharing` how many they are."""
    come = (State.DONE - rows["state"]).cast(pl.UInt64) * 2**32 + _numbers(rows.height).cast(pl.UInt64)
    groups = pl.DataFrame({"first": first, "come": come})
    found = groups.select(
        answered_by=(pl.col("come").min().over("first") % 2**32).cast(pl.UInt32),
        sharing=pl.len().over("first").cast(pl.UInt32),
    )
    by = found["answered_by"]
    return rows.with_columns(rows.select(pl.col("record", "state", "attempts").gather(by))).hstack(found)


def sent_for_all(rows: pl.DataFrame) -> pl.Expr:
    """Whether a row is sent for all that share its answer: each is, where none do."""
    return pl.col("answered_by") == _AT if "answered_by" in rows.columns else pl.lit(value=True)


def shared_keys(rows: pl.DataFrame) -> Iterator[tuple[bytes, int]]:
    """The keys under which answers are shared, each with the number of its rows."""
    if "sharing" in rows.columns:
        of = rows.lazy().filter(sent_for_all(rows), pl.col("sharing") > 1).select("hi", "lo", "sharing").collect()
        yield from ((join(hi, lo), sharing) for hi, lo, sharing in of.iter_rows())


def _numbers(count: int) -> pl.Series:
    return pl.int_range(count, dtype=pl.UInt32, eager=True)
