"""The owner of a checkpoint and of results: a job file, so that a copy of a job does not take over another job's files.

An owner is stored as the job file's path relative to its files, so that a moved project keeps them. An owner that no
longer exists was renamed or deleted, and its files may be used.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from batchgen.checkpoint.schema import Owner
from batchgen.errors import BatchgenError, UsageError
from batchgen.job.job import Job
from batchgen.output.destination import Destination
from batchgen.storage.listing import find
from batchgen.storage.location import Location

METADATA_KEY = b"batchgen"
"""Metadata key of results: what they were made of, and by which job."""


def owner_of(job: Job, folder: Path | None) -> Owner:
    """Returns the job as an owner. `folder`: the folder of what it owns; None if that is not on this machine."""
    if job.file is None or folder is None:
        return Owner(job.name, None)
    return Owner(job.name, Path(os.path.relpath(job.file, folder)).as_posix())


def refuse_anothers_checkpoint(job: Job, owner: Owner | None) -> None:
    """Raises UsageError if the checkpoint belongs to another job file."""
    folder = job.state_folder
    if owner is not None and not _is_own(job, owner, folder):
        raise UsageError(
            f"{job.checkpoint}: is the checkpoint of {_describe(owner, folder)}, not of {_describe_own(job)}: give "
            f"this job a `name:` of its own, or take over that one with --adopt"
        )


def refuse_anothers_results(job: Job, to: Destination) -> None:
    """Raises UsageError if a place where a run of the job may put results holds those of another job."""
    for place in to.places:
        folder = place.parent if isinstance(place, Path) else None
        owner = _owner_of_results(place)
        if owner is not None and not _is_own(job, owner, folder):
            beside = "" if place == to.place else ", whose results may go there until they replace the last good ones"
            raise UsageError(
                f"{place}: holds the results of {_describe(owner, folder)}, not of {_describe_own(job)}{beside}: give "
                f"this job an `output: {{path: ...}}` of its own, or replace them with --adopt"
            )


def _is_own(job: Job, owner: Owner, folder: Path | None) -> bool:
    if owner.file is None or job.file is None or folder is None:
        return owner.name == job.name
    places = {_place_of(owner.file, folder), (folder.resolve() / owner.file).resolve()}
    existing = [place for place in places if place.exists()]
    return not existing or any(place == job.file or place.samefile(job.file) for place in existing)


def _place_of(file: str, folder: Path) -> Path:
    return Path(os.path.normpath(folder / file))


def _describe(owner: Owner, folder: Path | None) -> str:
    file = "" if owner.file is None or folder is None else f" ({_place_of(owner.file, folder)})"
    return f"the job {owner.name}{file}"


def _describe_own(job: Job) -> str:
    return f"{job.name} ({job.file})" if job.file else job.name


def _owner_of_results(place: Location) -> Owner | None:
    """Returns the owner; None if there are no readable results of batchgen."""
    try:
        with find(str(place)).files[-1].open("rb") as file:
            metadata: dict[str, Any] = json.loads(_metadata(file)[METADATA_KEY])
        return Owner(metadata["job"], metadata.get("file"))
    except (OSError, BatchgenError, ValueError, KeyError, TypeError):
        return None


def _metadata(file: BinaryIO) -> dict[bytes, bytes]:
    """Returns the file's metadata. Read by pyarrow: polars panics if a store refuses the read. Raises OSError,
    ValueError."""
    import pyarrow.parquet as pq  # noqa: PLC0415  heavy, and most plans find no results

    return pq.read_metadata(file).metadata or {}
