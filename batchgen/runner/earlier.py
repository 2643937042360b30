"""What earlier runs left for a plan to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from batchgen.api.usage import NOTHING, Usage
from batchgen.checkpoint.history import LearnedRate
from batchgen.checkpoint.index import Index
from batchgen.errors import NotRunYet
from batchgen.runner.owner import refuse_anothers_checkpoint
from batchgen.runner.plan import Plan, make_plan
from batchgen.runner.prepare import PreparedJob, today
from batchgen.runner.recheck import restate


@dataclass(frozen=True)
class EarlierRuns:
    """What earlier runs left for a plan to know: nothing, where there was none. `next_date`: of a run that starts now,
    by its requests; `usage`: of all runs."""

    next_date: Callable[[str], str]
    index: Index = field(default_factory=lambda: Index((), 0))
    has_run: bool = False
    names: Sequence[str] = ()
    latency: float | None = None
    learned: LearnedRate | None = None
    answers: Sequence[tuple[float, int]] = ()
    usage: Usage = NOTHING
    restated: Callable[[pl.DataFrame], pl.DataFrame] | None = None

    def plan(self, setup: PreparedJob, *, retry_failed: bool) -> Plan:
        """As `make_plan`, which see."""
        return make_plan(
            setup.job,
            setup.source,
            setup.requests,
            self.index,
            iter(self.names),
            setup.limits,
            retry_failed=retry_failed,
            restated=self.restated,
        )


@contextmanager
def earlier_runs(setup: PreparedJob, *, rehearse: bool) -> Iterator[EarlierRuns]:
    try:
        opened = setup.state.open_readonly(without_trace=True)
    except NotRunYet:
        yield EarlierRuns(lambda _: today())
        return
    with opened as reader:
        refuse_anothers_checkpoint(setup.job, reader.owner())
        yield EarlierRuns(
            partial(reader.next_date, today()),
            Index(reader.states(), reader.next_floor(reuse=setup.job.reuse, first=setup.job.first)),
            True,  # noqa: FBT003  it has run
            list(reader.names()),
            reader.median_latency(),
            reader.learned(),
            reader.last_answers() if rehearse else (),
            reader.usage_in_all(),
            partial(restate, reader=reader, fitness=setup.fitness),
        )
