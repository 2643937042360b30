"""What reading Parquet takes: CPU beside pyarrow's own reader, where a file has many row groups; and the bytes that are
fetched of an object beside its size."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from statistics import median

from machine import HERE, cost, note
from made import Bench
from table import Line

GROUPS = 400
MAX_CPU, MAX_BYTES = 2.0, 1.2


def lines(bench: Bench) -> Iterator[Line]:
    folder = bench.folder / "reading"
    folder.mkdir()
    for groups in (1, GROUPS):
        note(f"  row groups: {groups}")
        told = folder / f"{groups}.txt"
        rounds = []
        for _ in range(bench.pick(7, 3)):
            cost(sys.executable, HERE / "parquet_alone.py", folder, str(groups), told)
            rounds.append([float(value) for value in told.read_text().split()])
        ours, reference = (median(values) for values in zip(*rounds, strict=True))
        target = f"<= {MAX_CPU:.0f} x pyarrow's"
        yield Line(f"Parquet, row groups: {groups}, CPU", f"{1000 * ours:.0f} ms", target, ours / reference)
    note("  an object")
    cost(sys.executable, HERE / "object_alone.py", folder, folder / "object.txt")
    fetched, size = map(int, (folder / "object.txt").read_text().split())
    shutil.rmtree(folder)
    yield Line("Parquet object, bytes fetched", f"{fetched:,}", f"<= {MAX_BYTES} x its size", fetched / size)
