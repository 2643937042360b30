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
  anything but wal and FULL. 4. Refuse a file of a later schema; migrate one of an earlier (`migrations.py`).
  5. Read the last attempt of each key.
  6. Requests that were in flight are recorded as `interrupted`, then their marks are cleared.
  7. An answer is read only with its checksum; a damaged one is as if it had never been, and is bought again.
  8. What the witness saw committed and the file does not hold is told, before it is bought again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import apsw
from msgspec.structs import replace

from batchgen.api.body import FROM, compress, stored
from batchgen.api.usage import Usage
from batchgen.checkpoint.migrations import keep_copy, migrate, schema_of, sign
from batchgen.checkpoint.schema import LOCK, PLAIN, SCHEMA, SCHEMA_VERSION, Owner, Record, Run, Start, insert
from batchgen.checkpoint.sqlite import BUSY, closed_on_error, copy, is_empty, refusals
from batchgen.checkpoint.witness import Witness
from batchgen.errors import MachineRefused
from batchgen.storage import folders

log = logging.getLogger("batchgen")

PAGE, LOG = 8192, 4 << 20
"""Bytes of a page of a new file, twice SQLite's own, and of its log, from which on it is moved into the file: with half
as many pages a COMMIT of log-probs takes a tenth less."""


class Checkpoint:
    """The writer's side. One at a time, under the job's lock."""

    def __init__(self, path: Path, salvage: str | None = None) -> None:
        """Opens the file, migrates or makes it. `salvage`: the command to name where it is damaged. Raises
        MachineRefused where it is damaged, foreign, or cannot be made safe."""
        self.path = path
        self._salvage = salvage
        with self._refusals():
            self._db = self._open()
            with closed_on_error(self._db):
                highest = self._highest_id()
                self._next_id = 1 + highest
                self._progress: tuple[Run, Usage, float | None, float | None] | None = None
                self._moves: Sequence[tuple[float, int, float, float, str]] = ()
                self._moves_put = 0
                self._file = path.stat()
        self._witness = Witness(path.with_suffix(LOCK))
        self.missing = max(self._witness.last_id() - highest, 0) if highest else 0
        """How many attempts were committed that the file does not hold any more."""
        self._next_id = max(self._next_id, 1 + self._witness.last_id()) if self.missing else self._next_id

    def _open(self) -> apsw.Connection:
        folders.refuse_special(self.path)
        try:  # before SQLite makes it, which goes by the umask
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise MachineRefused(f"{self.path}: cannot be opened ({error.strerror}): move it away") from None
        db = apsw.Connection(str(self.path))
        db.set_busy_timeout(BUSY)
        with closed_on_error(db):
            if is_empty(db):
                self._make(db)
            else:
                self._take_up(db, schema_of(self.path, db))  # before a byte of it is changed
        return db

    def _make(self, db: apsw.Connection) -> None:
        db.execute(f"PRAGMA page_size = {PAGE}")
        self._make_safe(db)
        db.execute(f"BEGIN; {SCHEMA}")
        sign(db)
        db.execute("COMMIT")

    def _take_up(self, db: apsw.Connection, schema: int) -> None:
        """A file that an earlier version wrote is kept as it was, beside the migrated one."""
        kept = None if schema == SCHEMA_VERSION else keep_copy(self.path, db, schema)
        self._make_safe(db)
        db.execute("BEGIN IMMEDIATE")
        if kept is not None:
            migrate(db, schema)
        sign(db)
        db.execute("COMMIT")
        if kept is not None:
            log.info("%s: migrated from schema %d to %d; as it was: %s", self.path, schema, SCHEMA_VERSION, kept)

    def _refusals(self) -> AbstractContextManager[None]:
        return refusals(self.path, self._salvage)

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
        """Moves the log into the file, unless the disk is full; then the next one to open it does."""
        self._witness.close()
        with suppress(OSError):
            if folders.kills_when_full(self.path.parent):
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._db.close()

    def is_in_place(self) -> bool:
        """Whether the file that is written is the one that the next run will find."""
        try:
            return os.path.samestat(self._file, self.path.stat())
        except OSError:
            return False

    def rescue(self) -> Path:
        """Writes all that the file held beside its place, from which it was removed; where to."""
        beside = self.path.with_name(f"{self.path.stem}.rescued-{time.time_ns()}.sqlite")
        folders.make([beside.parent])
        with refusals(beside):
            db = apsw.Connection(str(beside))
            with closed_on_error(db):
                copy(self._db, db)
            db.close()
        return beside

    def start_run(
        self,
        started_at: int,
        date: str,
        floor: int,
        rows: int,
        todo: int,
        start: Start = PLAIN,
        *,
        shared: Iterable[tuple[bytes, int]] = (),
    ) -> Run:
        """`shared`: keys whose answers several rows share, with the number of these rows."""
        run = Run(0, started_at, date, floor, self._next_id - 1, rows, todo, None, None, None)
        with self._refusals():
            self._db.execute("BEGIN")
            self._db.execute(insert("runs"), (None, *run[1:]))
            run = run._replace(id=self._db.last_insert_rowid())
            self._db.execute("INSERT INTO starts VALUES (?, ?, ?, ?)", (run.id, *start))
            self._db.execute("DELETE FROM shared")
            self._db.executemany("INSERT INTO shared VALUES (?, ?)", shared)
            self._db.execute("COMMIT")
        return run

    def own(self, owner: Owner) -> None:
        """Says whose the file is, from now on."""
        with self._refusals():
            self._db.execute("BEGIN; DELETE FROM owner")
            self._db.execute("INSERT INTO owner VALUES (?, ?)", owner)
            self._db.execute("COMMIT")

    def end_run(self, run: Run, ended_at: int, outcome: str, learned: float | None) -> None:
        sql = "UPDATE runs SET ended_at = ?, outcome = ?, learned = ? WHERE id = ?"
        with self._refusals():
            self._db.execute("BEGIN")
            self._db.execute(sql, (ended_at, outcome, learned, run.id))
            self._put_progress()
            self._db.execute("COMMIT")

    def tell(
        self,
        run: Run,
        usage: Usage,
        rate: float | None,
        left_s: float | None,
        moves: Sequence[tuple[float, int, float, float, str]] = (),
    ) -> None:
        """Takes down how far a run is: what it has used, rows a second of late, and seconds that are left; and `moves`,
        the rows of `in_flight` so far, by the monotonic clock. It is stored with what is committed next."""
        self._progress = run, usage, rate, left_s
        if moves is not self._moves:
            self._moves, self._moves_put = moves, 0

    def _put_progress(self) -> None:
        told, self._progress = self._progress, None
        if told is not None:
            run, usage, *outlook = told
            values = run.id, *astuple(usage), *outlook
            self._db.execute(f"INSERT OR REPLACE INTO progress VALUES ({_marks(len(values))})", values)  # noqa: S608
            epoch = time.time() - time.monotonic()
            moves = [(run.id, int((epoch + at) * 1e6), *move) for at, *move in self._moves[self._moves_put :]]
            self._db.executemany("INSERT OR REPLACE INTO in_flight VALUES (?,?,?,?,?,?)", moves)
            self._moves_put = len(self._moves)

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
        attempts = [(id_, *record.columns()) for id_, record in packed]
        bodies = [(id_, *stored(record.body)) for id_, record in packed if record.body is not None]
        with self._refusals():
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
        self._witness.saw(records[-1][0])
        return len(records)

    def put_row(self, table: str, row: Sequence[Any]) -> None:
        """A row of `runs`, or of a table beside the schema, as another checkpoint had it."""
        with self._refusals():
            self._db.execute(f"INSERT INTO {table} VALUES ({_marks(len(row))})", row)  # noqa: S608

    def drop(self, ids: Sequence[int]) -> None:
        """Deletes attempts and their answers, for good, and gives their space back."""
        with self._refusals():
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("DELETE FROM attempts WHERE id = ?", ((id_,) for id_ in ids))
            self._db.executemany("DELETE FROM bodies WHERE id = ?", ((id_,) for id_ in ids))
            self._db.execute("COMMIT")
            self._db.execute("VACUUM")
        self._witness.saw(self._highest_id())


def _marks(count: int) -> str:
    return ",".join("?" * count)


def _packed(record: Record) -> Record:
    body = record.body
    return record if body is None or len(body) < FROM else replace(record, body=compress(body))
