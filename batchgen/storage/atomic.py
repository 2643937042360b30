"""Atomic writes of a file, or of a folder of files: written under a temporary name in the same folder, synced, put in
place, synced.

A reader sees the old one or the new one. A failure at any step leaves the old one untouched. The module knows no
format.
"""

from __future__ import annotations

import errno
import fcntl
import glob
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

NEW_SUFFIX, OLD_SUFFIX, COPY_SUFFIX, TRIAL_SUFFIX = ".tmp", ".old", ".was", ".try"
"""Suffixes of temporary names: a new file or folder; the old one, moved away; a copy of the old one, which replaces it;
a trial of `try_out`."""
MAX_NAME_BYTES = 200
"""Bytes of the file's name that a temporary name repeats. File systems allow 255 in all."""


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
    """Opens a new file beside `path`. It is gone when the block ends, unless it was put in its place. Raises
    OSError."""
    temporary = _temporary_path(path)
    folders.make([path.parent])
    with _discarded(temporary):
        _remove_stale_temporaries(path)
        with _open_locked(temporary) as file:
            yield NewFile(file, temporary)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yields a new file that replaces `path`, whole and synced, when the block ends without an error. Raises
    MachineRefused."""
    try:
        with new_file(path) as new:
            yield new.file
            new.put(path)
    except OSError as error:
        raise MachineRefused(f"{path}: cannot be written: {error.strerror or error}") from None


def put_folder(new: Path, place: Path) -> None:
    """Syncs a folder and gives it a place beside it. What stands there is a folder of files alone, or a link. Raises
    OSError."""
    folders.sync(new)
    folders.sync(place.parent)  # a name that is not on the disk must not change places with one that is
    _put_in_place(new, place)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder of files beside `path`, and removes it when the block ends. Removes what a killed process
    left, too."""
    temporary = _temporary_path(path)
    folders.make([path.parent])
    _remove_stale_temporaries(path)
    with _discarded(temporary):
        temporary.mkdir()
        with _locked(temporary):
            yield temporary


def _put_in_place(new: Path, path: Path) -> None:
    """Swaps the folders in one step where the system can; else moves the old one away first, and for a moment there is
    none."""
    if not os.path.lexists(path):
        new.rename(path)
    elif not swap(new, path):
        old = _move_away(path)
        new.rename(path)
        folders.sync(path.parent)
        discard(old)
    folders.sync(path.parent)  # before the old one, which bears the other name now, is removed


def _move_away(path: Path) -> Path:
    """Moves the old folder away and returns its new path. An overlay's lower layer cannot rename it: it is copied, then
    removed."""
    old = _temporary_path(path, OLD_SUFFIX)
    try:
        path.rename(old)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy, old = _temporary_path(path, TRIAL_SUFFIX), _temporary_path(path, COPY_SUFFIX)
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
    """Does at temporary names what publishing at `path` will do, and leaves nothing behind. Where the folder does not
    exist yet, it tries the nearest existing one. Raises OSError."""
    folder = folders.nearest(path.parent)
    near = folder / path.name
    one, other = _temporary_path(near, NEW_SUFFIX), _temporary_path(near, TRIAL_SUFFIX)
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
            with create_synced(one):
                pass
            one.replace(other)
        folders.sync(folder)


@contextmanager
def create_synced(path: Path) -> Iterator[BinaryIO]:
    """Yields a new file that is on stable storage when the block ends without an error."""
    with _open_locked(path) as file:
        yield file
        _sync(file)


@contextmanager
def _open_locked(path: Path) -> Iterator[BinaryIO]:
    """Yields a new file, locked as long as it is written."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o666), "w+b") as file:  # noqa: PTH123  a descriptor, not a path
        _lock(file.fileno())
        yield file


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Locks a folder while the block runs, so that other processes do not take it for a leftover."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Returns whether this process now holds the lock. A process locks what it writes: in another container its pid may
    be another's."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def machine_refusals(place: Location) -> Iterator[None]:
    """Turns an OSError of results, or an error of pyarrow, into MachineRefused with the advice that no answer is
    lost."""
    import pyarrow as pa  # noqa: PLC0415  it takes long, and a plan writes nothing

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise MachineRefused(
            f"{place}: cannot be written: {getattr(error, 'strerror', None) or error}. "
            "Every answer is in the checkpoint; run the command again, or `batchgen export`, when that is fixed"
        ) from None


@contextmanager
def _discarded(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        discard(path)


def discard(path: Path) -> None:
    """Removes a file, a link, or a folder of files, as far as possible. A folder that holds a folder stays."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
        else:
            path.unlink()


def _temporary_path(path: Path, suffix: str = NEW_SUFFIX) -> Path:
    return path.with_name(f".{_name_start(path)}.{os.getpid()}{suffix}")


def _name_start(path: Path) -> str:
    """Returns the name, cut to MAX_NAME_BYTES."""
    return os.fsencode(path.name)[:MAX_NAME_BYTES].decode(errors="ignore")


def _remove_stale_temporaries(path: Path) -> None:
    """Removes what a killed process left beside `path`; what a living process writes stays. An old folder is put back
    if the process was killed before the new one was in place. An old folder that was copied first replaces `path`:
    `path` may be half removed."""
    for suffix in (COPY_SUFFIX, OLD_SUFFIX, NEW_SUFFIX, TRIAL_SUFFIX):
        begin = f".{_name_start(path)}."
        for left in path.parent.glob(f"{glob.escape(begin)}*{suffix}"):
            pid = left.name[len(begin) : -len(suffix)]  # what else begins so is another file's
            if not pid.isdigit() or _is_alive(int(pid)) or _is_locked(left):
                continue
            if suffix == COPY_SUFFIX:
                discard(path)
            if suffix in (COPY_SUFFIX, OLD_SUFFIX) and not os.path.lexists(path):
                left.rename(path)
            else:
                discard(left)


def _is_locked(path: Path) -> bool:
    """Returns whether a process writes it, also one that cannot be seen from here, such as in another container."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return pid != os.getpid()
