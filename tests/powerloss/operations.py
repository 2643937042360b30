"""What a run does to its files, as the rig tells it: a line of these is a recording."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Unmodelled(Exception):
    """The run did something that the rig cannot replay; its findings would be worth nothing."""


class Write(NamedTuple):
    node: int
    offset: int
    data: bytes


class Truncate(NamedTuple):
    node: int
    size: int


class Sync(NamedTuple):
    """`begun`: the number of operations before it was called. Those are what it covers."""

    node: int
    begun: int


class Enter(NamedTuple):
    """A new file or folder under a name."""

    folder: int
    name: str
    node: int


class Rename(NamedTuple):
    folder: int
    name: str
    to: str
    node: int


class Exchange(NamedTuple):
    """Two names of a folder change places."""

    folder: int
    name: str
    other: str


class Remove(NamedTuple):
    folder: int
    name: str


class Acknowledged(NamedTuple):
    """SHA-256 of the answer by the row's key."""

    answers: dict[bytes, str]


class Published(NamedTuple):
    sha: str
    ok: int


Operation = Write | Truncate | Sync | Enter | Rename | Exchange | Remove | Acknowledged | Published
ROOT = 0
"""The node of the folder that holds the output folder: it was there before."""


@dataclass
class Recording:
    """What was done below `output`, over all sessions. Paths are relative to the folder that holds it."""

    folder: Path
    output: Path
    results: Path
    checkpoint: Path
    operations: list[Operation] = field(default_factory=list)
    folders: set[int] = field(default_factory=lambda: {ROOT})

    def count(self, kind: type) -> int:
        return sum(isinstance(operation, kind) for operation in self.operations)


def fingerprint(results: Path) -> str:
    """SHA-256 of a file, or of the names and bytes of a folder's."""
    if results.is_file():
        return hashlib.sha256(results.read_bytes()).hexdigest()
    known = hashlib.sha256()
    for part in sorted(results.iterdir()):
        known.update(f"{part.name}:{part.stat().st_size}:".encode() + part.read_bytes())
    return known.hexdigest()
