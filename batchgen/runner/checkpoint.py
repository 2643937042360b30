"""The checkpoint: SQLite, the one truth. A row is done when the COMMIT that holds its answer has returned.

Assumptions. The file system is local, and fsync returns only when data are on stable storage. One process writes,
under the job's lock (`lock.py`), through one connection; all others read. A process has one SQLite for the file,
apsw's: a second one (Python's `sqlite3`) that closes it takes away the first one's locks, as POSIX has it.

What is written. `attempts` gets one row for each attempt that had an outcome and is never updated; a row's
state is that of its last attempt. `bodies` holds the raw answers, apart, so that a resume reads no answer.
Both are written by the same transaction. `runs` has one row for each start.

States after a crash, by how far an attempt had come:
  1. before it was sent: nothing was stored, nothing billed; the next run sends it.
  2. sent, outcome not yet in a returned COMMIT: possibly billed, and sent again. The pump holds its slot
     until the COMMIT returns, so these are never more than `concurrency`; `flight.py` says which.
  3. COMMIT returned: WAL mode with synchronous=FULL has fsynced the log before it returns, so the attempt
     and its body are there, whole, after a kill and after a power loss.
  4. in the middle of a COMMIT: the log's frames carry checksums; SQLite keeps the transaction whole or
     drops it whole. Dropped is state 2.

Recovery.
  1. Take the lock. 2. Open: SQLite replays the log. 3. Read `journal_mode` and `synchronous` back; refuse
  anything but wal and FULL. 4. Refuse a file of another schema. 5. Read the last attempt of each key.
  6. Requests that were in flight are recorded as `interrupted`, then their marks are cleared.
  7. An answer is read only with its checksum; a damaged one is as if it had never been, and is bought again.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec
from isal.isal_zlib import crc32

from batchgen import folders
from batchgen.errors import MachineRefused
from batchgen.packed import FROM, Body, pack, stored

SCHEMA_VERSION = 2
APPLICATION_ID = 0x62617467  # "batg"
OK, INTERRUPTED, DAMAGED = "ok", "interrupted", "damaged"
PAGE, LOG = 8192, 4 << 20
"""Bytes of a page of a new file, twice SQLite's own, and of its log, from which on it is moved into the file: with half
as many pages a COMMIT of log-probs takes a tenth less."""
BUSY = 30_000  # milliseconds that are waited for another who holds the file
DAMAGE = ("malformed", "not a database", "no such")
"""What SQLite's messages for a damaged file have in common."""

_SCHEMA = f"""
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,      -- grows: the order of the commits
  key BLOB NOT NULL,           -- the row's identity, 16 bytes
  outcome TEXT NOT NULL,       -- ok, or why not
  final INTEGER NOT NULL,      -- whether the row was done with it, for that run
  attempts INTEGER NOT NULL,   -- requests sent for the row so far, over all runs
  status INTEGER,              -- HTTP
  error TEXT,
  latency REAL,                -- seconds, of this attempt
  finished_at INTEGER NOT NULL, -- microseconds since 1970, UTC
  choices INTEGER NOT NULL,
  name TEXT,                   -- the row's input.id
  crc INTEGER NOT NULL         -- CRC-32 of all of the above but the id, and of the body's row
) STRICT;
CREATE TABLE bodies (
  id INTEGER PRIMARY KEY,      -- of the attempt
  size INTEGER,                -- null: body as it came; else its size, and body is packed
  body BLOB NOT NULL
) STRICT;
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  started_at INTEGER NOT NULL, -- microseconds since 1970, UTC
  date TEXT NOT NULL,          -- what {{date}} stands for
  floor INTEGER NOT NULL,      -- attempts up to this id are not reused
  first INTEGER NOT NULL,      -- its own attempts come after this id
  rows INTEGER NOT NULL,
  todo INTEGER NOT NULL,
  ended_at INTEGER,
  outcome TEXT,                -- finished or stopped; null: at work, or killed
  learned REAL                 -- requests a minute that the server was found to grant
) STRICT;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

TABLES = {
    "attempts": "id,key,outcome,final,attempts,status,error,latency,finished_at,choices,name,crc",
    "bodies": "id,size,body",
    "runs": "id,started_at,date,floor,first,rows,todo,ended_at,outcome,learned",
}

_packer = msgspec.msgpack.Encoder()


class Record(NamedTuple):
    """One attempt that had an outcome: what everything downstream reads."""

    key: bytes
    outcome: str
    final: bool
    attempts: int
    status: int | None
    error: str | None
    latency: float | None
    finished_at: int
    choices: int
    name: str | None
    body: Body | None

    def crc(self) -> int:
        size, data = stored(self.body)
        return checksum((*self[:-1], size, data is None), data)


def checksum(columns: tuple[Any, ...], data: bytes | None) -> int:
    """Of a record's columns but its body, of that one's size and whether there is none; and of its bytes as stored."""
    return crc32(b"" if data is None else data, crc32(_packer.encode(columns)))


class Run(NamedTuple):
    """One start of the job, as its row in `runs` has it."""

    id: int
    started_at: int
    date: str
    floor: int
    first: int
    rows: int
    todo: int
    ended_at: int | None
    outcome: str | None
    learned: float | None


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """SQLite's errors, translated at this door: each ends the run with exit 5 and a way out."""
    try:
        yield
    except (apsw.Error, UnicodeDecodeError) as error:
        raise _refusal(path, error) from None


