"""Reads a file that a job file names: a prompt's text, a schema."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def read_named(path: str, read: Callable[[Path], T]) -> T:
    """Returns what `read` makes of a file. Raises ValueError with its path if it cannot be read; also for a pipe, which
    might be waited for."""
    file = Path(path)
    if file.exists() and not file.is_file():
        raise ValueError(f"{path}: is not a regular file")
    try:
        return read(file)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None


def read_text(path: str) -> str:
    """Returns a file's text, which is UTF-8. Raises ValueError as `read_named` does."""
    try:
        return read_named(path, lambda file: file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {not_utf_8(error)}") from None


def not_utf_8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8: {error.reason} at byte {error.start:,}"
