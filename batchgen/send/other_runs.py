"""Finds the runs on this machine that share something: the rate of a key at an endpoint, or what a server can do. Each
has a lock file, in a folder for what is shared.

The kernel releases the lock when its holder ends, however it ended: a run that died no longer counts. Nothing here
sends, waits, or knows rates. The folder's name is a digest, which does not reveal a key.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from batchgen.errors import AlreadyRunning, MachineRefused
from batchgen.storage import file_lock

COUNT_SECONDS = 1.0
"""Seconds between two counts: a run may take that long to notice another."""
STALE_FILE_SECONDS = 60.0
"""Seconds after which an unlocked file is deleted: a younger one may belong to a run that is about to lock it."""
SILENT_SECONDS = 10.0
"""A run tells every second. One that has been silent for so long is stopped, and sends nothing."""
TOLD_BYTES = 64
"""The length of what a run tells. It never changes, so that one write replaces the old text whole."""

log = logging.getLogger("batchgen")


class Others(NamedTuple):
    """The other runs, as far as they have told of themselves. `runs`: how many there are, this one included.
    `in_flight`: their requests. `settled`: the numbers of requests that they have settled on, each for all runs
    together. `is_looking`: one that began before this run is looking for the number."""

    runs: int = 1
    in_flight: int = 0
    settled: tuple[int, ...] = ()
    is_looking: bool = False


@dataclass(frozen=True)
class Registration:
    """This run among those that share something with it. `own`: its file; None if no folder can be used, and every run
    believes itself alone. `began`: when, in seconds of the Unix epoch."""

    own: Path | None
    began: float

    def count(self) -> int:
        """Returns how many runs there are, this one included."""
        return 1 + len(self._files())

    def tell(self, in_flight: int, settled: int, *, is_looking: bool) -> None:
        """Writes what the others may know of this run (see `Others`). `settled`: 0 if it has not."""
        if self.own is not None:
            told = json.dumps([self.began, in_flight, settled, is_looking]).ljust(TOLD_BYTES)
            with (
                suppress(OSError),
                self.own.open("r+b", buffering=0) as file,
            ):  # truncated, it would be empty for a moment
                file.write(told.encode())

    def others(self) -> Others:
        told = [one for one in map(_told, self._files()) if one is not None]
        return Others(
            1 + len(told),
            sum(in_flight for _, in_flight, *_ in told),
            tuple(settled for *_, settled, _ in told if settled),
            any(began < self.began and is_looking for began, *_, is_looking in told),
        )

    def _files(self) -> list[Path]:
        return [] if self.own is None else [file for file in _held(self.own.parent) if file != self.own]


@contextmanager
def register(*shared: str) -> Iterator[Registration]:
    """Registers this run while the block runs. `shared`: the words that say what is shared."""
    name = blake2b("\0".join(shared).encode(), digest_size=16, person=b"batchgen-share").hexdigest()
    with ExitStack() as stack:
        folder = _folder(name)
        own = folder and folder / f"{os.getpid()}-{secrets.token_hex(4)}.run"
        try:
            if own is not None:
                stack.callback(own.unlink, missing_ok=True)
                stack.enter_context(file_lock.exclusive(own))
        except (AlreadyRunning, MachineRefused):
            own = None
        if own is None:
            log.warning("warning: no folder to find other runs in: runs that share a rate or a server will not know it")
        yield Registration(own, time.time())


def _folder(name: str) -> Path | None:
    """Returns a folder that only this user can write: in the home, else among the temporary files."""
    with suppress(OSError, RuntimeError):
        return _private_folder(Path.home() / ".cache" / "batchgen" / name)
    with suppress(OSError):
        return _private_folder(Path(tempfile.gettempdir()) / f"batchgen-{os.getuid()}" / name)
    return None


def _private_folder(folder: Path) -> Path:
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for own in (folder.parent, folder):
        own.mkdir(mode=0o700, exist_ok=True)
        if own.is_symlink() or own.stat().st_uid != os.getuid():
            raise PermissionError(f"{own}: belongs to another user")
    return folder


def _held(folder: Path) -> list[Path]:
    """Returns the files of the runs that live; removes those of dead ones. Raises MachineRefused if the folder cannot
    be listed."""
    try:
        names = os.listdir(folder)  # noqa: PTH208  which of its errors Path.glob raises differs between Pythons
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MachineRefused(f"{folder}: cannot be listed: {error.strerror}: other runs are not counted") from None
    return [folder / name for name in names if name.endswith(".run") and _is_held(folder / name)]


def _is_held(file: Path) -> bool:
    """Returns whether a run holds the file, or that cannot be found out: rather one too many than that all together
    exceed the rate. Removes it if it is a dead run's."""
    try:
        if file_lock.is_held(file):
            return True
    except MachineRefused:
        return True
    with suppress(OSError):  # such as that the run has just ended, and its file is gone
        if time.time() - file.stat().st_mtime > STALE_FILE_SECONDS:
            file.unlink(missing_ok=True)
    return False


def _told(file: Path) -> tuple[float, int, int, bool] | None:
    """Returns what a run has told; None if that is nothing yet, or long ago: then it is stopped."""
    with suppress(OSError, ValueError, TypeError):
        if time.time() - file.stat().st_mtime <= SILENT_SECONDS:
            began, in_flight, settled, is_looking = json.loads(file.read_text())
            return float(began), int(in_flight), int(settled), bool(is_looking)
    return None
