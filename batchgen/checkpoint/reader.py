"""The answers of a checkpoint, and every attempt, as far as they are committed.

A reader never writes and keeps no transaction open between calls, so that it does not disturb a run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

from batchgen.api.body import Body, decompress, from_columns
from batchgen.api.dialects import WRITER, Dialect
from batchgen.api.failure_kinds import Kind
from batchgen.api.outcome import Answer
from batchgen.api.types import RawCompletion, is_json
from batchgen.checkpoint.history import History
from batchgen.checkpoint.row_key import KEY_BYTES
from batchgen.checkpoint.schema import DAMAGED, INTERRUPTED, OK, Record, Run, checksum
from batchgen.checkpoint.sqlite import placeholders

if TYPE_CHECKING:
    from batchgen.checkpoint.index import Index

RECORD_SQL = "a.*, b.size, b.body FROM attempts a LEFT JOIN bodies b USING (id)"
"""The SELECT list of a record: an attempt's columns and its body's."""
STATE = "key, id, outcome, final, attempts"
"""The columns of an attempt that an index is made of."""
AT_ONCE = f"outcome = '{OK}' AND attempts = 1 AND octet_length(key) = {KEY_BYTES}"
"""A condition for an attempt that was a row's first, and an answer; false or null for all others."""
NEVER_LEFT = tuple(str(kind) for kind in Kind if not kind.policy.reaches_server)
"""Outcomes of attempts whose request never left."""
KEYS_PER_READ = 32_768
"""Keys that are joined by one read: half a megabyte."""
BYTES_PER_READ, RECORDS_PER_READ = 4 << 20, 4096
"""The most bytes of answers in memory at once, and the most records of one read. A larger answer is read alone."""
SPARSEST = 1.5
"""Ids are read as a range that has at most so many times as many."""
FILL_SHARE = 0.75
"""The share of BYTES_PER_READ that a read aims at, by the length of the answers before: a read that exceeds it is
repeated."""


class RecordBatch(NamedTuple):
    """Some attempts: their ids, the records of the readable ones, and the bytes of all raw bodies."""

    ids: Sequence[int]
    records: dict[int, Record]
    size: int


