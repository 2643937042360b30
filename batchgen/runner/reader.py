"""The checkpoint as others see it: what is committed, read-only, in short transactions.

Never writes and never keeps a transaction open between calls, so that a reader disturbs no run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from threading import get_ident
from typing import Any, NamedTuple, TypeVar

import apsw

from batchgen import folders
from batchgen.api.contract import Answer, RawCompletion
from batchgen.api.dialects import WRITER, Dialect
from batchgen.errors import MachineRefused, NotRunYet
from batchgen.packed import Body, restored, whole
from batchgen.runner.schema import (
    BUSY,
    INTERRUPTED,
    OK,
    Owner,
    Record,
    Run,
    Start,
    checksum,
    closed_on_error,
    is_empty,
    refusals,
    refuse_foreign,
)
from batchgen.usage import NOTHING, Usage

T = TypeVar("T")
Take = Callable[[Iterable[tuple[Any, ...]]], T]
Bindings = Sequence[Any] | Mapping[str, Any]
STORED = "a.*, b.size, b.body FROM attempts a LEFT JOIN bodies b USING (id)"
"""What is selected of an attempt: its columns and its body's."""
USAGE = "prompt_tokens, answer_tokens, answers, counted, cost"
BLOBS = ("key", "body")
"""Columns that hold bytes."""
FITS, AT_ONCE = 4 << 20, 4096
"""Bytes of answers, and how many, that are in memory at once; a larger one is there alone."""
FILLED = 0.75
"""How much of that a piece fills, if its answers are as long as those before: what is read in vain is read twice."""


class LearnedRate(NamedTuple):
    """Requests a minute that the server was found to grant, and when (microseconds since 1970, UTC)."""

    per_minute: float
    found_at: int


