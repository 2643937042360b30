"""A checkpoint's file, read-only: opened, asked in short transactions, and never changed.

A reader keeps no transaction open between calls, so that it disturbs no run.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, closing
from pathlib import Path
from threading import get_ident
from typing import Any, Self

import apsw

from batchgen.checkpoint.migrations import migrated_copy, schema_of
from batchgen.checkpoint.schema import SCHEMA_VERSION
from batchgen.checkpoint.sqlite import Bindings, T, Take, closed_on_error, is_empty, opened, refusals, taken
from batchgen.errors import MachineRefused, NotRunYet
from batchgen.storage import folders


class Database:
    """An open file, as a context."""

    def __init__(self, path: Path, *, without_trace: bool = False, salvage: str | None = None) -> None:
        """`salvage`: the command to name where the file is damaged. `without_trace`: leaves no -wal and -shm behind
        where nobody was writing, as where nothing can be written. A run that starts meanwhile writes to its log first,
        so this is for readings of seconds.

        Raises NotRunYet where there is no checkpoint, MachineRefused where it cannot be read.
        """
        self.path = path
        self._salvage = salvage
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
        with self._refusals():
            self._db = self._current(opened(path, how))

    def _current(self, db: apsw.Connection) -> apsw.Connection:
        """The same, or what becomes of an earlier version's file."""
        with closed_on_error(db):
            if is_empty(db):
                raise NotRunYet(f"{self.path}: the job has not run yet")
            schema = schema_of(self.path, db)
            if schema == SCHEMA_VERSION:
                return db
        with closing(db):
            return migrated_copy(db, schema)

    def _refusals(self) -> AbstractContextManager[None]:
        return refusals(self.path, self._salvage)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        with self._refusals():
            return taken(self._db, take, sql, values)
