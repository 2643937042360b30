"""A panel: the summary of a run, a plan or a job, the verdict first. Plain text in a pipe, wrapped and in colour on a
terminal, HTML in a notebook. The module knows none of the three."""

from __future__ import annotations

import html
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from batchgen.storage.location import is_url
from batchgen.ui.humanize import pluralize
from batchgen.ui.pairs import TextPair, render_pair
from batchgen.ui.terminal import Screen, cut, inert, wrap

LABEL_COLUMNS = 12
"""Columns before a line's text."""
BAR_COLUMNS, MIN_BAR_COLUMNS = 50, 10
TEXT_LINES, TEXT_COLUMNS, TEXT_CHARS = 6, 75, 3000
"""How much of a longer text is shown: lines and columns as plain text, characters in a notebook."""
SCREEN_LINES = 16
"""How many lines of a text are shown on a screen that is whole elsewhere."""


class Severity(Enum):
    """The severity of a line. `colour`: on a terminal, None for the text's own. `ink`: on paper, light or dark."""

    CALM = (None, "inherit")
    GOOD = ("green", "#2f9e5f")
    WAIT = ("yellow", "#c08a1e")
    BAD = ("red", "#d9534f")

    def __init__(self, colour: str | None, ink: str) -> None:
        self.colour, self.ink = colour, ink


class PanelLine(NamedTuple):
    """A labelled text. `path`: the file of this machine that the text names, for terminals that open it."""

    label: str
    text: str
    severity: Severity = Severity.CALM
    path: str | None = None


class TextBlock(NamedTuple):
    """A longer text, shown as it is, or the beginning of it. `is_whole`: all of it, but on a screen the beginning."""

    title: str
    text: str
    is_whole: bool = False


class Renderable(ABC):
    """A value that renders itself as a panel: by `print`, and as what Python or a notebook's cell shows of it. Its
    dataclasses are made with `repr=False`."""

    @abstractmethod
    def panel(self) -> Panel: ...

    def __str__(self) -> str:
        return self.panel().text()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.panel().html()


@dataclass(frozen=True, repr=False)
class Panel(Renderable):
    """A panel. `verdict` and `about` make one sentence about `name`; `severity` is the verdict's. `share`: the part
    that is done, from 0 to 1, for a bar on a terminal. `path`: the file of this machine that `name` names."""

    name: str
    verdict: str
    about: str
    lines: list[PanelLine]
    severity: Severity = Severity.CALM
    texts: tuple[TextBlock, ...] = ()
    share: float | None = None
    pairs: tuple[TextPair, ...] = ()
    path: str | None = None

    def panel(self) -> Panel:
        return self

    def text(self, screen: Screen = Screen()) -> str:  # noqa: B008  it is frozen
        """Renders plain text without control characters, except for the colours that the screen has."""
        bar = [_bar(self.share, self.severity, screen)] if self.share is not None and screen.width else []
        lines = [self._heading(screen), *bar, *(_line(line, screen) for line in self.lines)]
        pairs = (render_pair(pair, screen) for pair in self.pairs)
        return "\n".join([*lines, *(_excerpt(text, screen) for text in self.texts), *pairs])

    def _heading(self, screen: Screen) -> str:
        begin = inert(f"{self.name}: {self.verdict}")
        wrapped = screen.hanging(begin + inert(self.about), 2)
        name, verdict = inert(self.name), inert(self.verdict)
        linked = name if self.path is None else screen.link(name, self.path)
        if not wrapped.startswith(begin):
            return wrapped.replace(name, linked, 1)  # it is wrapped before its end
        painted = screen.paint(f"{linked}: ", bold=True) + screen.paint(verdict, bold=True, fg=self.severity.colour)
        return painted + wrapped[len(begin) :]

    def html(self) -> str:
        """Renders HTML: self-contained, without a script, everything escaped."""
        return (
            "<div style='max-width:60em;line-height:1.5;overflow-wrap:anywhere'>"
            f"<div><b>{_safe(self.name)}</b>: "
            f"<b style='color:{self.severity.ink}'>{_safe(self.verdict)}</b>{_safe(self.about)}</div>"
            "<table style='border-collapse:collapse;border:0;margin:.3em 0;font:inherit;color:inherit'>"
            f"<tbody>{''.join(map(_row, self.lines))}</tbody></table>{''.join(map(_details, self.texts))}"
            f"{''.join(map(_html_of_pair, self.pairs))}</div>"
        )


