"""Counts the runs on this machine that share one key's rate at one endpoint: a lock file for each, in a folder for the
pair.

The kernel releases the lock when its holder ends, however it ended: a run that died no longer counts. Nothing here
sends, waits, or knows rates. The folder's name is a digest, which does not reveal the key.
"""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

from batchgen.errors import AlreadyRunning, MachineRefused
from batchgen.storage import file_lock

COUNT_SECONDS = 1.0
"""Seconds between two counts: a run may take that long to notice another."""
STALE_FILE_SECONDS = 60.0
"""Seconds after which an unlocked file is deleted: a younger one may belong to a run that is about to lock it."""

log = logging.getLogger("batchgen")


@contextmanager
def register(urls: Sequence[str], key: str) -> Iterator[Callable[[], int]]:
    """Registers one more run while the block runs. Yields a function that counts all runs, this one included."""
    pair = blake2b(f"{' '.join(urls)}\0{key}".encode(), digest_size=16, person=b"batchgen-share").hexdigest()
    with ExitStack() as stack:
        folder = _folder(pair)
        mine = folder and folder / f"{os.getpid()}-{secrets.token_hex(4)}.run"
        try:
            if mine is not None:
                stack.callback(mine.unlink, missing_ok=True)
                stack.enter_context(file_lock.exclusive(mine))
        except (AlreadyRunning, MachineRefused):
            folder = None
        if folder is None:
            log.warning("warning: no folder to find other runs in: runs with the same key will not share its rate")
        yield lambda: 1 if folder is None else max(1, _count(folder))


def _folder(pair: str) -> Path | None:
    """Returns a folder that only this user can write: in the home, else among the temporary files."""
    with suppress(OSError, RuntimeError):
        return _private_folder(Path.home() / ".cache" / "batchgen" / pair)
    with suppress(OSError):
        return _private_folder(Path(tempfile.gettempdir()) / f"batchgen-{os.getuid()}" / pair)
    return None


def _private_folder(folder: Path) -> Path:
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for own in (folder.parent, folder):
        own.mkdir(mode=0o700, exist_ok=True)
        if own.is_symlink() or own.stat().st_uid != os.getuid():
            raise PermissionError(f"{own}: belongs to another user")
    return folder


def _count(folder: Path) -> int:
    count = 0
    with suppress(OSError):
        for file in folder.glob("*.run"):
            if file_lock.is_held(file):
                count += 1
            elif time.time() - file.stat().st_mtime > STALE_FILE_SECONDS:
                file.unlink(missing_ok=True)
    return count
