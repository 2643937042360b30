"""Answers that lie in another checkpoint: looked for, and taken in.

A job that was renamed, or whose output was moved, has a checkpoint of its own, and would buy again what lies beside.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import polars as pl

from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.index import Index, State, split
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import OK
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import BatchgenError, UsageError
from batchgen.job.job import Job
from batchgen.storage import file_lock, folders

MOST_LOOKED_AT = 20
"""Checkpoints beside one's own, the latest first."""
MAGIC = b"SQLite format 3\0"


class Offer(NamedTuple):
    """A checkpoint with answers to so many rows of a plan, and what the job is called that it is of."""

    path: Path
    job: str
    answers: int


def offers(job: Job, rows: pl.DataFrame) -> list[Offer]:
    """Of the other checkpoints in the folder, and where the job's would lie if it did not say so, those that hold
    answers to these rows (`hi`, `lo`)."""
    places = {job.state_folder, job.output.usual_state_folder}
    others = [path for place in places for path in place.glob("*.sqlite") if not folders.is_same(path, job.checkpoint)]
    latest = sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[:MOST_LOOKED_AT]
    found = [_offer(path, rows) for path in latest]
    return [offer for offer in found if offer is not None and offer.answers]


def _offer(path: Path, rows: pl.DataFrame) -> Offer | None:
    try:
        with StateFiles(path).open_readonly(without_trace=True) as reader:
            owner = reader.owner()
            states = Index(reader.states(), 0).find(rows["hi"], rows["lo"])["state"]
    except BatchgenError:  # damaged, or no checkpoint: nothing is offered
        return None
    return Offer(path, owner.name if owner else path.stem, int((states == State.DONE).sum()))


def take_in(path: Path, checkpoint: Checkpoint, reader: Reader) -> int:
    """Copies the answers of another checkpoint to keys that have none here; how many. Raises UsageError where there is
    none, AlreadyRunning while a run holds it, MachineRefused where it cannot be read."""
    if not path.is_file():
        raise UsageError(f"{path}: --adopt: no such file")
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise UsageError(f"{path}: --adopt: is no checkpoint: name one, such as out/.batchgen/seo.sqlite")
    if folders.is_same(path, checkpoint.path):
        raise UsageError(f"{path}: --adopt: is the job's own checkpoint")
    known = Index(reader.states(), 0)
    taken = 0
    theirs = StateFiles(path)
    if theirs.is_running():
        raise UsageError(f"{path}: --adopt: a run of its job is at work: wait for its end")
    with file_lock.exclusive(theirs.lock), theirs.open_readonly() as other:
        for _, records, _ in other.record_batches(other.ids_of(OK)):
            given = list(records.values())
            keys = pl.DataFrame(split(b"".join([record.key for record in given])))
            new = known.find(keys["hi"], keys["lo"])["state"] != State.DONE
            added = [record for record, is_new in zip(given, new, strict=True) if is_new]
            checkpoint.add(added)
            taken += len(added)
    return taken


def told(offer: Offer, rows: int) -> str:
    """What a person should know of it before the rows are bought."""
    return (
        f"{offer.path} (of the job {offer.job}) holds answers to {offer.answers:,} of these {rows:,} rows, which would "
        f"be bought again: `--adopt {offer.path}` takes them in"
    )
