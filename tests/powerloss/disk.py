"""The crash model: what a power loss may leave of a file, of a folder, and of all below the output folder."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from pathlib import Path

from powerloss.operations import (
    ROOT,
    Enter,
    Exchange,
    Operation,
    Recording,
    Remove,
    Rename,
    Sync,
    Truncate,
    Unmodelled,
    Write,
)

SECTOR = 512
EVEN = 0.5


class Fate(enum.Enum):
    """What becomes of everything unsynced in a file or a folder."""

    LOST = enum.auto()
    KEPT = enum.auto()
    TORN = enum.auto()  # sector by sector
    SOME = enum.auto()  # whole writes, or entries, in any subset
    LATE = enum.auto()  # all but the earliest
    JUNK = enum.auto()  # the size only


class File:
    """`live` is what a process reads, `synced` what the disk surely has, `pieces` all between, by sector."""

    def __init__(self) -> None:
        self.live = bytearray()
        self.synced = b""
        self.pieces: dict[int, list[tuple[int, int, bytes]]] = {}
        self.sizes: list[int] = []
        self.first = self.last = -1

    def write(self, number: int, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if end > len(self.live):
            self.live.extend(bytes(end - len(self.live)))
            self.sizes.append(end)
        self.live[offset:end] = data
        self._put(number, offset, data)

    def truncate(self, number: int, size: int) -> None:
        """What lies beyond is gone: should the file grow again, there are zeros."""
        if size < len(self.live):
            self._put(number, size, bytes(-(-len(self.live) // SECTOR) * SECTOR - size))
        self.sizes.append(size)
        del self.live[size:]
        self.live.extend(bytes(size - len(self.live)))

    def _put(self, number: int, offset: int, data: bytes) -> None:
        self.first, self.last = number if self.first < 0 else self.first, number
        end = offset + len(data)
        while offset < end:
            upto = min(end, (offset // SECTOR + 1) * SECTOR)
            piece = data[len(data) - (end - offset) : len(data) - (end - upto)]
            self.pieces.setdefault(offset // SECTOR, []).append((number, offset, piece))
            offset = upto

    def sync(self, begun: int) -> None:
        if self.last >= begun:
            raise Unmodelled("a file was written while it was synced")
        self.synced = bytes(self.live)
        self.pieces, self.sizes, self.first, self.last = {}, [], -1, -1

    @property
    def unsynced(self) -> bool:
        return bool(self.pieces or self.sizes)

    def crashed(self, fate: Fate, chance: random.Random) -> bytes:
        if fate is Fate.LOST or not self.unsynced:
            return self.synced
        if fate is Fate.KEPT:
            return bytes(self.live)
        sizes = [len(self.synced), *self.sizes]
        size = len(self.live) if fate is Fate.JUNK or chance.random() < EVEN else chance.choice(sizes)
        data = self._unwritten(max(sizes), fate, chance)
        keep = self._choice(fate, chance)
        for pieces in self.pieces.values():
            for _, offset, piece in pieces[: keep(pieces)]:
                data[offset : offset + len(piece)] = piece
        return bytes(data[:size])

    def _unwritten(self, most: int, fate: Fate, chance: random.Random) -> bytearray:
        """The synced bytes, and behind them zeros or junk."""
        data = bytearray(self.synced)
        behind = -(-len(data) // SECTOR) * SECTOR
        data.extend(bytes(behind - len(data)))
        filler = chance.randbytes(max(0, most + SECTOR - behind)) if fate in (Fate.JUNK, Fate.TORN) else b""
        data.extend(filler or bytes(max(0, most + SECTOR - behind)))
        return data

    def _choice(self, fate: Fate, chance: random.Random) -> Callable[[list], int]:
        """How many of a sector's pieces have reached the disk."""
        if fate is Fate.JUNK:
            return lambda _: 0
        if fate is Fate.TORN:
            return lambda pieces: chance.randint(0, len(pieces))
        after = chance.randint(self.first, self.last)
        salt = chance.getrandbits(32)

        def is_kept(number: int) -> bool:
            return number > after if fate is Fate.LATE else random.Random(salt ^ number).random() < EVEN

        return lambda pieces: max((n for n, piece in enumerate(pieces, 1) if is_kept(piece[0])), default=0)


class Folder:
    """Entries by name, as a process sees them and as the disk surely has them, and the operations between."""

    def __init__(self) -> None:
        self.live: dict[str, int] = {}
        self.synced: dict[str, int] = {}
        self.operations: list[tuple[int, Enter | Rename | Exchange | Remove]] = []

    def do(self, number: int, operation: Enter | Rename | Exchange | Remove) -> None:
        self._apply(self.live, operation)
        self.operations.append((number, operation))

    @staticmethod
    def _apply(entries: dict[str, int], operation: Enter | Rename | Exchange | Remove) -> None:
        if isinstance(operation, Exchange):
            names = operation.name, operation.other
            there = [entries.pop(name, None) for name in names]
            entries |= {name: node for name, node in zip(names, reversed(there), strict=True) if node is not None}
            return
        if not isinstance(operation, Enter):
            entries.pop(operation.name, None)
        if isinstance(operation, Enter):
            entries[operation.name] = operation.node
        elif isinstance(operation, Rename):
            entries[operation.to] = operation.node

    def sync(self, begun: int) -> None:
        for number, operation in self.operations:
            if number < begun:
                self._apply(self.synced, operation)
        self.operations = [(number, operation) for number, operation in self.operations if number >= begun]

    @property
    def unsynced(self) -> bool:
        return bool(self.operations)

    def crashed(self, fate: Fate, chance: random.Random) -> dict[str, int]:
        entries = dict(self.synced)
        upto = chance.randint(0, len(self.operations))
        for at, (_, operation) in enumerate(self.operations):
            kept = {Fate.LOST: False, Fate.KEPT: True, Fate.TORN: at < upto, Fate.LATE: at >= upto}
            if kept.get(fate, chance.random() < EVEN):
                self._apply(entries, operation)
        return entries


class Disk:
    """Everything below the root, as a recording changes it."""

    def __init__(self, recording: Recording) -> None:
        self._folders = {node: Folder() for node in recording.folders}
        self._files: dict[int, File] = {}

    def do(self, number: int, operation: Operation) -> None:
        match operation:
            case Write(node, offset, data):
                self._files[node].write(number, offset, data)
            case Truncate(node, size):
                self._files[node].truncate(number, size)
            case Sync(node, begun):
                (self._folders.get(node) or self._files[node]).sync(begun)
            case Enter(folder, _, node):
                if node not in self._folders:
                    self._files[node] = File()
                self._folders[folder].do(number, operation)
            case Rename(folder) | Exchange(folder) | Remove(folder):
                self._folders[folder].do(number, operation)

    def tree(self, entries: Callable[[Folder], dict[str, int]], data: Callable[[File], bytes]) -> dict[Path, bytes]:
        """The files that can be reached, by path."""
        found: dict[Path, bytes] = {}
        walk = [(Path(), ROOT)]
        for path, node in walk:
            if node in self._folders:
                walk += [(path / name, child) for name, child in entries(self._folders[node]).items()]
            else:
                found[path] = data(self._files[node])
        return found

    def crashed(self, fate: Fate | None, chance: random.Random) -> dict[Path, bytes]:
        """What the power loss leaves. Without a fate for all, each file and folder draws its own."""
        fates = list(Fate)

        def crash(thing: File | Folder):
            return thing.crashed(fate or chance.choice(fates), chance)

        return self.tree(crash, crash)
