"""CPU seconds of reading one Parquet file, ours and pyarrow's own: `python parquet_alone.py FOLDER GROUPS TOLD`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.input.bounds import BATCH_ROWS
from batchgen.job.load import read_job
from batchgen.runner.prepare import prepare

ROWS = 200_000


def made(folder: Path, groups: int) -> Path:
    """A job on such a file, unless it is there already."""
    path = folder / f"{groups}.yaml"
    if not path.exists():
        table = pa.table({"id": range(ROWS), "asked": [f"{n:08d} {'word ' * 20}" for n in range(ROWS)]})
        pq.write_table(table, folder / f"{groups}.parquet", row_group_size=ROWS // groups)
        path.write_text(
            f"input: {{path: {groups}.parquet}}\nprompt: '{{{{ asked }}}}'\nrequest: {{model: palmyra-x5}}\n"
            f"output: {{path: out/{groups}.parquet}}\n"
        )
    return path


def cpu(batches: Callable[[], Iterable[Any]]) -> float:
    """The second time, as the first one meets what is new to the process."""
    for _ in range(2):
        started = time.process_time()
        for _ in batches():
            pass
        spent = time.process_time() - started
    return spent


def main(folder: str, groups: str, told: str) -> None:
    job = made(Path(folder), int(groups))
    source = prepare(read_job(job).for_local_model(), {}, job).source
    reference = cpu(lambda: pq.ParquetFile(job.with_suffix(".parquet")).iter_batches(BATCH_ROWS))
    Path(told).write_text(f"{cpu(source.batches)} {reference}")


if __name__ == "__main__":
    main(*sys.argv[1:])
