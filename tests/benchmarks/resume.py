"""What it costs to come back to a job that is nearly done: `python tests/benchmarks/resume.py [rows ...]`.

For each size a job is made whose checkpoint holds an answer to every row but ten. Then `plan` and `run` are
measured as processes of their own: wall and CPU seconds, peak memory, and the memory a row takes beyond that of
the smallest size. No assertion: machines differ; compare the lines of one table.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import made
from machine import BATCHGEN, Cost, cost
from made import Bench
from table import Line

COMMANDS = {"plan": ("plan",), "run": ("run", "--quiet")}
MAX_SECONDS, MAX_BYTES = 15, 100


def costs(bench: Bench, rows: int) -> dict[str, Cost]:
    """Of `plan`, and of the `run` that does the last ten."""
    job = made.prepared(bench, rows, f"resume-{rows}")
    found = {name: cost(BATCHGEN, *command, job, "--local") for name, command in COMMANDS.items()}
    shutil.rmtree(job.parent)
    return found


def bytes_a_row(more: Cost, less: Cost, rows: int) -> float:
    return (more.peak - less.peak) * (1 << 20) / rows


def lines(bench: Bench) -> Iterator[Line]:
    few, many = 10_000, bench.pick(1_000_000, 100_000)
    less, more = costs(bench, few), costs(bench, many)
    for command in COMMANDS:
        wall = more[command].wall
        yield Line(f"{command}, all but ten of {many:,} done", f"{wall:.1f} s", f"<= {MAX_SECONDS} s")
    for command in COMMANDS:
        size = bytes_a_row(more[command], less[command], many)
        target = "in full only" if bench.quick else f"<= {MAX_BYTES} bytes"  # few rows do not fill the buffers
        yield Line(f"{command}, memory a row beyond {few:,} rows", f"{size:.0f} bytes", target)


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or [10_000, 1_000_000]
    least: dict[str, Cost] = {}
    print(f"{'rows':>10} {'':6} {'wall s':>8} {'CPU s':>8} {'peak MB':>8} {'bytes a row more':>17}")
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            found = costs(Bench(Path(folder)), rows)
        for command, spent in found.items():
            more = bytes_a_row(spent, least.setdefault(command, spent), rows)
            print(f"{rows:>10,} {command:6} {spent.wall:8.2f} {spent.cpu:8.2f} {spent.peak:8.0f} {more:17.0f}")


if __name__ == "__main__":
    main()
