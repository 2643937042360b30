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
from made import PLAIN, Bench, Prompts
from table import Line

CONCURRENCY = 64
TOKENS = 100
FIELD = ("lm-deluge", "writer-sdk")


class Shape(NamedTuple):
    """What is sent and answered, and the ratios to a bare loop that it should keep to: of its rows/s, and of its CPU."""

    name: str
    prompts: Prompts
    answer: bytes
    least: float
    most: float | None = None
    concurrency: int = CONCURRENCY


QUOTED = 'He said: "Yes"\n'
SHORT = answers.constant(servers.CHARACTERS)
SHAPES = (
    Shape("", PLAIN, SHORT, 0.94, 1.3),
    Shape(", 16 in flight", PLAIN, SHORT, 0.9, concurrency=16),
    Shape(", prompts of 2,000", Prompts(2_000), SHORT, 0.85),
    Shape(", prompts of 8,000", Prompts(8_000), SHORT, 0.85),
    Shape(", 2,000 with quotes", Prompts(2_000, QUOTED), answers.constant(2_000, QUOTED), 0.85),
    Shape(f", log-probs {TOKENS} x {answers.ALTERNATIVES}", PLAIN, answers.with_log_probs(TOKENS, Random(3)), 0.5),
)


class Further(NamedTuple):
    """What a further row takes, in seconds."""

    wall: float
    cpu: float


class Round(NamedTuple):
    """All of them at the same time of day. `plain`: a bare loop that parses as most people do, by the standard library."""

    ours: Further
    bare: Further
    plain: Further


def lines(bench: Bench) -> Iterator[Line]:
    ours = 0.0
    for shape in SHAPES:
        with servers.constant(shape.answer) as url:
            rounds = _rounds(bench, url, shape)
            ours = ours or _rate(rounds)
            yield from _told(bench, shape, rounds)
    with servers.constant(SHORT) as url:
        for tool in FIELD:
            yield _beside(bench, tool, url, ours)


def _rounds(bench: Bench, url: str, shape: Shape) -> list[Round]:
    few, many = bench.pick(1_000, 500), bench.pick(20_000, 3_000)
    jobs = {
        rows: made.job(bench.folder / f"throughput-{rows}", rows, bench.suffix, shape.concurrency, shape.prompts)
        for rows in (few, many)
    }
    prompt = made.prompt(bench, shape.prompts)
    run_of(jobs[few], url)  # whatever is read from disk for the first time
    rounds = []
    for n in range(bench.pick(5, 3)):
        note(f"  round {n + 1}{shape.name}")
        ours = [_run(jobs[rows], url) for rows in (few, many)]
        bare, plain = (
            [bare_loop(url, rows, shape.concurrency, prompt, parser) for rows in (few, many)]
            for parser in ("msgspec", "json")
        )
        rounds.append(Round(*(_further(costs, many - few) for costs in (ours, bare, plain))))
    for job in jobs.values():
        shutil.rmtree(job.parent)
    return rounds


def _run(job: Path, url: str) -> Cost:
    made.forget(job)
    return run_of(job, url)


def bare_loop(url: str, rows: int, concurrency: int, prompt: Path, parser: str = "msgspec") -> Cost:
    """`prompt`: a file with the text that each request sends."""
    with core(1):
        return cost(sys.executable, HERE / "bare.py", url, str(rows), str(concurrency), parser, prompt)


def _further(costs: list[Cost], rows: int) -> Further:
    small, large = costs
    return Further((large.wall - small.wall) / rows, (large.cpu - small.cpu) / rows)


def _rate(rounds: list[Round]) -> float:
    return median(1 / one.ours.wall for one in rounds)


def _told(bench: Bench, shape: Shape, rounds: list[Round]) -> Iterator[Line]:
    rate = f"{_rate(rounds):,.0f} rows/s"
    cpu = f"{1e6 * median(one.ours.cpu for one in rounds):.0f} us"
    bare = f"{median(1 / one.bare.wall for one in rounds):,.0f} rows/s"
    bare_cpu = f"{1e6 * median(one.bare.cpu for one in rounds):.0f} us"
    rates, cpus = [p.bare.wall / p.ours.wall for p in rounds], [p.ours.cpu / p.bare.cpu for p in rounds]
    yield Line(f"{bench.suffix} in, Parquet out{shape.name}", rate, f">= {shape.least:.2f} of bare", median(rates))
    yield Line("  CPU a further row", cpu, f"<= {shape.most:.2f} of bare" if shape.most else "", median(cpus))
    yield Line("  a bare aiohttp loop", bare)
    yield Line("  its CPU", bare_cpu)
    plain = f"{median(1 / one.plain.wall for one in rounds):,.0f} rows/s"
    yield Line("  one that parses by json", plain, "ours to it", median(p.plain.wall / p.ours.wall for p in rounds))


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
