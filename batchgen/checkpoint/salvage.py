"""Rebuilds a damaged checkpoint from every attempt that can be read and matches its checksum.

`batchgen salvage JOB`. The damaged file is kept beside it, as FILE.damaged (`replacement.py`).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw

from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.migrations import ROW_MIGRATIONS, Row, refuse_later
from batchgen.checkpoint.reader import RECORD_SQL, parse_records
from batchgen.checkpoint.replacement import finish_replacement, remove_beside, replace_damaged
from batchgen.checkpoint.schema import SCHEMA_VERSION, Record, Run
from batchgen.checkpoint.sqlite import open_readonly, query
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import BatchgenError, UsageError
from batchgen.storage import file_lock
from batchgen.ui.humanize import pluralize
from batchgen.ui.terminal import inert

MIN_ROW_BYTES = 40
"""A file of this size holds one attempt at most."""
RECORDS_PER_COMMIT = 500


def salvage(path: Path) -> tuple[int, int]:
    """Replaces a damaged checkpoint by a sound one. Returns (attempts saved, attempts lost): of the latter those before
    the last that can be found. Raises UsageError if there is no file, AlreadyRunning, MachineRefused."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    with file_lock.exclusive(StateFiles(path).lock):
        finish_replacement(path)
        repaired = path.with_name(f".{path.name}.salvaged")
        _remove(repaired)  # of a salvage that was killed
        try:
            saved, lost = _repair(path, repaired)
            remove_beside(repaired)  # what is in the file alone
            replace_damaged(path, repaired)
        except BaseException:
            _remove(repaired)
            raise
    return saved, lost


def _remove(database: Path) -> None:
    database.unlink(missing_ok=True)
    remove_beside(database)


def _repair(path: Path, repaired: Path) -> tuple[int, int]:
    """Writes what can be read to a new checkpoint. Returns (attempts saved, attempts lost)."""
    with (
        _padded(path) as readable,
        closing(open_readonly(readable, "mode=ro")) as db,
        closing(Checkpoint(repaired)) as checkpoint,
    ):
        found = _copy(path, db, path.stat().st_size // MIN_ROW_BYTES, checkpoint)
        checkpoint.move_log()
        return found


@contextmanager
def _padded(path: Path) -> Iterator[Path]:
    """Yields the file; if its end is missing, a copy padded with zeros: SQLite reads nothing of a file that is too
    short."""
    with path.open("rb") as file:
        head = file.read(100)
    page = int.from_bytes(head[16:18], "big")
    missing = (1 << 16 if page == 1 else page) * int.from_bytes(head[28:32], "big") - path.stat().st_size
    if missing <= 0:
        yield path
        return
    with TemporaryDirectory(dir=path.parent, prefix=".salvage-") as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        os.truncate(copy, path.stat().st_size + missing)
        with suppress(FileNotFoundError):
            shutil.copyfile(path.with_name(f"{path.name}-wal"), copy.with_name(f"{copy.name}-wal"))
        yield copy


def _copy(path: Path, db: apsw.Connection, most: int, checkpoint: Checkpoint) -> tuple[int, int]:
    """Copies row by row, so that a broken page costs its own rows only. Ids stay the same: they are the order of the
    commits."""
    schema = _or_none(lambda: db.execute("PRAGMA user_version").get) or SCHEMA_VERSION
    refuse_later(path, db, schema)
    upgrade = ROW_MIGRATIONS.get(schema, _unchanged)
    last = _or_none(lambda: db.execute("SELECT max(id) FROM attempts").get)
    saved = lost = unreadable = 0
    batch: list[tuple[int, Record]] = []
    for id_, record in _attempts(db, most if last is None else last, upgrade):
        if record is None:
            unreadable += 1
            continue
        batch.append((id_, record))
        lost = unreadable
        if len(batch) == RECORDS_PER_COMMIT:
            saved += checkpoint.add_with_ids(batch)
            batch = []
    saved += checkpoint.add_with_ids(batch)
    for table in ("runs", "starts", "owner", "endpoints", "progress", "in_flight"):
        for row in _or_none(lambda table=table: query(db, list, f"SELECT * FROM {table}")) or []:  # type: ignore[misc]  # noqa: S608
            checkpoint.put_row(table, (*row, None) if table == "runs" and len(row) < len(Run._fields) else row)
    return saved, lost if last is None else unreadable


def _unchanged(row: Row) -> Row:
    return row


def _attempts(db: apsw.Connection, last: int, upgrade: Callable[[Row], Row]) -> Iterator[tuple[int, Record | None]]:
    """Yields the attempts with their ids: None for one that cannot be read. Ids that were dropped are passed over.
    `upgrade`: converts a row to this version's schema."""
    for id_ in range(1, last + 1):
        rows = _or_none(lambda id_=id_: query(db, list, f"SELECT {RECORD_SQL} WHERE a.id = ?", (id_,)))  # type: ignore[misc]
        if rows != []:
            yield id_, parse_records(map(upgrade, rows or []))[0].get(id_)


def _or_none(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (apsw.Error, UnicodeDecodeError):
        return None


def main() -> None:
    try:
        saved, lost = salvage(Path(sys.argv[1] if len(sys.argv) > 1 else ""))
    except BatchgenError as error:
        sys.exit(inert(f"error: {error}"))
    print(summary(saved, lost))  # noqa: T201


def summary(saved: int, lost: int) -> str:
    """Describes the result in one line."""
    return f"{pluralize(saved, 'attempt')} saved, {lost:,} lost; run the job again: what was lost is bought again"
