"""Peak memory of a whole run, for few rows and for many, with all its processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from random import Random

import answers
import made
import servers
from machine import Cost, note, run_of
from made import Bench
from table import Line

SHORT = 20
"""Characters of the short answers."""
TOKENS = 100
FEW = 10_000
MOST = 100


def lines(bench: Bench) -> Iterator[Line]:
    few, many = FEW, bench.pick(1_000_000, 40_000)
    yield from _told(few, whole_run(bench, few), many, whole_run(bench, many), "")
    few, many = bench.pick(FEW, 500), bench.pick(100_000, 4_000)  # a million would be 35 GB of answers
    what = f", log-probs {TOKENS} x {answers.ALTERNATIVES}"
    runs = (whole_run(bench, rows, log_probs=True) for rows in (few, many))
    yield from _told(few, next(runs), many, next(runs), what)


@cache
def whole_run(bench: Bench, rows: int, *, log_probs: bool = False) -> Cost:
    note(f"  rows in a whole run: {rows:,}")
    job = made.job(bench.folder / f"whole-{rows}", rows, bench.suffix)
    body = answers.with_log_probs(TOKENS, Random(3)) if log_probs else answers.constant(SHORT)
    with servers.constant(body) as url:
        found = run_of(job, url, tree=True)
    shutil.rmtree(job.parent)
    return found


def _told(few: int, less: Cost, many: int, more: Cost, what: str) -> Iterator[Line]:
    yield Line(f"{few:,} rows{what}", f"{less.peak:.0f} MB")
    yield Line(f"{many:,} rows{what}", f"{more.peak:.0f} MB")
    yield Line("  more", f"{more.peak - less.peak:+.0f} MB", f"<= +{MOST} MB")
