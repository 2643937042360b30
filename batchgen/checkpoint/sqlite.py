"""SQLite as the checkpoint uses it: how a file is opened and asked, and how its errors are told."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from batchgen.errors import MachineRefused

T = TypeVar("T")
Take = Callable[[Iterable[tuple[Any, ...]]], T]
Bindings = Sequence[Any] | Mapping[str, Any]
BLOBS = ("key", "body")
"""Columns that hold bytes."""
BUSY = 30_000  # milliseconds that are waited for another who holds the file
DAMAGE = ("malformed", "not a database", "no such")
"""What SQLite's messages for a damaged file have in common."""


def opened(path: Path, how: str) -> apsw.Connection:
    """Read-only, for one thread: SQLite's mutexes around every value are a quarter of what a short row costs to read.
    `how`: the query of a URI of SQLite's."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOMUTEX
    db = apsw.Connection(f"{path.absolute().as_uri()}?{how}", flags)
    db.set_busy_timeout(BUSY)
    return db


def taken(db: apsw.Connection, take: Take[T], sql: str, values: Bindings = ()) -> T:
    """What `take` makes of the rows. Where a text of theirs is no UTF-8, which only damage makes of one, it is given
    them once more, as far as they are legible: the checksum finds what is wrong."""
    try:
        return take(db.execute(sql, values))
    except UnicodeDecodeError:
        return take(_legible(db, sql, values))


def _legible(db: apsw.Connection, sql: str, values: Bindings) -> Iterator[tuple[Any, ...]]:
    names = [name for name, *_ in db.execute(sql, values).description]
    columns = [f"c{at}" for at in range(len(names))]
    shown = ", ".join(f"iif(typeof({column}) = 'text', CAST({column} AS BLOB), {column})" for column in columns)
    for row in db.execute(f"WITH found ({', '.join(columns)}) AS ({sql}) SELECT {shown} FROM found", values):  # noqa: S608
        yield tuple(
            value.decode(errors="replace") if isinstance(value, bytes) and name not in BLOBS else value
            for name, value in zip(names, row, strict=True)
        )


def is_empty(db: apsw.Connection) -> bool:
    """Whether it was killed before its first table was made, or is new."""
    return not db.execute("SELECT count(*) FROM sqlite_schema").get


def copy(source: apsw.Connection, target: apsw.Connection) -> None:
    """Copies the whole database, page by page, with what its log holds."""
    with target.backup("main", source, "main") as copying:
        copying.step()


@contextmanager
def closed_on_error(db: apsw.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        db.close()
        raise


@contextmanager
def refusals(path: Path, salvage: str | None = None) -> Iterator[None]:
    """SQLite's errors, translated at this door: each ends the run with exit 5 and a way out. `salvage`: the command
    that saves what can be saved, where the job is known."""
    try:
        yield
    except (apsw.Error, UnicodeDecodeError) as error:
        raise _refusal(path, error, salvage) from None


def _refusal(path: Path, error: apsw.Error | UnicodeDecodeError, salvage: str | None) -> MachineRefused:
    said = str(error)
    if isinstance(error, UnicodeDecodeError) or any(words in said for words in DAMAGE):
        salvage = salvage or shlex.join([sys.executable, "-m", "batchgen.runner.salvage", str(path)])
        return MachineRefused(
            f"{path}: the checkpoint is damaged ({said}). Save what can be saved: `{salvage}`; or move it away to "
            "start anew (everything is bought again)"
        )
    return MachineRefused(
        f"{path}: cannot be kept up: {said}. What is committed is safe; run again when that is mended"
    )
