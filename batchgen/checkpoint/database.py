"""A checkpoint's file, read-only: opened, asked in short transactions, and never changed.

A reader keeps no transaction open between calls, so that it disturbs no run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import get_ident
from typing import Any, TypeVar

import apsw

from batchgen.checkpoint.schema import BUSY, closed_on_error, is_empty, refusals, refuse_foreign
from batchgen.errors import MachineRefused, NotRunYet
from batchgen.storage import folders

T = TypeVar("T")
Take = Callable[[Iterable[tuple[Any, ...]]], T]
Bindings = Sequence[Any] | Mapping[str, Any]
BLOBS = ("key", "body")
"""Columns that hold bytes."""


class Database:
    def __init__(self, path: Path, *, without_trace: bool = False) -> None:
        """`without_trace`: leaves no -wal and -shm behind where nobody was writing,
        as where nothing can be written. A run that starts meanwhile writes to its log first, so this is for readings
        of seconds.

        Raises NotRunYet where there is no checkpoint, MachineRefused where it cannot be read.
        """
        self.path = path
        self._thread = get_ident()
        try:
            if not path.exists():
                raise NotRunYet(f"{path}: the job has not run yet")
            folders.refuse_special(path)
            has_log = path.with_name(f"{path.name}-wal").exists()
            without_trace = without_trace or not os.access(path.parent, os.W_OK)
        except PermissionError as error:
            raise MachineRefused(f"{path}: cannot be read: {error.strerror}") from None
        how = "immutable=1" if without_trace and not has_log else "mode=ro"
        with refusals(path):
            self._db = opened(path, how)
            with closed_on_error(self._db):
                if is_empty(self._db):
                    raise NotRunYet(f"{path}: the job has not run yet")
                refuse_foreign(path, self._db)

    def close(self) -> None:
        self._db.close()

    def _beside(self, table: str, sql: str, values: Bindings = ()) -> list[Any]:
        """From a table beside the schema, which older versions do not make."""
        tables = {name for (name,) in self._all("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        return self._all(sql, values) if table in tables else []

    def _all(self, sql: str, values: Bindings = ()) -> list[Any]:
        return self._take(list, sql, values)

    def _take(self, take: Take[T], sql: str, values: Bindings = ()) -> T:
        """Raises RuntimeError in another thread than the one that opened the file: `opened` has no lock between two."""
        if get_ident() != self._thread:
            raise RuntimeError(f"{self.path}: a reader is its own thread's")
        with refusals(self.path):
            return taken(self._db, take, sql, values)


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
