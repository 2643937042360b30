"""The plots of a report, each for a wide and for a narrow page. Arithmetic on values; the shapes are made in `svg`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, pairwise

import polars as pl

from batchgen.reporting.axes import exact, heights, ticks, time_axis
from batchgen.reporting.in_flight import MAX_STEPS, InFlight
from batchgen.reporting.svg import Axis, Drawing, Size
from batchgen.reporting.timeline import Timeline
from batchgen.ui.humanize import duration, pluralize

MAX_BARS, MIN_BARS = 48, 8
HEAD = 1.18
"""How far a vertical axis goes beyond the highest value."""
MARK_PIXELS, MARK_SHARE = 5, 0.07
"""Room for a mark; where there is less, refusals are a line, as answers are. Then how high a mark is."""
BAR, FIRST_PIN, NEXT_PIN, TURN = 0.92, 0.97, 0.115, 0.62
"""A bar's share of its place; how high the first pin is, how much lower the next; where labels change sides."""
SIZES = (Size("wide", 760, 230), Size("narrow", 330, 210))
MIN_SAMPLE = 5
"""Fewer values make no plot."""
LOWER, LOW = 40, 140
"""How much lower the first of several plots below each other is, and the height of the others, in pixels."""

Draw = Callable[[Size], Drawing]


@dataclass(frozen=True)
class Plot:
    """A drawing for a wide and for a narrow page. `says`: what it shows, for screen readers."""

    says: str
    wide: str
    narrow: str


def plot(says: str, *draws: Draw) -> Plot:
    """Draws each for both pages; several stand below each other."""
    wide, narrow = ("\n".join(draw(size).svg() for draw in draws) for size in SIZES)
    return Plot(says, wide, narrow)


def over_time(time: Timeline, granted: float | None) -> Draw:
    """Draws answers as they came, refusals as marks below, cool-downs as bands. `granted`: requests a minute."""
    per_second = max(time.ok, default=0) / time.width >= 2  # noqa: PLR2004  below that a minute reads better
    unit, name = (1.0, "second") if per_second else (60.0, "minute")
    edges = _edges(time)
    rates, refused = [[count * unit / time.width for count in counts] for counts in (time.ok, time.refused)]
    top = max([*rates, 1e-9]) * HEAD
    limit = granted * unit / 60 if granted else math.inf
    is_near = limit <= top * 2
    top = max(top, limit * HEAD) if is_near else top

    def draw(size: Size) -> Drawing:
        drawing = Drawing(size, time_axis(time.seconds, size), heights(top, top), f"answers a {name}")
        drawing.bands(((start, max(to, start + time.seconds / 400)) for start, to in time.cool_downs), "wait")
        drawing.steps(edges, rates, "good", filled=True)
        if is_near:
            drawing.level(limit)
            drawing.note(f"dashed: {exact(limit)} granted")
        if len(time.refusals) > size.width / MARK_PIXELS:
            drawing.steps(edges, refused, "bad")
        else:
            drawing.marks(time.refusals, MARK_SHARE, "bad")
        drawing.slots(_tooltips(time, edges))
        return drawing

    return draw


def in_flight_over_time(found: InFlight, time: Timeline) -> tuple[Draw, Draw, Draw]:
    """Draws, below each other and by one clock, the requests in flight, the answers a second, and their median
    latency."""
    rates = [count / time.width for count in time.ok]
    highest = {
        "requests in flight": found.range[1],
        "answers a second": max(rates),
        "median latency, seconds": max(latency or 0.0 for latency in found.latencies),
    }
    numbers, throughput, latency = _empty(time, highest)
    edges = _edges(time)
    return _numbers(numbers, found, edges), _throughput(throughput, rates, time, edges), _latency(latency, found, edges)


def _empty(time: Timeline, highest: Mapping[str, float]) -> list[Draw]:
    """Returns an empty drawing for each title, as high as its highest value. All leave the same room for labels."""
    axes = [heights(value * HEAD, value * HEAD) for value in highest.values()]
    chars = max(len(label) for axis in axes for _, label in axis.ticks)

    def draw(title: str, axis: Axis, size: Size) -> Drawing:
        height = size.height - LOWER if title == next(iter(highest)) else LOW
        return Drawing(replace(size, height=height), time_axis(time.seconds, size), axis, title, chars)

    return [partial(draw, title, axis) for title, axis in zip(highest, axes, strict=True)]


def _numbers(empty: Draw, found: InFlight, edges: list[float]) -> Draw:
    def draw(size: Size) -> Drawing:
        drawing = empty(size)
        if len(found.moves) > MAX_STEPS:
            drawing.steps(edges, found.means(edges), "good", filled=True)
        else:
            steps = list(found.steps())
            drawing.steps([0.0, *(to for _, to, *_ in steps)], [number for *_, number, _ in steps], "good", filled=True)
        drawing.slots(_number_tooltips(found))
        return drawing

    return draw


def _throughput(empty: Draw, rates: list[float], time: Timeline, edges: list[float]) -> Draw:
    def draw(size: Size) -> Drawing:
        drawing = empty(size)
        drawing.steps(edges, rates, "good")
        drawing.slots(_tooltips(time, edges))
        return drawing

    return draw


def _latency(empty: Draw, found: InFlight, edges: list[float]) -> Draw:
    def draw(size: Size) -> Drawing:
        drawing = empty(size)
        for first, values in _stretches(found.latencies):
            drawing.steps(edges[first : first + len(values) + 1], values, "calm")
        drawing.slots(
            (start, to, f"{_since_start(start)} to {_since_start(to)}: {value:.2f} s")
            for (start, to), value in zip(pairwise(edges), found.latencies, strict=True)
            if value is not None
        )
        return drawing

    return draw


