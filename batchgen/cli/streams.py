"""The process of the command line: its platform, its streams, and its output."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING, NoReturn, TextIO

import click

from batchgen.errors import OK, MachineRefused, UsageError
from batchgen.ui.terminal import inert, screen

if TYPE_CHECKING:
    from pathlib import Path

    from batchgen.runner.summary import Summary
    from batchgen.ui.panel import Renderable


NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What a file says that takes no more. A reader that has gone away says something else."""


def refuse_platform() -> None:
    if sys.platform not in ("linux", "darwin"):
        refused = f"batchgen runs on Linux and macOS, not on {sys.platform}: its locks and signals are POSIX's"
        fail(refused, UsageError.exit_code)


def open_standard_streams() -> None:
    """Opens the standard streams that the caller closed: their numbers must not go to files of ours, nor messages into
    these."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r+" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a name that the locale cannot write ends no run


def say(message: str | Renderable, *, err: bool = False, is_result: bool = False) -> None:
    """Prints a message on stdout; with `err` on stderr, or into the log if that consists of JSON objects. A reader that
    has gone away is not a failure of the run, which is over and published. `is_result`: the command does nothing else;
    then it raises MachineRefused if stdout is a file that cannot take the message."""
    stream = sys.stderr if err else sys.stdout
    text = inert(message) if isinstance(message, str) else message.panel().text(screen(stream))
    if not (err and _logged_as_object(text)):
        _print(text, stream, is_result=is_result)


def say_written(path: str | Path) -> None:
    """Says that a file was written; a terminal that can opens it."""
    _print(f"wrote {screen(sys.stdout).link(inert(str(path)), str(path))}", sys.stdout)


def _print(text: str, stream: TextIO, *, is_result: bool = False) -> None:
    try:
        write(text, stream)
    except OSError as error:
        discard(stream)
        if stream is sys.stdout and error.errno in NO_ROOM:
            lost = f"stdout: cannot be written: {error.strerror}"
            if is_result:
                raise MachineRefused(lost) from None
            say(f"warning: {lost}", err=True)


def write(text: str, stream: TextIO) -> None:
    """Prints and flushes. Raises OSError if nobody reads."""
    click.echo(text, stream)
    stream.flush()


def discard(stream: TextIO) -> None:
    """Discards all further output to the stream, also what Python writes when it ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2 if stream is sys.stderr else 1)


def flush_or_discard() -> None:
    """Writes what is left in both streams. What nobody takes is discarded: Python from 3.13 on would exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            discard(stream)


def log(*, quiet: bool = False, verbose: bool = False) -> None:
    """Sends the log to stderr, in the form that `--log-format` sets."""
    import logging

    from batchgen.ui import logs

    kind = click.get_current_context().meta["log_format"]
    logs.start(kind, logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def _logged_as_object(message: str, **numbers: int) -> bool:
    """Logs the message if the log consists of JSON objects. Returns whether it does."""
    from batchgen.ui import logs

    if logs.are_json():
        logs.log.error("%s", message, extra={logs.FIELDS: numbers})
    return logs.are_json()


def log_end(summary: Summary) -> None:
    """Logs the summary as the last object, if the log consists of JSON objects."""
    import logging

    from batchgen.cli import render
    from batchgen.ui import logs

    if logs.are_json():
        level = logging.INFO if summary.exit_code == OK else logging.ERROR
        logs.log.log(level, "%s", summary.line(), extra={logs.FIELDS: render.values(summary)})


def fail(message: str, code: int) -> NoReturn:
    """Prints the error and exits. On a terminal, mistakes are aligned below each other; in a pipe each begins its line,
    for `grep` and editors."""
    shown, label = screen(sys.stderr), "error: "
    with contextlib.suppress(OSError):
        if _logged_as_object(message, exit_code=code):
            sys.exit(code)
        text = shown.hanging(inert(message), len(label) if shown.width else 0)
        click.echo(shown.paint(label, fg="red", bold=True) + text, err=True)
    sys.exit(code)


def misused(error: click.ClickException) -> NoReturn:
    """Prints how the command is used and what was wrong with it, and exits."""
    shown = io.StringIO()
    error.show(shown)
    with contextlib.suppress(OSError):
        click.echo(screen(sys.stderr).hanging(inert(shown.getvalue().rstrip("\n")), 0), err=True)
    sys.exit(error.exit_code)
