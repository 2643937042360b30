"""Adopts answers from another checkpoint.

A job that was renamed, or whose output was moved, has a new checkpoint, and would buy again what the old one holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import polars as pl

from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.index import State, split
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import OK, Record
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import BatchgenError, UsageError
from batchgen.job.job import Job
from batchgen.runner.prepare import PreparedJob
from batchgen.runner.recheck import recheck_states
from batchgen.storage import file_lock, folders
from batchgen.ui.humanize import inflect

MAX_CHECKPOINTS = 20
"""The most other checkpoints that are searched, the latest first."""
SHOWN_OFFERS = 3
SQLITE_MAGIC = b"SQLite format 3\0"


class Offer(NamedTuple):
    """A checkpoint that holds answers to rows of a plan. `job`: the name of the job that it belongs to. `answers`: how
    many rows it answers."""

    path: Path
    job: str
    answers: int


def offers(setup: PreparedJob, rows: pl.DataFrame) -> list[Offer]:
    """Returns the other checkpoints that hold the most answers to these rows (`hi`, `lo`). None for the built-in model,
    whose answers cost nothing."""
    job = setup.job
    if job.is_local:
        return []
    others = [path for path in _checkpoints(job) if not folders.is_same(path, job.checkpoint)]
    latest = sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[:MAX_CHECKPOINTS]
    found = [_offer(path, setup, rows.select("hi", "lo")) for path in latest]
    useful = [offer for offer in found if offer is not None and offer.answers]
    return sorted(useful, key=lambda offer: -offer.answers)[:SHOWN_OFFERS]


def _checkpoints(job: Job) -> set[Path]:
    """Returns those in the job's state folder and in the usual one; and those of the job's name around them, where its
    output may have been before: in the folder above, beside, or below."""
    usual = job.output.usual_state_folder
    own = f"{usual.name}/{job.checkpoint.name}"
    here, above = usual.parent, usual.parent.parent
    places = (job.state_folder, "*.sqlite"), (usual, "*.sqlite"), (here, f"*/{own}"), (above, own), (above, f"*/{own}")
    return {path for place, names in places for path in place.glob(names)}


def _offer(path: Path, setup: PreparedJob, rows: pl.DataFrame) -> Offer | None:
    """Returns what a checkpoint holds for these rows: answers, and texts that failed its job's check and pass this
    job's."""
    try:
        with StateFiles(path, setup.dialect).open_readonly(without_trace=True) as reader:
            owner, index = reader.owner(), reader.index(0)
            known = rows.hstack(index.find(rows["hi"], rows["lo"]))
            failed = known.filter(pl.col("state").is_in([State.OPEN, State.FAILED]))
            passed = recheck_states(failed, index, reader, setup.checker) if failed.height else failed
    except BatchgenError:  # damaged, or not a checkpoint: nothing is offered
        return None
    answers = sum(int((one["state"] == State.DONE).sum()) for one in (known, passed))
    return Offer(path, owner.name if owner else path.stem, answers)


def adopt(path: Path, checkpoint: Checkpoint, reader: Reader) -> int:
    """Copies what another checkpoint has bought for keys that have no answer here: answers, and texts that did not pass
    its job's check, since they may pass this one's. Returns how many. Raises UsageError if there is no such checkpoint
    or a run of its job is active, AlreadyRunning if one begins meanwhile, MachineRefused if it cannot be read."""
    if not path.is_file():
        raise UsageError(f"{path}: --adopt: no such file")
    with path.open("rb") as file:
        if file.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
            raise UsageError(f"{path}: --adopt: is not a checkpoint: name one, such as out/.batchgen/seo.sqlite")
    if folders.is_same(path, checkpoint.path):
        raise UsageError(f"{path}: --adopt: is the job's own checkpoint")
    known, before = reader.index(0), _without_answer(reader)
    adopted = 0
    other_state = StateFiles(path)
    if other_state.is_running():
        raise UsageError(f"{path}: --adopt: a run of its job is active: wait until it has ended")
    with file_lock.exclusive(other_state.lock), other_state.open_readonly() as other:
        for _, records, _ in other.record_batches(other.with_body()):
            bought = [record for record in records.values() if _identity(record) not in before]
            keys = pl.DataFrame(split(b"".join([record.key for record in bought])))
            new = known.find(keys["hi"], keys["lo"])["state"] != State.DONE
            added = [record for record, is_new in zip(bought, new, strict=True) if is_new]
            checkpoint.add(added)
            adopted += len(added)
    return adopted


def _without_answer(reader: Reader) -> set[tuple[bytes, int]]:
    """Returns the attempts that have a body and are no answers: taken in before, they are not taken in again."""
    answers = set(reader.ids_of(OK))
    texts = [id_ for id_ in reader.with_body() if id_ not in answers]
    return {_identity(record) for _, records, _ in reader.record_batches(texts) for record in records.values()}


def _identity(record: Record) -> tuple[bytes, int]:
    return record.key, record.finished_at


def message(offer: Offer, rows: int, job: Job) -> str:
    """Describes an offer, before the rows are bought."""
    name = offer.job
    how = f"`--adopt {offer.path}` takes them in" if job.file else f"the name {name!r} resumes that job"
    which = inflect(rows, "the one row", f"{offer.answers:,} of these {rows:,} rows")
    return f"{offer.path} (of the job {name}) holds answers to {which}, which would be bought again: {how}"
