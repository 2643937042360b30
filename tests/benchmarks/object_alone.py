"""Bytes that a plan fetches of a Parquet object on a local S3, and the object's size: `python object_alone.py FOLDER
TOLD`."""

from __future__ import annotations

import io
import os
import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent))
from support.store import BUCKET, Store

from batchgen import commands

ROWS, ROW_BYTES = 20_000, 2000
JOB = """\
input: {{path: s3://{bucket}/in/rows.parquet}}
prompt: "{{{{ asked }}}}"
request: {{model: palmyra-x5}}
output: {{path: out/object.parquet}}
"""


def main(folder: str, told: str) -> None:
    chance, sink = random.Random(1), io.BytesIO()
    asked = [f"{n} {chance.randbytes(ROW_BYTES // 2).hex()}" for n in range(ROWS)]
    pq.write_table(pa.table({"asked": asked}), sink, compression="none", use_dictionary=False, row_group_size=1000)
    job = Path(folder) / "object.yaml"
    job.write_text(JOB.format(bucket=BUCKET))
    with Store() as store:
        store.put("in/rows.parquet", sink.getvalue())
        os.environ.update(store.environ)
        commands.plan(job, local=True)
        spans = [one.range for one in store.requests if one.method == "GET" and one.range is not None]
    Path(told).write_text(f"{sum(end - start for start, end in spans)} {sink.tell()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
