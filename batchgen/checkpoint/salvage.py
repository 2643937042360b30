"""Rebuilds a damaged checkpoint from every attempt that can be read and matches its checksum.

`batchgen salvage JOB`. The damaged file is kept beside it, as FILE.damaged (`replacement.py`).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw

from batchgen.checkpoint.checkpoint import PAGE_BYTES, Checkpoint
from batchgen.checkpoint.migrations import ROW_MIGRATIONS, Row, refuse_later
from batchgen.checkpoint.reader import RECORD_SQL, parse_records
from batchgen.checkpoint.replacement import finish_replacement, remove_beside, replace_damaged
from batchgen.checkpoint.schema import SCHEMA, SCHEMA_VERSION, TABLES, Record, Run
from batchgen.checkpoint.sqlite import is_log_alone, open_readonly, query
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import BatchgenError, MachineRefused, UsageError
from batchgen.storage import file_lock
from batchgen.ui.humanize import pluralize
from batchgen.ui.terminal import inert

MIN_ROW_BYTES = 40
"""A file of this size holds one attempt at most."""
RECORDS_PER_COMMIT = 500
DAMAGES = apsw.SQLError, apsw.ConstraintError
"""Why a damaged row does not fit its table: it has other columns, or values of other types."""
PAGE_SIZES = [1 << bits for bits in range(9, 17)]
EARLIER_PAGE_BYTES, TABLE_PAGES = 4096, (b"\x05", b"\x0d")
"""The size of a page in files of earlier versions; and the first byte of a page of a table, inner or leaf."""
PAGES_AT = 28
"""Where a file's header says how many pages there are. What it says beside is `_header`'s."""


def salvage(path: Path) -> tuple[int, int | None]:
    """Replaces a damaged checkpoint by a sound one. Returns (attempts saved, attempts lost): None if the damage hides
    how many there were. Raises UsageError if there is no file, AlreadyRunning, MachineRefused."""
    if not path.is_file() and not is_log_alone(path):
        raise UsageError(f"{path}: no such file: the job has not run yet, or its checkpoint was moved away")
    with file_lock.exclusive(StateFiles(path).lock):
        finish_replacement(path)
        if not path.exists():  # its log is there
            path.touch(0o600)
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


def _repair(path: Path, repaired: Path) -> tuple[int, int | None]:
    """Writes what can be read to a new checkpoint. Returns (attempts saved, attempts lost)."""
    with _readable(path) as db, closing(Checkpoint(repaired)) as checkpoint:
        found = _copy(path, db, _size(path) // MIN_ROW_BYTES, checkpoint)
        checkpoint.move_log()
        return found


def _size(path: Path) -> int:
    """Returns how many bytes the file and its log have."""
    return sum(one.stat().st_size for one in (path, _log_of(path)) if one.exists())


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


@contextmanager
def _readable(path: Path) -> Iterator[apsw.Connection]:
    """Yields the file, opened. Its first page says where each table begins, and what its columns are. If that page is
    damaged, it is a copy with the first page of a new file: their attempts begin at the same page."""
    with ExitStack() as stack:
        db = stack.enter_context(_opened(stack.enter_context(_padded(path))))
        if not _has_attempts(db):
            db = stack.enter_context(_opened(stack.enter_context(_with_new_first_page(path))))
        yield db


@contextmanager
def _opened(path: Path) -> Iterator[apsw.Connection]:
    """Opens a file. A table that the schema no longer describes is left out; without the pragma SQLite reads none."""
    with closing(open_readonly(path, "mode=ro")) as db:
        db.execute("PRAGMA writable_schema = ON")
        yield db


def _has_attempts(db: apsw.Connection) -> bool:
    """Returns whether the tables of attempts are found, with all their columns."""
    columns = {table: _or_none(lambda table=table: _columns(db, table)) for table in ("attempts", "bodies")}  # type: ignore[misc]
    last = _or_none(lambda: db.execute("SELECT ifnull(max(id), 0) FROM attempts").get)
    return last is not None and all(found == TABLES[table] for table, found in columns.items())


def _columns(db: apsw.Connection, table: str) -> tuple[str, ...]:
    return tuple(name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,)))


@contextmanager
def _padded(path: Path) -> Iterator[Path]:
    """Yields the file; if its end is missing, a copy padded with zeros: SQLite reads nothing of a file that is too
    short, and of an empty one removes the log."""
    page, pages, _ = _header(path)
    missing = page * pages - path.stat().st_size
    if missing <= 0:
        yield path
        return
    with _copied(path) as copy:
        with suppress(OSError):  # a number of pages that no file has: the page that says so is damaged
            os.truncate(copy, page * pages)
        yield copy


@contextmanager
def _with_new_first_page(path: Path) -> Iterator[Path]:
    """Yields a copy that has the first page of a new file. Where the damaged page still says how large pages are, and
    which schema the file has, the new one says so, too."""
    page, _, schema = _header(path)
    page = page if page in PAGE_SIZES else _likely_page_bytes(path)
    with _copied(path) as copy:
        pages = -(-copy.stat().st_size // page)
        with _refusing(path):
            first = bytearray(_new_file(copy.with_name("new"), page, schema)[:page])
            first[PAGES_AT : PAGES_AT + 4] = pages.to_bytes(4, "big")
            with copy.open("r+b") as file:
                file.write(first)
                file.truncate(page * pages)
        yield copy


def _likely_page_bytes(path: Path) -> int:
    """Returns the size of a page by where the second one begins, which is the attempts'."""
    with path.open("rb") as file:
        file.seek(EARLIER_PAGE_BYTES)
        return EARLIER_PAGE_BYTES if file.read(1) in TABLE_PAGES else PAGE_BYTES


