"""What a report asks of the checkpoint: counts made by SQLite, in short transactions, of what was there at one moment.

Attempts are never updated and their ids grow, so everything up to one id is a snapshot without a lock. Must never
hold an answer, and never more than a few bytes a row.
"""

# ruff: noqa: S608  what is put together here is constants, and ids that are integers

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import polars as pl

from batchgen.runner.checkpoint import DAMAGED, INTERRUPTED, OK, Run, refusals
from batchgen.runner.reader import Reader

CHUNK = 10_000
MESSAGES = 3
"""Examples of each reason for failure."""
_REFUSAL = "outcome = 'busy' OR coalesce(status, 0) IN (503, 529)"
_SENT = f"outcome NOT IN ('{DAMAGED}', '{INTERRUPTED}')"
"""Attempts of a run itself: the others are notes that a run makes about an earlier one."""


class Span(NamedTuple):
    """Attempts after one id, up to another."""

    after: int
    to: int


class End(NamedTuple):
    """How many rows ended so, by their last attempt. `fresh`: in the last run."""

    outcome: str
    status: int | None
    final: bool
    fresh: bool
    rows: int


class Tries(NamedTuple):
    """Attempts of one kind: how many, and how many of them were their row's last."""

    outcome: str
    status: int | None
    attempts: int
    final: int


class Message(NamedTuple):
    """What failed rows were told, how many of them, and the first."""

    outcome: str
    status: int | None
    error: str | None
    rows: int
    id: int
    key: bytes
    name: str | None


