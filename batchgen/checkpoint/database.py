"""A checkpoint's file, open read-only, read in short transactions.

A reader keeps no transaction open between calls, so that it does not disturb a run.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, closing
from pathlib import Path
from threading import Lock
from typing import Any, Self

import apsw

from batchgen.checkpoint.migrations import migrated_copy, schema_of
from batchgen.checkpoint.schema import SCHEMA_VERSION
from batchgen.checkpoint.sqlite import (
    Bindings,
    Consume,
    T,
    closed_on_error,
    drop_empty_log,
    is_empty,
    machine_refusals,
    open_readonly,
    query,
    refuse_log,
)
from batchgen.errors import MachineRefused, NotRunYet
from batchgen.storage import folders


class Database:
    """A checkpoint, open read-only, as a context."""

    def __init__(self, path: Path, *, without_trace: bool = False, salvage: str | None = None) -> None:
        """Opens the file. `salvage`: the command to name in the error for a damaged file. `without_trace`: leaves no
        -wal and -shm behind if no run was writing; always so in a folder that cannot be written. A run that starts
        meanwhile writes to its log first, so use this for reads of seconds.

        Raises NotRunYet if there is no checkpoint, MachineRefused if it cannot be read.
        """
        self.path = path
        self._salvage = salvage
        self._in_use = Lock()
        try:
            refuse_log(path, salvage)
            if not path.exists():
                raise NotRunYet(f"{path}: the job has not run yet")
            folders.refuse_special(path)
            folders.refuse_anothers(path, os.R_OK)
            has_log = path.with_name(f"{path.name}-wal").exists()
            without_trace = without_trace or not os.access(path.parent, os.W_OK)
        except PermissionError as error:
            raise MachineRefused(f"{path}: cannot be read: {error.strerror}") from None
        how = "immutable=1" if without_trace and not has_log else "mode=ro"
        self._makes_log = how == "mode=ro" and not has_log
        with self._machine_refusals():
            self._db = self._current(open_readonly(path, how))

    def _current(self, db: apsw.Connection) -> apsw.Connection:
        """Returns the connection, or one to a migrated copy of an earlier version's file."""
        with closed_on_error(db):
            if is_empty(db):
                raise NotRunYet(f"{self.path}: the job has not run yet")
            schema = schema_of(self.path, db)
            if schema == SCHEMA_VERSION:
                return db
        with closing(db):
            return migrated_copy(db, schema)

    def _machine_refusals(self) -> AbstractContextManager[None]:
        return machine_refusals(self.path, self._salvage)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()
        if self._makes_log:
            drop_empty_log(self.path)

    def _optional(self, table: str, sql: str, values: Bindings = ()) -> list[Any]:
        """Returns the rows of a table beside the schema; none if the table is missing, as in older files."""
        tables = {name for (name,) in self._all("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        return self._all(sql, values) if table in tables else []

    def _value(self, sql: str, values: Bindings = ()) -> Any:
        """Returns the one value that a statement has, such as a count."""
        return self._all(sql, values)[0][0]

    def _all(self, sql: str, values: Bindings = ()) -> list[Any]:
        return self._query(list, sql, values)

    def _query(self, consume: Consume[T], sql: str, values: Bindings = ()) -> T:
        """Runs a statement and returns what `consume` makes of its rows. Raises RuntimeError while another thread does:
        the connection has no mutex."""
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError(f"{self.path}: a reader is one thread's at a time")
        try:
            with self._machine_refusals():
                return query(self._db, consume, sql, values)
        finally:
            self._in_use.release()
