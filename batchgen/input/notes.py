"""Notes of how files were read: one of the first file, and how many others it is true of."""

from __future__ import annotations

from collections.abc import Mapping

from batchgen.ui.humanize import pluralize


def of_first(by_file: Mapping[str, str], advice: str = "") -> list[str]:
    """Returns the note of the first file, and `advice` behind it; none if there is no file."""
    others = in_other_files(len(by_file) - 1)
    return [f"{file}: {said}{others}{advice}" for file, said in list(by_file.items())[:1]]


def in_other_files(files: int) -> str:
    return f", and so in {pluralize(files, 'other file')}" if files else ""
