"""A rig for power losses: records what a real run does to its files, and replays the disks a power loss could leave.

Record. `record` runs the job under strace, in a driver (this file, run as a script) that calls the same function
as `batchgen run`. Every write, truncation, sync, creation, rename and removal below the output folder is taken from
the trace, in order; a call that could change a file and is not modelled is an error, and so is a model that does not
end with the very bytes that lie on the disk. The driver adds what strace cannot see: when answers were acknowledged
(`Checkpoint.add` returned, so the COMMIT had), when results were (`commands.run` returned), and the marks of what is
in flight, which are written through a mapped file.

The crash model. The power may fail between any two operations. Then
  1. What a sync that has returned covers is there: of a file, its bytes and its size; of a folder, its entries.
     A file's sync does not cover its folder's entry.
  2. A disk writes sectors of 512 bytes, each whole or not at all. Each sector of a file is, independently of all
     others, in any of the versions it has had since the file's last sync: lost, kept, torn and reordered writes are
     all of them cases of this. So is the file's size. A sector that came to be inside the file but was never written
     holds zeros, or junk.
  3. Of a folder's unsynced operations any subset may have happened, each of them wholly.
  4. Files are independent of each other, and so are folders.

This is stricter than ext4, which keeps the order of a folder's operations and shows no junk. It does not model
bytes that rot after they were synced, and disks that lie about a sync. SQLite's `-shm` file is left out: whoever
opens the database first makes it anew.

Replay. Each sampled disk is laid out in memory and goes through the project's own recovery. Every answer that was
acknowledged before the crash must be there, byte for byte, and its row must not be sent again; the results must be
the file last acknowledged or a later one, whole.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import apsw

from batchgen import commands
from batchgen.errors import BatchgenError
from batchgen.night import Night
from batchgen.runner.checkpoint import OK, Checkpoint
from batchgen.runner.flight import Flight
from batchgen.runner.reader import Reader

if TYPE_CHECKING:
    from durability import Work

SECTOR = 512
HUNG = 120
"""Seconds after which a recording that should have ended fails; nothing is measured by it."""
LARGEST_WRITE = 1 << 26
SHARED_MEMORY = Path("/dev/shm")

WRITES = ("write", "pwrite64")
SYNCS = ("fsync", "fdatasync")
MODELLED = (*WRITES, *SYNCS, "open", "openat", "close", "read", "lseek", "ftruncate", "truncate", "mkdir", "mkdirat")
MOVES = ("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir")
COPIES = ("dup", "dup2", "dup3", "fcntl")
UNMODELLED = (
    *("creat", "openat2", "writev", "pwritev", "pwritev2", "sendfile", "splice", "copy_file_range", "fallocate"),
    *("sync_file_range", "link", "linkat", "symlink", "symlinkat", "mmap"),
)
HARMLESS = re.compile(r"MAP_PRIVATE|PROT_READ, MAP_SHARED")
MAPPED = ("-shm", ".flight")
"""Files that are known to be written through memory: the one is left out, the other's changes are told by the driver."""


class Unmodelled(Exception):
    """The run did something that the rig cannot replay; its findings would be worth nothing."""


# --- operations -------------------------------------------------------------------------------------------------


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


# --- from a trace to operations ---------------------------------------------------------------------------------

_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")
_END = re.compile(r"^(.*)\)\s+= (-?\d+|0x[0-9a-f]+|\?)([^=]*)$")
_DESCRIPTOR = re.compile(r"^(0x[0-9a-f]+|\d+)")
_HEX = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_AT = re.compile(r"AT_FDCWD<((?:\\x[0-9a-f]{2})*)>")


class Call(NamedTuple):
    thread: str
    name: str
    arguments: str
    result: int | None
    """None where it has only begun; negative where it failed."""
    comment: str = ""


