"""Follows a run: one panel in its place on a terminal, a line at each change elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from batchgen.cli import render
from batchgen.cli.streams import discard, write
from batchgen.runner.status import Status
from batchgen.ui.terminal import Screen, inert, screen

ANEW = "\x1b[{lines}F\x1b[J"
WHOLE_LINES = "\x1b[?7l{text}\x1b[?7h"
"""Without the terminal's own line breaks, which nobody could count."""


def follow(statuses: Iterable[Status], *, as_json: bool) -> None:
    """Shows the statuses until they end, the reader goes away, or Ctrl-C, which is a normal end."""
    shown = screen(sys.stdout)
    in_place = shown.moves and not as_json
    try:
        if in_place:
            _in_place(statuses, shown)
        else:
            _by_line(statuses, render.as_json if as_json else lambda now: inert(now.line()))
    except KeyboardInterrupt:
        if in_place:
            write("", sys.stdout)  # the shell's prompt on a line of its own
    except OSError:
        discard(sys.stdout)


def _in_place(statuses: Iterable[Status], shown: Screen) -> None:
    before = ""
    for now in statuses:
        text = now.panel().text(shown)
        write(before + WHOLE_LINES.format(text=text), sys.stdout)
        before = ANEW.format(lines=text.count("\n") + 1)


def _by_line(statuses: Iterable[Status], line_of: Callable[[Status], str]) -> None:
    before = None
    for now in statuses:
        changing = (now.state, now.done, now.failed, now.left, now.started_at)
        if changing != before:
            write(line_of(now), sys.stdout)
        before = changing