class Archive(Reader):
    """The checkpoint, with questions of its own."""

    def runs(self) -> list[Run]:
        return [Run(*row) for row in self._all("SELECT * FROM runs ORDER BY id", {})]

    def ends(self, known: Span, first: int) -> list[End]:
        """Of every row with an attempt in the span, by its last one. `first`: the last run's come after this id."""
        last = f"SELECT max(id) AS id, outcome, status, final FROM attempts WHERE {_within(known)} GROUP BY key"
        sql = f"SELECT outcome, status, final, id > :first, count(*) FROM ({last}) GROUP BY 1, 2, 3, 4"
        rows = self._all(sql, {"first": first})
        return [End(outcome, status, bool(final), bool(fresh), n) for outcome, status, final, fresh, n in rows]

    def tries(self, span: Span) -> list[Tries]:
        """The span's attempts by kind, most first."""
        sql = f"SELECT outcome, status, count(*), sum(final) FROM attempts WHERE {_within(span)} AND {_SENT}"
        return [Tries(*row) for row in self._all(f"{sql} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2", {})]

    def requests_a_row(self, span: Span) -> list[tuple[int, int]]:
        """(requests, rows that took so many in the span to get their text)."""
        rows = f"SELECT count(*) AS n FROM attempts WHERE {_within(span)} AND {_SENT} GROUP BY key"
        sql = f"SELECT n, count(*) FROM ({rows} HAVING max(outcome = :ok)) GROUP BY 1 ORDER BY 1"
        return [(int(requests), int(number)) for requests, number in self._all(sql, {"ok": OK})]

    def latencies(self, span: Span) -> pl.Series:
        """Seconds, of the answers."""
        sql = f"SELECT latency FROM attempts WHERE {_within(span)} AND outcome = :ok AND latency >= 0"
        seconds = array("d")
        for rows in self._chunks(sql, {"ok": OK}):
            seconds.extend([latency for (latency,) in rows])
        return pl.Series(seconds, dtype=pl.Float64)

    def finished(self, span: Span) -> tuple[int, int] | None:
        """When the first and the last attempt ended, in microseconds."""
        sql = f"SELECT min(finished_at), max(finished_at) FROM attempts WHERE {_within(span)} AND {_SENT}"
        ((first, last),) = self._all(sql, {})
        return None if first is None else (first, last)

    def ended_by(self, span: Span, start: int, width: int) -> list[tuple[int, str, int]]:
        """(slot, `ok`, `refused` or `failed`, attempts that ended in it); slots of so many microseconds."""
        what = f"CASE WHEN outcome = :ok THEN 'ok' WHEN {_REFUSAL} THEN 'refused' ELSE 'failed' END"
        slot = "(finished_at - :start) / :width"
        sql = f"SELECT {slot}, {what}, count(*) FROM attempts WHERE {_within(span)} AND {_SENT} GROUP BY 1, 2"
        return self._all(sql, {"ok": OK, "start": start, "width": width})

    def sent_in(self, span: Span, start: int, width: int) -> set[int]:
        """The slots in which something was sent."""
        sent = "finished_at - CAST(coalesce(latency, 0) * 1000000 AS INTEGER)"
        sql = f"SELECT DISTINCT ({sent} - :start) / :width FROM attempts WHERE {_within(span)} AND {_SENT}"
        return {slot for (slot,) in self._all(sql, {"start": start, "width": width})}

    def notes(self, known: Span) -> dict[str, int]:
        """Requests whose answer was lost with the run that had sent them, and answers that were found damaged."""
        sql = f"SELECT outcome, count(*) FROM attempts WHERE {_within(known)} AND NOT ({_SENT}) GROUP BY 1"
        return dict(self._all(sql, {}))

    def messages(self, known: Span) -> list[Message]:
        """The commonest of each outcome and status, of rows that are failed as things stand."""
        failed = f"{_within(known)} AND final = 1 AND outcome != :ok"
        last = (
            f"SELECT max(id) AS id, key, outcome, status, error, final, name FROM attempts WHERE {_within(known)} "
            f"AND key IN (SELECT key FROM attempts WHERE {failed}) GROUP BY key"
        )
        alike = (
            "SELECT outcome, status, error, count(*) AS n, min(id) AS id, key, name "
            f"FROM ({last}) WHERE final = 1 AND outcome != :ok GROUP BY 1, 2, 3"
        )
        ranked = f"SELECT *, row_number() OVER (PARTITION BY outcome, status ORDER BY n DESC, id) AS at FROM ({alike})"
        columns = "outcome, status, error, n, id, key, name"
        sql = f"SELECT {columns} FROM ({ranked}) WHERE at <= :most ORDER BY n DESC, id LIMIT 100"
        return [Message(*row) for row in self._all(sql, {"ok": OK, "most": MESSAGES})]

    def answers(self, known: Span, most: int) -> tuple[list[int], int]:
        """The ids of the answers that stand, an even sample of them where there are more than `most`; and how many
        stand in all."""
        where = f"{_within(known)} AND outcome = :ok"
        ((count,),) = self._all(f"SELECT count(*) FROM attempts WHERE {where}", {"ok": OK})
        numbered = f"SELECT id, row_number() OVER (ORDER BY id) AS n FROM attempts WHERE {where}"
        even = "n * :most / :count != (n - 1) * :most / :count"
        values = {"ok": OK, "most": min(most, count), "count": max(count, 1)}
        given_up = self._given_up(known)
        ids = [id_ for (id_,) in self._all(f"SELECT id FROM ({numbered}) WHERE {even}", values)]
        return [id_ for id_ in ids if id_ not in given_up], count - len(given_up)

    def _given_up(self, known: Span) -> set[int]:
        """Answers that were found damaged later."""
        damaged = f"SELECT key, max(id) AS id FROM attempts WHERE {_within(known)} AND outcome = :damaged GROUP BY key"
        where = f"outcome = :ok AND a.id > {known.after}"
        sql = f"SELECT a.id FROM attempts a JOIN ({damaged}) d ON a.key = d.key AND a.id < d.id WHERE {where}"
        return {id_ for (id_,) in self._all(sql, {"ok": OK, "damaged": DAMAGED})}

    def _all(self, sql: str, values: dict[str, Any]) -> list[Any]:
        with refusals(self.path):
            return self._db.execute(sql, values).fetchall()

    def _chunks(self, sql: str, values: dict[str, Any]) -> Iterator[list[Any]]:
        with refusals(self.path):
            cursor = self._db.execute(sql, values)
            while rows := cursor.fetchmany(CHUNK):
                yield rows


def _within(span: Span) -> str:
    return f"id > {span.after:d} AND id <= {span.to:d}"
