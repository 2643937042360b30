"""A checkpoint of an earlier version -> one of this version, in one transaction; what a later one wrote is refused.

A run changes the file itself, after it has kept a copy as it was. A reader changes a temporary copy, which is gone when
it is closed: reading needs no right to write, disturbs no run of an older version, and leaves nothing half done.
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
from batchgen.checkpoint.schema import APPLICATION_ID, BESIDE, SCHEMA_VERSION, TABLES
from batchgen.checkpoint.sqlite import closed_on_error, copy, taken
from batchgen.errors import MachineRefused
from batchgen.storage import folders

Row = tuple[Any, ...]
"""An attempt's columns, then the size and the bytes of its body."""
CRC = 11
"""Where a row of schemas 1 and 2 has its checksum."""


def to_2(db: apsw.Connection) -> None:
    """Takes each checksum of the body as it is stored, no longer as it came. What was damaged stays so. The first files
    of schema 1 had no `runs.learned`."""
    if "learned" not in _columns(db, "runs"):
        db.execute("ALTER TABLE runs ADD COLUMN learned REAL")
    ids, crcs = taken(db, _crcs_of_2, "SELECT a.*, b.size, b.body FROM attempts a LEFT JOIN bodies b USING (id)")
    db.executemany("UPDATE attempts SET crc = ? WHERE id = ?", zip(crcs, ids, strict=True))


def _crcs_of_2(rows: Iterable[Row]) -> tuple[array[int], array[int]]:
    """The ids of the sound rows, and their new checksums: sixteen bytes a row."""
    ids, crcs = array("q"), array("q")
    for row in rows:
        renewed = row_of_2(row)
        if renewed is not row:
            ids.append(row[0])
            crcs.append(renewed[CRC])
    return ids, crcs


def row_of_2(row: Row) -> Row:
    """A row of schema 1, as schema 2 has it; itself, where it is damaged."""
    columns, (crc, size, body) = [row[1], row[2], row[3] == 1, *row[4:CRC]], row[CRC:]
    try:
        came = body if size is None else decompress(CompressedBody(body, size))
        if crc not in _crcs_of_1(columns, came):
            return row
        return *row[:CRC], _crc([*columns, size, body is None], body), size, body
    except Exception:  # noqa: BLE001  a flipped bit may make nearly anything of a row, and pyarrow raise it
        return row


def _crcs_of_1(columns: list[Any], body: bytes | None) -> set[int]:
    """Three ways of writing the columns were in use within a day."""
    spelled = [columns[0], columns[1], int(columns[2]), *columns[3:]]
    texts = repr((*spelled, body is None)).encode(), repr(tuple(spelled)).encode()
    return {_crc([*columns, body is None], body), *(zlib.crc32(body or b"", zlib.crc32(text)) for text in texts)}


def _crc(columns: list[Any], body: bytes | None) -> int:
    return zlib.crc32(body or b"", zlib.crc32(msgspec.msgpack.encode(columns)))


MIGRATIONS: list[tuple[int, Callable[[apsw.Connection], None]]] = [(1, to_2)]
"""(schema, the step from it to the next one), in order."""
ROWS: dict[int, Callable[[Row], Row]] = {1: row_of_2}
"""The same for a single row, for a file of which only some can be read."""


def schema_of(path: Path, db: apsw.Connection) -> int:
    """The file's schema: this version's, or an earlier one's. Raises MachineRefused where it is no checkpoint, or a
    later version's."""
    if db.execute("PRAGMA application_id").get != APPLICATION_ID:
        raise MachineRefused(f"{path}: not a checkpoint of batchgen: move it away, or give the job another name")
    schema = int(db.execute("PRAGMA user_version").get)
    refuse_later(path, db, schema)
    if schema < min(known for known, _ in MIGRATIONS):
        raise MachineRefused(f"{path}: no version of batchgen has written such a checkpoint: move it away")
    if schema == SCHEMA_VERSION:
        refuse_other_tables(db)
    return schema


def refuse_later(path: Path, db: apsw.Connection, schema: int) -> None:
    """Raises MachineRefused where the schema is a later version's."""
    if schema > SCHEMA_VERSION:
        raise MachineRefused(
            f"{path}: written by {_writer(db)} (schema {schema}); this is batchgen {__version__}, which knows schemas "
            f"up to {SCHEMA_VERSION}: finish the job with that version or a later one. Nothing was changed"
        )


def _writer(db: apsw.Connection) -> str:
    """Which version brought the file to its schema, as far as it says so."""
    if not _columns(db, "schemas"):
        return "a later version of batchgen"
    version = db.execute("SELECT version FROM schemas ORDER BY schema DESC LIMIT 1").get
    return f"batchgen {version}"


def refuse_other_tables(db: apsw.Connection) -> None:
    """Raises an error of SQLite's, as of a damaged file, where the tables are not those of this schema."""
    for table, columns in TABLES.items():
        if _columns(db, table) != [*columns]:
            raise apsw.SQLError(f"no such table as its own: {table}")


def _columns(db: apsw.Connection, table: str) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))]


def migrate(db: apsw.Connection, schema: int) -> None:
    """Brings a file of an earlier schema to this version's, within the caller's transaction."""
    for known, step in MIGRATIONS:
        if known >= schema:
            step(db)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    refuse_other_tables(db)


def sign(db: apsw.Connection) -> None:
    """Makes the tables beside the schema, and says in the file which version brought it to this one."""
    db.execute(BESIDE)
    db.execute("INSERT OR IGNORE INTO schemas VALUES (?, ?)", (SCHEMA_VERSION, __version__))


def keep_copy(path: Path, db: apsw.Connection, schema: int) -> Path:
    """Writes the file as it is beside it, synced, before it is changed; where to."""
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
    """A temporary database, on the disk where it is large, that is gone when it is closed."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOMUTEX
    temporary = apsw.Connection("", flags)
    with closed_on_error(temporary):
        copy(db, temporary)
        temporary.execute("BEGIN")
        migrate(temporary, schema)
        temporary.execute("COMMIT")
    return temporary
