"""Bytes of the checkpoint against bytes of the results: long log-probs, of which no two answers have the same."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import answers
import made
import servers
from machine import note, run_of
from made import Bench
from table import Line

TOKENS = 500
MOST = 3.0


def lines(bench: Bench) -> Iterator[Line]:
    rows = bench.pick(200, 40)
    note(f"  {rows:,} rows")
    job = made.job(bench.folder / "sizes", rows, bench.suffix)
    with servers.own(TOKENS) as served:
        run_of(job, served.url)
    out = job.parent / "out"
    kept, published = _bytes(out / ".batchgen" / "job.sqlite"), _bytes(out / "job.parquet")
    shutil.rmtree(job.parent)
    yield Line(f"Parquet, log-probs {TOKENS} x {answers.ALTERNATIVES}, a row", f"{published / rows:,.0f} bytes")
    yield Line("checkpoint, a row", f"{kept / rows:,.0f} bytes", f"<= {MOST:.0f} x Parquet", kept / published)


def _bytes(path: Path) -> int:
    """With SQLite's log, where one is left."""
    return sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*"))
