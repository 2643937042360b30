"""Rows a second from checkpoint to Parquet, and the memory that takes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from statistics import median

import made
from machine import BATCHGEN, HERE, cost, note
from made import Bench
from table import Line

LEAST = 100_000


def lines(bench: Bench) -> Iterator[Line]:
    rows = bench.pick(1_000_000, 100_000)
    job = made.prepared(bench, rows, "publishing")
    cost(BATCHGEN, "run", "--quiet", "--local", job)  # the last ten
    told = job.with_name("seconds")
    seconds, peaks = [], []
    for n in range(bench.pick(3, 2)):
        note(f"  round {n + 1}")
        peaks.append(cost(sys.executable, HERE / "publish_alone.py", job, told).peak)
        seconds.append(float(told.read_text()))
    shutil.rmtree(job.parent)
    yield Line(f"publish alone, {rows:,} rows", f"{rows / median(seconds):,.0f} rows/s", f">= {LEAST:,}/s")
    yield Line("  peak memory of the whole export", f"{median(peaks):.0f} MB")
