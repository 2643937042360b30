"""The progress of a job, read from its checkpoint, also during a run."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from batchgen.api.usage import NOTHING, Usage, spent
from batchgen.checkpoint.state_files import StateFiles
from batchgen.job.job import Job
from batchgen.reporting.counts import counts_of
from batchgen.reporting.queries import AttemptRange, ReportReader
from batchgen.runner.last_run import as_last_run
from batchgen.ui.humanize import approximately, duration, inflect, moment, pluralize
from batchgen.ui.panel import Panel, PanelLine, Renderable, Severity, path_line

RUNNING = "running"


@dataclass(frozen=True, repr=False)
class Status(Renderable):
    """The last run of a job, or the active one. Counts are of rows; `rate` is rows a second, `left_s` seconds.
    `partial`: the path of its results, if the results in their place have more texts. `usage` is this run's, `in_all`
    all runs'. `in_flight`: the most requests in flight, if the run found that number itself; `in_flight_why`: why it
    last changed."""

    name: str
    state: str
    rows: int
    done: int
    failed: int
    left: int
    sent: int
    rate: float | None
    left_s: float | None
    started_at: str
    partial: str | None = None
    usage: Usage = NOTHING
    in_all: Usage = NOTHING
    in_flight: int | None = None
    in_flight_why: str | None = None

    def panel(self) -> Panel:
        lines = [PanelLine("rows", f"{self.rows:,}: {self._counts()}")]
        if self.rate is not None:
            lines.append(PanelLine("rate", self._rate(self.rate)))
        if self.in_flight is not None:
            lines.append(PanelLine("in flight", f"{self.in_flight:,} at most, as found: {self.in_flight_why}"))
        if self.partial is not None:
            more = ": the results in its place have more texts"
            lines.append(path_line("partial", self.partial, more, Severity.WAIT))
        if used := spent(self.usage, self.in_all):
            lines.append(PanelLine("spent", used))
        share = 1 - self.left / max(self.rows, 1)
        return Panel(self.name, self.state, f", started {self._started()}", lines, self._severity(), share=share)

    def line(self) -> str:
        """Returns the changing parts on one line, for a log."""
        rate = f"; {self._rate(self.rate)}" if self.rate is not None else ""
        return f"{self.name}: {self.state}: {pluralize(self.rows, 'row')}: {self._counts()}{rate}"

    def _counts(self) -> str:
        have = inflect(self.done, "has its", "have their")
        return f"{self.done:,} {have} text, {self.failed:,} failed, {self.left:,} left"

    def _rate(self, rate: float) -> str:
        left = f", {approximately(self.left_s)} left" if self.left_s is not None else ""
        return f"{rate:,.1f} rows/s{left}"

    def _started(self) -> str:
        """Returns the start, and how long ago it was."""
        then = dt.datetime.fromisoformat(self.started_at)
        ago = (dt.datetime.now(dt.UTC) - then).total_seconds()
        return f"{moment(then)}, {duration(max(ago, 0.0))} ago"

    def _severity(self) -> Severity:
        if self.state == RUNNING:
            return Severity.CALM
        if self.failed:
            return Severity.BAD
        return Severity.GOOD if self.state == "finished" else Severity.WAIT


def status_of(job: Job) -> Status:
    """Returns the status, also during a run. Raises NotRunYet if the job has not run."""
    state = StateFiles.for_job(job)
    live = state.is_running()
    with state.open_as(ReportReader) as reader:
        last, as_run = reader.latest(), as_last_run(job, reader)
        current = AttemptRange(last.floor, reader.last_id())
        reader.gather_stories(current)
        counts = counts_of(last, reader.row_outcomes(current, last.first), reader.published(last))
        sent = reader.attempts_by(last)
        rate, left_s = reader.outlook(last)
        in_flight, why = reader.in_flight(last) or (None, None)
        usage, in_all = reader.usage(last) or NOTHING, reader.total_usage()
    live = live or state.is_running()  # looked at twice: a run that ends or begins meanwhile was not killed
    return Status(
        name=job.name,
        state=RUNNING if live else last.outcome or "killed",
        rows=counts.rows,
        done=counts.ok,
        failed=counts.failed,
        left=counts.pending,
        sent=sent,
        rate=rate if live else None,
        left_s=left_s if live else None,
        started_at=dt.datetime.fromtimestamp(last.started_at / 1e6, dt.UTC).isoformat(timespec="seconds"),
        partial=_partial(as_run, last.date),
        usage=usage,
        in_all=in_all,
        in_flight=in_flight,
        in_flight_why=why,
    )


def _partial(job: Job, date: str) -> str | None:
    from batchgen.output import destination  # noqa: PLC0415  a look at a run at work is a light one

    beside = destination.of(job, date).partial
    try:
        return str(beside) if destination.exists(beside) else None
    except OSError:  # the store does not answer
        return None
