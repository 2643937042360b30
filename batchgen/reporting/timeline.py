"""The attempts of one run over time: answers, refusals, and the cool-downs after them. Arithmetic on counts; reads no
answer.

Cool-downs are not stored: one is a stretch in which nothing was sent, and which begins with a refusal.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from batchgen.reporting.figures import Figures
from batchgen.reporting.queries import AttemptRange, ReportReader

MAX_BINS, MIN_BINS, ANSWERS_A_BIN = 120, 12, 15
MAX_SLOTS = 20_000
MIN_SLOT = 50_000
"""Microseconds of the finest slot."""
MIN_PAUSE = 300_000
"""A shorter pause is no cool-down."""


@dataclass(frozen=True)
class Timeline:
    """`seconds`: from the run's start to its last attempt; a bin is `width` seconds of it. `ok`: answers in each bin,
    extrapolated from an even sample if there are very many. `refused`: refused attempts in each bin. `refusals`: their
    moments. `cool_downs`: (from, to), in seconds."""

    seconds: float
    width: float
    ok: tuple[int, ...]
    refused: tuple[int, ...]
    refusals: tuple[float, ...]
    cool_downs: tuple[tuple[float, float], ...]

    @property
    def cooled(self) -> float:
        """Returns the seconds of all cool-downs."""
        return sum(to - start for start, to in self.cool_downs)


def timeline(reader: ReportReader, span: AttemptRange, figures: Figures) -> Timeline:
    """Makes the timeline of a run with these attempts and figures."""
    start, end = figures.period
    whole = max(end - start, MIN_SLOT)
    bins = max(MIN_BINS, min(MAX_BINS, sum(kind.attempts for kind in figures.kinds) // ANSWERS_A_BIN))
    width = -(-whole // bins)
    fine = max(MIN_SLOT, whole // MAX_SLOTS)
    refused = reader.refused_by(span, start, fine) if any(kind.is_refusal for kind in figures.kinds) else {}
    pauses = _pauses(reader.sent_in(span, start, fine), fine) if refused else []
    refusals = sorted(refused)
    answered = ((figures.times["finished_at"] - start) // width).value_counts().iter_rows()
    return Timeline(
        seconds=whole / 1e6,
        width=width / 1e6,
        ok=_binned({at: figures.every * number for at, number in answered}, 1, bins),
        refused=_binned(refused, width / fine, bins),
        refusals=tuple(at * fine / 1e6 for at in refusals),
        cool_downs=tuple((a * fine / 1e6, b * fine / 1e6) for a, b in pauses if _begins_with_refusal(refusals, a, b)),
    )


def _binned(counts: Mapping[int, int], slots: float, bins: int) -> tuple[int, ...]:
    """Counts by slot -> by bin of so many slots."""
    binned = [0] * bins
    for at, number in counts.items():
        binned[min(max(int(at / slots), 0), bins - 1)] += number
    return tuple(binned)


def _pauses(sent: Iterable[int], width: int) -> list[tuple[int, int]]:
    """Returns stretches of empty slots that are far longer than usual in this run."""
    slots = sorted(sent)
    gaps = [(a + 1, b) for a, b in pairwise(slots)]
    usual = statistics.median([b - a for a, b in gaps]) if gaps else 0
    least = max(3 * usual, MIN_PAUSE / width, 1)
    return [(a, b) for a, b in gaps if b - a > least]


def _begins_with_refusal(refusals: list[int], start: int, end: int) -> bool:
    """Returns whether the stretch began with a refusal. The dispatcher stops at once, so an earlier or later refusal
    had nothing to do with it."""
    return any(start - 2 <= at <= min(start + 1, end) for at in refusals)
