"""The requests in flight over a run that found their number itself (`limits.concurrency: auto`), and why the number
changed. Arithmetic on what the run has stored; reads no answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import polars as pl

from batchgen.checkpoint.schema import ConcurrencyChange, Run
from batchgen.reporting.queries import ReportReader
from batchgen.reporting.timeline import Timeline
from batchgen.send.concurrency import START

MAX_STEPS = 400
"""More changes are drawn by their mean in each bin of the timeline."""


class Cause(NamedTuple):
    """How often the number was raised, and how often lowered, for one reason."""

    why: str
    raised: int
    lowered: int


@dataclass(frozen=True)
class InFlight:
    """The number of requests in flight over time. `start`: until the first move. `seconds`: to the run's last attempt.
    `latencies`: the median of the answers in each bin of the timeline, in seconds; None for a bin without answers."""

    start: int
    seconds: float
    moves: Sequence[ConcurrencyChange]
    latencies: Sequence[float | None]

    @property
    def end(self) -> int:
        return self.moves[-1].most

    @property
    def range(self) -> tuple[int, int]:
        """Returns the lowest and the highest number."""
        numbers = [move.most for move in self._from_the_start]
        return min(numbers), max(numbers)

    @property
    def _from_the_start(self) -> list[ConcurrencyChange]:
        return [ConcurrencyChange(0.0, self.start, 0.0, 0.0, "the beginning"), *self.moves]

    def steps(self) -> Iterator[tuple[float, float, int, str]]:
        """Yields stretches of one number: (from, to, number, why it was chosen), in seconds."""
        ends = [*(move.at for move in self.moves), self.seconds]
        for move, end in zip(self._from_the_start, ends, strict=True):
            if end > move.at:
                yield move.at, end, move.most, move.why

    def causes(self) -> list[Cause]:
        """Returns why the number changed, the commonest reason first."""
        raised, lowered = Counter[str](), Counter[str]()
        for before, move in pairwise(self._from_the_start):
            (raised if move.most > before.most else lowered)[move.why] += move.most != before.most
        both = (raised + lowered).most_common()
        return [Cause(why, raised[why], lowered[why]) for why, _ in both]

    def means(self, edges: Sequence[float]) -> list[float]:
        """Returns the mean number in each bin, by time."""
        sums = [0.0] * (len(edges) - 1)
        at = 0
        for start, to, number, _ in self.steps():
            while at < len(sums) - 1 and edges[at + 1] <= start:
                at += 1
            for bin_ in range(at, len(sums)):
                if edges[bin_] >= to:
                    break
                sums[bin_] += number * (min(to, edges[bin_ + 1]) - max(start, edges[bin_]))
        return [total / (to - start) for total, (start, to) in zip(sums, pairwise(edges), strict=True)]


def in_flight_of(reader: ReportReader, run: Run, time: Timeline, times: pl.DataFrame) -> InFlight | None:
    """Returns None if the run did not look for the number. `times`: `finished_at` and `latency` of its answers."""
    stored = reader.moves(run)
    if not stored:
        return None
    moves = [
        ConcurrencyChange(min(max((at - run.started_at) / 1e6, 0.0), time.seconds), most, throughput, latency, why)
        for at, most, throughput, latency, why in stored
    ]
    return InFlight(reader.last_in_flight_before(run) or START, time.seconds, moves, _medians(run, time, times))


def _medians(run: Run, time: Timeline, times: pl.DataFrame) -> list[float | None]:
    width = time.width * 1e6
    bins = ((times["finished_at"] - run.started_at) / width).floor().cast(pl.Int64).clip(0, len(time.ok) - 1)
    medians = dict(times.group_by(bins.alias("bin")).agg(pl.col("latency").median()).iter_rows())
    return [medians.get(at) for at in range(len(time.ok))]
