"""The process of the command line: its platform, its streams, and what it says."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from typing import TYPE_CHECKING, NoReturn, TextIO

import click

from batchgen.errors import OK
from batchgen.ui.terminal import inert, screen

if TYPE_CHECKING:
    from batchgen.runner.summary import Summary
    from batchgen.ui.panel import Renderable


def refuse_platform() -> None:
    if sys.platform not in ("linux", "darwin"):
        fail(f"batchgen runs on Linux and macOS, not on {sys.platform}: its locks and signals are POSIX's", 2)


def open_standard_streams() -> None:
    """Where the caller closed one, its number must not go to a file of ours, nor a message into it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r+" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a name that the locale cannot write ends no run


def say(told: str | Renderable, *, err: bool = False) -> None:
    """Results, on stdout. A reader that has gone away is no failure of the run, which is over and published."""
    stream = sys.stderr if err else sys.stdout
    text = inert(told) if isinstance(told, str) else told.panel().text(screen(stream))
    if err and _logged_as_object(text):
        return
    try:
        write(text, stream)
    except OSError:
        discard(stream)


def write(text: str, stream: TextIO) -> None:
    """At once. Raises OSError where nobody reads."""
    click.echo(text, stream)
    stream.flush()


def discard(stream: TextIO) -> None:
    """What is still to be written goes nowhere, also what Python writes when it ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2 if stream is sys.stderr else 1)


def log(*, quiet: bool = False, verbose: bool = False) -> None:
    """The log goes to stderr, as `--log-format` has it."""
    from batchgen.ui import logs

    kind = click.get_current_context().meta["log_format"]
    logs.start(kind, logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def _logged_as_object(message: str, **numbers: int) -> bool:
    """Whether the log is one of objects, and now holds this, too."""
    from batchgen.ui import logs

    if logs.are_json():
        logs.log.error("%s", message, extra={logs.FIELDS: numbers})
    return logs.are_json()


def log_end(summary: Summary) -> None:
    """The summary as one object, where the log is one of objects: its last line."""
    from batchgen.cli import render
    from batchgen.ui import logs

    if logs.are_json():
        level = logging.INFO if summary.exit_code == OK else logging.ERROR
        logs.log.log(level, "%s", summary.line(), extra={logs.FIELDS: render.values(summary)})


def fail(message: str, code: int) -> NoReturn:
    """On a terminal, mistakes stand under each other; in a pipe each begins its line, as `grep` and editors want it."""
    shown, label = screen(sys.stderr), "error: "
    with contextlib.suppress(OSError):
        if _logged_as_object(message, exit_code=code):
            sys.exit(code)
        told = shown.hanging(inert(message), len(label) if shown.width else 0)
        click.echo(shown.paint(label, fg="red", bold=True) + told, err=True)
    sys.exit(code)


def misused(error: click.ClickException) -> NoReturn:
    """How the command is used, and what was wrong with it."""
    told = io.StringIO()
    error.show(told)
    with contextlib.suppress(OSError):
        click.echo(screen(sys.stderr).hanging(inert(told.getvalue().rstrip("\n")), 0), err=True)
    sys.exit(error.exit_code)
