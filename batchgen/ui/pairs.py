"""Two texts that belong together: side by side on a wide terminal, below each other elsewhere. Formats, and prints
nothing."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from batchgen.ui.terminal import Screen, columns, inert, wrap

SIDE_BY_SIDE = 80
"""Columns from which on two texts stand beside each other."""
MOST_LINES = 60
"""Of a text that are shown on a terminal."""
_BETWEEN = " │ "


class TextPair(NamedTuple):
    """`title` says what both are of; each has its own label."""

    title: str
    left_label: str
    left: str
    right_label: str
    right: str


def paired(pair: TextPair, screen: Screen) -> str:
    """The pair as lines, inert but for colours; in a pipe whole."""
    title = screen.paint(screen.hang(inert(pair.title), 2), bold=True)
    labelled = (pair.left_label, pair.left), (pair.right_label, pair.right)
    if (screen.width or 0) >= SIDE_BY_SIDE:
        return "\n".join(["", title, *_beside(labelled, screen)])
    return "\n".join(["", title, *(line for label, text in labelled for line in _below(label, text, screen))])


def _beside(labelled: tuple[tuple[str, str], ...], screen: Screen) -> list[str]:
    width = ((screen.width or SIDE_BY_SIDE) - 2 - len(_BETWEEN)) // 2
    left, right = ([label, *_shortened(folded(text, width))] for label, text in labelled)
    between = screen.paint(_BETWEEN, dim=True)
    told = []
    for number, (one, other) in enumerate(itertools.zip_longest(left, right, fillvalue="")):
        filled = one + " " * (width - columns(one))
        told.append("  " + screen.paint(filled, dim=not number) + between + screen.paint(other, dim=not number))
    return [line.rstrip() for line in told]


def _below(label: str, text: str, screen: Screen) -> list[str]:
    lines = _shortened(folded(text, screen.width - 4)) if screen.width else inert(text).split("\n")
    gutter = screen.paint("  | ", dim=True)
    return [screen.paint(f"  {label}", dim=True), *(gutter + line for line in lines)]


def _shortened(lines: list[str]) -> list[str]:
    left = len(lines) - MOST_LINES
    return lines if left <= 0 else [*lines[:MOST_LINES], f"… {left:,} more lines"]


def folded(text: str, width: int) -> list[str]:
    """A text's lines, none wider than so many columns: wrapped at words, and within those that are longer."""
    lines = (line.expandtabs(4) for line in inert(text).split("\n"))
    return [piece for line in lines for part in wrap(line, width) for piece in _torn(part, width)]


def _torn(line: str, width: int) -> list[str]:
    pieces = [""]
    for character in line:
        if columns(pieces[-1] + character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces
