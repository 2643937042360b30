"""The checkpoint: SQLite, the one truth. A row is done when the COMMIT that holds its answer has returned.

Assumptions. The file system is local, and fsync returns only when data are on stable storage. One process
writes, under the job's lock (`lock.py`), through one connection; all others open the file read-only.

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

import asyncio
import os
import queue
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from batchgen.errors import MachineRefused

SCHEMA_VERSION = 1
APPLICATION_ID = 0x62617467  # "batg"
COMPRESS_FROM = 2048
"""Bodies of this many bytes or more (log-probs) are kept as zstd; smaller ones stay readable in any SQLite shell."""
OK = "ok"
INTERRUPTED = "interrupted"
DAMAGED = "damaged"

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
  crc INTEGER NOT NULL         -- CRC-32 of all of the above but the id, and of the body
) STRICT;
CREATE TABLE bodies (
  id INTEGER PRIMARY KEY,      -- of the attempt
  size INTEGER,                -- null: body as it came; else its size, and body is zstd
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
  outcome TEXT                 -- finished or stopped; null: at work, or killed
) STRICT;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


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
    body: bytes | None

    def crc(self) -> int:
        fields = repr((self.key, self.outcome, int(self.final), *self[3:-1])).encode()
        return zlib.crc32(self.body or b"", zlib.crc32(fields))


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


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """SQLite's errors, translated at this door: each ends the run with exit 5 and a way out."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _refusal(path, error) from None


