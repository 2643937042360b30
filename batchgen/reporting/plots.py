"""Values -> plots, as SVG that takes its colours from the page around it: one drawing for both themes.

No text of a job comes in here: what is written on a plot is ours. Must never touch matplotlib's global state for
longer than a drawing, and never its pyplot.
"""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from batchgen.reporting.timeline import Timeline

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # that it keeps a list of fonts is no news in a cron mail

INKS = {
    "ink": "#010101",
    "soft": "#020202",
    "line": "#030303",
    "good": "#040404",
    "bad": "#050505",
    "wait": "#060606",
    "paper": "#070707",
}
"""Colours of the page by the name of their CSS variable, and what stands for each while it is drawn."""
FONT = 12
MOST_BARS, LEAST_BARS = 48, 8
TICKS = 4
MARK_PIXELS = 5
"""Room for a mark; where there is less, refusals are a line, as answers are."""
_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)
"""Seconds between ticks of time."""


@dataclass(frozen=True)
class Size:
    """In CSS pixels; `name` keeps the ids of two drawings apart."""

    name: str
    width: int
    height: int


SIZES = (Size("wide", 760, 230), Size("narrow", 330, 210))


@dataclass(frozen=True)
class Plot:
    """The same drawing for a wide and for a narrow page, and what it shows, for those who do not see it."""

    says: str
    wide: str
    narrow: str


def plot(name: str, says: str, draw: Callable[[Any, Size], None]) -> Plot:
    wide, narrow = [_svg(f"{name}-{size.name}", size, draw) for size in SIZES]
    return Plot(says, wide, narrow)


def _svg(name: str, size: Size, draw: Callable[[Any, Size], None]) -> str:
    from matplotlib import rc_context  # noqa: PLC0415  half a second, and nothing but a report needs it
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": FONT, "path.simplify": True}):
        figure = Figure(figsize=(size.width / 72, size.height / 72), layout="constrained")
        figure.get_layout_engine().set(w_pad=2 / 72, h_pad=2 / 72)  # type: ignore[union-attr,call-arg]
        axes = figure.add_subplot()
        _calm(axes)
        draw(axes, size)
        drawn = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(drawn, metadata=nothing)  # type: ignore[no-untyped-call]
    return _inlined(drawn.getvalue(), name, size)


def _calm(axes: Any) -> None:
    """Thin axes, few ticks, no box."""
    axes.patch.set_visible(False)
    axes.figure.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set(color=INKS["line"], linewidth=1)
    axes.tick_params(length=0, labelcolor=INKS["soft"], pad=5)
    axes.grid(axis="y", color=INKS["line"], linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)


