"""What the shell offers where a job file is wanted. Imports nothing that a person at the keyboard would notice."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (".yaml", ".yml")


def job_files(begun: str) -> list[str]:
    """The job files and folders whose path begins so, as it is written there.

    A folder that is the only choice is looked into: the shell would put a space behind it.
    """
    start = begun.rpartition("/")[2]
    folder = begun.removesuffix(start)
    try:
        entries = sorted(Path(folder).expanduser().iterdir())
        found = [folder + choice for entry in entries if _fits(entry.name, start) and (choice := _choice(entry))]
    except (OSError, RuntimeError):  # no such folder, or nobody's home
        return []
    if len(found) == 1 and found[0].endswith("/"):
        return job_files(found[0]) or found
    return found


def _fits(name: str, start: str) -> bool:
    hidden = name.startswith(".") and not start
    return name.startswith(start) and name.isprintable() and not hidden  # a line break would make two of it


def _choice(entry: Path) -> str | None:
    if entry.is_dir():
        return f"{entry.name}/"
    return entry.name if entry.suffix in SUFFIXES else None
