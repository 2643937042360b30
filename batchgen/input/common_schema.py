"""Compares the columns of several files: names, types and order must be the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchgen.errors import UsageError
from batchgen.input.bounds import Schema
from batchgen.storage.listing import File


def common_schema(files: Sequence[File], schema: Callable[[File], Schema]) -> Schema:
    """Returns the columns of all files. Raises UsageError with the first file that has others than the first."""
    first, *others = [schema(path) for path in files]
    for path, other in zip(files[1:], others, strict=True):
        refuse_other_names(path, list(other), files[0], list(first))
        for name, dtype in other.items():
            if dtype != first[name]:
                raise UsageError(f"{path}: {name} is {dtype} here and {first[name]} in {files[0].name}")
    return first


def refuse_other_names(path: File, names: Sequence[str], first: File, due: Sequence[str]) -> None:
    """Raises UsageError if the names of a file's columns, or their order, are not those of the first file."""
    if names != due:
        raise UsageError(f"{path}: its columns ({', '.join(names)}) differ from those of {first.name}")
