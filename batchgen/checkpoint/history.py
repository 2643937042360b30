"""The runs of a job as its checkpoint has them: whose it is, what each was asked for, used and learned, and with what
the next one begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from batchgen.api.usage import NOTHING, Usage
from batchgen.checkpoint.database import Database
from batchgen.checkpoint.schema import Owner, Run, Start
from batchgen.errors import NotRunYet

USAGE = "prompt_tokens, answer_tokens, answers, counted, cost"


class LearnedRate(NamedTuple):
    """Requests a minute that the server was found to grant, and when (microseconds since 1970, UTC)."""

    per_minute: float
    found_at: int


class History(Database):
    """A checkpoint's runs. See `Database` for what opening it raises."""

    def last_id(self) -> int:
        return int(self._all("SELECT coalesce(max(id), 0) FROM attempts")[0][0])

    def last_run(self) -> Run | None:
        rows = self._all("SELECT * FROM runs ORDER BY id DESC LIMIT 1")
        return Run(*rows[0]) if rows else None

    def latest(self) -> Run:
        """The last run. Raises NotRunYet where there is none."""
        last = self.last_run()
        if last is None:
            raise NotRunYet(f"{self.path}: the job has not run yet")
        return last

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

    def in_flight(self, run: Run) -> int | None:
        """How many requests might be in flight in the end, where the run found that itself."""
        rows = self._beside("in_flight", "SELECT most FROM in_flight WHERE run = ? ORDER BY at DESC LIMIT 1", (run.id,))
        return int(rows[0][0]) if rows else None

    def last_in_flight(self) -> int | None:
        """What the last run found that found one: the next begins with it."""
        rows = self._beside("in_flight", "SELECT most FROM in_flight ORDER BY run DESC, at DESC LIMIT 1")
        return int(rows[0][0]) if rows else None

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
        last = self.gone_on_with(requests)
        return last.date if last is not None else today

    def gone_on_with(self, requests: str) -> Run | None:
        """The unfinished run that one with these requests would go on with."""
        last = self.unfinished()
        start = last and self.start_of(last)
        return last if start is None or start.input == requests else None

    def learned(self) -> LearnedRate | None:
        """What the last run that met a limit found out."""
        sql = "SELECT learned, ended_at FROM runs WHERE learned IS NOT NULL ORDER BY id DESC LIMIT 1"
        rows = self._all(sql)
        return LearnedRate(*rows[0]) if rows else None