def calls(trace: Path) -> Iterator[Call]:
    """Every call twice: as it begins, and as it ends (a call that a kill cut short never ends)."""
    begun: dict[str, str] = {}
    with trace.open() as lines:
        for line in lines:
            match = _LINE.match(line)
            if match is None:
                continue  # a signal, or an exit
            thread, resumed, fresh, rest = match.groups()
            if fresh:
                begun[thread] = rest.removesuffix("<unfinished ...>")
                yield Call(thread, fresh, begun[thread], None)
            else:
                rest = begun[thread] + rest
            end = _END.match(rest)
            if end and end[2] != "?":
                yield Call(thread, resumed or fresh, end[1], int(end[2], 0), end[3])


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _strings(arguments: str) -> list[bytes]:
    found = _HEX.findall(arguments)
    if any(cut for _, cut in found):
        raise Unmodelled(f"strace cut a string short: {arguments[:200]}")
    return [_unhex(text) for text, _ in found]


@dataclass
class _Open:
    """An open file: its node (None: none of ours), and where the next write goes."""

    node: int | None
    offset: int = 0
    markers: bool = False


class _Tracer:
    """Reads one session's trace into a recording. `names` is the live tree, by absolute path.

    An operation stands where its call returned; a sync covers what had returned before it was called.
    """

    def __init__(self, recording: Recording, names: dict[Path, int], markers: Path) -> None:
        self._recording = recording
        self._names = names
        self._markers = markers
        self._open: dict[int, _Open] = {}
        self._target: dict[str, tuple[_Open | None, int]] = {}

    def read(self, trace: Path) -> None:
        for call in calls(trace):
            if call.result is None:
                self._begin(call)
            elif call.result >= 0:
                self._end(call)

    def _begin(self, call: Call) -> None:
        """A descriptor means the file that it is of when the call begins."""
        descriptor = _DESCRIPTOR.match(call.arguments)
        file = self._open.get(int(descriptor[1], 0)) if descriptor else None
        self._target[call.thread] = file, len(self._recording.operations)
        if call.name == "close" and descriptor:
            self._open.pop(int(descriptor[1], 0), None)

    def _end(self, call: Call) -> None:
        file, begun = self._target[call.thread]
        if call.name in UNMODELLED:
            self._refuse(call, file)
        elif call.name in COPIES:
            if file is not None and (call.name != "fcntl" or "F_DUPFD" in call.arguments):
                self._open[call.result] = file
        elif call.name in ("open", "openat"):
            self._opened(call)
        elif call.name in ("mkdir", "mkdirat"):
            self._entered(self._path(call), folder=True)
        elif call.name in MOVES:
            self._moved(call)
        elif call.name == "truncate":
            path = self._path(call)
            if path in self._names:
                self._do(Truncate(self._names[path], int(call.arguments.rsplit(", ", 1)[1])))
        elif file is not None and call.name != "close":
            self._used(call, file, begun)

    def _do(self, operation: Operation) -> None:
        self._recording.operations.append(operation)

    def _is_ours(self, path: Path) -> bool:
        output = self._recording.output
        return (path == output or output in path.parents) and not path.name.endswith("-shm")

    def _path(self, call: Call, at: int = 0) -> Path:
        folder = _AT.search(call.arguments)
        path = Path(os.fsdecode(_strings(call.arguments)[at]))
        return Path(os.fsdecode(_unhex(folder[1]))) / path if folder else path

    def _refuse(self, call: Call, file: _Open | None) -> None:
        """A mapping's file is its fifth argument, every other call's its first; a path may be any."""
        if HARMLESS.search(call.arguments):
            return
        paths = [Path(os.fsdecode(_unhex(path))) for path in re.findall(r"[<\"]((?:\\x[0-9a-f]{2})+)", call.arguments)]
        ours = [path for path in paths if self._is_ours(path) and not path.name.endswith(MAPPED)]
        if ours or (file is not None and file.node is not None):
            raise Unmodelled(f"{call.name} on {ours or file}")

    def _opened(self, call: Call) -> None:
        path, flags = self._path(call), call.arguments
        if path == self._markers:
            self._open[call.result] = _Open(None, markers=True)
            return
        if "O_APPEND" in flags and self._is_ours(path):
            raise Unmodelled(f"appends to {path}")
        if "O_TMPFILE" not in flags and self._is_ours(path) and path not in self._names:
            self._entered(path, folder=False)
        node = None if "O_TMPFILE" in flags else self._names.get(path)
        self._open[call.result] = _Open(node)
        if node is not None and "O_TRUNC" in flags:
            self._do(Truncate(node, 0))

    def _entered(self, path: Path, *, folder: bool) -> None:
        if not self._is_ours(path):
            return
        node = self._names[path] = 1 + max(self._nodes())
        if folder:
            self._recording.folders.add(node)
        self._do(Enter(self._names[path.parent], path.name, node))

    def _nodes(self) -> Iterator[int]:
        yield ROOT
        for operation in self._recording.operations:
            if isinstance(operation, Enter):
                yield operation.node

    def _moved(self, call: Call) -> None:
        path = self._path(call)
        if not self._is_ours(path):
            return
        folder = self._names[path.parent]
        if not call.name.startswith("rename"):
            self._names.pop(path)
            self._do(Remove(folder, path.name))
            return
        to = self._path(call, at=1)
        if to.parent != path.parent:
            raise Unmodelled(f"{path} moved to another folder, {to}")
        if "RENAME_EXCHANGE" in call.arguments:
            self._do(Exchange(folder, path.name, to.name))
            one, other = self._taken(path), self._taken(to)
            self._put(one, to)
            self._put(other, path)
        else:
            self._do(Rename(folder, path.name, to.name, self._names[path]))
            self._put(self._taken(path), to)

    def _taken(self, path: Path) -> dict[Path, int]:
        """What bears the name, and all below it, by the path from there; it bears it no more."""
        below = [known for known in self._names if known == path or path in known.parents]
        return {known.relative_to(path): self._names.pop(known) for known in below}

    def _put(self, taken: dict[Path, int], to: Path) -> None:
        self._names |= {to / below: node for below, node in taken.items()}

    def _used(self, call: Call, file: _Open, begun: int) -> None:
        if file.markers and call.name == "write":
            self._marked(json.loads(_strings(call.arguments)[0]))
        elif call.name == "lseek":
            file.offset = call.result
        elif call.name == "read":
            file.offset += call.result
        elif file.node is not None and call.name in SYNCS:
            self._do(Sync(file.node, begun))
        elif file.node is not None and call.name == "ftruncate":
            self._do(Truncate(file.node, int(call.arguments.rsplit(", ", 1)[1])))
        elif call.name in WRITES:
            self._wrote(call, file)

    def _wrote(self, call: Call, file: _Open) -> None:
        offset = file.offset if call.name == "write" else int(call.arguments.rsplit(", ", 1)[1])
        if call.name == "write":
            file.offset += call.result
        if file.node is not None:
            self._do(Write(file.node, offset, _strings(call.arguments)[0][: call.result]))

    def _marked(self, said: dict) -> None:
        if "acknowledged" in said:
            self._do(Acknowledged({bytes.fromhex(key): sha for key, sha in said["acknowledged"].items()}))
        elif "published" in said:
            self._do(Published(said["published"], said["ok"]))
        else:
            flight = next(node for path, node in self._names.items() if path.name.endswith(".flight"))
            self._do(Write(flight, 0, bytes.fromhex(said["marks"])))


