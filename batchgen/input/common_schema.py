"""Compares the columns of several files: names, types and order must be the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchgen.errors import UsageError
from batchgen.input.bounds import Schema
from batchgen.storage.listing import File


def common_schema(files: Sequence[File], schema: Callable[[File], Schema]) -> Schema:
    """Raises UsageError with the first file that has others than the first."""
    first, *others = [schema(path) for path in files]
    for path, other in zip(files[1:], others, strict=True):
        if list(other) != list(first):
            raise UsageError(f"{path}: its columns ({', '.join(other)}) differ from those of {files[0].name}")
        for name, dtype in other.items():
            if dtype != first[name]:
                raise UsageError(f"{path}: {name} is {dtype} here and {first[name]} in {files[0].name}")
    return first
