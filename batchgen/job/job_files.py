"""Finds job files by path, or by name without suffix, here and in the folder `jobs`. Imports nothing slow."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from batchgen.errors import UsageError

SUFFIXES = (".yaml", ".yml")
FOLDER = Path("jobs")
"""The folder where a job is also looked for by its name, relative to the working folder."""
NAMED_JOBS = 5
"""Names that a message lists."""
_BEGINS = re.compile(rb"^(input|output|request) *:", re.MULTILINE)
_TABLE = re.compile(r"\.(csv|tsv|tab|ndjson|jsonl|parquet|pq|xlsx|xlsm|arrow|feather|ipc)(\.gz|\.zst)?$", re.IGNORECASE)
_HEAD_BYTES = 1 << 16


def find_job_file(given: str | Path) -> Path:
    """Returns the job file that a path or a name means; the path itself if there is no such file.

    `seo` means seo.yaml, seo.yml, jobs/seo.yaml or jobs/seo.yml. Raises UsageError if several of them exist."""
    path = Path(given)
    is_there = os.path.exists(path) and not path.is_dir()  # noqa: PTH110  it also takes what is no path at all
    if is_there or not path.name or str(given).endswith("/"):
        return path
    folders = [path.parent, FOLDER] if str(path) == path.name else [path.parent]
    named = (folder / f"{path.name}{suffix}" for folder in folders for suffix in SUFFIXES)
    found = [file for file in named if os.path.isfile(file)]  # noqa: PTH113  as above; the path itself is what to name
    if len(found) > 1:
        raise UsageError(
            f"{given}: several job files have this name: {' and '.join(map(str, found))}: name one of them"
        )
    return found[0] if found else path


def job_file_hint(path: Path) -> str:
    """Returns which job file was probably meant by a path that leads nowhere; else the names of some that are here, or
    how one is made."""
    if os.path.isfile(path):  # noqa: PTH113  as above; it may not be read
        return ""
    if (near := _similar_job_file(path)) is not None:
        return f"; did you mean {near}?"
    jobs = jobs_here()
    more = ", and others" if len(jobs) > NAMED_JOBS else ""
    return f"; the jobs here: {', '.join(jobs[:NAMED_JOBS])}{more}" if jobs else "; `batchgen init NAME` makes a job"


def _similar_job_file(path: Path) -> Path | None:
    files = {file.name: file for folder in (FOLDER, path.parent) for file in _job_files(folder)}
    names = {**{file.stem: file for file in files.values()}, **files}
    near = difflib.get_close_matches(path.name, names, n=1)
    return names[near[0]] if near else None


def jobs_here() -> list[str]:
    """Returns the names that can be shown of what looks like a job, here and in `jobs`."""
    return [name for name, file in names_of_jobs().items() if looks_like_job(file) and name.isprintable()]


def names_of_jobs() -> dict[str, Path]:
    """Returns the job files here and in `jobs`, each by the shortest name that `find_job_file` finds it by."""
    files = [*_job_files(Path()), *_job_files(FOLDER)]
    stems = Counter(file.stem for file in files)
    is_unique = {stem: count == 1 and not Path(stem).is_file() for stem, count in stems.items()}
    return {file.stem if is_unique[file.stem] else str(file): file for file in files}


def looks_like_job(file: Path) -> bool:
    """Returns whether a YAML file has the sections of a job, and is no other program's."""
    with suppress(OSError), file.open("rb") as opened:
        return len(set(_BEGINS.findall(opened.read(_HEAD_BYTES)))) > 1
    return False


def is_table(file: Path) -> bool:
    """Returns whether a file is a table by its name, and no job: a job file may have any name."""
    return _TABLE.search(file.name) is not None and os.path.isfile(file) and not looks_like_job(file)  # noqa: PTH113  as above


def _job_files(folder: Path) -> Iterator[Path]:
    with suppress(OSError):  # it does not exist, or may not be read
        yield from sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file())
