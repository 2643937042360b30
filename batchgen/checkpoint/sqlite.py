"""SQLite for the checkpoint: opens files, runs statements, translates errors."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import apsw

from batchgen.errors import MachineRefused

T = TypeVar("T")
Consume = Callable[[Iterable[tuple[Any, ...]]], T]
Bindings = Sequence[Any] | Mapping[str, Any]
BLOBS = ("key", "body")
"""Columns that hold bytes."""
BUSY_TIMEOUT_MS = 30_000  # how long to wait for another process that holds the file
LOG_HEADER_BYTES = 32
"""Of a write-ahead log, by SQLite's file format (4.1): what follows are pages."""
DAMAGE_MESSAGES = ("malformed", "not a database", "no such")
"""Words in SQLite's messages for a damaged file."""


def open_readonly(path: Path, how: str) -> apsw.Connection:
    """Opens a file read-only, for one thread: SQLite's mutexes around every value would take a quarter of the time to
    read a short row. `how`: the query of an SQLite URI."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOMUTEX
    db = apsw.Connection(f"{path.absolute().as_uri()}?{how}", flags)
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    return db


def writable(path: Path) -> apsw.Connection:
    """Opens a file, or makes one."""
    db = apsw.Connection(str(path))
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    return db


def drop_empty_log(path: Path) -> None:
    """Removes the -wal and -shm of a reader, which must not remove them itself. SQLite does, where the last connection
    that may write is closed; a run at work keeps its own."""
    with suppress(apsw.Error, OSError):
        if path.with_name(f"{path.name}-wal").stat().st_size == 0:
            with closing(apsw.Connection(str(path), apsw.SQLITE_OPEN_READWRITE)) as db:
                db.execute("PRAGMA schema_version").fetchall()  # which opens the log


def is_log_alone(path: Path) -> bool:
    """Returns whether there is a log that holds something, and its database is empty or not there. SQLite removes such
    a log when the database is opened, even by who only reads, and with it all that was never moved into the file."""
    with suppress(FileNotFoundError):
        is_left = path.with_name(f"{path.name}-wal").stat().st_size > LOG_HEADER_BYTES
        return is_left and not (path.exists() and path.stat().st_size)
    return False


def refuse_log(path: Path, salvage: str | None = None) -> None:
    """Raises MachineRefused for a log without its database. `salvage`: as in `machine_refusals`."""
    if is_log_alone(path):
        what = "is empty" if path.exists() else "is not there"
        raise MachineRefused(
            f"{path}: the checkpoint {what}, and its log, {path.name}-wal, holds attempts: put it back beside the log. "
            f"Or save what is in the log: `{_command(path, salvage)}`; or move the log away to start anew (everything "
            "is bought again)"
        )


def query(db: apsw.Connection, consume: Consume[T], sql: str, values: Bindings = ()) -> T:
    """Returns what `consume` makes of the rows. If a text is not UTF-8, which only damage causes, the rows are read
    again with the bad bytes replaced; the checksum then finds the damage."""
    try:
        return consume(db.execute(sql, values))
    except UnicodeDecodeError:
        return consume(_legible(db, sql, values))


def _legible(db: apsw.Connection, sql: str, values: Bindings) -> Iterator[tuple[Any, ...]]:
    names = [name for name, *_ in db.execute(sql, values).description]
    columns = [f"c{at}" for at in range(len(names))]
    shown = ", ".join(f"iif(typeof({column}) = 'text', CAST({column} AS BLOB), {column})" for column in columns)
    for row in db.execute(f"WITH found ({', '.join(columns)}) AS ({sql}) SELECT {shown} FROM found", values):  # noqa: S608
        yield tuple(
            value.decode(errors="replace") if isinstance(value, bytes) and name not in BLOBS else value
            for name, value in zip(names, row, strict=True)
        )


def placeholders(values: Sized) -> str:
    """Returns as many question marks as there are values, for a statement."""
    return ",".join("?" * len(values))


def is_empty(db: apsw.Connection) -> bool:
    """Returns whether the database is new, or its creator was killed before the first table was made."""
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
def machine_refusals(path: Path, salvage: str | None = None) -> Iterator[None]:
    """Turns SQLite's errors into MachineRefused, with a way out. `salvage`: the command that saves what can be read, if
    the job is known."""
    try:
        yield
    except (apsw.Error, UnicodeDecodeError) as error:
        raise _refusal(path, error, salvage) from None


def _refusal(path: Path, error: apsw.Error | UnicodeDecodeError, salvage: str | None) -> MachineRefused:
    message = str(error)
    if isinstance(error, UnicodeDecodeError) or any(words in message for words in DAMAGE_MESSAGES):
        return MachineRefused(
            f"{path}: the checkpoint is damaged ({message}). Save what can be read: `{_command(path, salvage)}`; or "
            "move it away to start anew (everything is bought again)"
        )
    return MachineRefused(
        f"{path}: cannot be written: {message}. What is committed is safe; run again when that is fixed"
    )


def _command(path: Path, salvage: str | None) -> str:
    return salvage or shlex.join([sys.executable, "-m", "batchgen.runner.salvage", str(path)])
