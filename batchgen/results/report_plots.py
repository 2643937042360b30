"""Values -> plots, as SVG that takes its colours and its font from the page around it: one drawing for both themes.

Drawn by hand, since every run draws them: a few lines and bars cost a plotting library a second and a half, and
fifty megabytes. No text of a job comes in here: what is written on a plot is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from batchgen.results.report_time import Timeline

MOST_BARS, LEAST_BARS = 48, 8
TICKS = 4
MARK_PIXELS = 5
"""Room for a mark; where there is less, refusals are a line, as answers are."""
LETTER = 7.0
"""Pixels of a letter, or somewhat less: fonts differ."""
TITLE, FOOT, MARK = 28.0, 24.0, 20.0
"""Pixels of the lines of text above and below, and of one mark's."""
_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)
"""Seconds between ticks of time."""


@dataclass(frozen=True)
class Size:
    """In CSS pixels. `ticks`: most along the bottom."""

    width: int
    height: int
    ticks: int


WIDE, NARROW = Size(760, 230, 7), Size(330, 210, 4)


@dataclass(frozen=True)
class Plot:
    """The same drawing for a wide and for a narrow page, and what it shows, for those who do not see it."""

    says: str
    wide: str
    narrow: str


def plot(says: str, draw: Callable[[Size], str]) -> Plot:
    return Plot(says, draw(WIDE), draw(NARROW))


