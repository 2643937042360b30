"""One run's attempts over time: answers, refusals, and the cool-downs after them. Arithmetic on counts; no answer is
read here.

A cool-down is not stored: it is a stretch in which nothing was sent, and which a refusal begins.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from batchgen.results.report_queries import Archive, Span

MOST_BINS, LEAST_BINS, ANSWERS_A_BIN = 120, 12, 15
MOST_SLOTS = 20_000
LEAST_SLOT = 50_000
"""Microseconds of the finest slot."""
LEAST_PAUSE = 300_000
"""A shorter pause is no cool-down."""


@dataclass(frozen=True)
class Timeline:
    """`seconds` from the run's start to its last attempt; a bin is `width` seconds of it. `refused` and `failed`
    are attempts, `refusals` the moments of the refused ones; cool-downs are (from, to), in seconds."""

    seconds: float
    width: float
    ok: tuple[int, ...]
    refused: tuple[int, ...]
    failed: tuple[int, ...]
    refusals: tuple[float, ...]
    cool_downs: tuple[tuple[float, float], ...]

    @property
    def cooled(self) -> float:
        """Seconds."""
        return sum(to - start for start, to in self.cool_downs)


def timeline(archive: Archive, span: Span, start: int, end: int, attempts: int) -> Timeline:
    """`start` and `end` are the run's, in microseconds; `attempts`: how many it made."""
    whole = max(end - start, LEAST_SLOT)
    bins = max(LEAST_BINS, min(MOST_BINS, attempts // ANSWERS_A_BIN))
    width = -(-whole // bins)
    counts: Counter[tuple[int, str]] = Counter()
    for at, what, number in archive.ended_by(span, start, width):
        counts[min(max(at, 0), bins - 1), what] += number
    fine = max(LEAST_SLOT, whole // MOST_SLOTS)
    refusals = sorted({at for at, what, _ in archive.ended_by(span, start, fine) if what == "refused"})
    pauses = _pauses(archive.sent_in(span, start, fine), fine)
    return Timeline(
        seconds=whole / 1e6,
        width=width / 1e6,
        **{what: tuple(counts[at, what] for at in range(bins)) for what in ("ok", "refused", "failed")},
        refusals=tuple(at * fine / 1e6 for at in refusals),
        cool_downs=tuple((a * fine / 1e6, b * fine / 1e6) for a, b in pauses if _begun(refusals, a, b)),
    )


def _pauses(sent: Iterable[int], width: int) -> list[tuple[int, int]]:
    """Stretches of empty slots that are far longer than is usual in this run."""
    slots = sorted(sent)
    gaps = [(a + 1, b) for a, b in pairwise(slots)]
    usual = statistics.median([b - a for a, b in gaps]) if gaps else 0
    least = max(3 * usual, LEAST_PAUSE / width, 1)
    return [(a, b) for a, b in gaps if b - a > least]


def _begun(refusals: list[int], start: int, end: int) -> bool:
    """Whether a refusal came as the stretch began; the pump stops at once, so one before or after is by another."""
    return any(start - 2 <= at <= min(start + 1, end) for at in refusals)