class Reader:
    def __init__(self, path: Path, dialect: Dialect = WRITER, *, without_trace: bool = False) -> None:
        """`dialect` is the stored answers'. `without_trace`: leaves no -wal and -shm behind where nobody was writing,
        as where nothing can be written. A run that starts meanwhile writes to its log first, so this is for readings
        of seconds.

        Raises NotRunYet where there is no checkpoint, MachineRefused where it cannot be read.
        """
        self.path = path
        self._dialect = dialect
        self._thread = get_ident()
        try:
            if not path.exists():
                raise NotRunYet(f"{path}: the job has not run yet")
            folders.refuse_special(path)
            has_log = path.with_name(f"{path.name}-wal").exists()
            without_trace = without_trace or not os.access(path.parent, os.W_OK)
        except PermissionError as error:
            raise MachineRefused(f"{path}: cannot be read: {error.strerror}") from None
        how = "immutable=1" if without_trace and not has_log else "mode=ro"
        with refusals(path):
            self._db = opened(path, how)
            with closed_on_error(self._db):
                if is_empty(self._db):
                    raise NotRunYet(f"{path}: the job has not run yet")
                refuse_foreign(path, self._db)

    def close(self) -> None:
        self._db.close()

    def last_run(self) -> Run | None:
        rows = self._all("SELECT * FROM runs ORDER BY id DESC LIMIT 1")
        return Run(*rows[0]) if rows else None

    def start_of(self, run: Run) -> Start | None:
        """What a run was asked for; None where an older version began it."""
        rows = self._beside("starts", "SELECT fresh, first, input FROM starts WHERE run = ?", (run.id,))
        return Start(bool(rows[0][0]), *rows[0][1:]) if rows else None

    def owner(self) -> Owner | None:
        """Whose the checkpoint is; None where no version has told yet."""
        rows = self._beside("owner", "SELECT name, file FROM owner")
        return Owner(*rows[0]) if rows else None

    def usage(self, run: Run) -> Usage | None:
        """What a run has used; None where an older version made it."""
        rows = self._beside("progress", f"SELECT {USAGE} FROM progress WHERE run = ?", (run.id,))  # noqa: S608  a constant
        return Usage(*rows[0]) if rows else None

    def usage_in_all(self) -> Usage:
        """What all runs have used, as far as versions told."""
        return sum((Usage(*row) for row in self._beside("progress", f"SELECT {USAGE} FROM progress")), NOTHING)  # noqa: S608

    def outlook(self, run: Run) -> tuple[float | None, float | None]:
        """Rows a second of late, and seconds that are left, as the run said them last."""
        rows = self._beside("progress", "SELECT rate, left_s FROM progress WHERE run = ?", (run.id,))
        return rows[0] if rows else (None, None)

    def _beside(self, table: str, sql: str, values: Bindings = ()) -> list[Any]:
        """From a table beside the schema, which older versions do not make."""
        tables = {name for (name,) in self._all("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        return self._all(sql, values) if table in tables else []

    def unfinished(self) -> Run | None:
        """The last run of the whole job, where it did not come to its end."""
        for run, start in self._runs():
            if start.first is None:
                return run if run.outcome != "finished" else None
        return None

    def open_fresh(self, first: int | None = None) -> Run | None:
        """The fresh run that one with this limit would go on with: one since the last whole run that came to its end.
        A trial of the first rows leaves the rest to be done, and ends it for those rows alone."""
        for run, start in self._runs():
            is_over = run.outcome == "finished"
            if is_over and (start.first is None or (start.fresh and first is not None and first <= start.first)):
                return None
            if start.fresh:
                return run
        return None

    def _runs(self) -> Iterator[tuple[Run, Start]]:
        """The last ones first, with what each was asked for, as far as that can be told of an older version's."""
        for run in map(Run._make, self._all("SELECT * FROM runs ORDER BY id DESC LIMIT 1000")):
            yield run, self.start_of(run) or Start(bool(run.floor) and run.floor == run.first, None, "")

    def next_floor(self, *, reuse: bool, fresh: bool = False, first: int | None = None) -> int:
        """Up to which attempt no answer is reused by a run that starts now. Only a fresh one looks past any, and one of
        a job that reuses nothing: past those that were there when it began, however often it was interrupted."""
        if reuse and not fresh:
            return 0
        goes_on = self.open_fresh(first)
        return goes_on.floor if goes_on is not None else self.last_id()

    def next_date(self, today: str, requests: str) -> str:
        """The date of a run that starts now, with a digest of the requests that it is to make: an unfinished run's own
        where it goes on with that one."""
        last = self.unfinished()
        start = last and self.start_of(last)
        goes_on = last is not None and (start is None or start.input == requests)
        return last.date if last is not None and goes_on else today

    def learned(self) -> LearnedRate | None:
        """What the last run that met a limit found out."""
        sql = "SELECT learned, ended_at FROM runs WHERE learned IS NOT NULL ORDER BY id DESC LIMIT 1"
        rows = self._all(sql)
        return LearnedRate(*rows[0]) if rows else None

    def outcomes_of(self, run: Run) -> dict[tuple[str, bool], int]:
        """Attempts of a run, by outcome and finality."""
        sql = "SELECT outcome, final, count(*) FROM attempts WHERE id > ? GROUP BY 1, 2"
        return {(outcome, bool(final)): count for outcome, final, count in self._all(sql, (run.first,))}

    def states(self, after: int = 0) -> Iterator[tuple[bytes, int, str, int, int]]:
        """(key, id, outcome, final, attempts) of every attempt after an id, ordered by id."""
        return chain.from_iterable(self._states(after))

    def _states(self, after: int) -> Iterator[list[tuple[bytes, int, str, int, int]]]:
        sql = "SELECT key, id, outcome, final, attempts FROM attempts WHERE id > ? ORDER BY id LIMIT ?"
        while rows := self._all(sql, (after, AT_ONCE)):
            yield rows
            after = self._grown(after, rows[-1][1])

    def _grown(self, before: int, id_: int) -> int:
        """The next id. Raises MachineRefused where it does not grow: a damaged page would be read for ever."""
        with refusals(self.path):
            if id_ <= before:
                raise apsw.CorruptError("malformed: its ids are out of order")
        return id_

    def last_id(self) -> int:
        return int(self._all("SELECT coalesce(max(id), 0) FROM attempts")[0][0])

    def interrupted_since(self, run: Run) -> int:
        """Requests that were in flight when this run, or a run since, was killed."""
        sql = "SELECT count(*) FROM attempts WHERE id > ? AND outcome = ?"
        return int(self._all(sql, (run.first, INTERRUPTED))[0][0])

    def attempts_of(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Requests sent so far for the rows of these keys; keys that were never tried are left out."""
        return self._pairs("SELECT key, max(attempts) FROM attempts WHERE key IN ({}) GROUP BY key", keys)

    def keys_of(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The keys of these attempts."""
        return self._pairs("SELECT id, key FROM attempts WHERE id IN ({})", ids)

    def _pairs(self, sql: str, wanted: Sequence[Any]) -> dict[Any, Any]:
        """By what is wanted, of which a statement takes no more than some thousands."""
        parts = (wanted[at : at + AT_ONCE] for at in range(0, len(wanted), AT_ONCE))
        return {wanted: found for part in parts for wanted, found in self._all(sql.format(_marks(part)), part)}

    def names(self) -> Iterator[str]:
        """The `input.id` of every row that was ever answered or tried."""
        yield from self._take(_firsts, "SELECT DISTINCT name FROM attempts WHERE name IS NOT NULL")

    def answer(self, record: Record) -> RawCompletion | None:
        """None where there is none in it that can be read."""
        try:
            return None if record.body is None else self._dialect.read_answer(whole(record.body))
        except (ValueError, RecursionError):
            return None

    def is_answer(self, record: Record) -> bool:
        """Whether its body is one, as it would be judged today."""
        return record.body is not None and isinstance(self._dialect.judge(whole(record.body)), Answer)

    def jsons(self, bodies: Iterable[Body | None]) -> list[bytes | None]:
        """The answers as the contract's JSON; None where there is none in it that can be read."""
        as_json = self._dialect.as_json
        found: list[bytes | None] = []
        for body in bodies:
            try:
                found.append(None if body is None else as_json(whole(body)))
            except (ValueError, RecursionError):
                found.append(None)
        return found

    def last_answers(self, count: int = 1000) -> list[tuple[float, int]]:
        """Latency in seconds and tokens of the last answers."""
        sql = "SELECT id FROM attempts WHERE outcome = ? ORDER BY id DESC LIMIT ?"
        ids = self._take(_firsts, sql, (OK, count))
        answers: list[tuple[float, int]] = []
        for _, records in self.pieces(ids):
            for record in records.values():
                answer = self._dialect.judge(whole(record.body or b""))
                if record.latency and isinstance(answer, Answer):
                    answers.append((record.latency, answer.tokens))
        return answers

    def median_latency(self) -> float | None:
        """Of the last thousand answers, in seconds."""
        sql = "SELECT latency FROM attempts WHERE outcome = ? ORDER BY id DESC LIMIT 1000"
        latencies = sorted(self._take(_firsts, sql, (OK,)))
        return latencies[len(latencies) // 2] if latencies else None

    def with_more_choices(self) -> set[int]:
        return set(self._take(_firsts, "SELECT id FROM attempts WHERE choices > 1"))

    def ids_of(self, outcome: str) -> list[int]:
        """The attempts that ended so."""
        return self._take(_firsts, "SELECT id FROM attempts WHERE outcome = ?", (outcome,))

    def pieces(self, ids: Sequence[int]) -> Iterator[tuple[Sequence[int], dict[int, Record]]]:
        """The attempts in their order with their records, as many at once as have bodies that fit into memory."""
        start, few = 0, AT_ONCE
        while start < len(ids):
            piece = ids[start : start + few]
            records, size = self._read(piece, FITS)
            if size > FITS and len(piece) > 1:
                few = len(piece) // 2
                continue
            yield piece, records
            start += len(piece)
            few = max(1, min(AT_ONCE, int(FILLED * FITS * len(piece) / size))) if size else AT_ONCE

    def records(self, ids: Sequence[int]) -> dict[int, Record]:
        """A few attempts with their bodies, by id; those that are damaged or missing are left out."""
        return self._read(ids)[0]

    def _read(self, ids: Sequence[int], most: float = math.inf) -> tuple[dict[int, Record], int]:
        """As `sound`. Each row is a record before the next is read: it is in the core's cache then."""
        return self._take(partial(sound, most=most), f"SELECT {STORED} WHERE a.id IN ({_marks(ids)})", ids)

    def _all(self, sql: str, values: Bindings = ()) -> list[Any]:
        return self._take(list, sql, values)

    def _take(self, take: Take[T], sql: str, values: Bindings = ()) -> T:
        """Raises RuntimeError in another thread than the one that opened the file: `opened` has no lock between two."""
        if get_ident() != self._thread:
            raise RuntimeError(f"{self.path}: a reader is its own thread's")
        with refusals(self.path):
            return taken(self._db, take, sql, values)


def opened(path: Path, how: str) -> apsw.Connection:
    """Read-only, for one thread: SQLite's mutexes around every value are a quarter of what a short row costs to read.
    `how`: the query of a URI of SQLite's."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOMUTEX
    db = apsw.Connection(f"{path.absolute().as_uri()}?{how}", flags)
    db.set_busy_timeout(BUSY)
    return db


def taken(db: apsw.Connection, take: Take[T], sql: str, values: Bindings = ()) -> T:
    """What `take` makes of the rows. Where a text of theirs is no UTF-8, which only damage makes of one, it is given
    them once more, as far as they are legible: the checksum finds what is wrong."""
    try:
        return take(db.execute(sql, values))
    except UnicodeDecodeError:
        return take(_legible(db, sql, values))


def _legible(db: apsw.Connection, sql: str, values: Bindings) -> Iterator[tuple[Any, ...]]:
    names = [name for name, *_ in db.execute(sql, values).description]
    columns = [f"c{at}" for at in range(len(names))]
    shown = ", ".join(f"iif(typeof({column}) = 'text', CAST({column} AS BLOB), {column})" for column in columns)
    for row in db.execute(f"WITH found ({', '.join(columns)}) AS ({sql}) SELECT {shown} FROM found", values):  # noqa: S608
        yield tuple(
            value.decode(errors="replace") if isinstance(value, bytes) and name not in BLOBS else value
            for name, value in zip(names, row, strict=True)
        )


def _firsts(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    return [first for (first,) in rows]


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def sound(rows: Iterable[tuple[Any, ...]], most: float = math.inf) -> tuple[dict[int, Record], int]:
    """Rows of STORED by id, without those that are damaged, and the bytes of all bodies when they are whole: once these
    are more than `most`, no further row is taken."""
    found: dict[int, Record] = {}
    total = 0
    new = tuple.__new__  # a Record's own would be a fifth of this loop, and tuples made of tuples another
    for id_, key, outcome, ended, attempts, status, error, latency, at, choices, name, crc, size, body in rows:
        final = ended == 1
        try:
            total += len(body or b"") if size is None else size
            columns = key, outcome, final, attempts, status, error, latency, at, choices, name, size, body is None
            if checksum(columns, body) == crc:
                answer = restored(size, body)
                values = key, outcome, final, attempts, status, error, latency, at, choices, name, answer
                found[id_] = new(Record, values)
        except Exception:  # noqa: BLE001, S112  a flipped bit may make nearly anything of a row, and pyarrow raise it
            continue
        if total > most:
            break
    return found, total
