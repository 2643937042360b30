"""The owner of a checkpoint and of results: a job file, so that a copy of a job does not take over another job's files.

An owner is stored as the job file's path relative to its files, so that a moved project keeps them. An owner that no
longer exists was renamed or deleted, and its files may be used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchgen.checkpoint.schema import Owner
from batchgen.errors import BatchgenError, UsageError
from batchgen.job.job import Job
from batchgen.output.destination import Destination, metadata_at
from batchgen.output.draft import FIRST_PART
from batchgen.storage import folders
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
    """Raises UsageError if a place where a run of the job may put results holds those of another job, or lies among
    their parts."""
    refuse_among_parts(to.place, [])
    for place in to.places:
        if made := _made_by(place):
            instead = "give this job an `output: {path: ...}` of its own, or replace them with --adopt"
            beside = "" if place == to.place else ", whose results may go there until they replace the last good ones"
            _refuse_others([job], made[:1], place, f"{beside}: {instead}")


def refuse_anothers_whole(shards: Sequence[Job], to: Destination) -> None:
    """Raises UsageError if a place for the merged results of these shards holds those of others."""
    whole = shards[0].model_copy(update={"name": shards[0].whole_name})
    for place in to.places:
        if made := _made_by(place):
            instead = "merge into another file with -o; if these may be replaced, move them away"
            _refuse_others([whole, *shards], made, place, f": {instead}")


def refuse_anothers_file(job: Job, to: Destination) -> None:
    """Raises UsageError if an export would replace results of another job, or bought ones by the built-in model's."""
    if made := _made_by(to.place):
        instead = "export into another file; if these may be replaced, move them away"
        _refuse_others([job], made[:1], to.place, f": {instead}", by_name=job.is_local)


def refuse_among_parts(there: Location, own: Iterable[Destination]) -> None:
    """Raises UsageError if a file there would lie in a folder of results, which the next run replaces as a whole: in
    one of these, which need not exist yet, or in that of any job on this machine."""
    if isinstance(there, Path):
        there = there.parent.resolve() / there.name
    for place in (place for results in own if results.is_folder for place in results.places):
        if folders.is_below(there, place):
            raise _among_parts(there, place)
    for folder in there.parents if isinstance(there, Path) else ():
        if (folder / FIRST_PART).is_file() and _is_folder_of_results(folder):
            raise _among_parts(there, folder)


def _among_parts(there: Location, folder: Location) -> UsageError:
    return UsageError(
        f"{there}: lies in {folder}, a folder of results, which a run replaces as a whole: choose a place outside of it"
    )


def _refuse_others(
    jobs: Sequence[Job], owners: Sequence[Owner], place: Location, then: str, *, by_name: bool = False
) -> None:
    """Raises UsageError if none of the jobs is one of the owners. `by_name`: one of another name is another, also if
    its file is the same."""
    folder = place.parent if isinstance(place, Path) else None
    pairs = [(job, owner) for job in jobs for owner in owners if job.name == owner.name or not by_name]
    if not any(_is_own(job, owner, folder) for job, owner in pairs):
        owner = _describe(owners[0], folder)
        raise UsageError(f"{place}: holds the results of {owner}, not of {_describe_own(jobs[0])}{then}")


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


def _made_by(place: Location) -> list[Owner]:
    """Returns the owner of results, and those of the shards that they were merged of; none if there are no readable
    results of batchgen."""
    try:
        said = _origin(place)
        return [Owner(one["job"], one.get("file")) for one in (said, *said.get("merged", ()))]
    except (OSError, BatchgenError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _is_folder_of_results(folder: Path) -> bool:
    """Returns whether these are the parts of one job's results: of its own making, not exported one by one."""
    with suppress(OSError, BatchgenError, ValueError, KeyError, TypeError, AttributeError):
        said = _origin(folder)
        return any(one["settings"]["output"]["rows_per_file"] for one in (said.get("merged") or [said]))
    return False


def _origin(place: Location) -> dict[str, Any]:
    """Returns what results say of their origin. Raises OSError, UsageError, ValueError, KeyError."""
    said: dict[str, Any] = json.loads(metadata_at(place)[METADATA_KEY])
    return said
