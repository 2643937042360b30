"""One run in numbers, and the last good run before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from batchgen.checkpoint.schema import OK, Run
from batchgen.output.answer_sample import AnswerSample
from batchgen.reporting.queries import AttemptGroup, AttemptRange, ReportReader
from batchgen.reporting.texts import look

RUN_ANSWERS = 5_000
"""Answers of one run that are looked at, where those of the whole job are too many."""
MAX_TIMES = 100_000
"""Latencies and moments of one run that are looked at; of more, an even sample."""
MIN_PERIOD = 1.0
"""A shorter run has no rate."""


@dataclass(frozen=True)
class Figures:
    """One run in numbers. `is_rest`: it continued a stopped one, so its counts are not a whole run's. `kinds`: its
    attempts. `seconds`: to its last attempt. `times`: `finished_at` and `latency` of one of each `every` answers."""

    run: Run
    is_rest: bool
    kinds: Sequence[AttemptGroup]
    ok: int
    failed: int
    requests: int
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
    def period(self) -> tuple[int, int]:
        """Returns the run's start and its last attempt, in microseconds."""
        return self.run.started_at, self.run.started_at + int(self.seconds * 1e6)

    @property
    def rate(self) -> float | None:
        """Returns answers a second; None if the run was too short to have a rate."""
        return self.ok / self.seconds if self.ok and self.seconds >= MIN_PERIOD else None


class Worked(NamedTuple):
    """A run with its own attempts, by kind. `is_rest`: the run before it did not finish."""

    run: Run
    span: AttemptRange
    kinds: Sequence[AttemptGroup]
    is_rest: bool

    @property
    def ok(self) -> int:
        return sum(kind.attempts for kind in self.kinds if kind.outcome == OK)

    @property
    def failed(self) -> int:
        return sum(kind.final for kind in self.kinds if kind.outcome != OK)


def worked_of(reader: ReportReader, runs: Sequence[Run], to: int) -> list[Worked]:
    """Returns the runs that sent something. `to`: the last attempt's id."""
    spans = [
        AttemptRange(run.first, end) for run, end in zip(runs, [*(run.first for run in runs[1:]), to], strict=True)
    ]
    rests = [False, *(run.outcome != "finished" for run in runs[:-1])]
    of_runs = zip(runs, spans, map(reader.attempt_groups, spans), rests, strict=True)
    return [worked for worked in map(Worked._make, of_runs) if worked.kinds]


def figures_of(reader: ReportReader, worked: Worked, looked: AnswerSample | None) -> Figures:
    """Returns a run's figures. `looked`: the whole job's answers; the run's own are taken from these if they are
    enough."""
    run, span, kinds, is_rest = worked
    ok = worked.ok
    own = None if looked is None else looked.answers.filter(pl.col("id") > span.after)
    enough = own is not None and own.height >= min(ok, RUN_ANSWERS)
    every = -(-ok // MAX_TIMES) or 1
    return Figures(
        run=run,
        is_rest=is_rest,
        kinds=kinds,
        ok=ok,
        failed=worked.failed,
        requests=sum(kind.attempts for kind in kinds if kind.has_left),
        seconds=max(max(kind.finished_at for kind in kinds) - run.started_at, 0) / 1e6,
        slowest=max((kind.slowest or 0 for kind in kinds if kind.outcome == OK), default=0),
        every=every,
        times=reader.answers_over_time(span, every),
        looked=AnswerSample(own, ok) if own is not None and enough else look(reader, span, RUN_ANSWERS, RUN_ANSWERS),
    )


def last_good(reader: ReportReader, earlier: Sequence[Worked]) -> Figures | None:
    """Returns the last run that finished, continued no other, and had more answers than failures."""
    for worked in reversed(earlier):
        if worked.run.outcome == "finished" and not worked.is_rest and worked.ok > worked.failed:
            return figures_of(reader, worked, None)
    return None