# --- recording --------------------------------------------------------------------------------------------------


class Weakness(enum.StrEnum):
    """What a session leaves out, for the rig to find."""

    NORMAL = "synchronous = NORMAL"
    OFF = "synchronous = OFF"
    EARLY = "acknowledged before its COMMIT"
    FILE = "temporary file not synced"
    FOLDER = "folder not synced"


@dataclass(frozen=True)
class Session:
    """One start of the job. `kill`: SIGKILL as a thread is about to make its so-manieth fdatasync; what it had
    written stays in the page cache, unsynced. `log_pages`: after how many pages SQLite moves the log into the
    database, where that is not left to it."""

    prepare: Callable[[], object]
    kill: int | None = None
    log_pages: int | None = None
    weakness: Weakness | None = None


def refused() -> str | None:
    """Why nothing can be recorded here, if so."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {tried.stderr.strip()}" if tried.returncode else None


def record(work: Work, url: str, scratch: Path, sessions: list[Session]) -> Recording:
    """Runs the job once a session, under strace. Its output folder does not exist yet; traces go to `scratch`."""
    output = work.result.parent
    root = output.parent
    recording = Recording(root, output, work.result.relative_to(root), work.checkpoint.relative_to(root))
    names = {root: ROOT}
    for number, session in enumerate(sessions):
        session.prepare()
        trace, markers = (scratch / f"{kind}.{number}" for kind in ("trace", "markers"))
        markers.touch()
        order = {"job": str(work.job), "url": url, "markers": str(markers)}
        order |= {"log_pages": session.log_pages, "weakness": session.weakness}
        _run_traced(order, trace, session.kill)
        _Tracer(recording, names, markers).read(trace)
        trace.unlink()
    _refuse_unfaithful(recording)
    return recording


def _run_traced(order: dict, trace: Path, kill: int | None) -> None:
    traced = ",".join((*MODELLED, *MOVES, *COPIES, *UNMODELLED))
    options = ["-f", "-qq", "-y", "-xx", "-s", str(LARGEST_WRITE), "-o", trace]
    options += ["-e", f"trace={traced}", "-e", "signal=none", "-e", "raw=read"]
    if kill is not None:
        options += ["-e", f"inject=fdatasync:signal=SIGKILL:when={kill}"]
    ended = subprocess.run(
        ["strace", *options, sys.executable, __file__, json.dumps(order)],
        capture_output=True,
        text=True,
        timeout=HUNG,
        check=False,
    )
    if (ended.returncode != 0) != (kill is not None):
        raise Unmodelled(f"the recorded run ended with {ended.returncode}: {ended.stderr}")


def _refuse_unfaithful(recording: Recording) -> None:
    """The model's end must be the disk's, byte for byte."""
    disk = Disk(recording)
    for number, operation in enumerate(recording.operations):
        disk.do(number, operation)
    modelled = disk.tree(lambda folder: folder.live, lambda file: bytes(file.live))
    files = {path: path.read_bytes() for path in recording.output.rglob("*") if path.is_file()}
    actual = {path.relative_to(recording.folder): data for path, data in files.items()}
    wrong = {str(path) for path in modelled.keys() | actual.keys() if modelled.get(path) != actual.get(path)}
    if wrong:
        raise Unmodelled(f"the trace does not explain what lies in {sorted(wrong)}")


# --- the disk and its fates -------------------------------------------------------------------------------------


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


# --- replay -----------------------------------------------------------------------------------------------------


@dataclass
class Findings:
    """`states` are distinct: another disk, or the same one after more was acknowledged."""

    points: int = 0
    states: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    worst: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, where: str, said: str) -> None:
        self.wrong[what] += 1
        self.examples.setdefault(what, f"{where}: {said}")

    def __str__(self) -> str:
        found = "; ".join(f"{what}: {count} states, first {self.examples[what]}" for what, count in self.wrong.items())
        return f"{self.states:,} states after {self.points:,} crash points: {found or 'nothing wrong'}"


LOST = "acknowledged rows lost"
AGAIN = "acknowledged rows sent again"
UNPUBLISHED = "results torn, or older than acknowledged"
REFUSED = "recovery refused"
BROKEN = "recovery broken off by an error of its own"


def sample(recording: Recording, seed: int, count: int) -> Iterator[tuple[dict[Path, bytes], Known]]:
    """So many crashes at random points: what is on the disk, and what had been acknowledged (until the next one)."""
    chance = random.Random(seed)
    disk, known = Disk(recording), Known(recording)
    points = set(chance.sample(range(len(recording.operations)), count))
    for number, operation in enumerate(recording.operations):
        disk.do(number, operation)
        known.learn(operation)
        if number in points:
            yield disk.crashed(None, chance), known


class Replay:
    """Samples the disks that a power loss could leave, until there are `states`, and recovers each of them."""

    def __init__(self, recording: Recording, seed: int, states: int) -> None:
        self._recording = recording
        self._chance = random.Random(seed)
        self._wanted = states
        self._seen: set[bytes] = set()
        self._findings = Findings(points=len(recording.operations) + 1)

    def run(self) -> Findings:
        """Each pass crashes at every point; the first also tries every fate after each acknowledgement."""
        parent = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        with tempfile.TemporaryDirectory(dir=parent, prefix="powerloss.") as folder:
            first = True
            while first or self._findings.states < self._wanted:
                before = self._findings.states
                self._sweep(Path(folder), first=first)
                if not first and self._findings.states == before:
                    break  # there are no more
                first = False
        return self._findings

    def _sweep(self, folder: Path, *, first: bool) -> None:
        disk, known = Disk(self._recording), Known(self._recording)
        for number, operation in enumerate([None, *self._recording.operations], -1):
            if operation is not None:
                disk.do(number, operation)
                known.learn(operation)
            told = isinstance(operation, Acknowledged | Published)
            fates = [None, *Fate] if first and told else [Fate.LOST, None] if first else [None]
            for fate in fates:
                if first or self._findings.states < self._wanted:
                    where = f"after operation {number} ({type(operation).__name__}), {fate.name if fate else 'mixed'}"
                    self._try(folder, disk.crashed(fate, self._chance), known, where)

    def _try(self, folder: Path, files: dict[Path, bytes], known: Known, where: str) -> None:
        state = hashlib.blake2b(f"{len(known.answers)} {known.publications}".encode())
        for path, data in sorted(files.items()):
            state.update(f"{path}:{len(data)}:".encode())
            state.update(data)
        if state.digest() in self._seen:
            return
        self._seen.add(state.digest())
        self._findings.states += 1
        lay_out(folder, files)
        for what, said in known.complaints(folder):
            self._findings.add(what, where, said)
            if what in (LOST, AGAIN):
                self._findings.worst = max(self._findings.worst, int(said.split()[0]))


def lay_out(folder: Path, files: dict[Path, bytes]) -> None:
    """Empties the folder and puts the files there."""
    for left in folder.iterdir():
        shutil.rmtree(left)
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


class Known:
    """What had been acknowledged before the crash, and what of it is missing after the recovery."""

    def __init__(self, recording: Recording) -> None:
        self.answers: dict[bytes, str] = {}
        self.publications = 0
        self._ok = 0
        self._recording = recording
        published = [done.sha for done in recording.operations if isinstance(done, Published)]
        self._versions = [None, *published]

    def learn(self, operation: Operation) -> None:
        if isinstance(operation, Acknowledged):
            self.answers |= operation.answers
        elif isinstance(operation, Published):
            self.publications += 1
            self._ok = operation.ok

    def complaints(self, folder: Path) -> Iterator[tuple[str, str]]:
        """(what, how) is wrong with the disk in `folder`."""
        results = folder / self._recording.results
        found = fingerprint(results) if results.exists() else None
        if found not in self._versions[self.publications : self.publications + 2]:
            yield UNPUBLISHED, f"{results.stat().st_size:,} bytes" if found else "no file"
        try:
            recovered = recover(folder / self._recording.checkpoint)
        except (BatchgenError, apsw.Error) as error:
            yield REFUSED, str(error)
            return
        except Exception as error:  # noqa: BLE001  what recovery raises by mistake is a finding too
            yield BROKEN, repr(error)
            return
        lost = [key for key, sha in self.answers.items() if sha not in recovered.answers.get(key, ())]
        if lost:
            yield LOST, f"{len(lost)} of {len(self.answers)}"
        elif len(recovered.answers) < self._ok:
            yield LOST, f"{self._ok - len(recovered.answers)} of {self._ok} that were published"
        again = [key for key in self.answers if key not in lost and recovered.last.get(key) != OK]
        if again:
            yield AGAIN, f"{len(again)} of {len(self.answers)}"


def fingerprint(results: Path) -> str:
    """SHA-256 of a file, or of the names and bytes of a folder's."""
    if results.is_file():
        return hashlib.sha256(results.read_bytes()).hexdigest()
    known = hashlib.sha256()
    for part in sorted(results.iterdir()):
        known.update(f"{part.name}:{part.stat().st_size}:".encode() + part.read_bytes())
    return known.hexdigest()