class _Area:
    """Where values are drawn: `across` from left to right, from 0 up to `top`."""

    def __init__(self, size: Size, across: tuple[float, float], top: float, room: float = 0) -> None:
        """`room`: pixels that the drawing is taller, and that are kept free above the top."""
        self._width = size.width
        self._low, self._high = across
        self._top = top
        ticks = _ticks(top)
        self.left = 8 + LETTER * max(len(_number(tick)) for tick in ticks)
        height = size.height + room
        self.right, self.bottom = size.width - 2.0, height - FOOT
        self.ceiling = TITLE + room
        self.drawn = [f'<svg viewBox="0 0 {size.width} {_n(height)}" aria-hidden="true">']
        for tick in ticks:
            self.line("grid" if tick else "base", (self.left, self.y(tick)), (self.right, self.y(tick)))
            self.text(_number(tick), self.left - 8, self.y(tick) + 4, "end")

    def x(self, value: float) -> float:
        share = (min(max(value, self._low), self._high) - self._low) / (self._high - self._low)
        return self.left + share * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - min(value / self._top, 1) * (self.bottom - self.ceiling)

    def line(self, kind: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.path(kind, f"M{_at(*start)}L{_at(*end)}")

    def path(self, kind: str, steps: str) -> None:
        self.drawn.append(f'<path class="{kind}" d="{steps}"/>')

    def text(self, said: str, x: float, y: float, anchor: str = "start", kind: str = "") -> None:
        kind = f' class="{kind}"' if kind else ""
        self.drawn.append(f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}"{kind}>{said}</text>')

    def titles(self, left: str, right: str = "") -> None:
        self.text(left, 0, 12)
        if right:
            self.text(right, self.right, 12, "end")

    def foot(self, ticks: Sequence[float], named: Callable[[float], str]) -> None:
        for tick in ticks:
            half = LETTER * len(named(tick)) / 2
            self.text(named(tick), min(max(self.x(tick), half), self._width - half), self.bottom + 18, "middle")

    def done(self) -> str:
        return "\n".join([*self.drawn, "</svg>"])


def over_time(time: Timeline, granted: float | None) -> Callable[[Size], str]:
    """Answers as they came; refusals as marks beneath, cool-downs as bands. `granted`: requests a minute."""
    per_second = max(time.ok, default=0) / time.width >= 2  # noqa: PLR2004  below that a minute reads better
    unit, unit_said = (1.0, "answers a second") if per_second else (60.0, "answers a minute")
    answers, refusals = ([count * unit / time.width for count in counts] for counts in (time.ok, time.refused))
    most = max(*answers, 1e-9)
    limit = (granted or math.inf) * unit / 60
    is_near = limit <= 2.4 * most  # a far higher one would flatten the rest
    top = max(most, limit if is_near else 0) * 1.08

    def draw(size: Size) -> str:
        area = _Area(size, (0, time.seconds), top)
        for start, to in time.cool_downs:
            left, right = area.x(start), area.x(max(to, start + time.seconds / 400))
            area.path("cool", f"M{_at(left, area.ceiling)}H{_n(right)}V{_n(area.bottom)}H{_n(left)}z")
        stairs = _stairs(area, answers, time.width)
        area.path("area", f"M{_at(area.left, area.bottom)}{stairs}V{_n(area.bottom)}z")
        area.path("line", f"M{stairs[1:]}")
        if len(time.refusals) > size.width / MARK_PIXELS:
            area.path("refused", f"M{_stairs(area, refusals, time.width)[1:]}")
        elif time.refusals:
            area.path("refused", "".join(f"M{_at(area.x(at), area.bottom)}v-11" for at in time.refusals))
        if is_near:
            area.line("limit", (area.left, area.y(limit)), (area.right, area.y(limit)))
        area.titles(unit_said, f"dashed: {_number(limit)} granted" if is_near else "")
        area.foot(list(_moments(time.seconds, size.ticks)), _elapsed)
        return area.done()

    return draw


def _stairs(area: _Area, heights: Sequence[float], width: float) -> str:
    """`L` to the first step, and over all others."""
    steps = [f"L{_at(area.left, area.y(heights[0]))}"]
    steps += [f"V{_n(area.y(height))}H{_n(area.x((at + 1) * width))}" for at, height in enumerate(heights)]
    return "".join(steps)


def _moments(seconds: float, most: int) -> Iterator[float]:
    step = next((step for step in (0.1, 0.2, 0.5, *_STEPS) if seconds / step <= most), _STEPS[-1])
    for at in range(int(seconds / step) + 1):
        yield at * step


def _elapsed(seconds: float) -> str:
    """Since the start: `0`, `30 s`, `5 min`, `2 h`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and (seconds % size == 0 or (size > 60 and seconds % (size / 2) == 0)):  # noqa: PLR2004
            return f"{seconds / size:.10g} {unit}"
    return f"{seconds:.10g} s" if seconds else "0"


def histogram(
    values: pl.Series, marks: dict[str, float], unit: str, show: Callable[[float], str]
) -> Callable[[Size], str]:
    """Bars, and lines at the marked values, each with its name. What lies far out is gathered in the last bar."""
    low, high = _range(values)
    highest = float(values.max())  # type: ignore[arg-type]
    bars = max(LEAST_BARS, min(MOST_BARS, int(2 * values.len() ** 0.5)))
    whole = not values.dtype.is_float()
    step = max((high - low) / bars, 1e-12)
    step = math.ceil(step) if whole else step
    bars = max(1, math.ceil((high - low + (1 if whole else 0)) / step))
    inside = ((values.clip(low, high) - low) / step).floor().cast(pl.Int64).clip(0, bars - 1)
    heights = sorted(inside.value_counts().iter_rows())

    def draw(size: Size) -> str:
        area = _Area(size, (low, low + bars * step), max(height for _, height in heights), MARK * len(marks))
        area.path("bars", "".join(_bar(area, low + at * step, step, height) for at, height in heights))
        beyond = f"; the last bar is all from {show(high)} up" if high < highest and size is WIDE else ""
        area.titles(unit + beyond)
        for at, (name, value) in enumerate(marks.items()):
            _mark(area, min(value, high), at, f"{name} {show(value)}", low + bars * step * 0.62)
        area.foot(_along(low, low + bars * step, size, whole=whole), _number)
        return area.done()

    return draw


def _bar(area: _Area, start: float, width: float, height: int) -> str:
    left, right = area.x(start), area.x(start + width * 0.92)
    return f"M{_at(left, area.bottom)}V{_n(min(area.y(height), area.bottom - 0.6))}H{_n(right)}V{_n(area.bottom)}z"


def _mark(area: _Area, value: float, number: int, said: str, turn: float) -> None:
    """A line with its label beside it, on the side where there is room. Labels stand one below the other."""
    x, y = area.x(value), TITLE + MARK * number
    area.line("mark", (x, y - 4), (x, area.bottom))
    left = value > turn
    area.text(said, x - 6 if left else x + 6, y + 7, "end" if left else "start", "said")


def _range(values: pl.Series) -> tuple[float, float]:
    """Of the bars: all but the far ends of long tails."""
    lowest, highest = float(values.min()), float(values.max())  # type: ignore[arg-type]
    near = [values.quantile(share, "nearest") or 0.0 for share in (0.005, 0.5, 0.995)]
    low = near[0] if near[1] - lowest > 3 * (near[1] - near[0]) else lowest
    high = near[2] if highest - near[1] > 3 * (near[2] - near[1]) else highest
    return (low, high) if high > low else (low - 0.5, high + 0.5) if values.dtype.is_float() else (low, low + 1)


def _ticks(top: float) -> list[float]:
    """Round numbers from 0, no more than a few."""
    step = next(step for step in _round() if top / step < TICKS)
    return [at * step for at in range(int(top / step) + 1)]


def _along(low: float, high: float, size: Size, *, whole: bool) -> list[float]:
    """Round numbers between two, with room for what they are called."""
    for step in _round():
        if whole and step < 1:
            continue
        first = math.ceil(low / step - 1e-9)
        found = [at * step for at in range(first, first + size.ticks + 2) if at * step <= high + step * 1e-9]
        widest = max((len(_number(tick)) for tick in found), default=0)
        if len(found) <= size.ticks and len(found) * (widest + 2) * LETTER <= size.width:
            return found
    return []


def _round() -> Iterator[float]:
    for power in range(-12, 18):
        for first in (1, 2, 5):
            yield first * 10.0**power


def _number(value: float) -> str:
    return f"{value:,.10g}".replace("-", "\u2212")


def _n(value: float) -> str:
    """Of pixels a tenth is enough."""
    return f"{round(value, 1):g}"


def _at(x: float, y: float) -> str:
    return f"{_n(x)} {_n(y)}"