def _refusal(path: Path, error: sqlite3.DatabaseError) -> MachineRefused:
    said = str(error)
    if "malformed" in said or "not a database" in said:
        return MachineRefused(
            f"{path}: the checkpoint is damaged ({said}). What can be saved of it: "
            f"`sqlite3 {path} .recover | sqlite3 repaired.sqlite`, then put the repaired file in its place; "
            "or move it away to start anew (everything is bought again)"
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
            self._next_id = 1 + (self._one("SELECT max(id) FROM attempts") or 0)

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
        mode = db.execute("PRAGMA journal_mode = wal").fetchone()[0]
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone stops at the drive's cache
        synchronous = db.execute("PRAGMA synchronous").fetchone()[0]
        if (mode, synchronous) != ("wal", 2):
            raise MachineRefused(
                f"{self.path}: this file system supports no write-ahead log (journal_mode={mode}, "
                f"synchronous={synchronous}): put the output on a local disk"
            )
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        else:
            refuse_foreign(self.path, db)
        return db

    def _one(self, sql: str, *values: Any) -> Any:
        row = self._db.execute(sql, values).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        self._db.close()

    def start_run(self, started_at: int, date: str, floor: int, rows: int, todo: int) -> Run:
        run = Run(0, started_at, date, floor, self._next_id - 1, rows, todo, None, None)
        with refusals(self.path):
            cursor = self._db.execute("INSERT INTO runs VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", run[1:])
        return run._replace(id=cursor.lastrowid or 0)

    def end_run(self, run: Run, ended_at: int, outcome: str) -> None:
        with refusals(self.path):
            self._db.execute("UPDATE runs SET ended_at = ?, outcome = ? WHERE id = ?", (ended_at, outcome, run.id))

    @property
    def last_id(self) -> int:
        return self._next_id - 1

    def add(self, records: Sequence[Record]) -> None:
        """Commits the records: on return they are on stable storage."""
        ids = range(self._next_id, self._next_id + len(records))
        attempts = [(i, *record[:-1], record.crc()) for i, record in zip(ids, records, strict=True)]
        bodies = [(i, *_packed(record.body)) for i, record in zip(ids, records, strict=True) if record.body is not None]
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
        self._next_id = ids.stop

    def drop(self, ids: Iterable[int]) -> None:
        """Deletes attempts and their answers, for good."""
        with refusals(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            for table in ("attempts", "bodies"):
                self._db.executemany(f"DELETE FROM {table} WHERE id = ?", ((i,) for i in ids))  # noqa: S608
            self._db.execute("COMMIT")


def _packed(body: bytes) -> tuple[int | None, bytes]:
    if len(body) < COMPRESS_FROM:
        return None, body
    return len(body), pa.compress(body, codec="zstd", asbytes=True)


def refuse_foreign(path: Path, db: sqlite3.Connection) -> None:
    """Raises MachineRefused where the file is no checkpoint, or one of another version."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise MachineRefused(f"{path}: not a checkpoint of batchgen: move it away, or give the job another name")
    if version != SCHEMA_VERSION:
        raise MachineRefused(
            f"{path}: written by another version of batchgen (schema {version}, this one knows {SCHEMA_VERSION}): "
            "finish the job with that version, or move the file away to start anew"
        )


class Writer:
    """Group commit: one thread that commits whatever is queued, again and again; no timer.

    Used from one event loop, as a context. `save` returns when the record's COMMIT has returned.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._queue: queue.SimpleQueue[tuple[Record, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="checkpoint", daemon=True)
        self._failure: Exception | None = None

    async def __aenter__(self) -> Writer:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Whatever was queued is committed before this returns, also after a cancellation."""
        self._queue.put(None)
        self._thread.join()

    async def save(self, record: Record) -> None:
        """Raises MachineRefused where it cannot be saved; then nothing more can."""
        if self._failure is not None:
            raise self._failure
        committed = self._loop.create_future()
        self._queue.put((record, committed))
        await committed

    def _work(self) -> None:
        open_ = True
        while open_:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            open_ = batch[-1] is not None
            self._commit([item for item in batch if item is not None])

    def _commit(self, batch: list[tuple[Record, asyncio.Future[None]]]) -> None:
        if not batch:
            return
        if self._failure is None:
            try:
                self._checkpoint.add([record for record, _ in batch])
            except Exception as error:  # noqa: BLE001  it is raised again by every save
                self._failure = error
        self._loop.call_soon_threadsafe(_settle, [future for _, future in batch], self._failure)


def _settle(futures: list[asyncio.Future[None]], failure: Exception | None) -> None:
    for future in futures:
        if future.done():
            continue  # the waiter was cancelled; the record is committed all the same
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failure)


class Reader:
    """The read-only side: sees what is committed, never writes, and never holds a transaction open between calls."""

    def __init__(self, path: Path) -> None:
        """Raises MachineRefused where there is no checkpoint that can be read."""
        self.path = path
        if not path.exists():
            raise MachineRefused(f"{path}: there is no checkpoint yet: the job has not run")
        with refusals(path):
            self._db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)
            refuse_foreign(path, self._db)

    def close(self) -> None:
        self._db.close()

    def last_run(self) -> Run | None:
        with refusals(self.path):
            row = self._db.execute("SELECT * FROM runs ORDER BY id DESC LIMIT 1").fetchone()
        return Run(*row) if row else None

    def outcomes_of(self, run: Run) -> dict[tuple[str, bool], int]:
        """Attempts of a run, by outcome and finality."""
        sql = "SELECT outcome, final, count(*) FROM attempts WHERE id > ? GROUP BY 1, 2"
        with refusals(self.path):
            return {(outcome, bool(final)): count for outcome, final, count in self._db.execute(sql, (run.first,))}

    def states(self) -> Iterator[tuple[bytes, int, str, int, int]]:
        """(key, id, outcome, final, attempts) of every attempt, in the order of the commits."""
        with (
            refusals(self.path),
            closing(self._db.execute("SELECT key, id, outcome, final, attempts FROM attempts")) as rows,
        ):
            yield from rows

    def last_id(self) -> int:
        with refusals(self.path):
            return int(self._db.execute("SELECT coalesce(max(id), 0) FROM attempts").fetchone()[0])

    def attempts_of(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Requests sent so far for the rows of a few keys; keys that were never tried are left out."""
        sql = f"SELECT key, max(attempts) FROM attempts WHERE key IN ({_marks(keys)}) GROUP BY key"  # noqa: S608
        with refusals(self.path):
            return dict(self._db.execute(sql, keys))

    def keys_of(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The keys of a few attempts."""
        sql = f"SELECT id, key FROM attempts WHERE id IN ({_marks(ids)})"  # noqa: S608
        with refusals(self.path):
            return dict(self._db.execute(sql, ids))

    def names(self) -> Iterator[str]:
        """The `input.id` of every row that was ever answered or tried."""
        with refusals(self.path):
            for (name,) in self._db.execute("SELECT DISTINCT name FROM attempts WHERE name IS NOT NULL"):
                yield name

    def median_latency(self) -> float | None:
        """Of the last thousand answers, in seconds."""
        sql = "SELECT latency FROM attempts WHERE outcome = 'ok' ORDER BY id DESC LIMIT 1000"
        with refusals(self.path):
            latencies = sorted(latency for (latency,) in self._db.execute(sql))
        return latencies[len(latencies) // 2] if latencies else None

    def with_more_choices(self) -> set[int]:
        with refusals(self.path):
            return {i for (i,) in self._db.execute("SELECT id FROM attempts WHERE choices > 1")}

    def records(self, ids: Sequence[int]) -> dict[int, Record]:
        """A few attempts with their bodies, by id; those that are damaged or missing are left out."""
        found: dict[int, Record] = {}
        with refusals(self.path):
            columns = "a.*, b.size, b.body FROM attempts a LEFT JOIN bodies b USING (id)"
            for row in self._db.execute(f"SELECT {columns} WHERE a.id IN ({_marks(ids)})", ids):  # noqa: S608
                record = _checked(row)
                if record is not None:
                    found[row[0]] = record
        return found


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _checked(row: tuple[Any, ...]) -> Record | None:
    *fields, crc, size, body = row[1:]
    try:
        whole = body if size is None else pa.decompress(body, size, codec="zstd", asbytes=True)
    except (pa.ArrowException, TypeError, ValueError):
        return None
    record = Record._make((*fields[:2], bool(fields[2]), *fields[3:], whole))
    return record if record.crc() == crc else None
