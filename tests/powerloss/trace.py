"""strace's output -> operations. Refuses whatever it cannot tell in these."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from powerloss.operations import (
    ROOT,
    Acknowledged,
    Enter,
    Exchange,
    Operation,
    Published,
    Recording,
    Remove,
    Rename,
    Sync,
    Truncate,
    Unmodelled,
    Write,
)

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


class Tracer:
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
