"""The axes of a report's plots: where their labels stand, and what these say."""

from __future__ import annotations

import math
from collections.abc import Iterator

from batchgen.reporting.svg import Axis, Size

ROWS_OF_TICKS = 3
"""Most labels of a vertical axis beside its 0."""
_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)
"""Seconds between ticks of time."""


def time_axis(seconds: float, size: Size) -> Axis:
    """Returns a horizontal axis of so many seconds since the start."""
    return Axis(0, seconds, [(at, _elapsed(at)) for at in _moments(seconds, 7 if size.is_wide else 4)])


def _moments(seconds: float, most: int) -> Iterator[float]:
    step = next((step for step in (0.1, 0.2, 0.5, *_STEPS) if seconds / step <= most), _STEPS[-1])
    for at in range(int(seconds / step) + 1):
        yield at * step


def _elapsed(seconds: float) -> str:
    """Formats seconds since the start: `0`, `30 s`, `5 min`, `2 h`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and (seconds % size == 0 or (size > 60 and seconds % (size / 2) == 0)):  # noqa: PLR2004
            return f"{seconds / size:.10g} {unit}"
    return f"{seconds:.10g} s" if seconds else "0"


def heights(most: float, top: float) -> Axis:
    """Returns a vertical axis from 0 to `top`, with labels up to `most`."""
    return Axis(0, top, [(at, exact(at)) for at in ticks(0, most, ROWS_OF_TICKS)])


def ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """Returns round numbers, at most so many."""
    steps = (step for step in _round() if not whole or step >= 1)
    step = next(step for step in steps if (high - low) / step <= most)
    return [at * step for at in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _round() -> Iterator[float]:
    for power in range(-12, 19):
        for first in (1, 2, 5):
            yield first * 10.0**power


def exact(value: float) -> str:
    """Formats a number with all its digits; those of ticks are few."""
    return f"{value:,.10g}".replace("-", "\u2212")
