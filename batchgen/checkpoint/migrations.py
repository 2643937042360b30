"""Migrates a checkpoint of an earlier version in one transaction, and refuses one of a later version.

A run changes the file itself, after it has kept a copy. A reader changes a temporary copy, which is deleted when it is
closed. So reading needs no permission to write, does not disturb a run of an older version, and leaves nothing half
done.
"""

from __future__ import annotations

import os
import zlib
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import apsw
import msgspec

from batchgen._version import __version__
from batchgen.api.body import CompressedBody, decompress
from batchgen.checkpoint.schema import APPLICATION_ID, OPTIONAL_TABLES, SCHEMA_VERSION, TABLES
from batchgen.checkpoint.sqlite import closed_on_error, copy, query
from batchgen.errors import MachineRefused
from batchgen.storage import folders

Row = tuple[Any, ...]
"""An attempt's columns, then the size and the bytes of its body."""
CRC_COLUMN = 11
"""The checksum's position in a row of schemas 1 and 2."""


def migrate_to_2(db: apsw.Connection) -> None:
    """Computes each checksum over the stored body, no longer over the raw one. A damaged row stays damaged. Adds
    `runs.learned`, which the first files of schema 1 lack."""
    if "learned" not in _columns(db, "runs"):
        db.execute("ALTER TABLE runs ADD COLUMN learned REAL")
    ids, crcs = query(db, _crcs_of_2, "SELECT a.*, b.size, b.body FROM attempts a LEFT JOIN bodies b USING (id)")
    db.executemany("UPDATE attempts SET crc = ? WHERE id = ?", zip(crcs, ids, strict=True))


def _crcs_of_2(rows: Iterable[Row]) -> tuple[array[int], array[int]]:
    """Returns the ids of the sound rows, and their new checksums: sixteen bytes a row."""
    ids, crcs = array("q"), array("q")
    for row in rows:
        renewed = migrate_row_to_2(row)
        if renewed is not row:
            ids.append(row[0])
            crcs.append(renewed[CRC_COLUMN])
    return ids, crcs


def migrate_row_to_2(row: Row) -> Row:
    """Converts a row of schema 1 to schema 2; returns a damaged one as it is."""
    columns, (crc, size, body) = [row[1], row[2], row[3] == 1, *row[4:CRC_COLUMN]], row[CRC_COLUMN:]
    try:
        raw = body if size is None else decompress(CompressedBody(body, size))
        if crc not in _crcs_of_1(columns, raw):
            return row
        return *row[:CRC_COLUMN], _crc([*columns, size, body is None], body), size, body
    except Exception:  # noqa: BLE001  a flipped bit may make nearly anything of a row, and pyarrow raise it
        return row


def _crcs_of_1(columns: list[Any], body: bytes | None) -> set[int]:
    """Returns the possible checksums: three encodings of the columns were in use within a day."""
    spelled = [columns[0], columns[1], int(columns[2]), *columns[3:]]
    texts = repr((*spelled, body is None)).encode(), repr(tuple(spelled)).encode()
    return {_crc([*columns, body is None], body), *(zlib.crc32(body or b"", zlib.crc32(text)) for text in texts)}


def _crc(columns: list[Any], body: bytes | None) -> int:
    return zlib.crc32(body or b"", zlib.crc32(msgspec.msgpack.encode(columns)))


MIGRATIONS: list[tuple[int, Callable[[apsw.Connection], None]]] = [(1, migrate_to_2)]
"""(schema, migration to the next schema), in order."""
ROW_MIGRATIONS: dict[int, Callable[[Row], Row]] = {1: migrate_row_to_2}
"""The same for a single row of a file that is only partly readable."""


def schema_of(path: Path, db: apsw.Connection) -> int:
    """Returns the file's schema: this version's, or an earlier one's. Raises MachineRefused if the file is not a
    checkpoint, or is a later version's."""
    if db.execute("PRAGMA application_id").get != APPLICATION_ID:
        raise MachineRefused(f"{path}: not a checkpoint of batchgen; move it, or give the job another name")
    schema = int(db.execute("PRAGMA user_version").get)
    refuse_later(path, db, schema)
    if schema < min(known for known, _ in MIGRATIONS):
        raise MachineRefused(f"{path}: no version of batchgen has written such a checkpoint; move it")
    if schema == SCHEMA_VERSION:
        refuse_other_tables(db)
    return schema


def refuse_later(path: Path, db: apsw.Connection, schema: int) -> None:
    """Raises MachineRefused if the schema is a later version's."""
    if schema > SCHEMA_VERSION:
        raise MachineRefused(
            f"{path}: written by {_writer(db)} (schema {schema}); this is batchgen {__version__}, which knows schemas "
            f"up to {SCHEMA_VERSION}: finish the job with that version or a later one. Nothing was changed"
        )


def _writer(db: apsw.Connection) -> str:
    """Names the version that brought the file to its schema, if the file stores it."""
    if not _columns(db, "schemas"):
        return "a later version of batchgen"
    version = db.execute("SELECT version FROM schemas ORDER BY schema DESC LIMIT 1").get
    return f"batchgen {version}"


def refuse_other_tables(db: apsw.Connection) -> None:
    """Raises an error of SQLite's, as of a damaged file, if the tables are not those of this schema."""
    for table, columns in TABLES.items():
        if _columns(db, table) != [*columns]:
            raise apsw.SQLError(f"no such table as its own: {table}")


def _columns(db: apsw.Connection, table: str) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))]


def migrate(db: apsw.Connection, schema: int) -> None:
    """Migrates a file of an earlier schema to this version's, within the caller's transaction."""
    for known, step in MIGRATIONS:
        if known >= schema:
            step(db)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    refuse_other_tables(db)


def record_version(db: apsw.Connection) -> None:
    """Creates the tables beside the schema, and stores which version brought the file to this schema."""
    db.execute(OPTIONAL_TABLES)
    db.execute("INSERT OR IGNORE INTO schemas VALUES (?, ?)", (SCHEMA_VERSION, __version__))


def keep_copy(path: Path, db: apsw.Connection, schema: int) -> Path:
    """Writes a synced copy of the file beside it, before the file is changed. Returns the copy's path."""
    kept = path.with_name(f"{path.name}.schema-{schema}")
    temporary = path.with_name(f".{kept.name}.tmp")
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    target = apsw.Connection(str(temporary))
    with closed_on_error(target):
        copy(db, target)
    target.close()
    folders.sync(temporary)
    temporary.replace(kept)
    folders.sync(path.parent)
    return kept


def migrated_copy(db: apsw.Connection, schema: int) -> apsw.Connection:
    """Returns a migrated, temporary database, on disk if it is large, which is deleted when it is closed."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOMUTEX
    temporary = apsw.Connection("", flags)
    with closed_on_error(temporary):
        copy(db, temporary)
        temporary.execute("BEGIN")
        migrate(temporary, schema)
        temporary.execute("COMMIT")
    return temporary
