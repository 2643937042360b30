"""Text for a terminal: control characters escaped, wrapped at words and in colour where a person reads it. Formats
text, and prints nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import click

_CONTROL_CHARS = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
"""Control characters except tab and line feed, and those that change the direction of writing (CVE-2021-42574)."""
MIN_COLUMNS, DEFAULT_COLUMNS, MAX_COLUMNS = 40, 80, 100
"""Columns to wrap at: fewer would tear the text; with more the eye does not find the next line."""

_LINKING_PROGRAMS = {"WezTerm", "ghostty", "iTerm.app", "vscode"}
_LINKING_TERMS = {"alacritty", "foot", "xterm-ghostty", "xterm-kitty"}
FIRST_LINKING_VTE = 5001
"""VTE 0.50.1; 0.50.0 crashed."""


def inert(text: str) -> str:
    """Returns the text with every control character spelled out, as in `\\x1b[31m`."""
    return re.sub(_CONTROL_CHARS, lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def inert_json(line: str) -> str:
    """Returns the line of JSON with the same value; control characters become JSON escapes."""
    return re.sub(_CONTROL_CHARS, lambda found: f"\\u{ord(found[0]):04x}", line)


class Screen(NamedTuple):
    """The place where text is shown. `width`: columns to wrap at; None in a pipe or a file, where lines stay whole.
    `moves`: text can be overwritten in place. `links`: it opens hyperlinks."""

    width: int | None = None
    colour: bool = False
    moves: bool = False
    links: bool = False

    def paint(self, text: str, **style: Any) -> str:
        """Returns the text in a style of click's. The text must be inert already."""
        return click.style(text, **style) if self.colour and text else text

    def link(self, text: str, path: str) -> str:
        """Returns a text that opens a file of this machine where the screen can do so (OSC 8). The text must be inert
        already; on each of its lines, the indent is no part of the link."""
        if not self.links:
            return text
        from urllib.parse import quote  # noqa: PLC0415  `--help` does without it

        url = f"file://{quote(os.uname().nodename)}{quote(os.path.abspath(path))}"  # noqa: PTH100  as it is written
        begin, end = f"\x1b]8;;{url}\x1b\\", "\x1b]8;;\x1b\\"
        return re.sub(r"\S(?:.*\S)?", lambda line: f"{begin}{line[0]}{end}", text)

    def hanging(self, text: str, indent: int) -> str:
        """Returns a text for a place behind a label of `indent` columns: wrapped at words, with a hanging indent."""
        continuation = "  " if "\n" in text else ""  # so that it is seen where the text's own lines begin
        lines = [
            line
            for part in text.split("\n")
            for line in (wrap(part, self.width - indent, continuation) if self.width else [part])
        ]
        return ("\n" + " " * indent).join(lines)


def screen(stream: IO[Any]) -> Screen:
    """Describes the screen behind a stream. Colour is for terminals that support it, unless NO_COLOR is set
    (https://no-color.org)."""
    try:
        found = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else None
    except (OSError, ValueError):  # closed, or no file at all
        return Screen()
    if found is None:
        return Screen()
    moves = os.environ.get("TERM", "dumb") != "dumb"
    colour = moves and not os.environ.get("NO_COLOR")
    width = min(max(found or DEFAULT_COLUMNS, MIN_COLUMNS), MAX_COLUMNS)
    return Screen(width, colour, moves, colour and opens_links(os.environ))


def opens_links(environ: Mapping[str, str]) -> bool:
    """Returns whether the terminal says that it opens hyperlinks. A multiplexer in between may not pass them on."""
    term = environ.get("TERM", "")
    if environ.get("TMUX") or term.startswith(("screen", "tmux")):
        return False
    vte = environ.get("VTE_VERSION", "")
    return (
        environ.get("TERM_PROGRAM") in _LINKING_PROGRAMS
        or term in _LINKING_TERMS
        or any(environ.get(name) for name in ("KITTY_WINDOW_ID", "KONSOLE_VERSION", "WT_SESSION"))
        or (vte.isdigit() and int(vte) >= FIRST_LINKING_VTE)
    )


def wrap(line: str, width: int, continuation: str = "") -> list[str]:
    """Wraps a line at words and tears none: paths and addresses stay whole. `continuation`: prefix of every line but
    the first."""
    lines = [""]
    for word in re.findall(r"\s*\S+", line):
        if lines[-1].strip() and display_width(lines[-1] + word) > width:
            lines.append(continuation + word.lstrip())
        else:
            lines[-1] += word
    return lines


def display_width(text: str) -> int:
    """Returns the columns that a terminal needs: East Asian characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    import unicodedata  # noqa: PLC0415  `--help` does without it

    return sum(1 + (unicodedata.east_asian_width(c) in "WF") - bool(unicodedata.combining(c)) for c in text)


def cut(line: str, width: int) -> str:
    """Returns as much of a line as fits, and an ellipsis if that is not all."""
    begin = line[: 4 * width]
    if begin == line and display_width(line) <= width:
        return line
    while display_width(begin) >= width:
        begin = begin[:-1]
    return begin + "…"
