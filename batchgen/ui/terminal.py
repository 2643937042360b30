"""What goes to a terminal: text that may hold anything, made inert; wrapped at words and in colour where a person
looks. Formats, and prints nothing."""

from __future__ import annotations

import os
import re
from typing import IO, Any, NamedTuple

import click

_ACTIVE = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
"""Control characters but tab and line feed, and those that turn the direction of writing (CVE-2021-42574)."""
NARROWEST, USUAL, WIDEST = 40, 80, 100
"""Columns to wrap at: fewer would tear the text, and beyond, the eye does not find the next line."""


def inert(text: str) -> str:
    """The text with every active character spelled out, as in `\\x1b[31m`."""
    return re.sub(_ACTIVE, lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def inert_json(line: str) -> str:
    """One line of JSON, of which it stays what it was: active characters become its own escapes."""
    return re.sub(_ACTIVE, lambda found: f"\\u{ord(found[0]):04x}", line)


class Screen(NamedTuple):
    """Where text is shown. `width`: columns to wrap at; None in a pipe or a file, where lines stay whole. `moves`: what
    was shown can be shown anew in its place."""

    width: int | None = None
    colour: bool = False
    moves: bool = False

    def paint(self, text: str, **style: Any) -> str:
        """`style` is click's. The text is inert already."""
        return click.style(text, **style) if self.colour and text else text

    def hang(self, text: str, indent: int) -> str:
        """A text behind a label of `indent` columns: wrapped at words, its further lines under its first."""
        further = "  " if "\n" in text else ""  # so that it is seen where the text's own lines begin
        lines = [
            line
            for part in text.split("\n")
            for line in (wrap(part, self.width - indent, further) if self.width else [part])
        ]
        return ("\n" + " " * indent).join(lines)


def screen(stream: IO[Any]) -> Screen:
    """What a stream leads to. Colour is for terminals that have it, unless NO_COLOR is set (https://no-color.org)."""
    try:
        found = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else None
    except (OSError, ValueError):  # closed, or no file at all
        return Screen()
    if found is None:
        return Screen()
    moves = os.environ.get("TERM", "dumb") != "dumb"
    return Screen(min(max(found or USUAL, NARROWEST), WIDEST), moves and not os.environ.get("NO_COLOR"), moves)


def wrap(line: str, width: int, further: str = "") -> list[str]:
    """A line, wrapped at words of which none is torn: paths and addresses stay whole. `further`: what the lines after
    the first begin with."""
    lines = [""]
    for word in re.findall(r"\s*\S+", line):
        if lines[-1].strip() and columns(lines[-1] + word) > width:
            lines.append(further + word.lstrip())
        else:
            lines[-1] += word
    return lines


def columns(text: str) -> int:
    """How wide a terminal shows it: East Asian characters take two columns, combining ones none."""
    if text.isascii():
        return len(text)
    import unicodedata  # noqa: PLC0415  `--help` does without it

    return sum(1 + (unicodedata.east_asian_width(c) in "WF") - bool(unicodedata.combining(c)) for c in text)


def cut(line: str, width: int) -> str:
    """As much of a line as fits, and an ellipsis where that is not all."""
    begin = line[: 4 * width]
    if begin == line and columns(line) <= width:
        return line
    while columns(begin) >= width:
        begin = begin[:-1]
    return begin + "…"
