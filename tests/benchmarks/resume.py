"""What it costs to come back to a job that is nearly done: `python tests/benchmarks/resume.py [rows ...]`.

For each size a job is made whose checkpoint holds an answer to every row but ten. Then `plan` and `run` are
measured as processes of their own: wall and CPU seconds, peak memory, and the memory a row takes beyond that of
the smallest size. No assertion: machines differ; compare the lines of one table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from batchgen import folders
from batchgen import job as jobs
from batchgen.rows.request import Prepared
from batchgen.runner.checkpoint import OK, Checkpoint, Record
from batchgen.setup import set_up

BATCHGEN = Path(sys.executable).with_name("batchgen")
LEFT = 10
ANSWER = json.dumps({"choices": [{"text": "word " * 80, "log_probs": None}], "model": "palmyra-x5"}).encode()


def make(folder: Path, rows: int) -> Path:
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
    """Stores an answer for all rows but the last ten, as a run would have."""
    setup = set_up(jobs.load(job).localised(), {}, job)
    folders.make([setup.job.state_folder])
    checkpoint = Checkpoint(setup.checkpoint)
    made = (p for frame in setup.source.batches() for p in setup.requests.of(frame) if isinstance(p, Prepared))
    answered = Record(b"", OK, True, 1, 200, None, 0.5, 1_700_000_000_000_000, 1, None, ANSWER)  # noqa: FBT003
    records = (answered._replace(key=prepared.digest) for prepared in made)
    todo = islice(records, rows - LEFT)
    while batch := list(islice(todo, 2000)):
        checkpoint.add(batch)
    checkpoint.close()


def measured(*command: str | Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds, peak MB of a process."""
    started = time.monotonic()
    process = subprocess.Popen([BATCHGEN, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} ended with {status}")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or [10_000, 1_000_000]
    least: dict[str, float] = {}
    print(f"{'rows':>10} {'':6} {'wall s':>8} {'CPU s':>8} {'peak MB':>8} {'bytes a row more':>17}")
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            job = make(Path(folder), rows)
            answer(job, rows)
            for command in ("plan", "run"):
                wall, cpu, peak = measured(command, job, "--local")
                more = (peak - least.setdefault(command, peak)) * 1024 * 1024 / rows
                print(f"{rows:>10,} {command:6} {wall:8.2f} {cpu:8.2f} {peak:8.0f} {more:17.0f}")


if __name__ == "__main__":
    main()
