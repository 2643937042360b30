"""A report's queries of the checkpoint: counts by SQLite, in short transactions, as of one moment.

Attempts are never updated and their ids grow, so everything up to one id is a snapshot without a lock. Must never hold
an answer, and never more than a few bytes a row.
"""

# ruff: noqa: S608  what is put together here is constants, and ids that are integers

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from batchgen.api.failure_kinds import STATUSES, Kind
from batchgen.checkpoint.reader import NEVER_LEFT, Reader
from batchgen.checkpoint.schema import DAMAGED, INTERRUPTED, OK, Run

if TYPE_CHECKING:
    import polars as pl

CHUNK = 10_000
MESSAGES = 3
"""Examples of each reason for failure."""
_BUSY = tuple(status for status, means in STATUSES.items() if means.slows and means.kind is not Kind.BUSY)
_REFUSAL = f"outcome = '{Kind.BUSY}' OR coalesce(status, 0) IN {_BUSY}"
_SENT = f"outcome NOT IN ('{DAMAGED}', '{INTERRUPTED}')"
"""Attempts of a run itself: the others are notes that a run makes about an earlier one."""


class AttemptRange(NamedTuple):
    """The attempts after one id, up to another."""

    after: int
    to: int


class RowOutcome(NamedTuple):
    """The number of rows whose last attempt ended like this. `is_new`: in the last run."""

    outcome: str
    status: int | None
    final: bool
    is_new: bool
    rows: int


class AttemptGroup(NamedTuple):
    """The attempts of one kind: how many, how many of them were their row's last, when the last of them ended
    (microseconds), and the longest latency (seconds)."""

    outcome: str
    status: int | None
    attempts: int
    final: int
    finished_at: int
    slowest: float | None

    @property
    def has_left(self) -> bool:
        """Returns whether the attempts' requests got as far as the server."""
        return self.outcome not in NEVER_LEFT

    @property
    def is_refusal(self) -> bool:
        """Returns whether the attempts were refused, as `_REFUSAL` has it."""
        return self.outcome == Kind.BUSY or self.status in _BUSY


class Message(NamedTuple):
    """An error message of failed rows: how many rows have it, and the first of them."""

    outcome: str
    status: int | None
    error: str | None
    rows: int
    id: int
    key: bytes
    name: str | None


