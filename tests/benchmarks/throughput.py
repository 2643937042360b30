"""Rows a second and CPU of a further row, against a bare loop and what others made.

A further row: a large run less a small one, so that starting, importing and planning a first row are in neither.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, NamedTuple

import answers
import made
import servers
from machine import ENVIRONMENT, HERE, Cost, core, cost, note, run_of
from made import Bench
from table import Line

CONCURRENCY = 64
TOKENS = 100
FIELD = ("lm-deluge", "writer-sdk")


class Further(NamedTuple):
    """What a further row takes, in seconds."""

    wall: float
    cpu: float


class Pair(NamedTuple):
    """One round of both, at the same time of day."""

    ours: Further
    bare: Further


def lines(bench: Bench) -> Iterator[Line]:
    ours = 0.0
    for what, body, least, most in (
        ("", answers.constant(servers.CHARACTERS), 0.8, 1.3),
        (f", log-probs {TOKENS} x {answers.ALTERNATIVES}", answers.with_log_probs(TOKENS, Random(3)), 0.5, None),
    ):
        with servers.constant(body) as url:
            pairs = _pairs(bench, url, what)
            ours = ours or _rate(pairs)
            yield from _told(bench, what, pairs, least, most)
    with servers.constant(answers.constant(servers.CHARACTERS)) as url:
        for tool in FIELD:
            yield _beside(bench, tool, url, ours)


def _pairs(bench: Bench, url: str, what: str) -> list[Pair]:
    few, many = bench.pick(1_000, 500), bench.pick(20_000, 3_000)
    jobs = {rows: made.job(bench.folder / f"throughput-{rows}", rows, bench.suffix) for rows in (few, many)}
    run_of(jobs[few], url)  # whatever is read from disk for the first time
    pairs = []
    for n in range(bench.pick(5, 3)):
        note(f"  round {n + 1}{what}")
        ours = [_run(jobs[rows], url) for rows in (few, many)]
        bare = [bare_loop(url, rows, CONCURRENCY) for rows in (few, many)]
        pairs.append(Pair(_further(ours, many - few), _further(bare, many - few)))
    for job in jobs.values():
        shutil.rmtree(job.parent)
    return pairs


def _run(job: Path, url: str) -> Cost:
    made.forget(job)
    return run_of(job, url)


def bare_loop(url: str, rows: int, concurrency: int) -> Cost:
    with core(1):
        return cost(sys.executable, HERE / "bare.py", url, str(rows), str(concurrency))


def _further(costs: list[Cost], rows: int) -> Further:
    small, large = costs
    return Further((large.wall - small.wall) / rows, (large.cpu - small.cpu) / rows)


def _rate(pairs: list[Pair]) -> float:
    return median(1 / pair.ours.wall for pair in pairs)


def _told(bench: Bench, what: str, pairs: list[Pair], least: float, most: float | None) -> Iterator[Line]:
    rate = f"{_rate(pairs):,.0f} rows/s"
    cpu = f"{1e6 * median(pair.ours.cpu for pair in pairs):.0f} us"
    bare = f"{median(1 / pair.bare.wall for pair in pairs):,.0f} rows/s"
    bare_cpu = f"{1e6 * median(pair.bare.cpu for pair in pairs):.0f} us"
    rates, cpus = [p.bare.wall / p.ours.wall for p in pairs], [p.ours.cpu / p.bare.cpu for p in pairs]
    yield Line(f"{bench.suffix} in, Parquet out{what}", rate, f">= {least:.2f} of bare", median(rates))
    yield Line("  CPU a further row", cpu, f"<= {most:.2f} of bare" if most else "", median(cpus))
    yield Line("  a bare aiohttp loop", bare)
    yield Line("  its CPU", bare_cpu)


def _beside(bench: Bench, tool: str, url: str, ours: float) -> Line:
    """A tool that people would pick instead; its ratio is how much faster ours is."""
    rows = bench.pick(5_000, 500)
    found: list[dict[str, Any]] = []
    for n in range(bench.pick(3, 1)):
        note(f"  {tool}, round {n + 1}")
        with core(1):
            command = [bench.field_python, HERE / "field.py", tool, url, str(rows), str(CONCURRENCY)]
            told = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, check=True).stdout
        found += [json.loads(told.splitlines()[-1])]
    if not found[0]:
        return Line(tool, "not installed")
    rate = median(rows / one["seconds"] for one in found)
    return Line(f"{tool} {found[0]['version']}, at work", f"{rate:,.0f} rows/s", "ours to it", ours / rate)
