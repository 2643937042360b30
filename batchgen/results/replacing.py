"""A file that appears whole: a temporary one in the same folder, fsync, rename, fsync of the folder.

A reader sees the old file or the new one; a failure at any step leaves the old one untouched. Knows no format.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from batchgen import folders
from batchgen.errors import MachineRefused


@contextmanager
def replacing(path: Path, target: Callable[[], Path] | None = None) -> Iterator[BinaryIO]:
    """A new file that takes `path`'s place, whole and synced, when the block ends well. Raises MachineRefused.

    `target`: asked then, for the file of the same folder whose place it takes instead."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        folders.make([path.parent])
        _remove_stale_temporaries(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(temporary, flags, 0o666), "w+b") as file:  # noqa: PTH123  a descriptor, not a path
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target() if target else path)  # noqa: PTH105
        folders.sync(path.parent)
    except (OSError, pa.ArrowException) as error:
        raise MachineRefused(
            f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}. "
            "Every answer is in the checkpoint; run the command again, or `batchgen export`, when that is mended"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def _remove_stale_temporaries(path: Path) -> None:
    """Those that a killed process left beside `path`; a living one's is left alone."""
    for left in path.parent.glob(f".{_escaped(path.name)}.*.tmp"):
        pid = left.name.split(".")[-2]
        if pid.isdigit() and not _is_alive(int(pid)):
            with suppress(OSError):
                left.unlink()


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