def _new_file(path: Path, page: int, schema: int) -> bytes:
    """Returns a new checkpoint's bytes."""
    with closing(apsw.Connection(str(path))) as db:
        db.execute(f"PRAGMA page_size = {page}; PRAGMA journal_mode = wal").fetchall()
        db.execute(f"{SCHEMA}; PRAGMA user_version = {schema if schema in ROW_MIGRATIONS else SCHEMA_VERSION}")
    return path.read_bytes()


def _header(path: Path) -> tuple[int, int, int]:
    """Returns what the first page says: the size of a page, how many there are, and the schema. The log of an empty
    file says how large pages are, and has the first one."""
    if is_log_alone(path):
        with _log_of(path).open("rb") as log:
            page = int.from_bytes(log.read(12)[8:], "big")
        return page if page in PAGE_SIZES else PAGE_BYTES, 1, 0
    with path.open("rb") as file:
        head = file.read(100)
    page = int.from_bytes(head[16:18], "big")
    pages, schema = (int.from_bytes(head[at : at + 4], "big") for at in (PAGES_AT, 60))
    return 1 << 16 if page == 1 else page, pages, schema


@contextmanager
def _copied(path: Path) -> Iterator[Path]:
    """Yields a copy of the file, with its log. Raises MachineRefused if there is no room for it."""
    with ExitStack() as stack:
        with _refusing(path):
            copy = Path(stack.enter_context(TemporaryDirectory(dir=path.parent, prefix=".salvage-"))) / path.name
            shutil.copyfile(path, copy)
            with suppress(FileNotFoundError):
                shutil.copyfile(_log_of(path), _log_of(copy))
        yield copy


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, apsw.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise MachineRefused(f"{path}: cannot be copied beside itself: {reason}; nothing was changed") from None


def _copy(path: Path, db: apsw.Connection, most: int, checkpoint: Checkpoint) -> tuple[int, int | None]:
    """Copies row by row, so that a broken page costs its own rows only. Ids stay the same: they are the order of the
    commits."""
    schema = _or_none(lambda: db.execute("PRAGMA user_version").get) or SCHEMA_VERSION
    refuse_later(path, db, schema)
    upgrade = ROW_MIGRATIONS.get(schema, _unchanged)
    last = _or_none(lambda: db.execute("SELECT max(id) FROM attempts").get)
    saved = unreadable = 0
    batch: list[tuple[int, Record]] = []
    for id_, record in _attempts(db, most if last is None else last, upgrade):
        if record is None:
            unreadable += 1
            continue
        batch.append((id_, record))
        if len(batch) == RECORDS_PER_COMMIT:
            saved += checkpoint.add_with_ids(batch)
            batch = []
    saved += checkpoint.add_with_ids(batch)
    for table in ("runs", "starts", "owner", "endpoints", "progress", "in_flight"):
        for row in _or_none(lambda table=table: query(db, list, f"SELECT * FROM {table}")) or []:  # type: ignore[misc]  # noqa: S608
            row = (*row, None) if table == "runs" and len(row) < len(Run._fields) else row  # noqa: PLW2901
            checkpoint.put_row(table, row, *DAMAGES)
    return saved, None if last is None else unreadable


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


def summary(saved: int, lost: int | None) -> str:
    """Describes the result in one line."""
    missing = "how many are lost cannot be told" if lost is None else f"{lost:,} lost"
    return f"{pluralize(saved, 'attempt')} saved, {missing}; run the job again: what was lost is bought again"
