"""Completes job files and names of jobs in the shell. Imports nothing that takes noticeable time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from batchgen.job.job_files import SUFFIXES, names_of_jobs


def job_files(begun: str) -> list[str]:
    """Returns the names of jobs, and the job files and folders whose path begins so, as it is written there.

    A folder that is the only choice is looked into: the shell would put a space behind it.
    """
    start = begun.rpartition("/")[2]
    folder = begun.removesuffix(start)
    try:
        found = sorted({*_names(start), *_folders(Path(), start)}) if not folder else _paths(folder, start)
    except (OSError, RuntimeError):  # no such folder, or nobody's home
        return []
    if len(found) == 1 and found[0].endswith("/"):
        return job_files(found[0]) or found
    return found


def _names(start: str) -> Iterator[str]:
    """Yields names without suffix, and with it those that need it, or that were begun with it."""
    for name, file in names_of_jobs().items():
        is_here = file.parent == Path()
        if _fits(name, start) and (is_here or "/" not in name):
            yield name
        elif is_here and _fits(file.name, start):
            yield file.name


def _paths(folder: str, start: str) -> list[str]:
    where = Path(folder).expanduser()
    files = [entry.name for entry in where.iterdir() if entry.suffix in SUFFIXES and _fits(entry.name, start)]
    return [folder + name for name in sorted([*files, *_folders(where, start)])]


def _folders(where: Path, start: str) -> Iterator[str]:
    yield from (f"{entry.name}/" for entry in where.iterdir() if _fits(entry.name, start) and entry.is_dir())


def _fits(name: str, start: str) -> bool:
    hidden = name.startswith(".") and not start
    return name.startswith(start) and name.isprintable() and not hidden  # a line break would make two of it