class Recovered(NamedTuple):
    """SHA-256 of every answer that reads back whole, and the outcome of the last attempt, by key."""

    answers: dict[bytes, list[str]]
    last: dict[bytes, str]


def recover(path: Path) -> Recovered:
    """As `batchgen run` does before it plans. Raises what refuses the run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(Checkpoint(path)) as checkpoint, closing(Reader(path)) as reader:
        Night(
            SimpleNamespace(flight=path.with_suffix(".flight"), job=None), "", checkpoint, reader, None, None
        )._recover()
        states = list(reader.states())
        answers: dict[bytes, list[str]] = {}
        for record in reader.records([id_ for _, id_, *_ in states]).values():
            if record.outcome == OK and record.body is not None:
                answers.setdefault(record.key, []).append(hashlib.sha256(record.body).hexdigest())
    with closing(apsw.Connection(str(path))) as db:
        said = db.execute("PRAGMA quick_check").fetchone()[0]
    if said != "ok":
        raise apsw.CorruptError(said)
    return Recovered(answers, {key: outcome for key, _, outcome, *_ in states})


# --- the driver -------------------------------------------------------------------------------------------------


def _drive(order: dict) -> None:
    """One start of the job, with markers, and with what it is to leave out left out."""
    descriptor = os.open(order["markers"], os.O_WRONLY)

    def mark(**said: object) -> None:
        os.write(descriptor, json.dumps(said).encode())

    weakness = order["weakness"]
    _mark_acknowledgements(mark, early=weakness == Weakness.EARLY)
    _mark_flight(mark)
    _wrap_connect(order["log_pages"], weakness)
    if weakness in (Weakness.FILE, Weakness.FOLDER):
        _leave_out_syncs(weakness)
    environ = {"WRITER_BASE_URL": order["url"], "WRITER_API_KEY": "any"}
    summary = commands.run(order["job"], quiet=True, environ=environ)
    mark(published=fingerprint(Path(summary.path)), ok=summary.ok)


def _mark_acknowledgements(mark: Callable[..., None], *, early: bool) -> None:
    """`Checkpoint.add` returns when the COMMIT has; the pump's slots are released after that."""
    add = Checkpoint.add

    @functools.wraps(add)
    def marked(self, records):
        answers = {r.key.hex(): hashlib.sha256(r.body).hexdigest() for r in records if r.outcome == OK and r.body}
        if early:
            mark(acknowledged=answers)
        add(self, records)
        if not early:
            mark(acknowledged=answers)

    Checkpoint.add = marked


