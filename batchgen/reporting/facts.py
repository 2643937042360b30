"""The checkpoint -> all facts of a report, as values. Knows no page, no plot and no file but the checkpoint.

Prompts come from the caller, since they are not stored. Must never change anything, nor keep more than a few bytes a
row.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from batchgen.checkpoint.schema import OK, Run
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import NotRunYet
from batchgen.job.job import Job
from batchgen.output.answer_sample import AnswerSample
from batchgen.output.publish import PublishResult
from batchgen.reporting.in_flight import InFlight, in_flight_of
from batchgen.reporting.queries import AttemptGroup, AttemptRange, Message, ReportReader, RowOutcome
from batchgen.reporting.spent import Spent, spent_of
from batchgen.reporting.subject import InputIndex, Subject
from batchgen.reporting.texts import Group, Outlier, look, outliers, repeated
from batchgen.reporting.timeline import Timeline, timeline
from batchgen.reporting.wording import TEXT_CHARS
from batchgen.storage.location import Location

RUN_ANSWERS = 5_000
"""Answers of one run that are looked at, where those of the whole job are too many."""
MOST_TIMES = 100_000
"""Latencies and moments of one run that are looked at; of more, an even sample."""
LEAST_PERIOD = 1.0
"""A shorter run has no rate."""


@dataclass(frozen=True)
class Counts:
    """Counts of rows. `fresh`: those of the `ok` ones that the last run bought."""

    rows: int
    ok: int
    fresh: int
    reused: int
    failed: int
    pending: int
    gone: int


@dataclass(frozen=True)
class Reason:
    """A reason why rows failed: an outcome and status, and the commonest messages."""

    outcome: str
    status: int | None
    rows: int
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Sample:
    """A row for a person to read. `row` (its number from 0) and `prompt` are known if the input is. `text` is cut; the
    whole one has `chars` characters."""

    why: str
    key: bytes
    name: str | None
    row: int | None
    prompt: str | None
    text: str
    chars: int
    latency: float | None
    attempts: int
    mean_logprob: float | None


@dataclass(frozen=True)
class Figures:
    """One run in numbers. `is_rest`: it continued a stopped one, so its counts are not a whole run's. `seconds`: to its
    last attempt. `times`: `finished_at` and `latency` of one of each `every` answers. Tokens are estimates, of
    answers."""

    run: Run
    is_rest: bool
    tries: Sequence[AttemptGroup]
    ok: int
    failed: int
    attempts: int
    seconds: float
    slowest: float
    every: int
    times: pl.DataFrame
    looked: AnswerSample

    @property
    def latencies(self) -> pl.Series:
        """Returns seconds."""
        return self.times["latency"]

    @property
    def rate(self) -> float | None:
        """Returns answers a second; None if the run was too short to have a rate."""
        return self.ok / self.seconds if self.ok and self.seconds >= LEAST_PERIOD else None


@dataclass(frozen=True)
class Facts:
    """`figures`: of the last run that sent something, None if none did. `before`: of the last good run before it.
    `in_flight`: None if the job sets that number. `repeats`: (groups, rows that share their text, different texts)."""

    job: Job
    endpoint: str
    state: str
    run: Run
    made_at: int
    counts: Counts
    rejected: list[str]
    partial: str | None
    results: Location
    figures: Figures | None
    before: Figures | None
    requests_a_row: list[tuple[int, int]]
    notes: dict[str, int]
    time: Timeline | None
    in_flight: InFlight | None
    spent: Spent | None
    looked: AnswerSample
    repeats: tuple[list[Group], int, int]
    group_texts: dict[int, str]
    reasons: list[Reason]
    samples: list[Sample]
    rows_of: dict[int, int]

    @property
    def tries(self) -> Sequence[AttemptGroup]:
        return self.figures.tries if self.figures else ()


def gather(archive: ReportReader, subject: Subject) -> Facts:
    """Gathers all facts. Raises NotRunYet if there is nothing to report, MachineRefused if the checkpoint is
    damaged."""
    runs = archive.runs()
    if not runs:
        raise NotRunYet(f"{archive.path}: the job has not run yet")
    last = runs[-1]
    known = AttemptRange(last.floor, archive.last_id())
    worked = _worked(archive, runs, known.to)
    span = worked[-1].span if worked else known
    archive.gather_stories(AttemptRange(min(span.after, known.after), known.to))
    ends = archive.row_outcomes(known, last.first)
    looked = (subject.published and subject.published.answers) or look(archive, known)
    figures = _figures(archive, worked[-1], looked) if worked else None
    time_ = _timeline(archive, span, figures)
    repeats = repeated(looked)
    messages = archive.messages(known)
    samples, rows_of = _samples(archive, subject.known, outliers(looked, repeats[0]), messages)
    return Facts(
        job=subject.job,
        endpoint=subject.endpoint,
        state=last.outcome or ("running" if StateFiles(archive.path).is_running() else "killed"),
        run=last,
        made_at=time.time_ns() // 1000,
        counts=_counts(last, ends, subject.published),
        rejected=subject.published.rejected if subject.published else [],
        partial=subject.published.partial if subject.published else None,
        results=subject.published.path if subject.published else subject.job.output_path(last.date),
        figures=figures,
        before=_last_good(archive, worked[:-1]),
        requests_a_row=archive.requests_a_row(span, figures.ok) if figures else [],
        notes=archive.notes(known),
        time=time_,
        in_flight=in_flight_of(archive, figures.run, time_, figures.times) if figures and time_ else None,
        spent=spent_of(archive, subject, figures.run, figures.ok, figures.looked.answers) if figures else None,
        looked=looked,
        repeats=repeats,
        group_texts=_texts(archive, repeats[0]),
        reasons=_reasons(ends, messages) if subject.published is None or subject.published.failed else [],
        samples=samples,
        rows_of=rows_of,
    )


class _Worked(NamedTuple):
    """A run with its own attempts. `is_rest`: the run before it did not finish."""

    run: Run
    span: AttemptRange
    tries: Sequence[AttemptGroup]
    is_rest: bool


def _worked(archive: ReportReader, runs: Sequence[Run], to: int) -> list[_Worked]:
    """Returns the runs that sent something."""
    spans = [
        AttemptRange(run.first, end) for run, end in zip(runs, [*(run.first for run in runs[1:]), to], strict=True)
    ]
    rests = [False, *(run.outcome != "finished" for run in runs[:-1])]
    of_runs = zip(runs, spans, map(archive.attempt_groups, spans), rests, strict=True)
    return [worked for worked in map(_Worked._make, of_runs) if worked.tries]


def _counts(run: Run, ends: Sequence[RowOutcome], published: PublishResult | None) -> Counts:
    """Counts rows. The run knows how many rows it had and how many were to be done; the others were answered, or failed
    and were not tried again. Further attempts belong to rows that the input no longer has."""
    done = {fresh: sum(e.rows for e in ends if e.outcome == OK and e.fresh is fresh) for fresh in (True, False)}
    failed = sum(e.rows for e in ends if e.final and e.outcome != OK and e.fresh)
    reused = min(run.rows - run.todo, done[False])
    left_alone = run.rows - run.todo - reused
    pending = max(run.todo - done[True] - failed, 0)
    gone = done[False] - reused
    if published is not None:  # whose check may take a text that it did not take before
        ok, fresh = published.ok, min(done[True], published.ok)
        return Counts(published.rows, ok, fresh, ok - fresh, published.failed, published.pending, gone)
    ok = reused + done[True]
    return Counts(run.rows, ok, done[True], reused, failed + left_alone, pending, gone)


def _figures(archive: ReportReader, worked: _Worked, looked: AnswerSample | None) -> Figures:
    """Returns a run's figures. `looked`: the whole job's answers; the run's own are taken from these if they are
    enough."""
    run, span, tries, is_rest = worked
    ok = sum(kind.attempts for kind in tries if kind.outcome == OK)
    own = None if looked is None else looked.answers.filter(pl.col("id") > span.after)
    enough = own is not None and own.height >= min(ok, RUN_ANSWERS)
    every = -(-ok // MOST_TIMES) or 1
    return Figures(
        run=run,
        is_rest=is_rest,
        tries=tries,
        ok=ok,
        failed=sum(kind.final for kind in tries if kind.outcome != OK),
        attempts=sum(kind.attempts for kind in tries),
        seconds=max(max(kind.finished_at for kind in tries) - run.started_at, 0) / 1e6,
        slowest=max((kind.slowest or 0 for kind in tries if kind.outcome == OK), default=0),
        every=every,
        times=archive.answers_over_time(span, every),
        looked=AnswerSample(own, ok) if own is not None and enough else look(archive, span, RUN_ANSWERS, RUN_ANSWERS),
    )


def _last_good(archive: ReportReader, earlier: Sequence[_Worked]) -> Figures | None:
    """Returns the last run that finished, continued no other, and had more answers than failures."""
    for worked in reversed(earlier):
        ok = sum(kind.attempts for kind in worked.tries if kind.outcome == OK)
        failed = sum(kind.final for kind in worked.tries if kind.outcome != OK)
        if worked.run.outcome == "finished" and not worked.is_rest and ok > failed:
            return _figures(archive, worked, None)
    return None


def _timeline(archive: ReportReader, span: AttemptRange, figures: Figures | None) -> Timeline | None:
    if figures is None:
        return None
    start = figures.run.started_at
    end = start + int(figures.seconds * 1e6)
    return timeline(archive, span, (start, end), figures.tries, figures.times["finished_at"], figures.every)


def _reasons(ends: Sequence[RowOutcome], messages: Sequence[Message]) -> list[Reason]:
    rows: dict[tuple[str, int | None], int] = defaultdict(int)
    for end in ends:
        if end.final and end.outcome != OK:
            rows[end.outcome, end.status] += end.rows
    reasons = [
        Reason(outcome, status, n, tuple(m for m in messages if (m.outcome, m.status) == (outcome, status)))
        for (outcome, status), n in rows.items()
    ]
    return sorted(reasons, key=lambda reason: -reason.rows)


def _samples(
    archive: ReportReader, known: InputIndex | None, odd: Sequence[Outlier], messages: Sequence[Message]
) -> tuple[list[Sample], dict[int, int]]:
    """Returns the outliers with their texts and prompts, and the input row of each of these and of each failure."""
    found = known.find([*(one.id for one in odd), *(message.id for message in messages)]) if known is not None else {}
    samples = []
    for one in odd:
        record = archive.records([one.id]).get(one.id)  # each alone: one may have 64 MB
        answer = archive.answer(record) if record else None
        if record is None or answer is None:
            continue
        row, prompt = found.get(one.id, (None, None))
        first = answer.choices[0]
        text = first.text[:TEXT_CHARS]
        about = record.key, record.name, row, prompt, text, len(first.text), record.latency, record.attempts
        samples.append(Sample(one.why, *about, one.mean_logprob))
    return samples, {id_: row for id_, (row, _) in found.items()}


def _texts(archive: ReportReader, groups: Sequence[Group]) -> dict[int, str]:
    found = {}
    for group in groups:
        for record in archive.records([group.id]).values():
            answer = archive.answer(record)
            if answer is not None:
                found[group.id] = answer.choices[0].text[:TEXT_CHARS]
    return found
