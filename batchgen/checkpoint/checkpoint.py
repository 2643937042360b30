"""The checkpoint, open for writing: SQLite, the single source of truth.

A row is done when the COMMIT that holds its answer has returned.

Assumptions. The file system is local, and fsync returns only when data are on stable storage. One process writes,
under the job's lock (`storage/file_lock.py`), through one connection; all others read. A process has one SQLite for
the file, apsw's: under POSIX a second one (Python's `sqlite3`) that closes the file releases the first one's locks.

What is written. `attempts` gets one row for each attempt that had an outcome, which is never updated; a row's
state is that of its last attempt. `bodies` holds the answers, separately, so that a resume reads no answer.
Both are written by the same transaction. `runs` has one row for each start.

States after a crash, by how far an attempt had come:
  1. before it was sent: nothing was stored, nothing billed; the next run sends it.
  2. sent, outcome not yet in a returned COMMIT: possibly billed, and sent again. The dispatcher holds its
     slot until the COMMIT returns, so these are never more than `concurrency`; `in_flight.py` lists them.
     Only failures that are parked (`send/parked.py`) hold none: not billed, and sent again, but uncounted.
  3. COMMIT returned: WAL mode with synchronous=FULL has fsynced the log before it returns, so the attempt
     and its body survive a kill and a power loss whole.
  4. in the middle of a COMMIT: the log's frames carry checksums; SQLite keeps the transaction whole or
     drops it whole. Dropped is state 2.

Recovery.
  1. Take the lock. 2. Open: SQLite replays the log. 3. Read `journal_mode` and `synchronous` back; refuse
  anything but wal and FULL. 4. Refuse a file of a later schema; migrate one of an earlier (`migrations.py`).
  5. Read the last attempt of each key.
  6. Requests that were in flight are recorded as `interrupted`, then their marks are cleared.
  7. An answer is read only with its checksum; a damaged one is ignored, and bought again.
  8. Attempts that the Witness recorded as committed and the file lacks are reported, before they are bought again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import apsw

from batchgen.api.body import to_columns
from batchgen.api.usage import Usage
from batchgen.checkpoint.migrations import keep_copy, migrate, record_version, schema_of
from batchgen.checkpoint.replacement import rescue
from batchgen.checkpoint.schema import (
    DEFAULT_START,
    LOCK,
    SCHEMA,
    SCHEMA_VERSION,
    ConcurrencyChange,
    Owner,
    Record,
    Run,
    Start,
    insert,
)
from batchgen.checkpoint.sqlite import closed_on_error, is_empty, machine_refusals, placeholders, refuse_log, writable
from batchgen.checkpoint.witness import Witness
from batchgen.errors import MachineRefused
from batchgen.storage import folders

log = logging.getLogger("batchgen")

PAGE_BYTES, WAL_BYTES = 8192, 4 << 20
"""Bytes of a new file's page, twice SQLite's default; and of its write-ahead log before it is moved into the file. With
half as many pages a COMMIT of log-probs takes a tenth less."""


class Checkpoint:
    """The checkpoint, open for writing. One at a time, under the job's lock."""

    def __init__(self, path: Path, salvage: str | None = None) -> None:
        """Opens, migrates or creates the file. `salvage`: the command to name in the error for a damaged file. Raises
        MachineRefused if the file is damaged, not a checkpoint, or on a file system where it is not safe."""
        self.path = path
        self._salvage = salvage
        is_new = not path.exists()
        with self._machine_refusals():
            self._db = self._open()
            with closed_on_error(self._db):
                highest = self._highest_id()
                self._next_id = 1 + highest
                self._usage: tuple[Run, Usage] | None = None
                self._outlook: tuple[float | None, float | None] = None, None
                self._moves: Sequence[ConcurrencyChange] = ()
                self._moves_put = 0
                self._file = path.stat()
        self._witness = Witness(path.with_suffix(LOCK))
        if is_new:
            self._witness.record(0)  # a file that was moved away is not missed
        self.missing_attempts = max(self._witness.last_id() - highest, 0)
        """How many committed attempts the file has lost."""
        self._next_id += self.missing_attempts

    def _open(self) -> apsw.Connection:
        folders.refuse_special(self.path)
        refuse_log(self.path, self._salvage)
        try:  # before SQLite creates it with the umask's permissions
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            folders.refuse_anothers(self.path)
            raise MachineRefused(f"{self.path}: cannot be opened ({error.strerror}): move it") from None
        db = writable(self.path)
        with closed_on_error(db):
            if is_empty(db):
                self._create(db)
            else:
                self._open_existing(db, schema_of(self.path, db))  # before a byte of it is changed
        return db

    def _create(self, db: apsw.Connection) -> None:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        self._make_safe(db)
        db.execute(f"BEGIN; {SCHEMA}")
        record_version(db)
        db.execute("COMMIT")

    def _open_existing(self, db: apsw.Connection, schema: int) -> None:
        """Opens an existing file. Keeps a copy of an earlier version's file, and migrates the file."""
        kept = None if schema == SCHEMA_VERSION else keep_copy(self.path, db, schema)
        self._make_safe(db)
        db.execute("BEGIN IMMEDIATE")
        if kept is not None:
            migrate(db, schema)
        record_version(db)
        db.execute("COMMIT")
        if kept is not None:
            log.info("%s: migrated from schema %d to %d; as it was: %s", self.path, schema, SCHEMA_VERSION, kept)

    def _machine_refusals(self) -> AbstractContextManager[None]:
        return machine_refusals(self.path, self._salvage)

    def _make_safe(self, db: apsw.Connection) -> None:
        mode = db.execute("PRAGMA journal_mode = wal").get
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone stops at the drive's cache
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES // db.execute('PRAGMA page_size').get}")
        synchronous = db.execute("PRAGMA synchronous").get
        if (mode, synchronous) != ("wal", 2):
            raise MachineRefused(
                f"{self.path}: this file system does not support a write-ahead log (journal_mode={mode}, "
                f"synchronous={synchronous}): put the output on a local disk"
            )

    def _highest_id(self) -> int:
        """Returns the highest id that was ever used. Pruning may drop the last attempts, and an id used again would lie
        below a run's floor."""
        stored = self._db.execute("SELECT coalesce(max(id), 0) FROM attempts").get
        given = self._db.execute("SELECT coalesce(max(max(floor, first)), 0) FROM runs").get
        return max(int(stored), int(given))

    def close(self) -> None:
        """Closes the file and moves the log into it. If the disk is full, the next one to open it moves the log."""
        self._witness.close()
        with suppress(OSError):
            if folders.kills_when_full(self.path.parent):
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._db.close()

    def move_log(self) -> None:
        """Moves the whole log into the file, which is then complete without it. Raises MachineRefused if there is no
        room for that."""
        if folders.kills_when_full(self.path.parent):
            raise MachineRefused(f"{self.path.parent}: the disk is nearly full: make room. Nothing was changed")
        with self._machine_refusals():
            busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").get
            if busy:
                raise apsw.BusyError("another process reads its log")

    def is_in_place(self) -> bool:
        """Returns whether the open file is the one that the next run will find."""
        try:
            return os.path.samestat(self._file, self.path.stat())
        except OSError:
            return False

    def rescue(self) -> Path:
        """Copies the open file, which was removed or replaced. See `replacement.rescue`."""
        return rescue(self.path, self._db)

    def start_run(
        self,
        started_at: int,
        date: str,
        floor: int,
        rows: int,
        todo: int,
        start: Start = DEFAULT_START,
        *,
        endpoint: str | None = None,
        shared: Iterable[tuple[bytes, int]] = (),
    ) -> Run:
        """Stores a new run. `endpoint`: the identity of the endpoint that it is made at. `shared`: keys whose answers
        several rows share, with the number of these rows."""
        run = Run(0, started_at, date, floor, self._next_id - 1, rows, todo, None, None, None)
        self._outlook = None, None
        with self._machine_refusals():
            self._db.execute("BEGIN")
            self._db.execute(insert("runs"), (None, *run[1:]))
            run = run._replace(id=self._db.last_insert_rowid())
            self._db.execute("INSERT INTO starts VALUES (?, ?, ?, ?)", (run.id, *start))
            if endpoint is not None:
                self._db.execute("INSERT OR IGNORE INTO endpoints VALUES (?)", (endpoint,))
            self._db.execute("DELETE FROM shared")
            self._db.executemany("INSERT INTO shared VALUES (?, ?)", shared)
            self._db.execute("COMMIT")
        return run

    def set_owner(self, owner: Owner) -> None:
        """Stores which job owns the file from now on."""
        with self._machine_refusals():
            self._db.execute("BEGIN; DELETE FROM owner")
            self._db.execute("INSERT INTO owner VALUES (?, ?)", owner)
            self._db.execute("COMMIT")

    def end_run(self, run: Run, ended_at: int, outcome: str, learned: float | None) -> None:
        sql = "UPDATE runs SET ended_at = ?, outcome = ?, learned = ? WHERE id = ?"
        with self._machine_refusals():
            self._db.execute("BEGIN")
            self._db.execute(sql, (ended_at, outcome, learned, run.id))
            self._put_progress()
            self._db.execute("COMMIT")

    def set_usage(self, run: Run, usage: Usage) -> None:
        """Keeps what a run has used, to be stored with the next COMMIT."""
        self._usage = run, usage

    def set_outlook(self, rate: float | None, left_s: float | None, moves: Sequence[ConcurrencyChange] = ()) -> None:
        """Keeps a run's current rate in rows a second, and the seconds that are left, to be stored with its usage.
        `moves`: all rows of `in_flight` so far, by the monotonic clock."""
        self._outlook = rate, left_s
        if moves is not self._moves:
            self._moves, self._moves_put = moves, 0

    def _put_progress(self) -> None:
        if self._usage is not None:
            (run, usage), self._usage = self._usage, None
            values = run.id, *vars(usage).values(), *self._outlook  # `astuple` takes ten times as long
            self._db.execute(f"INSERT OR REPLACE INTO progress VALUES ({placeholders(values)})", values)  # noqa: S608
            epoch = time.time() - time.monotonic()
            moves = [
                (run.id, int((epoch + at) * 1e6), most, throughput, latency, why)
                for at, most, throughput, latency, why in self._moves[self._moves_put :]
            ]
            if moves:
                self._db.executemany("INSERT OR REPLACE INTO in_flight VALUES (?,?,?,?,?,?)", moves)
            self._moves_put += len(moves)  # others may have come meanwhile: another thread's

    @property
    def last_id(self) -> int:
        return self._next_id - 1

    def add(self, records: Sequence[Record]) -> None:
        """Commits the records; on return they are on stable storage."""
        self.add_with_ids(list(enumerate(records, self._next_id)))

    def add_with_ids(self, records: Sequence[tuple[int, Record]]) -> int:
        """Commits records under the given ids, which must grow. Returns how many records there were."""
        if not records:
            return 0
        compressed = [(id_, record.compressed()) for id_, record in records]
        attempts = [(id_, *record.columns()) for id_, record in compressed]
        bodies = [(id_, *to_columns(record.body)) for id_, record in compressed if record.body is not None]
        with self._machine_refusals():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(insert("attempts"), attempts)
                self._db.executemany(insert("bodies"), bodies)
                self._put_progress()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        self._next_id = records[-1][0] + 1
        self._witness.record(records[-1][0])
        return len(records)

    def put_row(self, table: str, row: Sequence[Any], *passed_over: type[apsw.Error]) -> None:
        """Inserts a row into a table beside the schema, or one into `runs`. `passed_over`: errors that leave it out."""
        with self._machine_refusals(), suppress(*passed_over):
            self._db.execute(f"INSERT INTO {table} VALUES ({placeholders(row)})", row)  # noqa: S608

    def drop(self, ids: Sequence[int]) -> None:
        """Deletes attempts and their answers for good, and frees their space."""
        with self._machine_refusals():
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("DELETE FROM attempts WHERE id = ?", ((id_,) for id_ in ids))
            self._db.executemany("DELETE FROM bodies WHERE id = ?", ((id_,) for id_ in ids))
            self._witness.record(self._highest_id())  # whatever becomes of the rest, nothing that was dropped is missed
            self._db.execute("COMMIT")
            self._db.execute("VACUUM")