def _mark_flight(mark: Callable[..., None]) -> None:
    """Stores to mapped memory are no system calls: the file's whole content is told after each."""

    def marked(change):
        @functools.wraps(change)
        def wrapped(self, *values):
            change(self, *values)
            mark(marks=self._map[:].hex())

        return wrapped

    Flight.begin, Flight.end = marked(Flight.begin), marked(Flight.end)


def _wrap_connect(log_pages: int | None, weakness: str | None) -> None:
    """Every connection gets another `synchronous` than it asks for, and is told the one it asked for."""
    level = {Weakness.NORMAL: "NORMAL", Weakness.OFF: "OFF"}.get(weakness)

    class Connection(apsw.Connection):
        def execute(self, sql, *values):
            if log_pages is not None and re.match(r"\s*PRAGMA\s+wal_autocheckpoint\s*=", sql, re.IGNORECASE):
                sql = f"PRAGMA wal_autocheckpoint = {log_pages}"
            elif level and re.match(r"\s*PRAGMA\s+synchronous\s*=", sql, re.IGNORECASE):
                sql = f"PRAGMA synchronous = {level}"
            elif level and re.match(r"\s*PRAGMA\s+synchronous\b", sql, re.IGNORECASE):
                sql = "SELECT 2"  # FULL
            return super().execute(sql, *values)

    apsw.Connection = Connection


def _leave_out_syncs(weakness: str) -> None:
    """`os.fsync` does nothing for temporary files, or for folders."""
    fsync = os.fsync

    def weak(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        left_out = ".tmp" in str(path) and path.is_file() if weakness == Weakness.FILE else path.is_dir()
        if not left_out:
            fsync(descriptor)

    os.fsync = weak


if __name__ == "__main__":
    _drive(json.loads(sys.argv[1]))