class Reader(History):
    """The attempts in a checkpoint. `dialect`: the stored answers'. See `Database` for the errors of opening it."""

    def __init__(
        self, path: Path, dialect: Dialect = WRITER, *, without_trace: bool = False, salvage: str | None = None
    ) -> None:
        """Opens the file, as `Database` does."""
        super().__init__(path, without_trace=without_trace, salvage=salvage)
        self._dialect = dialect

    def attempts_by(self, run: Run) -> int:
        """Counts a run's attempts whose request left. Its notes about earlier ones are none of them."""
        others = (*NEVER_LEFT, INTERRUPTED, DAMAGED)
        has_left = f"outcome = '{OK}' OR outcome NOT IN ({placeholders(others)})"  # most are answers: half the time
        sql = f"SELECT count(*) FROM attempts WHERE id > ? AND ({has_left})"  # noqa: S608
        return int(self._value(sql, (run.first, *others)))

    def has_shared(self) -> bool:
        """Returns whether rows of the last run share answers."""
        return bool(self._optional("shared", "SELECT 1 FROM shared LIMIT 1"))

    def index(self, floor: int, *, after: int = 0) -> Index:
        """Returns the index of every attempt after an id. Answers up to `floor` are not reused."""
        from batchgen.checkpoint.index import Index  # noqa: PLC0415  polars takes long, and who counts rows needs none

        span = after, self.last_id()  # of what is committed now: a run may add more meanwhile
        return Index(chain.from_iterable(self._states(*span)), floor, self._answered_at_once(*span))

    def _answered_at_once(self, after: int, last: int) -> Iterator[tuple[bytes, Sequence[int]]]:
        """Yields the joined keys and the ids of attempts whose first request was answered, ordered by id. Nearly every
        attempt is such: SQLite joins their keys in a fifth of the time that a Python object for each value takes."""
        some = f"FROM attempts WHERE {AT_ONCE} AND id > ? AND id <= ? ORDER BY id LIMIT {KEYS_PER_READ}"
        of_some = f"SELECT CAST(group_concat(key, '') AS BLOB), count(*), min(id), max(id) FROM (SELECT key, id {some})"  # noqa: S608  constants
        while True:
            (keys, count, lowest, highest), *_ = self._all(of_some, (after, last))
            if not count:
                return
            ids: Sequence[int] = range(lowest, highest + 1)
            yield keys, ids if len(ids) == count else self._query(_first_column, f"SELECT id {some}", (after, last))
            after = self._grown(after, highest)

    def _states(self, after: int, last: int) -> Iterator[list[tuple[bytes, int, str, int, int]]]:
        """Yields (key, id, outcome, final, attempts) of all other attempts, ordered by id."""
        sql = f"SELECT {STATE} FROM attempts WHERE ({AT_ONCE}) IS NOT TRUE AND id > ? AND id <= ? ORDER BY id LIMIT ?"  # noqa: S608
        while rows := self._all(sql, (after, last, RECORDS_PER_READ)):
            yield rows
            after = self._grown(after, rows[-1][1])

    def _grown(self, before: int, id_: int) -> int:
        """Returns the next id. Raises MachineRefused if it does not grow: a damaged page would be read for ever."""
        with self._machine_refusals():
            if id_ <= before:
                raise apsw.CorruptError("malformed: its ids are out of order")
        return id_

    def interrupted_since(self, run: Run) -> int:
        """Counts the requests that were in flight when this run, or a later one, was killed."""
        sql = "SELECT count(*) FROM attempts WHERE id > ? AND outcome = ?"
        return int(self._value(sql, (run.first, INTERRUPTED)))

    def attempts_of(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Returns the requests sent so far by key, without keys that were never tried."""
        return dict(self._in_parts("SELECT key, max(attempts) FROM attempts WHERE key IN ({}) GROUP BY key", keys))

    def states_of(self, keys: Sequence[bytes]) -> list[tuple[bytes, int, str, int, int]]:
        """Returns (key, id, outcome, final, attempts) of the attempts with these keys, ordered by id."""
        sql = f"SELECT {STATE} FROM attempts WHERE key IN ({{}})"  # noqa: S608  a constant
        return sorted(self._in_parts(sql, keys), key=itemgetter(1))

    def keys_of(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Returns the keys of these attempts, by id."""
        return dict(self._in_parts("SELECT id, key FROM attempts WHERE id IN ({})", ids))

    def _in_parts(self, sql: str, wanted: Sequence[Any]) -> Iterator[Any]:
        """Yields the rows of a statement with so many values, part by part: SQLite limits bound parameters."""
        for at in range(0, len(wanted), RECORDS_PER_READ):
            part = wanted[at : at + RECORDS_PER_READ]
            yield from self._all(sql.format(placeholders(part)), part)

    def row_names(self) -> Iterator[str]:
        """Yields the `input.id` of every row that was ever tried."""
        yield from self._query(_first_column, "SELECT DISTINCT name FROM attempts WHERE name IS NOT NULL")

    def answer(self, record: Record) -> RawCompletion | None:
        """Parses a record's answer; None if it cannot be read."""
        try:
            return None if record.body is None else self._dialect.read_answer(decompress(record.body))
        except (ValueError, RecursionError):
            return None

    def is_answer(self, record: Record) -> bool:
        """Returns whether today's rules accept the record's body as an answer."""
        if record.body is None:
            return False
        body, is_done = decompress(record.body), self._dialect.is_done
        is_cut = is_done is not None and not is_json(body) and not is_done(body)
        return not is_cut and isinstance(self._dialect.judge(body), Answer)

    def answers_as_json(self, bodies: Iterable[Body | None]) -> list[bytes | None]:
        """Returns the answers as the contract's JSON; None for each that cannot be read."""
        is_contract = self._dialect.is_contract
        return [
            body if body is None or (is_contract and isinstance(body, bytes) and is_json(body)) else self._as_json(body)
            for body in bodies
        ]

    def _as_json(self, body: Body) -> bytes | None:
        try:
            return self._dialect.as_json(decompress(body))
        except (ValueError, RecursionError):
            return None

    def last_answers(self, count: int = 1000) -> list[tuple[float, int]]:
        """Returns (latency in seconds, tokens) of the last answers."""
        sql = "SELECT id FROM attempts WHERE outcome = ? ORDER BY id DESC LIMIT ?"
        ids = self._query(_first_column, sql, (OK, count))
        answers: list[tuple[float, int]] = []
        for _, records, _ in self.record_batches(ids):
            for record in records.values():
                answer = self._dialect.judge(decompress(record.body or b""))
                if record.latency and isinstance(answer, Answer):
                    answers.append((record.latency, answer.tokens))
        return answers

    def median_latency(self) -> float | None:
        """Returns the median latency of the last thousand answers, in seconds."""
        sql = "SELECT latency FROM attempts WHERE outcome = ? ORDER BY id DESC LIMIT 1000"
        latencies = sorted(self._query(_first_column, sql, (OK,)))
        return latencies[len(latencies) // 2] if latencies else None

    def with_more_choices(self) -> set[int]:
        return set(self._query(_first_column, "SELECT id FROM attempts WHERE choices > 1"))

    def ids_of(self, *outcomes: str) -> list[int]:
        """Returns the ids of the attempts with one of these outcomes."""
        sql = f"SELECT id FROM attempts WHERE outcome IN ({placeholders(outcomes)})"  # noqa: S608  question marks
        return self._query(_first_column, sql, outcomes)

    def with_body(self) -> list[int]:
        """Returns the ids of the attempts whose body is stored: it was billed, whatever became of it."""
        return self._query(_first_column, "SELECT id FROM bodies ORDER BY id", ())

    def record_batches(self, ids: Sequence[int]) -> Iterator[RecordBatch]:
        """Yields the attempts in their order, in batches whose bodies fit into BYTES_PER_READ."""
        start, few = 0, RECORDS_PER_READ
        while start < len(ids):
            piece = ids[start : start + few]
            records, size = self._read(piece, BYTES_PER_READ)
            if size > BYTES_PER_READ and len(piece) > 1:
                few = len(piece) // 2
                continue
            yield RecordBatch(piece, records, size)
            start += len(piece)
            few = max(1, min(RECORDS_PER_READ, int(FILL_SHARE * BYTES_PER_READ * len(piece) / max(size, 1))))

    def records(self, ids: Sequence[int]) -> dict[int, Record]:
        """Returns a few attempts with their bodies, by id, without damaged and missing ones."""
        return self._read(ids)[0]

    def _read(self, ids: Sequence[int], max_bytes: float = math.inf) -> tuple[dict[int, Record], int]:
        """Returns what `parse_records` returns. Each row becomes a record before the next is read, while it is in the
        CPU's cache."""
        times = dict(Counter(ids))
        chosen, values = _chosen(times)
        return self._query(
            partial(parse_records, max_bytes=max_bytes, times=times), f"SELECT {RECORD_SQL} WHERE {chosen}", values
        )


def _chosen(ids: Collection[int]) -> tuple[str, Sequence[int]]:
    """Returns a condition for these ids, and its values. Rows that were sent in the input's order lie side by side: to
    go over them takes a quarter less time than to look up each, with a few that are not wanted in between."""
    first, last = min(ids, default=0), max(ids, default=0)
    if last - first < SPARSEST * len(ids):
        return "a.id BETWEEN ? AND ?", (first, last)
    return f"a.id IN ({placeholders(ids)})", [*ids]


def _first_column(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    return [first for (first,) in rows]


def parse_records(
    rows: Iterable[tuple[Any, ...]], max_bytes: float = math.inf, times: Mapping[int, int] | None = None
) -> tuple[dict[int, Record], int]:
    """Returns the records in rows of RECORD_SQL by id, without damaged ones, and the bytes of all raw bodies, each
    counted as many `times` as it is wanted: others are passed over. It stops reading once these exceed `max_bytes`."""
    found: dict[int, Record] = {}
    total = 0
    for id_, key, outcome, ended, attempts, status, error, latency, at, choices, name, crc, size, body in rows:
        if times is not None and id_ not in times:
            continue
        final = ended == 1
        try:
            total += (len(body or b"") if size is None else size) * (1 if times is None else times[id_])
            columns = key, outcome, final, attempts, status, error, latency, at, choices, name, size, body is None
            if checksum(columns, body) == crc:
                found[id_] = Record(
                    key=key,
                    outcome=outcome,
                    final=final,
                    attempts=attempts,
                    status=status,
                    error=error,
                    latency=latency,
                    finished_at=at,
                    choices=choices,
                    name=name,
                    body=body if size is None else from_columns(size, body),
                )
        except Exception:  # noqa: BLE001, S112  a flipped bit may make nearly anything of a row, and pyarrow raise it
            continue
        if total > max_bytes:
            break
    return found, total
