"""The one table: lines of cells, as every section yields them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

WIDTHS = (10, 44, 17, 16, 7)


class Line(NamedTuple):
    """`ratio` is to what the target speaks of; None where the target is absolute, or where there is none."""

    what: str
    measured: str
    target: str = ""
    ratio: float | None = None


def show(lines: Iterable[tuple[str, Line]]) -> None:
    _print("section", "what", "measured", "target", "ratio")
    _print(*("-" * width for width in WIDTHS))
    before = ""
    for section, line in lines:
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        _print(section if section != before else "", line.what, line.measured, line.target, ratio)
        before = section


def _print(section: str, what: str, measured: str, target: str, ratio: str) -> None:
    a, b, c, d, e = WIDTHS
    print(f"{section:{a}} {what:{b}} {measured:>{c}} {target:>{d}} {ratio:>{e}}".rstrip())
