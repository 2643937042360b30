"""The answers of a checkpoint, and every attempt at them, as others see it: what is committed.

Never writes and never keeps a transaction open between calls, so that a reader disturbs no run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from batchgen.api.body import Body, decompress, restored
from batchgen.api.dialects import WRITER, Dialect
from batchgen.api.outcome import Answer
from batchgen.api.types import RawCompletion, is_json
from batchgen.checkpoint.history import History
from batchgen.checkpoint.schema import INTERRUPTED, OK, Record, Run, checksum

STORED = "a.*, b.size, b.body FROM attempts a LEFT JOIN bodies b USING (id)"
"""What is selected of an attempt: its columns and its body's."""
FITS, AT_ONCE = 4 << 20, 4096
"""Bytes of answers, and how many, that are in memory at once; a larger one is there alone."""
FILLED = 0.75
"""How much of that a piece fills, if its answers are as long as those before: what is read in vain is read twice."""


class Piece(NamedTuple):
    """Some attempts: their ids, the records of those that can be read, and the bytes of all bodies when whole."""

    ids: Sequence[int]
    records: dict[int, Record]
    size: int


class Reader(History):
    """`dialect` is the stored answers'. See `Database` for what opening it raises."""

    def __init__(
        self, path: Path, dialect: Dialect = WRITER, *, without_trace: bool = False, salvage: str | None = None
    ) -> None:
        """See `Database`."""
        super().__init__(path, without_trace=without_trace, salvage=salvage)
        self._dialect = dialect

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
        with self._refusals():
            if id_ <= before:
                raise apsw.CorruptError("malformed: its ids are out of order")
        return id_

    def interrupted_since(self, run: Run) -> int:
        """Requests that were in flight when this run, or a run since, was killed."""
        sql = "SELECT count(*) FROM attempts WHERE id > ? AND outcome = ?"
        return int(self._all(sql, (run.first, INTERRUPTED))[0][0])

    def attempts_of(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Requests sent so far for the rows of these keys; keys that were never tried are left out."""
        return self._pairs("SELECT key, max(attempts) FROM attempts WHERE key IN ({}) GROUP BY key", keys)

    def states_of(self, keys: Sequence[bytes]) -> list[tuple[bytes, int, str, int, int]]:
        """As `states`, of the attempts at the rows of these keys."""
        sql = "SELECT key, id, outcome, final, attempts FROM attempts WHERE key IN ({})"
        parts = (keys[at : at + AT_ONCE] for at in range(0, len(keys), AT_ONCE))
        found = [row for part in parts for row in self._all(sql.format(_marks(part)), part)]
        return sorted(found, key=itemgetter(1))

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
            return None if record.body is None else self._dialect.read_answer(decompress(record.body))
        except (ValueError, RecursionError):
            return None

    def is_answer(self, record: Record) -> bool:
        """Whether its body is one, as it would be judged today."""
        if record.body is None:
            return False
        body, is_done = decompress(record.body), self._dialect.is_done
        is_cut = is_done is not None and not is_json(body) and not is_done(body)
        return not is_cut and isinstance(self._dialect.judge(body), Answer)

    def jsons(self, bodies: Iterable[Body | None]) -> list[bytes | None]:
        """The answers as the contract's JSON; None where there is none in it that can be read."""
        as_json = self._dialect.as_json
        found: list[bytes | None] = []
        for body in bodies:
            try:
                found.append(body if body is None else as_json(body if isinstance(body, bytes) else decompress(body)))
            except (ValueError, RecursionError):
                found.append(None)
        return found

    def last_answers(self, count: int = 1000) -> list[tuple[float, int]]:
        """Latency in seconds and tokens of the last answers."""
        sql = "SELECT id FROM attempts WHERE outcome = ? ORDER BY id DESC LIMIT ?"
        ids = self._take(_firsts, sql, (OK, count))
        answers: list[tuple[float, int]] = []
        for _, records, _ in self.pieces(ids):
            for record in records.values():
                answer = self._dialect.judge(decompress(record.body or b""))
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

    def pieces(self, ids: Sequence[int]) -> Iterator[Piece]:
        """The attempts in their order, as many at once as have bodies that fit into memory."""
        start, few = 0, AT_ONCE
        while start < len(ids):
            piece = ids[start : start + few]
            records, size = self._read(piece, FITS)
            if size > FITS and len(piece) > 1:
                few = len(piece) // 2
                continue
            yield Piece(piece, records, size)
            start += len(piece)
            few = max(1, min(AT_ONCE, int(FILLED * FITS * len(piece) / size))) if size else AT_ONCE

    def records(self, ids: Sequence[int]) -> dict[int, Record]:
        """A few attempts with their bodies, by id; those that are damaged or missing are left out."""
        return self._read(ids)[0]

    def _read(self, ids: Sequence[int], most: float = math.inf) -> tuple[dict[int, Record], int]:
        """As `sound`. Each row is a record before the next is read: it is in the core's cache then."""
        return self._take(partial(parse_records, most=most), f"SELECT {STORED} WHERE a.id IN ({_marks(ids)})", ids)


def _firsts(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    return [first for (first,) in rows]


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def parse_records(rows: Iterable[tuple[Any, ...]], most: float = math.inf) -> tuple[dict[int, Record], int]:
    """Rows of STORED by id, without those that are damaged, and the bytes of all bodies when they are whole: once these
    are more than `most`, no further row is taken."""
    found: dict[int, Record] = {}
    total = 0
    for id_, key, outcome, ended, attempts, status, error, latency, at, choices, name, crc, size, body in rows:
        final = ended == 1
        try:
            total += len(body or b"") if size is None else size
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
                    body=body if size is None else restored(size, body),
                )
        except Exception:  # noqa: BLE001, S112  a flipped bit may make nearly anything of a row, and pyarrow raise it
            continue
        if total > most:
            break
    return found, total
