"""How many rows of a job ended how, by its checkpoint. A look at a run at work needs no more than that, and is a light
one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchgen.checkpoint.schema import OK, RowCounts, Run
from batchgen.reporting.queries import RowOutcome


@dataclass(frozen=True)
class Counts:
    """Counts of rows. `new`: those of the `ok` ones that the last run bought."""

    rows: int
    ok: int
    new: int
    reused: int
    failed: int
    pending: int
    gone: int


def counts_of(run: Run, ends: Sequence[RowOutcome], published: RowCounts | None) -> Counts:
    """Counts rows. The run knows how many rows it had and how many were to be done; the others were answered, or failed
    and were not tried again. Further attempts belong to rows that the input no longer has. `published`: how the rows
    stood at the run's end, by the check that the job had then."""
    new, old = (sum(e.rows for e in ends if e.outcome == OK and e.is_new is is_new) for is_new in (True, False))
    failed = sum(e.rows for e in ends if e.final and e.outcome != OK and e.is_new)
    reused = min(run.rows - run.todo, old)
    left_alone = run.rows - run.todo - reused
    pending = max(run.todo - new - failed, 0)
    gone = old - reused
    if published is not None:  # whose check may take a text that it did not take before
        rows, ok, failed, pending = published
        new = min(new, ok)
        return Counts(rows, ok, new, ok - new, failed, pending, gone)
    return Counts(run.rows, reused + new, new, reused, failed + left_alone, pending, gone)
