"""What it takes to begin: the commands that do nothing, against an interpreter that does nothing; small jobs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import made
from machine import BATCHGEN, Cost, cost, note
from made import Bench
from table import Line

MOST = 5.0
ROWS = 5000
MAX_CPU = 1.0

NOTHING = (sys.executable, "-c", "pass")
COMMANDS = {"--help": (BATCHGEN, "--help"), "--version": (BATCHGEN, "--version")}


def lines(bench: Bench) -> Iterator[Line]:
    note("  starting")
    rounds = [[cost(*command).wall for command in (NOTHING, *COMMANDS.values())] for _ in range(bench.pick(16, 6))]
    nothing, *found = map(median, zip(*rounds[1:], strict=True))  # the first reads from disk and compiles
    yield Line("python -c pass", f"{1000 * nothing:.0f} ms")
    for name, wall in zip(COMMANDS, found, strict=True):
        yield Line(f"batchgen {name}", f"{1000 * wall:.0f} ms", f"<= {MOST:.0f}", wall / nothing)
    yield _of("plan", _plan(bench), f"< {MAX_CPU:.0f} s")
    yield from _after_a_run(bench)


def _plan(bench: Bench) -> list[Cost]:
    job = made.job(bench.folder / "start", ROWS, bench.suffix)
    found = _repeated(bench, BATCHGEN, "plan", "--local", job)
    shutil.rmtree(job.parent)
    return found


def _after_a_run(bench: Bench) -> Iterator[Line]:
    job = made.prepared(bench, ROWS, "start")
    cost(BATCHGEN, "run", "--quiet", "--local", job)  # the last ten
    commands = {
        "a night of nothing to do": ("run", "--quiet"),
        "plan beside its results": ("plan",),
        "status": ("status",),
    }
    for what, command in commands.items():
        yield _of(what, _repeated(bench, BATCHGEN, *command, "--local", job), "")
    shutil.rmtree(job.parent)


def _repeated(bench: Bench, *command: str | Path) -> list[Cost]:
    return [cost(*command) for _ in range(bench.pick(7, 3))]


def _of(what: str, found: list[Cost], target: str) -> Line:
    return Line(f"{what}, {ROWS:,} rows, CPU", f"{median(one.cpu for one in found):.2f} s", target)
