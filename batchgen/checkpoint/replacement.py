"""Puts a repaired checkpoint in a damaged one's place, and a rescued copy in a removed one's. A kill at any point loses
nothing.

A database and its log are a pair: the log holds what the database lacks, and SQLite takes any log beside a database for
that database's own. Two files cannot be replaced at once, so the steps are these:

  1. The repaired database is complete and synced, and needs no log.
  2. The damaged pair gets further names, FILE.damaged and FILE.damaged-wal, and keeps its own.
  3. The repaired database is renamed to .FILE.repaired. From now on it is the checkpoint: whoever opens the file next
     for writing, a run or a salvage, does the steps that are left.
  4. The damaged log's own name is removed. 5. The repaired database takes the damaged one's place.
"""

from __future__ import annotations

import glob
import logging
import os
import shutil
import time
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import apsw

from batchgen.checkpoint.schema import RESCUED
from batchgen.checkpoint.sqlite import copy
from batchgen.errors import BatchgenError, MachineRefused
from batchgen.storage import folders

TAILS = ("-wal", "-shm")
"""What the names of a database's log and of its shared memory end with."""

log = logging.getLogger("batchgen")


def replace_damaged(path: Path, repaired: Path) -> None:
    """Replaces the checkpoint, under its lock, by a repaired file in the same folder. Raises MachineRefused, with
    everything as it was, if the damaged one cannot be kept."""
    try:
        _keep(path)
    except OSError as error:
        raise MachineRefused(f"{path}: cannot be kept as it is: {error.strerror}; nothing was changed") from None
    repaired.rename(_ready(path))
    folders.sync(path.parent)
    finish_replacement(path)


def finish_replacement(path: Path) -> None:
    """Does the steps that are left, under the checkpoint's lock, if a salvage has been killed between them."""
    ready = _ready(path)
    if ready.is_symlink() or not ready.is_file():
        return
    remove_beside(path)
    folders.sync(path.parent)
    ready.rename(path)
    folders.sync(path.parent)


def rescue(path: Path, db: apsw.Connection) -> Path:
    """Writes a copy of an open checkpoint, which was removed or replaced, beside its place. Returns the copy's path.
    Raises MachineRefused, and leaves nothing, if it cannot be written."""
    beside = path.with_name(path.stem + RESCUED.format(time.time_ns()))
    new = beside.with_name(f".{beside.name}")  # half a copy must not be taken for one
    try:
        folders.make([beside.parent])
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))  # the owner's alone
        with closing(apsw.Connection(str(new))) as target:
            copy(db, target)
        return new.rename(beside)
    except (OSError, apsw.Error, BatchgenError) as error:
        with suppress(OSError):
            new.unlink()
        reason = getattr(error, "strerror", None) or error
        raise MachineRefused(
            f"{path}: was removed or replaced while the run was at work, and no copy of it can be written ({reason}): "
            "the next run buys everything again, unless it was only moved: then put it back, with its -wal"
        ) from None


def restore_rescued(path: Path) -> None:
    """Puts the newest copy that was rescued from a run in its checkpoint's place, under its lock, if nothing stands
    there: else the next run would buy again what the copy holds."""
    if (found := standing_for(path)) == path:
        return
    remove_beside(path)
    folders.sync(path.parent)
    found.rename(path)
    folders.sync(path.parent)
    log.warning("warning: %s was removed while a run was at work; its copy takes its place: %s", path, found)


def standing_for(path: Path) -> Path:
    """Returns the file that the next run goes on with: the checkpoint, or, if nothing stands in its place, the newest
    copy that was rescued from a run of it."""
    copies = [] if os.path.lexists(path) else path.parent.glob(glob.escape(path.stem) + RESCUED.format("*"))
    return max(copies, default=path)


def remove_beside(path: Path) -> None:
    """Removes a database's log and its shared memory."""
    for tail in TAILS:
        _beside(path, tail).unlink(missing_ok=True)


def _ready(path: Path) -> Path:
    return path.with_name(f".{path.name}.repaired")


def _beside(path: Path, tail: str) -> Path:
    return path.with_name(path.name + tail)


def _keep(path: Path) -> None:
    """Gives the pair further names that are free: FILE.damaged, else FILE.damaged-2, and so on."""
    damaged = (path.with_name(f"{path.name}.damaged{'' if n == 1 else f'-{n}'}") for n in count(1))
    free = next(one for one in damaged if not any(os.path.lexists(_beside(one, tail)) for tail in ("", *TAILS)))
    try:
        with suppress(FileNotFoundError):
            _link(_beside(path, "-wal"), _beside(free, "-wal"))
        _link(path, free)
        folders.sync(path.parent)
    except OSError:
        for tail in ("", "-wal"):
            _beside(free, tail).unlink(missing_ok=True)
        raise


def _link(source: Path, target: Path) -> None:
    """Gives a file a second name; where the file system has no such names, as exFAT, copies it."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with source.open("rb") as original, os.fdopen(descriptor, "wb") as copy:
            shutil.copyfileobj(original, copy)
        folders.sync(target)