def _edges(time: Timeline) -> list[float]:
    """Returns where the bins begin and end, in seconds."""
    return [min(at * time.width, time.seconds) for at in range(len(time.ok) + 1)]


def _stretches(values: Sequence[float | None]) -> Iterator[tuple[int, list[float]]]:
    """Yields values without a gap, each list with the place of its first one."""
    for is_there, stretch in groupby(enumerate(values), lambda pair: pair[1] is not None):
        if is_there:
            pairs = list(stretch)
            yield pairs[0][0], [value for _, value in pairs if value is not None]


def _number_tooltips(found: InFlight) -> Iterator[tuple[float, float, str]]:
    """Yields the tooltips of the stretches; if there are very many, of the longest."""
    longest = sorted(found.steps(), key=lambda step: step[0] - step[1])[:MAX_STEPS]
    for start, to, number, why in longest:
        reason = f": {why}" if why else ""
        yield start, to, f"{_since_start(start)} to {_since_start(to)}: {number:,} in flight{reason}"


def _tooltips(time: Timeline, edges: list[float]) -> Iterator[tuple[float, float, str]]:
    """Yields the tooltip of each bin."""
    for (start, to), ok, refused in zip(pairwise(edges), time.ok, time.refused, strict=True):
        label = f"{_since_start(start)} to {_since_start(to)}: {pluralize(ok, 'answer')}"
        yield start, to, label + (f", {pluralize(refused, 'refusal')}" if refused else "")


def _since_start(seconds: float) -> str:
    return duration(seconds) if seconds >= 120 else f"{round(seconds, 1):g} s"  # noqa: PLR2004  tenths are seen so far


@dataclass(frozen=True)
class _Bars:
    """Bars of equal width `step` from `low` on. The last one also holds all values beyond."""

    low: float
    high: float
    step: float
    heights: tuple[int, ...]

    @property
    def end(self) -> float:
        return self.low + len(self.heights) * self.step

    def spans(self) -> Iterator[tuple[float, float, int]]:
        """Yields (from, to, height)."""
        for at, height in enumerate(self.heights):
            yield self.low + at * self.step, self.low + (at + 1) * self.step, height


def is_varied(values: pl.Series) -> bool:
    """Returns whether a plot of the values would show anything."""
    return values.len() >= MIN_SAMPLE and values.n_unique() > 1


def histogram(values: pl.Series, marks: dict[str, float], what: str, show: Callable[[float], str]) -> Draw:
    """Draws bars, and a labelled line at each marked value. The last bar also holds the far outliers."""
    bars = _bars(values)
    is_cut = bars.high < float(values.max())  # type: ignore[arg-type]
    whole = not values.dtype.is_float()
    most = max(bars.heights)

    def draw(size: Size) -> Drawing:
        beyond = f"; the last bar is all from {show(bars.high)} up" if is_cut and size.is_wide else ""
        labels = ticks(bars.low, bars.end, 9 if size.is_wide else 4, whole=whole)
        across = Axis(bars.low, bars.end, [(at, exact(at)) for at in labels])
        drawing = Drawing(size, across, heights(most, most * (1.12 + 0.13 * len(marks))), what + beyond)
        drawing.bars(((start, start + BAR * bars.step, height) for start, _, height in bars.spans()), "good")
        drawing.slots(
            (start, to, f"{_between(start, to, whole, show)}: {height:,}") for start, to, height in bars.spans()
        )
        for at, (name, value) in enumerate(marks.items()):
            share, turn = FIRST_PIN - NEXT_PIN * at, bars.low + (bars.end - bars.low) * TURN
            drawing.pin(min(value, bars.high), share, f"{name} {show(value)}", turn)
        return drawing

    return draw


def _between(start: float, to: float, whole: bool, show: Callable[[float], str]) -> str:  # noqa: FBT001
    """Describes the values of a bar; of whole numbers, up to the last one in it."""
    last = to - 1 if whole else to
    return show(start) if last == start else f"{show(start)} to {show(last)}"


def _bars(values: pl.Series) -> _Bars:
    low, high = _range(values)
    count = max(MIN_BARS, min(MAX_BARS, int(2 * values.len() ** 0.5)))
    whole = not values.dtype.is_float()
    step = max((high - low) / count, 1e-12)
    step = math.ceil(step) if whole else step
    count = max(1, math.ceil((high - low + (1 if whole else 0)) / step))
    inside = ((values.clip(low, high) - low) / step).floor().cast(pl.Int64).clip(0, count - 1)
    heights = dict(inside.value_counts().iter_rows())
    return _Bars(low, high, step, tuple(heights.get(at, 0) for at in range(count)))


def _range(values: pl.Series) -> tuple[float, float]:
    """Returns the range of the bars: all values but the far ends of long tails."""
    lowest, highest = float(values.min()), float(values.max())  # type: ignore[arg-type]
    near = [values.quantile(share, "nearest") or 0.0 for share in (0.005, 0.5, 0.995)]
    low = near[0] if near[1] - lowest > 3 * (near[1] - near[0]) else lowest
    high = near[2] if highest - near[1] > 3 * (near[2] - near[1]) else highest
    return (low, high) if high > low else (low - 0.5, high + 0.5) if values.dtype.is_float() else (low, low + 1)
