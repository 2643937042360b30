"""Values -> shapes: one plot as SVG. It uses classes of the page's style sheet, and no colour or font of its own, so
that one drawing serves both themes. It has no id, no script and nothing to load."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

FONT, CHAR = 12, 7.5
"""Height of a letter, and about the width of a digit; the page's style sheet has the same height."""
TITLE, FOOT, GAP, EDGE = 24, 22, 6, 3
"""Room above and below the area, between an axis and its labels, and at the right."""


@dataclass(frozen=True)
class Size:
    """A size in CSS pixels."""

    name: str
    width: int
    height: int

    @property
    def is_wide(self) -> bool:
        return self.name == "wide"


@dataclass(frozen=True)
class Axis:
    """The range of an axis. `ticks`: values with their labels."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]


class Drawing:
    """A plot: an area between two axes. Places are in the units of the axes; `share` is a share of the area's
    height."""

    def __init__(self, size: Size, x: Axis, y: Axis, title: str, label_chars: int = 1) -> None:
        """Draws grid, labels and title. `label_chars`: leaves room for labels of at least so many characters, to align
        drawings that stand below each other."""
        self._size, self._x, self._y = size, x, y
        self._left = max([label_chars, *(len(label) for _, label in y.ticks)]) * CHAR + GAP
        self._right, self._top, self._bottom = size.width - EDGE, TITLE, size.height - FOOT
        self._shapes: list[str] = []
        self.text(self._left, FONT, title)
        for value, label in y.ticks:
            self._shapes.append(f'<path class="grid" d="M{_n(self._left)} {self._up(value)}H{self._right}"/>')
            self.text(self._left - GAP, float(self._up(value)) + FONT / 3, label, anchor="end")
        for value, label in x.ticks:
            self._tick(value, label)

    def _tick(self, value: float, label: str) -> None:
        """Draws a label centred below its value, but never outside the picture."""
        at, half = float(self._across(value)), len(label) * CHAR / 2
        beyond = at + half > self._size.width
        self.text(self._size.width if beyond else at, self._bottom + 16, label, anchor="end" if beyond else "middle")

    def _across(self, value: float) -> str:
        share = (value - self._x.low) / (self._x.high - self._x.low)
        return _n(self._left + min(max(share, 0.0), 1.0) * (self._right - self._left))

    def _up(self, value: float) -> str:
        return self._at_share((value - self._y.low) / (self._y.high - self._y.low))

    def _at_share(self, share: float) -> str:
        return _n(self._bottom - min(max(share, 0.0), 1.0) * (self._bottom - self._top))

    def text(self, x: float, y: float, label: str, *, anchor: str = "start", kind: str = "") -> None:
        """Draws a text. `x` and `y` are pixels of the picture."""
        look = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor != "start" else "")
        self._shapes.append(f'<text x="{_n(x)}" y="{_n(y)}"{look}>{escape(label)}</text>')

    def note(self, label: str) -> None:
        """Draws a note above the area, at the right; the title is at the left."""
        self.text(self._right, FONT, label, anchor="end")

    def level(self, value: float) -> None:
        """Draws a dashed line across the whole area."""
        self._shapes.append(f'<path class="level" d="M{_n(self._left)} {self._up(value)}H{self._right}"/>')

    def bands(self, spans: Iterable[tuple[float, float]], kind: str) -> None:
        """Draws bands from the top to the bottom of the area."""
        self._path(f"band {kind}", "".join(self._box(start, to) for start, to in spans))

    def bars(self, spans: Iterable[tuple[float, float, float]], kind: str) -> None:
        """Draws bars: (from, to, height)."""
        height = self._y.high - self._y.low
        drawn = (self._box(start, to, (value - self._y.low) / height) for start, to, value in spans if value)
        self._path(f"bars {kind}", "".join(drawn))

    def marks(self, places: Iterable[float], share: float, kind: str) -> None:
        """Draws short lines on the lower axis."""
        self._path(kind, "".join(f"M{self._across(at)} {_n(self._bottom)}V{self._at_share(share)}" for at in places))

    def steps(self, edges: Sequence[float], values: Sequence[float], kind: str, *, filled: bool = False) -> None:
        """Draws each value from one edge to the next. `filled`: with the area below."""
        drawn = "".join(
            f"V{self._up(value)}H{self._across(to)}" for value, (_, to) in zip(values, pairwise(edges), strict=True)
        )
        start = self._across(edges[0])
        if filled:
            self._path(f"area {kind}", f"M{start} {_n(self._bottom)}{drawn}V{_n(self._bottom)}Z")
        self._path(kind, f"M{start} {self._up(values[0])}{drawn}")

    def pin(self, value: float, share: float, label: str, turn: float) -> None:
        """Draws a line of this height, with its label to the right; to the left from `turn` on, where the right has no
        room."""
        at = self._across(value)
        self._path("pin", f"M{at} {_n(self._bottom)}V{self._at_share(share)}")
        is_left = value > turn
        aside, anchor = (-5, "end") if is_left else (5, "start")
        self.text(float(at) + aside, float(self._at_share(share)) + FONT - 2, label, anchor=anchor, kind="label")

    def slots(self, spans: Iterable[tuple[float, float, str]]) -> None:
        """Adds a tooltip for each stretch. Call this last, so that it lies above everything."""
        for start, to, label in spans:
            box = self._box(start, to)
            self._shapes.append(f'<path class="slot" d="{box}"><title>{escape(label)}</title></path>')

    def _box(self, start: float, to: float, share: float = 1.0) -> str:
        """Returns a box on the lower axis, by default as high as the area."""
        foot = _n(self._bottom)
        return f"M{self._across(start)} {foot}V{self._at_share(share)}H{self._across(to)}V{foot}Z"

    def _path(self, kind: str, drawn: str) -> None:
        if drawn:
            self._shapes.append(f'<path class="{kind}" d="{drawn}"/>')

    def svg(self) -> str:
        """Returns the SVG. It is hidden from screen readers: the figure's label says what it shows."""
        ground = f'<path class="ground" d="M{_n(self._left)} {self._bottom}H{self._right}"/>'
        head = f'<svg viewBox="0 0 {self._size.width} {self._size.height}" aria-hidden="true">'
        return "\n".join([head, *self._shapes, ground, "</svg>"])


def _n(value: float) -> str:
    """Formats pixels: a tenth is the finest that can be seen."""
    return f"{value:.1f}".removesuffix(".0")