def path_line(label: str, path: str, note: str = "", severity: Severity = Severity.CALM) -> PanelLine:
    """Returns a line for a file, which opens it where a terminal can. `note`: what is said behind the path."""
    return PanelLine(label, short_path(path) + note, severity, local_path(path))


def local_path(path: str) -> str | None:
    """Returns the path of a file of this machine; None for an address."""
    return None if is_url(path) else path


def short_path(path: str) -> str:
    """Returns a path, on a terminal relative if that is shorter. In a pipe it stays: what cron mails is read in another
    folder."""
    if is_url(path) or not sys.stdout.isatty():
        return path
    try:
        relative = os.path.relpath(path)
    except OSError:  # the working directory is gone
        return path
    return relative if len(relative) < len(path) else path


def settings(values: Mapping[str, Any]) -> list[PanelLine]:
    """Returns plain values, one a line."""
    return [PanelLine(name, _one_line(value, outermost=True)) for name, value in values.items()]


def _one_line(value: Any, *, outermost: bool = False) -> str:
    """Formats a setting on one line, as YAML would accept it; the outermost section without its braces."""
    if isinstance(value, dict):
        entries = ", ".join(f"{key}: {_one_line(one)}" for key, one in value.items())
        return entries if outermost else f"{{{entries}}}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    plain = isinstance(value, str) and value.isprintable() and value == value.strip()
    return str(value) if plain else json.dumps(value, ensure_ascii=False)


def _line(line: PanelLine, screen: Screen) -> str:
    label = inert(f"  {line.label:<{LABEL_COLUMNS - 3}} ")
    colour = line.severity.colour
    painted = screen.paint(label, fg=colour) if colour else screen.paint(label, dim=True)
    text = screen.hanging(inert(line.text), LABEL_COLUMNS)
    return painted + (text if line.path is None else screen.link(text, line.path))


def _bar(share: float, severity: Severity, screen: Screen) -> str:
    columns = min(BAR_COLUMNS, max(screen.width or 0, MIN_BAR_COLUMNS + 9) - 9)  # beside the share
    done = int(share * columns)  # rounded down: what is full has nothing left
    full, empty = "█" * done, "░" * (columns - done)
    return f"  {screen.paint(full, fg=severity.colour)}{screen.paint(empty, dim=True)}  {int(100 * share)} %"


def _excerpt(text: TextBlock, screen: Screen) -> str:
    lines = text.text.splitlines()
    most = TEXT_LINES
    if text.is_whole:
        lines = [part for line in lines for part in (wrap(inert(line), screen.width - 4) if screen.width else [line])]
        most = SCREEN_LINES if screen.width else len(lines)
    shown = [inert(line) if text.is_whole else cut(inert(line), TEXT_COLUMNS) for line in lines[:most]]
    if len(lines) > most:
        shown.append(f"… {pluralize(len(lines) - most, 'more line')}")
    gutter = screen.paint("  | ", dim=True)
    return "\n".join(["", inert(f"{text.title}:"), *(gutter + line for line in shown)])


def _row(line: PanelLine) -> str:
    plain = "border:0;background:none;text-align:left;vertical-align:top;padding:.1em 1.2em .1em 0"
    faint = ";opacity:.7" if line.severity is Severity.CALM else ""
    return (
        f"<tr style='background:none'><th scope='row' style='{plain};font-weight:normal;white-space:nowrap;"
        f"color:{line.severity.ink}{faint}'>"
        f"{_safe(line.label)}</th><td style='{plain};white-space:pre-wrap'>{_safe(line.text)}</td></tr>"
    )


def _details(text: TextBlock) -> str:
    return (
        f"<details><summary style='cursor:pointer;opacity:.7'>{_safe(text.title)}</summary>"
        f"<pre style='white-space:pre-wrap;margin:.3em 0 .6em 1em'>{_safe(_beginning(text.text))}</pre></details>"
    )


def _html_of_pair(pair: TextPair) -> str:
    cells = "".join(
        f"<td style='border:0;text-align:left;vertical-align:top;width:50%;white-space:pre-wrap'>"
        f"<span style='opacity:.7'>{_safe(label)}</span>\n{_safe(_beginning(text))}</td>"
        for label, text in ((pair.left_label, pair.left), (pair.right_label, pair.right))
    )
    return f"<div><b>{_safe(pair.title)}</b></div><table style='width:100%;border:0'><tr>{cells}</tr></table>"


def _beginning(text: str) -> str:
    left = len(text) - TEXT_CHARS
    return f"{text[:TEXT_CHARS]}\n… and {pluralize(left, 'more character')}" if left > 0 else text


def _safe(text: str) -> str:
    return html.escape(inert(text))
