"""A damaged checkpoint -> a sound one with every attempt that can still be read and holds its checksum.

`batchgen salvage JOB`. The damaged file is kept beside it, as FILE.damaged.
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
from batchgen.checkpoint.migrations import ROWS, Row, refuse_later
from batchgen.checkpoint.reader import STORED, parse_records
from batchgen.checkpoint.schema import SCHEMA_VERSION, Record, Run
from batchgen.checkpoint.sqlite import opened, taken
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import BatchgenError, UsageError
from batchgen.storage import file_lock
from batchgen.ui.terminal import inert

LEAST_ROW = 40
"""Bytes; no file holds more attempts than its size allows."""
AT_ONCE = 500


def salvage(path: Path) -> tuple[int, int]:
    """(attempts saved, attempts lost), by the highest id that is to be seen. Raises AlreadyRunning, MachineRefused."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    repaired, damaged = path.with_name(f".{path.name}.salvaged"), path.with_name(f"{path.name}.damaged")
    with file_lock.exclusive(StateFiles(path).lock):
        repaired.unlink(missing_ok=True)
        with (
            _as_long_as_it_says(path) as whole,
            closing(opened(whole, "mode=ro")) as db,
            closing(Checkpoint(repaired)) as checkpoint,
        ):
            saved, highest = _copy(path, db, path.stat().st_size // LEAST_ROW, checkpoint)
        path.rename(damaged)
        for tail in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + tail).rename(damaged.with_name(damaged.name + tail))
        repaired.rename(path)
    return saved, highest - saved


@contextmanager
def _as_long_as_it_says(path: Path) -> Iterator[Path]:
    """The file, or where its end is missing a copy with zeros in that place: else SQLite reads nothing of it."""
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
    """Row by row, so that a broken page costs its own rows alone. Ids stay: they are the order of the commits."""
    schema = _or_none(lambda: db.execute("PRAGMA user_version").get) or SCHEMA_VERSION
    refuse_later(path, db, schema)
    current = ROWS.get(schema, _as_it_is)
    last = _or_none(lambda: db.execute("SELECT max(id) FROM attempts").get)
    saved = highest = 0
    batch: list[tuple[int, Record]] = []
    for id_, record in _readable(db, most if last is None else last, current):
        batch.append((id_, record))
        highest = id_
        if len(batch) == AT_ONCE:
            saved += checkpoint.put(batch)
            batch = []
    saved += checkpoint.put(batch)
    for table in ("runs", "starts", "owner", "progress", "in_flight"):
        for row in _or_none(lambda table=table: taken(db, list, f"SELECT * FROM {table}")) or []:  # type: ignore[misc]  # noqa: S608
            checkpoint.put_row(table, (*row, None) if table == "runs" and len(row) < len(Run._fields) else row)
    return saved, max(highest, last or 0)


def _as_it_is(row: Row) -> Row:
    return row


def _readable(db: apsw.Connection, last: int, current: Callable[[Row], Row]) -> Iterator[tuple[int, Record]]:
    """`current`: makes one of this version of a row."""
    for id_ in range(1, last + 1):
        rows = _or_none(lambda id_=id_: taken(db, list, f"SELECT {STORED} WHERE a.id = ?", (id_,)))  # type: ignore[misc]
        yield from parse_records(map(current, rows or []))[0].items()


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
    print(told(saved, lost))  # noqa: T201


def told(saved: int, lost: int) -> str:
    return f"{saved:,} attempts saved, {lost:,} lost; run the job again: what was lost is bought again"
