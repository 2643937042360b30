"""The state that earlier runs left for a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from batchgen.api.usage import NOTHING, Usage
from batchgen.checkpoint.history import LearnedRate
from batchgen.checkpoint.index import Index
from batchgen.errors import NotRunYet
from batchgen.output.owner import refuse_anothers_checkpoint
from batchgen.runner.endpoints import refuse_built_in
from batchgen.runner.plan import NO_INDEX, Plan, ReadIndex, make_plan, refuse_too_long
from batchgen.runner.prepare import PreparedJob, today
from batchgen.runner.recheck import recheck_states

if TYPE_CHECKING:
    from batchgen.runner.rehearsal import Rehearsal

Recheck = Callable[[pl.DataFrame, Index], pl.DataFrame]
"""Returns a plan's rows with their answers by the present check."""


@dataclass(frozen=True)
class EarlierRuns:
    """The state that earlier runs left; empty if there were none. `next_date`: returns the date of a run that starts
    now, by the digest of its requests. `names`: the `input.id` of each row that was tried, for one plan: they are read
    only where it asks. `usage`: of all runs. `in_flight`: what a run found best, where the job leaves it open."""

    next_date: Callable[[str], str]
    read_index: ReadIndex = NO_INDEX
    has_run: bool = False
    names: Iterator[str] = field(default_factory=lambda: iter(()))
    latency: float | None = None
    learned: LearnedRate | None = None
    answers: Sequence[tuple[float, int]] = ()
    usage: Usage = NOTHING
    in_flight: int | None = None
    recheck: Recheck | None = None
    endpoints: Sequence[str] = ()

    def plan(self, setup: PreparedJob, *, retry_failed: bool) -> Plan:
        """Makes a plan. Raises UsageError as `plan_after` does."""
        return plan_after(setup, self.read_index, self.names, self.recheck, retry_failed=retry_failed)


def plan_after(
    setup: PreparedJob, read_index: ReadIndex, names: Iterator[str], recheck: Recheck | None, *, retry_failed: bool
) -> Plan:
    """Makes a plan by what is stored: the keys in the index, and the `input.id` of each row that was tried. Raises
    UsageError as `make_plan` and `refuse_too_long` do."""
    plan = make_plan(setup, read_index, names, retry_failed=retry_failed, recheck=recheck)
    refuse_too_long(plan, setup)
    return plan


@contextmanager
def earlier_runs(setup: PreparedJob, *, rehearse: bool) -> Iterator[EarlierRuns]:
    try:
        reader_context = setup.state.open_readonly(without_trace=True)
    except NotRunYet:
        yield EarlierRuns(lambda _: today())
        return
    with reader_context as reader:
        refuse_anothers_checkpoint(setup.job, reader.owner())
        refuse_built_in(setup, reader.endpoints())
        yield EarlierRuns(
            next_date=partial(reader.next_date, today()),
            read_index=partial(reader.index, reader.next_floor(reuse=setup.job.reuse, first_rows=setup.job.first_rows)),
            has_run=True,
            names=reader.row_names(),
            latency=reader.median_latency(),
            learned=reader.learned_rate(),
            answers=reader.last_answers() if rehearse else (),
            usage=reader.total_usage(),
            in_flight=reader.last_in_flight(),
            recheck=partial(recheck_states, reader=reader, checker=setup.checker),
            endpoints=reader.endpoints(),
        )


def rehearsed(setup: PreparedJob, made: Plan, earlier: EarlierRuns) -> Rehearsal:
    """Plays the night on a simulated clock."""
    from batchgen.runner.rehearsal import rehearse  # noqa: PLC0415  most plans play none

    learned = earlier.learned.per_minute if earlier.learned else None
    return rehearse(setup, made, learned, earlier.in_flight, earlier.answers)