class ReportReader(Reader):
    """The checkpoint, with a report's queries.

    Most rows have one attempt, an answer: these are only counted. The attempts of all other rows are gathered once, in
    a table of their own (`stories`), since sorting a million attempts by key would take longer than all the rest.
    """

    def runs(self) -> list[Run]:
        return [Run(*row) for row in self._all("SELECT * FROM runs ORDER BY id")]

    def moves(self, run: Run) -> list[tuple[int, int, float, float, str]]:
        """Returns the changes of the requests in flight, if the run found their number: (at, most, throughput, latency,
        why), in microseconds, answers a second, and seconds."""
        sql = "SELECT at, most, throughput, latency, why FROM in_flight WHERE run = ? ORDER BY at"
        return self._optional("in_flight", sql, (run.id,))

    def last_in_flight_before(self, run: Run) -> int | None:
        """Returns the number that the runs before had found last, with which this one began."""
        sql = "SELECT most FROM in_flight WHERE run < ? ORDER BY run DESC, at DESC LIMIT 1"
        rows = self._optional("in_flight", sql, (run.id,))
        return int(rows[0][0]) if rows else None

    def fingerprint(self) -> str:
        """Returns a value that changes when the requests of the last run are others, its end is, or there are new
        attempts. Raises NotRunYet."""
        last = self.latest()
        start = self.start_of(last)
        return f"{start.input if start else ''} {last.outcome} {self.last_id()}"

    def gather_stories(self, span: AttemptRange) -> None:
        """Gathers all attempts of the rows that had anything but an answer in the span; the queries below use them."""
        failed = f"SELECT key FROM attempts WHERE {_within(span)} AND outcome != '{OK}'"
        stories = f"SELECT id, key, outcome, status, final FROM attempts WHERE {_within(span)} AND key IN ({failed})"
        self._all("DROP TABLE IF EXISTS temp.stories")
        self._all(f"CREATE TEMP TABLE stories AS {stories}")

    def row_outcomes(self, current: AttemptRange, first: int) -> list[RowOutcome]:
        """Counts the rows with an attempt in the span by their last one. `first`: attempts of the last run have higher
        ids."""
        single, new = self._single_attempts(current), self._single_attempts(AttemptRange(first, current.to))
        last = f"SELECT max(id) AS id, key, outcome, status, final FROM stories WHERE {_within(current)} GROUP BY key"
        sql = f"SELECT outcome, status, final, id > :first, {{}} FROM ({last}) {{}} GROUP BY 1, 2, 3, 4"
        rows = [(OK, None, True, True, new), (OK, None, True, False, single - new)]
        rows += self._all(sql.format("count(*)", ""), {"first": first})
        if self.has_shared():
            rows += self._all(sql.format("sum(rows - 1)", "JOIN shared USING (key)"), {"first": first})
            single_ones = f"{_within(current)} AND id NOT IN (SELECT id FROM stories)"
            answers = f"attempts JOIN shared USING (key) WHERE {single_ones}"
            beside = f"SELECT '{OK}', NULL, 1, id > :first, sum(rows - 1) FROM {answers} GROUP BY 4"
            rows += self._all(beside, {"first": first})
        return [RowOutcome(outcome, status, bool(final), bool(new), n) for outcome, status, final, new, n in rows if n]

    def attempt_groups(self, span: AttemptRange) -> list[AttemptGroup]:
        """Returns the span's attempts by kind, the commonest first."""
        sql = "SELECT outcome, {}, count(*), sum(final), max(finished_at), max(latency) FROM attempts WHERE "
        ended = f"{sql}{_within(span)} AND {_SENT} AND outcome"
        answers = self._all(f"{ended} = :ok".format("max(status)"), {"ok": OK})  # without sorting them into one group
        others = self._all(f"{ended} != :ok GROUP BY 1, 2".format("status"), {"ok": OK})
        found = [AttemptGroup(*row) for row in [*answers, *others] if row[2]]
        return sorted(found, key=lambda kind: (-kind.attempts, kind.outcome, kind.status or 0))

    def requests_a_row(self, span: AttemptRange, answers: int) -> list[tuple[int, int]]:
        """Returns (requests, rows that needed so many in the span to get their text). `answers`: the number of answers
        in it."""
        rows = f"SELECT count(*) AS n FROM stories WHERE {_within(span)} AND {_SENT} GROUP BY key"
        sql = f"SELECT n, count(*) FROM ({rows} HAVING max(outcome = :ok)) GROUP BY 1"
        counts = Counter({1: answers - self._answers_in_stories(span)})
        counts.update(dict(self._all(sql, {"ok": OK})))
        return sorted((requests, rows) for requests, rows in counts.items() if rows)

    def answers_over_time(self, span: AttemptRange, every: int) -> pl.DataFrame:
        """Returns `finished_at` (microseconds) and `latency` (seconds) of the answers, of one of each `every`
        attempts."""
        where = f"{_within(span)} AND outcome = :ok AND latency >= 0 AND {_one_of(every)}"
        return self._query(_times, f"SELECT finished_at, latency FROM attempts WHERE {where}", {"ok": OK})

    def refused_by(self, span: AttemptRange, start: int, width: int) -> dict[int, int]:
        """Returns the number of refusals in each slot of time."""
        where = f"{_within(span)} AND {_SENT} AND ({_REFUSAL})"
        sql = f"SELECT (finished_at - :start) / :width, count(*) FROM attempts WHERE {where} GROUP BY 1"
        return dict(self._all(sql, {"start": start, "width": width}))

    def sent_in(self, span: AttemptRange, start: int, width: int) -> set[int]:
        """Returns the slots of time in which something was sent."""
        sent = "finished_at - CAST(coalesce(latency, 0) * 1000000 AS INTEGER)"
        sql = f"SELECT DISTINCT ({sent} - :start) / :width FROM attempts WHERE {_within(span)} AND {_SENT}"
        return {slot for (slot,) in self._all(sql, {"start": start, "width": width})}

    def notes(self, current: AttemptRange) -> dict[str, int]:
        """Counts requests whose answers were lost with the run that sent them, and answers that were found damaged."""
        sql = f"SELECT outcome, count(*) FROM stories WHERE {_within(current)} AND NOT ({_SENT}) GROUP BY 1"
        return dict(self._all(sql))

    def messages(self, current: AttemptRange) -> list[Message]:
        """Returns the commonest messages of each outcome and status, of rows that are currently failed."""
        last = f"SELECT max(id) AS id, outcome, final FROM stories WHERE {_within(current)} GROUP BY key"
        failed = f"SELECT id FROM ({last}) WHERE final = 1 AND outcome != :ok"
        alike = (
            "SELECT outcome, status, error, count(*) AS n, min(id) AS id, key, name "
            f"FROM attempts WHERE id IN ({failed}) GROUP BY 1, 2, 3"
        )
        ranked = f"SELECT *, row_number() OVER (PARTITION BY outcome, status ORDER BY n DESC, id) AS at FROM ({alike})"
        columns = "outcome, status, error, n, id, key, name"
        sql = f"SELECT {columns} FROM ({ranked}) WHERE at <= :most ORDER BY n DESC, id LIMIT 100"
        return [Message(*row) for row in self._all(sql, {"ok": OK, "most": MESSAGES})]

    def answers(self, current: AttemptRange, all_up_to: int, sample: int) -> tuple[list[int], int]:
        """Returns the ids of the answers in use, or of an even sample of about `sample` if there are more than
        `all_up_to`; and how many are in use."""
        count = self._single_attempts(current) + self._answers_in_stories(current)
        some = _one_of(count // sample if count > all_up_to else 1)  # asked first: it needs no look into the row
        sql = f"SELECT id FROM attempts WHERE {_within(current)} AND {some} AND outcome = :ok ORDER BY id"
        given_up = self._given_up(current)
        ids = [id_ for (id_,) in self._all(sql, {"ok": OK})]
        return [id_ for id_ in ids if id_ not in given_up], count - len(given_up)

    def _single_attempts(self, span: AttemptRange) -> int:
        """Counts the span's attempts that are not in `stories`: each is the only answer of its row. It uses ids
        alone."""
        count = f"(SELECT count(*) FROM {{}} WHERE {_within(span)})"
        return int(self._value(f"SELECT {count.format('attempts')} - {count.format('stories')}"))

    def _answers_in_stories(self, span: AttemptRange) -> int:
        return int(self._value(f"SELECT count(*) FROM stories WHERE {_within(span)} AND outcome = :ok", {"ok": OK}))

    def size(self, ids: Sequence[int]) -> int:
        """Returns the bytes of the bodies of these attempts, before compression."""
        pieces = (",".join(map(str, ids[at : at + CHUNK])) for at in range(0, len(ids), CHUNK))
        sql = "SELECT coalesce(sum(coalesce(size, length(body))), 0) FROM bodies WHERE id IN ({})"
        return sum(self._value(sql.format(piece)) for piece in pieces)

    def _given_up(self, current: AttemptRange) -> set[int]:
        """Returns the answers that were found damaged later."""
        damaged = f"SELECT key, max(id) AS id FROM stories WHERE {_within(current)} AND outcome = :damaged GROUP BY key"
        where = f"outcome = :ok AND s.id > {current.after}"
        sql = f"SELECT s.id FROM stories s JOIN ({damaged}) d ON s.key = d.key AND s.id < d.id WHERE {where}"
        return {id_ for (id_,) in self._all(sql, {"ok": OK, "damaged": DAMAGED})}


def _times(rows: Iterable[tuple[int, float]]) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415  it takes long, and a status needs none

    finished, latency = array("q"), array("d")
    for at, seconds in rows:
        finished.append(at)
        latency.append(seconds)
    return pl.DataFrame(
        {"finished_at": pl.Series(finished, dtype=pl.Int64), "latency": pl.Series(latency, dtype=pl.Float64)}
    )


def _within(span: AttemptRange) -> str:
    return f"id > {span.after:d} AND id <= {span.to:d}"


def _one_of(every: int) -> str:
    """Returns a condition for one of each `every` attempts. Ids have no large gaps and grow with time, so this sample
    is even."""
    return f"id % {every:d} = 0" if every > 1 else "1"
