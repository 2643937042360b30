"""Two texts that belong together: side by side on a wide terminal, below each other elsewhere. Formats, and prints
nothing."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from batchgen.ui.humanize import pluralize
from batchgen.ui.terminal import Screen, display_width, inert, wrap

SIDE_BY_SIDE = 80
"""The least columns of a screen that shows two texts side by side."""
MAX_LINES = 60
"""How many lines of a text are shown on a terminal."""
_SEPARATOR = " │ "


class TextPair(NamedTuple):
    """Two texts with a common title and a label each."""

    title: str
    left_label: str
    left: str
    right_label: str
    right: str


def render_pair(pair: TextPair, screen: Screen) -> str:
    """Renders the pair without control characters, except for colours; in a pipe whole."""
    title = screen.paint(screen.hanging(inert(pair.title), 2), bold=True)
    labelled = (pair.left_label, pair.left), (pair.right_label, pair.right)
    if (screen.width or 0) >= SIDE_BY_SIDE:
        return "\n".join(["", title, *_beside(labelled, screen)])
    return "\n".join(["", title, *(line for label, text in labelled for line in _below(label, text, screen))])


def _beside(labelled: tuple[tuple[str, str], ...], screen: Screen) -> list[str]:
    width = ((screen.width or SIDE_BY_SIDE) - 2 - len(_SEPARATOR)) // 2
    left, right = ([label, *_shortened(fold(text, width))] for label, text in labelled)
    separator = screen.paint(_SEPARATOR, dim=True)
    lines = []
    for number, (one, other) in enumerate(itertools.zip_longest(left, right, fillvalue="")):
        filled = one + " " * (width - display_width(one))
        lines.append("  " + screen.paint(filled, dim=not number) + separator + screen.paint(other, dim=not number))
    return [line.rstrip() for line in lines]


def _below(label: str, text: str, screen: Screen) -> list[str]:
    lines = _shortened(fold(text, screen.width - 4)) if screen.width else inert(text).split("\n")
    gutter = screen.paint("  | ", dim=True)
    return [screen.paint(f"  {label}", dim=True), *(gutter + line for line in lines)]


def _shortened(lines: list[str]) -> list[str]:
    left = len(lines) - MAX_LINES
    return lines if left <= 0 else [*lines[:MAX_LINES], f"… {pluralize(left, 'more line')}"]


def fold(text: str, width: int) -> list[str]:
    """Returns a text's lines, none wider than `width`: wrapped at words, and within words that are longer."""
    lines = (line.expandtabs(4) for line in inert(text).split("\n"))
    return [piece for line in lines for part in wrap(line, width) for piece in _split_word(part, width)]


def _split_word(line: str, width: int) -> list[str]:
    pieces = [""]
    for character in line:
        if display_width(pieces[-1] + character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces
