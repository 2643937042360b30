"""Judges a run's results by the job's `gate`, while they are written. Takes some twelve bytes a row."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.errors import BatchgenError, UsageError
from batchgen.job.checks import Gate
from batchgen.job.dated_path import DatedPath
from batchgen.job.job import Job
from batchgen.storage import object_store
from batchgen.storage.atomic import machine_refusals
from batchgen.storage.listing import File, files_at
from batchgen.storage.location import Location, ObjectUrl
from batchgen.ui.humanize import inflect, pluralize

log = logging.getLogger("batchgen")

AT_ONCE = 10_000
"""Rows of the last good output that are in memory at once."""


class GateStats:
    """Collects what a gate judges. `last`: the last good output, None if there is none."""

    def __init__(self, gate: Gate, last: Location | None) -> None:
        self._gate, self._last = gate, last
        self._lengths: list[pl.Series] = [pl.Series(dtype=pl.UInt32)]
        self._hashes: list[pl.Series] = [pl.Series(dtype=pl.UInt64)]

    def add(self, known: pl.DataFrame, texts: pl.Series) -> None:
        """Adds rows of the plan, and the texts of those that are `ok`. Ignores a row for duplicates if it sends what
        an earlier row sent."""
        self._lengths.append(texts.drop_nulls().str.len_chars())
        if self._gate.max_duplicates is not None:
            own = texts.filter(known["occurrence"] == 0) if "occurrence" in known.columns else texts
            self._hashes.append(own.drop_nulls().hash())

    def reasons(self, rows: int, failed: int, pending: int) -> list[str]:
        """Returns why these results must not replace the last good ones; empty if they may."""
        done = rows - pending
        counts = [self._few(rows), self._undone(done - failed, rows)]
        if not done:
            return [reason for reason in counts if reason] or ["no row is done"]
        lengths = pl.concat(self._lengths)
        found = [*counts, self._failed(failed, done), self._short(lengths), self._alike(), self._drift(lengths)]
        return [reason for reason in found if reason]

    def _few(self, rows: int) -> str | None:
        least = self._gate.min_rows or 0
        return None if rows >= least else f"there are {pluralize(rows, 'row')}; gate.min_rows asks for {least:,}"

    def _undone(self, ok: int, rows: int) -> str | None:
        least = self._gate.min_done
        if least is None or not rows or ok / rows >= least:
            return None
        have = inflect(ok, "has its", "have their")
        return f"{_share_of(ok, rows, 'row')} {have} text; gate.min_done asks for {_percent(least)}"

    def _failed(self, failed: int, done: int) -> str | None:
        most = self._gate.max_failed
        if most is None or failed / done <= most:
            return None
        return f"{_share_of(failed, done, 'row')} failed; gate.max_failed allows {_percent(most)}"

    def _short(self, lengths: pl.Series) -> str | None:
        least = self._gate.min_chars or 0
        short = int((lengths.cast(pl.Int64) < least).sum())  # from 32 bits: `least` may need more
        if not short:
            return None
        fewer = f"{inflect(short, 'has', 'have')} fewer than {pluralize(least, 'character')}"
        what = f"{_share_of(short, lengths.len(), 'text')} {fewer}, which is gate.min_chars"
        return f"{what}; the shortest has {lengths.sort()[0]:,}"

    def _alike(self) -> str | None:
        most, hashes = self._gate.max_duplicates, pl.concat(self._hashes).sort()
        again = int((hashes == hashes.shift()).sum())
        if most is None or not again or again / hashes.len() <= most:
            return None
        what = f"{_share_of(again, hashes.len(), 'text')} {inflect(again, 'equals', 'equal')} an earlier row's"
        return f"{what}; gate.max_duplicates allows {_percent(most)}"

    def _drift(self, lengths: pl.Series) -> str | None:
        most = self._gate.max_drift
        before = None if most is None or self._last is None else lengths_in(self._last)
        if most is None or before is None or before.is_empty() or lengths.is_empty():
            return None
        far = distance(lengths, before)
        if far <= most:
            return None
        medians = f"in characters, the median is {_median(lengths):,} and was {_median(before):,}"
        what = f"the texts' lengths are {_percent(far)} from those of {self._last}: {medians}"
        return f"{what}; gate.max_drift allows {_percent(most)}"


def distance(one: pl.Series, other: pl.Series) -> float:
    """Returns the Kolmogorov-Smirnov distance, from 0 to 1: the largest difference, over all lengths, between the
    shares of values that are at most that long. Neither may be empty."""
    one, other = one.sort(), other.sort()
    at = pl.concat([one.unique(), other.unique()])
    ones, others = (values.search_sorted(at, side="right").cast(pl.Int64) for values in (one, other))
    apart = (ones * other.len() - others * one.len()).abs().sort()[-1]  # whole numbers: a share is met exactly
    return float(apart / (one.len() * other.len()))


def lengths_in(place: Location) -> pl.Series | None:
    """Returns the characters of each text in results, read row group by row group; None if they cannot be read."""
    try:
        pieces = [piece for one in files_at(place) for piece in _lengths(one)]
    except (OSError, UsageError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        log.warning("warning: %s: gate.max_drift is not checked: no results can be read there: %s", place, error)
        return None
    return pl.concat([pl.Series(dtype=pl.UInt32), *pieces])


def texts_in(place: Location) -> int:
    """Returns how many rows of results have their text; 0 if there are none, or none that can be read."""
    try:
        return sum(_texts(one) for one in files_at(place))
    except (OSError, BatchgenError, pa.ArrowException, pl.exceptions.PolarsError):
        return 0


def _texts(one: File) -> int:
    with one.open("rb") as opened, pq.ParquetFile(opened, pre_buffer=False) as file:
        batches = file.iter_batches(columns=["status"], use_threads=False)
        return sum(int((pl.DataFrame(batch)["status"] == "ok").sum()) for batch in batches)


def _lengths(one: File) -> Iterator[pl.Series]:
    with one.open("rb") as opened, pq.ParquetFile(opened, pre_buffer=False) as file:  # which would hold all of it
        for batch in file.iter_batches(AT_ONCE, columns=["text", "status"], use_threads=False):
            yield pl.DataFrame(batch).filter(pl.col("status") == "ok")["text"].drop_nulls().str.len_chars()


def last_good(job: Job, date: str) -> Location | None:
    """Returns the existing output in the place of this run's. If its path contains {date}: that of the latest day up
    to this one. Raises MachineRefused if the store does not answer."""
    path = job.dated_output()
    with machine_refusals(path.on(date)):
        found = [days or {date} for place in _standing(path, date) if (days := path.days(place)) is not None]
    once = (days.pop() for days in found if len(days) == 1)  # a date may stand in a path more than once
    earlier = [day for day in once if day <= date]
    return path.on(max(earlier)) if earlier else None


def _standing(path: DatedPath, date: str) -> list[str]:
    """Returns what may be an output of any day: local paths, or the names of all objects in the innermost folder
    whose name has no day."""
    there = path.on(date)
    if isinstance(there, Path):
        return glob.glob(path.glob())
    folder = path.pieces[0].removeprefix(f"{there.bucket}/").rpartition("/")[0]
    return [str(one) for one in object_store.list_objects(ObjectUrl(there.bucket, folder))]


def _median(lengths: pl.Series) -> int:
    return int(lengths.sort()[(lengths.len() - 1) // 2])


def _share_of(part: int, whole: int, what: str) -> str:
    return f"{part:,} of {pluralize(whole, what)} ({_percent(part / whole)})"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
