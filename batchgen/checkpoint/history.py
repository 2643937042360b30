"""The runs of a job, read from its checkpoint: owner, starts, usage, learned rates, and what the next run begins
with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from batchgen.api.usage import NOTHING, Usage
from batchgen.checkpoint.database import Database
from batchgen.checkpoint.schema import Owner, RowCounts, Run, Start
from batchgen.errors import NotRunYet

USAGE = "prompt_tokens, answer_tokens, answers, counted, cost"


class LearnedRate(NamedTuple):
    """Requests a minute that the server was found to grant, and when (microseconds since 1970, UTC)."""

    per_minute: float
    found_at: int


class History(Database):
    """The runs in a checkpoint. See `Database` for the errors of opening it."""

    def last_id(self) -> int:
        return int(self._value("SELECT coalesce(max(id), 0) FROM attempts"))

    def last_run(self) -> Run | None:
        rows = self._all("SELECT * FROM runs ORDER BY id DESC LIMIT 1")
        return Run(*rows[0]) if rows else None

    def latest(self) -> Run:
        """Returns the last run. Raises NotRunYet if there is none."""
        last = self.last_run()
        if last is None:
            raise NotRunYet(f"{self.path}: the job has not run yet")
        return last

    def start_of(self, run: Run) -> Start | None:
        """Returns the options that a run was started with; None if an older version started it."""
        rows = self._optional("starts", "SELECT fresh, first, input FROM starts WHERE run = ?", (run.id,))
        return Start(bool(rows[0][0]), *rows[0][1:]) if rows else None

    def owner(self) -> Owner | None:
        """Returns the job that owns the checkpoint; None if no version has stored it."""
        rows = self._optional("owner", "SELECT name, file FROM owner")
        return Owner(*rows[0]) if rows else None

    def endpoints(self) -> list[str]:
        """Returns the identities of the endpoints that runs were made at; older versions' runs are not included."""
        return [identity for (identity,) in self._optional("endpoints", "SELECT identity FROM endpoints")]

    def usage(self, run: Run) -> Usage | None:
        """Returns what a run has used; None if an older version made it."""
        rows = self._optional("progress", f"SELECT {USAGE} FROM progress WHERE run = ?", (run.id,))  # noqa: S608  a constant
        return Usage(*rows[0]) if rows else None

    def total_usage(self) -> Usage:
        """Returns what all runs together have used; older versions' runs are not included."""
        return sum((Usage(*row) for row in self._optional("progress", f"SELECT {USAGE} FROM progress")), NOTHING)  # noqa: S608

    def published(self, run: Run) -> RowCounts | None:
        """Returns how the rows stood when a run's results were published; None if they were not, or by an older
        version."""
        rows = self._optional("published", "SELECT rows, ok, failed, pending FROM published WHERE run = ?", (run.id,))
        return RowCounts(*rows[0]) if rows else None

    def outlook(self, run: Run) -> tuple[float | None, float | None]:
        """Returns the last stored rate of a run in rows a second, and the seconds that were left."""
        rows = self._optional("progress", "SELECT rate, left_s FROM progress WHERE run = ?", (run.id,))
        return rows[0] if rows else (None, None)

    def in_flight(self, run: Run) -> tuple[int, str] | None:
        """Returns how many requests the run allowed in flight at its end, and why, if it found that number itself."""
        rows = self._optional(
            "in_flight", "SELECT most, why FROM in_flight WHERE run = ? ORDER BY at DESC LIMIT 1", (run.id,)
        )
        return (int(rows[0][0]), str(rows[0][1])) if rows else None

    def last_in_flight(self) -> int | None:
        """Returns the last number that a run found, with which the next one begins."""
        rows = self._optional("in_flight", "SELECT most FROM in_flight ORDER BY run DESC, at DESC LIMIT 1")
        return int(rows[0][0]) if rows else None

    def last_date(self) -> str:
        """Returns the date of the last run over all rows: trials since, of the first rows or of a few, have dates of
        their own. That of the last trial where there was nothing else. Raises NotRunYet."""
        wholes = (run.date for run, start in self._runs() if start.first_rows is None and start.input)
        return next(wholes, self.latest().date)

    def unfinished_run(self) -> Run | None:
        """Returns the last run over all rows if it did not finish, else None."""
        for run, start in self._runs():
            if start.first_rows is None:
                return run if run.outcome != "finished" else None
        return None

    def unfinished_fresh_run(self, first_rows: int | None = None) -> Run | None:
        """Returns the fresh run that a fresh run with this limit would continue: one since the last finished run over
        all rows. A finished trial of the first rows ends it for those rows only."""
        for run, start in self._runs():
            had_these = start.fresh and first_rows is not None and first_rows <= (start.first_rows or 0)
            if run.outcome == "finished" and (start.first_rows is None or had_these):
                return None
            if start.fresh:
                return run
        return None

    def _runs(self) -> Iterator[tuple[Run, Start]]:
        """Yields the last runs first, each with its start, as far as older versions stored it."""
        for run in map(Run._make, self._all("SELECT * FROM runs ORDER BY id DESC LIMIT 1000")):
            yield run, self.start_of(run) or Start(bool(run.floor) and run.floor == run.first, None, "")

    def next_floor(self, *, reuse: bool, fresh: bool = False, first_rows: int | None = None) -> int:
        """Returns the id up to which a run that starts now reuses no answer. It is 0 unless the run is fresh, or its
        job reuses nothing. Such a run skips the answers that existed when it first began, however often it was
        interrupted. Before the first run there are only answers that were taken in for it."""
        if (reuse and not fresh) or self.last_run() is None:
            return 0
        continues = self.unfinished_fresh_run(first_rows)
        return continues.floor if continues is not None else self.last_id()

    def next_date(self, today: str, requests: str) -> str:
        """Returns the date of a run that starts now: an unfinished run's own if this run continues it. `requests`: a
        digest of the requests that the run is to make."""
        last = self.continued_run(requests)
        return last.date if last is not None else today

    def continued_run(self, requests: str) -> Run | None:
        """Returns the unfinished run that a run with these requests would continue."""
        last = self.unfinished_run()
        start = last and self.start_of(last)
        return last if start is None or start.input == requests else None

    def learned_rate(self) -> LearnedRate | None:
        """Returns the rate that the last run which met a limit has learned."""
        sql = "SELECT learned, ended_at FROM runs WHERE learned IS NOT NULL ORDER BY id DESC LIMIT 1"
        rows = self._all(sql)
        return LearnedRate(*rows[0]) if rows else None
