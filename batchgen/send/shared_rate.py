"""How many runs of this machine spend one key's rate at one endpoint: a lock file for each, in a folder for the pair.

The kernel gives a lock back when its holder ends, however it ended: a run that died no longer counts. Nothing here
sends, waits, or knows what a rate is; the folder's name is a digest, from which no key can be told.
"""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

from batchgen.errors import AlreadyRunning, MachineRefused
from batchgen.storage import file_lock

LOOKS_EVERY = 1.0
"""Seconds between two counts: so long a run may take to notice another."""
STALE = 60.0
"""Seconds after which a file that nobody holds is no run that is about to lock it."""

log = logging.getLogger("batchgen")


@contextmanager
def register(base_url: str, key: str) -> Iterator[Callable[[], int]]:
    """While one run more spends the key's rate. Yields a count of them all, this one included."""
    pair = blake2b(f"{base_url}\0{key}".encode(), digest_size=16, person=b"batchgen-share").hexdigest()
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
            log.warning("warning: no folder to meet other runs in: runs under the same key will not share its rate")
        yield lambda: 1 if folder is None else max(1, _count(folder))


def _folder(pair: str) -> Path | None:
    """One that this user alone may write: in the home, or where there is none, with the temporary files."""
    with suppress(OSError, RuntimeError):
        return _made(Path.home() / ".cache" / "batchgen" / pair)
    with suppress(OSError):
        return _made(Path(tempfile.gettempdir()) / f"batchgen-{os.getuid()}" / pair)
    return None


def _made(folder: Path) -> Path:
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for own in (folder.parent, folder):
        own.mkdir(mode=0o700, exist_ok=True)
        if own.is_symlink() or own.stat().st_uid != os.getuid():
            raise PermissionError(f"{own}: is somebody else's")
    return folder


def _count(folder: Path) -> int:
    count = 0
    with suppress(OSError):
        for file in folder.glob("*.run"):
            if file_lock.is_held(file):
                count += 1
            elif time.time() - file.stat().st_mtime > STALE:
                file.unlink(missing_ok=True)
    return count
