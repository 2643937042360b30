"""Whose a checkpoint and results are: the job file's, so that a copy of a job takes nothing that is another's.

A job file is told by its place seen from what it owns, so that a project that was moved stays itself; a file that is
not there any more was renamed, or given up.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from batchgen.checkpoint.schema import Owner
from batchgen.errors import BatchgenError, UsageError
from batchgen.job.job import Job
from batchgen.storage.listing import find
from batchgen.storage.location import Location


def owner_of(job: Job, folder: Path | None) -> Owner:
    """`folder`: where what it owns lies; None: not on this machine."""
    if job.file is None or folder is None:
        return Owner(job.name, None)
    return Owner(job.name, Path(os.path.relpath(job.file, folder)).as_posix())


def refuse_anothers_checkpoint(job: Job, owner: Owner | None) -> None:
    """Raises UsageError where it belongs to another job file."""
    folder = job.state_folder
    if owner is not None and not _is_own(job, owner, folder):
        raise UsageError(
            f"{job.checkpoint}: is the checkpoint of {_told(owner, folder)}, not of {_named(job)}: give this job a "
            f"`name:` of its own, or take that one's over with --adopt"
        )


def refuse_anothers_results(job: Job, place: Location) -> None:
    """Raises UsageError where results of another job stand in the output's place."""
    folder = place.parent if isinstance(place, Path) else None
    owner = _owner_of_results(place)
    if owner is not None and not _is_own(job, owner, folder):
        raise UsageError(
            f"{place}: holds the results of {_told(owner, folder)}, not of {_named(job)}: give this job an "
            f"`output: {{path: ...}}` of its own, or take that one's place with --adopt"
        )


def _is_own(job: Job, owner: Owner, folder: Path | None) -> bool:
    if owner.file is None or job.file is None or folder is None:
        return owner.name == job.name
    places = {_place_of(owner.file, folder), (folder.resolve() / owner.file).resolve()}
    there = [place for place in places if place.exists()]
    return not there or any(place == job.file or place.samefile(job.file) for place in there)


def _place_of(file: str, folder: Path) -> Path:
    return Path(os.path.normpath(folder / file))


def _told(owner: Owner, folder: Path | None) -> str:
    file = "" if owner.file is None or folder is None else f" ({_place_of(owner.file, folder)})"
    return f"the job {owner.name}{file}"


def _named(job: Job) -> str:
    return f"{job.name} ({job.file})" if job.file else job.name


def _owner_of_results(place: Location) -> Owner | None:
    """None where there are no results of ours, or none that can be read."""
    try:
        with find(str(place)).files[-1].open("rb") as file:
            said: dict[str, Any] = json.loads(_metadata(file)[b"batchgen"])
        return Owner(said["job"], said.get("file"))
    except (OSError, BatchgenError, ValueError, KeyError, TypeError):
        return None


def _metadata(file: BinaryIO) -> dict[bytes, bytes]:
    """By pyarrow: polars panics where a store refuses to be read. Raises OSError, ValueError."""
    import pyarrow.parquet as pq  # noqa: PLC0415  heavy, and most plans find no results

    return pq.read_metadata(file).metadata or {}
