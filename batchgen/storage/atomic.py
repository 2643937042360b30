"""What appears whole: a file, or a folder of files. Written aside in the same folder, synced, put in place, synced.

A reader sees the old one or the new one; a failure at any step leaves the old one untouched. Knows no format.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from batchgen.errors import MachineRefused
from batchgen.storage import folders
from batchgen.storage.location import Location
from batchgen.storage.swap import swap

NEW, OLD, WAS, TRY = ".tmp", ".old", ".was", ".try"
"""What is being written; what stood in its place; a copy of that, which stands for it; and what was only tried."""
LONGEST = 200
"""Bytes of a name that a name aside repeats: file systems take 255 in all."""


@dataclass(frozen=True)
class NewFile:
    """A file that is being written beside its place, and locked meanwhile."""

    file: BinaryIO
    path: Path

    def put(self, place: Path) -> None:
        """Syncs it and gives it a place in the same folder. Raises OSError."""
        _sync(self.file)
        self.path.replace(place)
        folders.sync(place.parent)


@contextmanager
def new_file(path: Path) -> Iterator[NewFile]:
    """A new file beside `path`, gone when the block ends unless it was put in its place. Raises MachineRefused."""
    temporary = _aside(path)
    with refusing(path), _discarded(temporary):
        folders.make([path.parent])
        _remove_stale_temporaries(path)
        with _opened(temporary) as file:
            yield NewFile(file, temporary)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes `path`'s place, whole and synced, when the block ends well. Raises MachineRefused."""
    with new_file(path) as new:
        yield new.file
        new.put(path)


def put_folder(new: Path, place: Path) -> None:
    """Syncs a folder and gives it a place beside it. What stands there is a folder of files alone, or a link. Raises
    OSError."""
    folders.sync(new)
    folders.sync(place.parent)  # a name that is not on the disk must not change places with one that is
    _put_in_place(new, place)


@contextmanager
def set_aside(path: Path) -> Iterator[Path]:
    """A new folder of files beside `path`, gone when the block ends; what a killed process left of it is gone too."""
    temporary = _aside(path)
    folders.make([path.parent])
    _remove_stale_temporaries(path)
    with _discarded(temporary):
        temporary.mkdir()
        with _locked(temporary):
            yield temporary


def _put_in_place(new: Path, path: Path) -> None:
    """In one step, where the system has it; else the old folder is set aside, and there is none for a moment."""
    if not os.path.lexists(path):
        new.rename(path)
    elif not swap(new, path):
        old = _out_of_the_way(path)
        new.rename(path)
        folders.sync(path.parent)
        discard(old)
    folders.sync(path.parent)  # before the old one, which bears the other name now, is removed


def _out_of_the_way(path: Path) -> Path:
    """Where the old folder lies now. One of an overlay's layer below cannot be renamed: it is copied, then removed."""
    old = _aside(path, OLD)
    try:
        path.rename(old)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy, old = _aside(path, TRY), _aside(path, WAS)
        discard(copy)
        with _discarded(copy):
            shutil.copytree(path, copy)
            for file in copy.iterdir():
                folders.sync(file)
            folders.sync(copy)
            copy.rename(old)
        folders.sync(path.parent)
        discard(path)
    return old


def try_out(path: Path, *, is_folder: bool) -> None:
    """Does what publishing at `path` is going to do, under other names, and leaves nothing: where the folder is still
    to be made, in the one that it is to be made in. Raises OSError."""
    folder = folders.nearest(path.parent)
    near = folder / path.name
    one, other = _aside(near, NEW), _aside(near, TRY)
    _remove_stale_temporaries(near)
    with _discarded(one), _discarded(other):
        if is_folder:
            one.mkdir()
            other.mkdir()
            folders.sync(one)
            if not swap(one, other):
                other.rmdir()
                one.rename(other)
        else:
            with created(one):
                pass
            one.replace(other)
        folders.sync(folder)


@contextmanager
def created(path: Path) -> Iterator[BinaryIO]:
    """A new file, on stable storage when the block ends well."""
    with _opened(path) as file:
        yield file
        _sync(file)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A new file, locked for as long as it is written."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o666), "w+b") as file:  # noqa: PTH123  a descriptor, not a path
        _lock(file.fileno())
        yield file


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """A folder that is at work, for others who look for what was left behind."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether it is locked now: as a process does with what it writes, whose number may be another's elsewhere."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def refusing(place: Location) -> Iterator[None]:
    """What the machine or the store refuses is a MachineRefused, which says that nothing is lost."""
    import pyarrow as pa  # noqa: PLC0415  it takes long, and a plan writes nothing

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise MachineRefused(
            f"{place}: cannot be written: {getattr(error, 'strerror', None) or error}. "
            "Every answer is in the checkpoint; run the command again, or `batchgen export`, when that is mended"
        ) from None


@contextmanager
def _discarded(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        discard(path)


def discard(path: Path) -> None:
    """Removes a file, a link, or a folder of files, as far as that goes; a folder within stays, and what it is in."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
        else:
            path.unlink()


def _aside(path: Path, suffix: str = NEW) -> Path:
    return path.with_name(f".{_begun(path)}.{os.getpid()}{suffix}")


def _begun(path: Path) -> str:
    """The name, or as much of it as leaves room."""
    return os.fsencode(path.name)[:LONGEST].decode(errors="ignore")


def _remove_stale_temporaries(path: Path) -> None:
    """Those that a killed process left beside `path`; a living one's is left alone. An old folder stands again where
    the process was killed before the new one did; of one that was copied first, nobody knows what is left."""
    for suffix in (WAS, OLD, NEW, TRY):
        for left in path.parent.glob(f".{_escaped(_begun(path))}.*{suffix}"):
            pid = left.name.split(".")[-2]
            if not pid.isdigit() or _is_alive(int(pid)) or _is_locked(left):
                continue
            if suffix == WAS:
                discard(path)
            if suffix in (WAS, OLD) and not os.path.lexists(path):
                left.rename(path)
            else:
                discard(left)


def _is_locked(path: Path) -> bool:
    """Whether a process writes it that is not to be seen from here, as in another container."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return pid != os.getpid()