def _inlined(svg: str, name: str, size: Size) -> str:
    """What of the file belongs into a page, in the page's colours and font, with ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg[^>]*>", f'<svg viewBox="0 0 {size.width} {size.height}" aria-hidden="true">', svg, count=1)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = re.sub(r'<g id="[^"]*"/>', "", svg)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    for ink, colour in INKS.items():
        svg = svg.replace(colour, f"var(--{ink})")
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    while "<g>\n</g>" in (svg := re.sub(r"\s*\n\s*", "\n", svg)):
        svg = svg.replace("<g>\n</g>", "")
    return svg.strip()


def over_time(time: Timeline, granted: float | None) -> Callable[[Any, Size], None]:
    """Answers as they came; refusals as marks beneath, cool-downs as bands. `granted`: requests a minute."""
    per_second = max(time.ok, default=0) / time.width >= 2  # noqa: PLR2004  below that a minute reads better
    unit = 1.0 if per_second else 60.0
    rates = [count * unit / time.width for count in time.ok]
    edges = [min(at * time.width, time.seconds) for at in range(len(rates) + 1)]

    def draw(axes: Any, size: Size) -> None:
        top = max([*rates, 1e-9]) * 1.18
        limit = granted * unit / 60 if granted else None
        if limit is not None and limit <= top * 2:
            top = max(top, limit * 1.18)
            axes.axhline(limit, color=INKS["soft"], linewidth=1, dashes=(4, 3))
            axes.set_title(f"dashed: {limit:,.10g} granted", loc="right", fontsize=FONT, color=INKS["soft"])
        for start, to in time.cool_downs:
            axes.axvspan(start, max(to, start + time.seconds / 400), color=INKS["wait"], alpha=0.22, linewidth=0)
        axes.stairs(rates, edges, fill=True, color=INKS["good"], alpha=0.25, linewidth=0)
        axes.stairs(rates, edges, color=INKS["good"], linewidth=1.4, baseline=None)
        if len(time.refusals) > size.width / MARK_PIXELS:
            axes.stairs([count * unit / time.width for count in time.refused], edges, color=INKS["bad"], linewidth=1.2)
        else:
            axes.vlines(time.refusals, 0, 0.07, color=INKS["bad"], linewidth=1.2, transform=axes.get_xaxis_transform())
        axes.set_ylim(0, top)
        axes.set_xlim(0, time.seconds)
        axes.set_yticks(_ticks(top))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        at = list(_moments(time.seconds, 7 if size.name == "wide" else 4))
        axes.set_xticks(at, [_elapsed(seconds) for seconds in at])
        axes.set_title(
            f"answers a {'second' if per_second else 'minute'}", loc="left", fontsize=FONT, color=INKS["soft"]
        )

    return draw


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
) -> Callable[[Any, Size], None]:
    """Bars, and lines at the marked values, each with its name. What lies far out is gathered in the last bar."""
    low, high = _range(values)
    highest = float(values.max())  # type: ignore[arg-type]
    bars = max(LEAST_BARS, min(MOST_BARS, int(2 * values.len() ** 0.5)))
    whole = not values.dtype.is_float()
    step = max((high - low) / bars, 1e-12)
    step = math.ceil(step) if whole else step
    bars = max(1, math.ceil((high - low + (1 if whole else 0)) / step))
    inside = ((values.clip(low, high) - low) / step).floor().cast(pl.Int64).clip(0, bars - 1)
    heights = dict(inside.value_counts().iter_rows())

    def draw(axes: Any, size: Size) -> None:
        edges = [low + (at + of) * step for at in range(bars) for of in (0, 0, 0.92, 0.92)]
        outline = [rise * heights.get(at, 0) for at in range(bars) for rise in (0, 1, 1, 0)]
        axes.fill_between(edges, outline, color=INKS["good"], alpha=0.75, linewidth=0)  # a shape a bar takes longer
        top = max(heights.values(), default=1)
        axes.set_xlim(low, low + bars * step)
        axes.set_ylim(0, top * (1.12 + 0.13 * len(marks)))
        axes.set_yticks(_ticks(top))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.xaxis.get_major_locator().set_params(nbins=7 if size.name == "wide" else 4, integer=whole)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}".replace("-", "\u2212"))
        beyond = f"; the last bar is all from {show(high)} up" if high < highest and size.name == "wide" else ""
        axes.set_title(unit + beyond, loc="left", fontsize=FONT, color=INKS["soft"])
        for at, (name, value) in enumerate(marks.items()):
            _mark(axes, min(value, high), 0.97 - 0.115 * at, f"{name} {show(value)}", low + bars * step * 0.62)

    return draw


def _mark(axes: Any, value: float, height: float, said: str, turn: float) -> None:
    """A line with its label beside it, on the side where there is room. Labels stand one below the other."""
    transform = axes.get_xaxis_transform()
    axes.plot([value, value], [0, height], color=INKS["ink"], linewidth=1, transform=transform)
    left = value > turn
    axes.annotate(
        said, (value, height), xycoords=transform, xytext=(-5 if left else 5, 0), textcoords="offset points",
        ha="right" if left else "left", va="top", color=INKS["ink"], fontweight=600,
    )  # fmt: skip


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


def _round() -> Iterator[float]:
    for power in range(-9, 16):
        for first in (1, 2, 5):
            yield first * 10.0**power
