"""What the Ray engine costs, and what a second actor gains: `python tests/benchmarks/actors.py [ROWS]`.

Answers of some 100 KB, nearly all log-probs. A further row: a large run less a small one, so that starting Ray is in
neither. CPU is counted by process: the driver (batchgen itself), its actors, and Ray's own servers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from statistics import median
from time import monotonic, sleep
from typing import NamedTuple

import answers
import made
import servers
from machine import BATCHGEN, ENVIRONMENT, note

TOKENS = 240
CONCURRENCY = 128
ROUNDS = 3
LOOKS_EVERY = 0.02
TICK = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Seconds."""

    wall: float
    driver: float
    actors: float
    ray: float


def main() -> None:
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 6_000
    body = answers.with_log_probs(TOKENS, Random(3))
    with tempfile.TemporaryDirectory() as folder, servers.constant(body) as url:
        costs = {n: further(Path(folder) / str(n), url, n, many) for n in (0, 1, 2)}
    print(f"answers of {len(body):,} bytes; {many:,} rows, {CONCURRENCY} in flight; medians of {ROUNDS}")
    for actors, cost in costs.items():
        told = f"{actors} actors" if actors else "this process"
        cpu = ", ".join(f"{name} {1e6 * seconds:,.0f}" for name, seconds in cost._asdict().items() if name != "wall")
        print(f"{told:>14}: {1 / cost.wall:6,.0f} rows/s; CPU a row, us: {cpu}")
    print(f"two actors to one: {costs[1].wall / costs[2].wall:.2f}")
    print(f"actors for one driver's core: {costs[2].actors / costs[2].driver:.1f}")
    print(f"the driver is the limit at: {1 / costs[2].driver:,.0f} rows/s")


def further(folder: Path, url: str, actors: int, many: int) -> Cost:
    few = many // 6
    jobs = [job(folder / str(rows), rows, actors) for rows in (few, many)]
    found = []
    for n in range(ROUNDS):
        note(f"{actors} actors, round {n + 1}")
        small, large = (run(job, url, actors) for job in jobs)
        found.append([(b - a) / (many - few) for a, b in zip(small, large, strict=True)])
    return Cost(*map(median, zip(*found, strict=True)))


def job(folder: Path, rows: int, actors: int) -> Path:
    path = made.job(folder, rows, concurrency=CONCURRENCY)
    if actors:
        with path.open("a") as file:
            file.write(f"engine: {{ray: {{actors: {actors}}}}}\n")
    return path


def run(job: Path, url: str, actors: int) -> Cost:
    """Until publishing begins, which is the driver's alone, and comes after."""
    made.forget(job)
    command = [BATCHGEN, "run", "--quiet", job, *(["--engine", "ray"] if actors else [])]
    started = monotonic()
    process = subprocess.Popen(command, env=ENVIRONMENT | {"WRITER_BASE_URL": url})
    spent: dict[int, tuple[str, float]] = {}
    while process.poll() is None and not list((job.parent / "out").glob("*.tmp")):
        look(process.pid, spent)
        sleep(LOOKS_EVERY)
    wall = monotonic() - started
    code = process.wait()
    if code:
        sys.exit(f"{command} ended with {code}")
    by = Counter()
    for who, seconds in spent.values():
        by[who] += seconds
    return Cost(wall, by["driver"], by["actors"], by["ray"])


def look(driver: int, spent: dict[int, tuple[str, float]]) -> None:
    for pid in tree(driver):
        with suppress(OSError, IndexError):
            name = Path(f"/proc/{pid}/cmdline").read_bytes()
            who = "driver" if pid == driver else "actors" if name.startswith(b"ray::Worker") else "ray"
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if name:
                spent[pid] = who, (int(fields[11]) + int(fields[12])) / TICK


def tree(pid: int) -> list[int]:
    found = [pid]
    for at in found:
        for children in Path(f"/proc/{at}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text().split())
    return found


if __name__ == "__main__":
    main()