def _refusal(path: Path, error: apsw.Error | UnicodeDecodeError) -> MachineRefused:
    said = str(error)
    if isinstance(error, UnicodeDecodeError) or any(words in said for words in DAMAGE):
        salvage = shlex.join([sys.executable, "-m", "batchgen.runner.salvage", str(path)])
        return MachineRefused(
            f"{path}: the checkpoint is damaged ({said}). Save what can be saved: `{salvage}`; or move it away to "
            "start anew (everything is bought again)"
        )
    return MachineRefused(
        f"{path}: cannot be kept up: {said}. What is committed is safe; run again when that is mended"
    )


class Checkpoint:
    """The writer's side. One at a time, under the job's lock."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises MachineRefused where it is damaged, foreign, or cannot be made safe."""
        self.path = path
        with refusals(path):
            self._db = self._open()
            with closed_on_error(self._db):
                self._next_id = 1 + self._highest_id()

    def _open(self) -> apsw.Connection:
        folders.refuse_special(self.path)
        try:  # before SQLite makes it, which goes by the umask
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise MachineRefused(f"{self.path}: cannot be opened ({error.strerror}): move it away") from None
        db = apsw.Connection(str(self.path))
        db.set_busy_timeout(BUSY)
        with closed_on_error(db):
            new = is_empty(db)
            if new:
                db.execute(f"PRAGMA page_size = {PAGE}")
            else:
                refuse_foreign(self.path, db)  # before a byte of it is changed
            self._make_safe(db)
            if new:
                db.execute(f"BEGIN; {_SCHEMA} COMMIT;")
        return db

    def _make_safe(self, db: apsw.Connection) -> None:
        mode = db.execute("PRAGMA journal_mode = wal").get
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone stops at the drive's cache
        db.execute(f"PRAGMA wal_autocheckpoint = {LOG // db.execute('PRAGMA page_size').get}")
        synchronous = db.execute("PRAGMA synchronous").get
        if (mode, synchronous) != ("wal", 2):
            raise MachineRefused(
                f"{self.path}: this file system supports no write-ahead log (journal_mode={mode}, "
                f"synchronous={synchronous}): put the output on a local disk"
            )

    def _highest_id(self) -> int:
        """Of what is stored and of what was: pruning may drop the last attempts, and an id given again would lie
        under a floor."""
        stored = self._db.execute("SELECT coalesce(max(id), 0) FROM attempts").get
        given = self._db.execute("SELECT coalesce(max(max(floor, first)), 0) FROM runs").get
        return max(int(stored), int(given))

    def close(self) -> None:
        self._db.close()

    def start_run(self, started_at: int, date: str, floor: int, rows: int, todo: int) -> Run:
        run = Run(0, started_at, date, floor, self._next_id - 1, rows, todo, None, None, None)
        with refusals(self.path):
            self._db.execute("INSERT INTO runs VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)", run[1:])
            return run._replace(id=self._db.last_insert_rowid())

    def end_run(self, run: Run, ended_at: int, outcome: str, learned: float | None) -> None:
        sql = "UPDATE runs SET ended_at = ?, outcome = ?, learned = ? WHERE id = ?"
        with refusals(self.path):
            self._db.execute(sql, (ended_at, outcome, learned, run.id))

    @property
    def last_id(self) -> int:
        return self._next_id - 1

    def add(self, records: Sequence[Record]) -> None:
        """Commits the records: on return they are on stable storage."""
        self.put(list(enumerate(records, self._next_id)))

    def put(self, records: Sequence[tuple[int, Record]]) -> int:
        """As `add`, under ids of their own, which grow; how many there were."""
        if not records:
            return 0
        packed = [(id_, _packed(record)) for id_, record in records]
        attempts = [(id_, *record[:-1], record.crc()) for id_, record in packed]
        bodies = [(id_, *stored(record.body)) for id_, record in packed if record.body is not None]
        with refusals(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT INTO attempts VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", attempts)
                self._db.executemany("INSERT INTO bodies VALUES (?,?,?)", bodies)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        self._next_id = records[-1][0] + 1
        return len(records)

    def put_run(self, run: Sequence[Any]) -> None:
        """A row of `runs` as another checkpoint had it."""
        with refusals(self.path):
            self._db.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", run)

    def drop(self, ids: Sequence[int]) -> None:
        """Deletes attempts and their answers, for good, and gives their space back."""
        with refusals(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("DELETE FROM attempts WHERE id = ?", ((id_,) for id_ in ids))
            self._db.executemany("DELETE FROM bodies WHERE id = ?", ((id_,) for id_ in ids))
            self._db.execute("COMMIT")
            self._db.execute("VACUUM")


@contextmanager
def closed_on_error(db: apsw.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        db.close()
        raise


def _packed(record: Record) -> Record:
    body = record.body
    return record if body is None or len(body) < FROM else record._replace(body=pack(body))


def is_empty(db: apsw.Connection) -> bool:
    """Whether it was killed before its first table was made, or is new."""
    return not db.execute("SELECT count(*) FROM sqlite_schema").get


def refuse_foreign(path: Path, db: apsw.Connection) -> None:
    """Raises MachineRefused where the file is no checkpoint, or one of another version."""
    application = db.execute("PRAGMA application_id").get
    version = db.execute("PRAGMA user_version").get
    if application != APPLICATION_ID:
        raise MachineRefused(f"{path}: not a checkpoint of batchgen: move it away, or give the job another name")
    if version != SCHEMA_VERSION:
        raise MachineRefused(
            f"{path}: written by another version of batchgen (schema {version}, this one knows {SCHEMA_VERSION}): "
            "finish the job with that version, or move the file away to start anew"
        )
    for table, columns in TABLES.items():
        if db.execute(f"SELECT group_concat(name) FROM pragma_table_info('{table}')").get != columns:  # noqa: S608
            raise _refusal(path, apsw.Error(f"no such table as its own: {table}"))
