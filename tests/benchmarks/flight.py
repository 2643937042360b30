"""Whether the slots are full, where a request takes half a second: by the server's own record."""

from __future__ import annotations

import shutil
from bisect import bisect
from collections.abc import Iterator
from contextlib import AbstractContextManager
from statistics import median
from typing import NamedTuple

import answers
import made
import servers
from machine import note, run_of
from made import Bench
from servers import Served
from table import Line
from throughput import bare_loop

CONCURRENCY = 2000
HELD = 0.5
STARTS = 1.0
"""Seconds after the first request that do not count; nor does what follows the last."""
LEAST = 0.95


class Full(NamedTuple):
    """Shares of what could be: requests in flight, and answers a second."""

    flight: float
    rate: float


def lines(bench: Bench) -> Iterator[Line]:
    rows = CONCURRENCY * bench.pick(20, 6)
    job = made.job(bench.folder / "flight", rows, bench.suffix, CONCURRENCY)
    ours, bare = [], []
    for n in range(bench.pick(3, 1)):
        note(f"  round {n + 1}")
        made.forget(job)
        with _server() as served:
            run_of(job, served.url)
        ours.append(full(served))
        with _server() as served:
            bare_loop(served.url, rows, CONCURRENCY, made.prompt(bench))
        bare.append(full(served))
    shutil.rmtree(job.parent)
    yield from _told(ours, "")
    yield from _told(bare, "bare loop: ")


def full(served: Served) -> Full:
    """From the end of the start to the moment the last request came."""
    begin, end = served.arrived[0] + STARTS, served.arrived[-1]
    seconds = end - begin
    in_flight = (_within(served.answered, begin, end) - _within(served.arrived, begin, end)) / seconds
    answered = bisect(served.answered, end) - bisect(served.answered, begin)
    return Full(in_flight / CONCURRENCY, answered / seconds * HELD / CONCURRENCY)


def _within(times: list[float], begin: float, end: float) -> float:
    """Their sum, each moved into the window: what an integral over the requests in flight comes to."""
    return sum(min(max(time, begin), end) for time in times)


def _server() -> AbstractContextManager[Served]:
    return servers.own(answers.constant(servers.CHARACTERS), HELD)


def _told(found: list[Full], whose: str) -> Iterator[Line]:
    flight, rate = median(one.flight for one in found), median(one.rate for one in found)
    target = "" if whose else f">= {LEAST:.2f} of all"
    yield Line(f"{whose}mean in flight of {CONCURRENCY:,}", f"{flight * CONCURRENCY:,.0f}", target, flight)
    ideal = CONCURRENCY / HELD
    yield Line(f"{whose}answers/s of {ideal:,.0f} possible", f"{rate * ideal:,.0f} rows/s", target, rate)
