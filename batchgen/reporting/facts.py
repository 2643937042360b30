"""The checkpoint -> all facts of a report, as values. Knows no page, no plot and no file but the checkpoint.

Prompts come from the caller, since they are not stored. Must never change anything, nor keep more than a few bytes a
row.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from batchgen.checkpoint.schema import Run
from batchgen.checkpoint.state_files import StateFiles
from batchgen.job.job import Job
from batchgen.output.answer_sample import AnswerSample
from batchgen.reporting.counts import Counts, counts_of
from batchgen.reporting.figures import Figures, Worked, figures_of, last_good, worked_of
from batchgen.reporting.in_flight import InFlight, in_flight_of
from batchgen.reporting.queries import AttemptRange, ReportReader
from batchgen.reporting.rows import Reason, Sample, group_texts_of, reasons_of, samples_of
from batchgen.reporting.spent import Spent, spent_of
from batchgen.reporting.subject import Subject
from batchgen.reporting.texts import Group, look, outliers, repeated
from batchgen.reporting.timeline import Timeline, timeline
from batchgen.storage.location import Location


@dataclass(frozen=True)
class SendingRun:
    """The last run that sent something. `before`: the last good run before it. `requests_a_row`: (requests, rows that
    needed so many). `in_flight`: None if the job sets that number."""

    figures: Figures
    before: Figures | None
    requests_a_row: list[tuple[int, int]]
    time: Timeline
    in_flight: InFlight | None
    spent: Spent | None


@dataclass(frozen=True)
class Facts:
    """`fingerprint`: the checkpoint's, by which a later run finds the page up to date. `run`: the last one. `sending`:
    the last one that sent something, None if none did. `repeats`: (groups, rows that share their text, different
    texts). `rows_of`: the input row of an attempt, by its id."""

    fingerprint: str
    job: Job
    endpoint: str
    state: str
    run: Run
    made_at: int
    counts: Counts
    rejected: list[str]
    partial: str | None
    results: Location
    sending: SendingRun | None
    notes: dict[str, int]
    looked: AnswerSample
    repeats: tuple[list[Group], int, int]
    group_texts: dict[int, str]
    reasons: list[Reason]
    samples: list[Sample]
    rows_of: dict[int, int]


def gather(reader: ReportReader, subject: Subject) -> Facts:
    """Gathers all facts. Raises NotRunYet if there is nothing to report, MachineRefused if the checkpoint is
    damaged."""
    # Before all else: what is stored meanwhile makes the page an old one.
    fingerprint = subject.fingerprint(reader.fingerprint())
    runs, published = reader.runs(), subject.published
    last = runs[-1]
    current = AttemptRange(last.floor, reader.last_id())
    worked = worked_of(reader, runs, current.to)
    first = min(worked[-1].span.after if worked else current.after, current.after)
    reader.gather_stories(AttemptRange(first, current.to))
    ends, messages = reader.row_outcomes(current, last.first), reader.messages(current)
    counts = counts_of(last, ends, reader.published(last))
    looked = (published and published.answers) or look(reader, current)
    repeats = repeated(looked)
    samples, rows_of = samples_of(reader, subject.input, outliers(looked, repeats[0]), messages)
    return Facts(
        fingerprint=fingerprint,
        job=subject.job,
        endpoint=subject.endpoint,
        state=last.outcome or ("running" if StateFiles(reader.path).is_running() else "killed"),
        run=last,
        made_at=time.time_ns() // 1000,
        counts=counts,
        rejected=published.rejected if published else [],
        partial=published.partial if published else None,
        results=published.path if published else subject.job.output_path(last.date),
        sending=_sending(reader, subject, worked, looked) if worked else None,
        notes=reader.notes(current),
        looked=looked,
        repeats=repeats,
        group_texts=group_texts_of(reader, repeats[0]),
        reasons=reasons_of(ends, messages) if counts.failed else [],
        samples=samples,
        rows_of=rows_of,
    )


def _sending(reader: ReportReader, subject: Subject, worked: Sequence[Worked], looked: AnswerSample) -> SendingRun:
    """Returns the last of the runs that sent something. `looked`: the whole job's answers."""
    span = worked[-1].span
    figures = figures_of(reader, worked[-1], looked)
    times = timeline(reader, span, figures)
    return SendingRun(
        figures=figures,
        before=last_good(reader, worked[:-1]),
        requests_a_row=reader.requests_a_row(span, figures.ok),
        time=times,
        in_flight=in_flight_of(reader, figures.run, times, figures.times),
        spent=spent_of(reader, subject, figures),
    )
