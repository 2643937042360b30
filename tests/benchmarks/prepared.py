"""Makes a job whose checkpoint already holds its answers: `python prepared.py FOLDER ROWS LEFT`.

All rows but the last LEFT are answered, as a run with the built-in model would have left them.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path

from msgspec.structs import replace

from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.schema import OK, Record
from batchgen.input.request import PreparedRequest
from batchgen.job.load import read_job
from batchgen.runner.prepare import prepare
from batchgen.storage import folders

ANSWER = json.dumps({"choices": [{"text": "word " * 80, "log_probs": None}], "model": "palmyra-x5"}).encode()
FINISHED = 1_700_000_000_000_000


def make(folder: Path, rows: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rows.csv").open("w") as file:
        file.write("sku,name,audience,note\n")
        file.writelines(f"{n:08d},Camping stove {n},families,a note of some length on row {n}\n" for n in range(rows))
    job = folder / "job.yaml"
    job.write_text(
        "input: {path: rows.csv}\nprompt: 'Write about {{ name }} ({{ sku }}) for {{ audience }}.'\n"
        "request: {model: palmyra-x5, max_tokens: 8}\noutput: {path: out/job.parquet}\n"
    )
    return job


def answer(job: Path, rows: int) -> None:
    """Stores an answer for the first rows, as a run would have."""
    setup = prepare(read_job(job).for_local_model(), {}, job)
    folders.make([setup.job.state_folder])
    checkpoint = Checkpoint(setup.state.database)
    made = (p for frame in setup.source.batches() for p in setup.requests.of(frame) if isinstance(p, PreparedRequest))
    answered = Record(key=b"", outcome=OK, final=True, attempts=1, latency=0.5, finished_at=FINISHED, body=ANSWER)
    records = (replace(answered, key=prepared.digest) for prepared in made)
    todo = islice(records, rows)
    while batch := list(islice(todo, 2000)):
        checkpoint.add(batch)
    checkpoint.close()


if __name__ == "__main__":
    rows, left = int(sys.argv[2]), int(sys.argv[3])
    answer(make(Path(sys.argv[1]), rows), rows - left)
