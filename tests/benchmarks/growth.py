"""Whether a row of a large job takes longer than one of a small job. What one row alone takes, the start, is off."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from statistics import median

import made
import memory
from machine import BATCHGEN, cost, note
from made import LEFT, Bench
from memory import FEW
from table import Line

MOST = 1.15


def lines(bench: Bench) -> Iterator[Line]:
    few, many = FEW, bench.pick(1_000_000, 100_000)
    start, small, large = (_nothing_to_do(bench, rows) for rows in (LEFT + 1, few, many))
    yield from _told("plan + publish", start, few, small, many, large)
    many = bench.pick(1_000_000, 40_000)
    start, small, large = (memory.whole_run(bench, rows).wall for rows in (1, few, many))
    yield from _told("the whole run", start, few, small, many, large)


def _nothing_to_do(bench: Bench, rows: int) -> float:
    """Seconds of a run that finds all answered: it plans and publishes, and sends nothing."""
    job = made.prepared(bench, rows, f"growth-{rows}")
    command = (BATCHGEN, "run", "--quiet", "--local", job)
    cost(*command)  # the last ten
    note(f"  {rows:,} rows, nothing to do")
    repeats = bench.pick(9, 5) if rows <= FEW else bench.pick(3, 2)
    found = median(cost(*command).wall for _ in range(repeats))
    shutil.rmtree(job.parent)
    return found


def _told(what: str, start: float, few: int, small: float, many: int, large: float) -> Iterator[Line]:
    a_row, of_many = (small - start) / few, (large - start) / many
    yield Line(f"{what}, a row of {few:,}", f"{1e6 * a_row:.1f} us")
    yield Line(f"{what}, a row of {many:,}", f"{1e6 * of_many:.1f} us", f"<= {MOST:.2f}", of_many / a_row)
