"""Swaps two names in one step: Linux's renameat2 and macOS's renamex_np, which Python does not offer."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV}
"""Errors of a system or file system that cannot swap. EXDEV: a folder in an overlay's lower layer."""
_AT_FDCWD = -100
"""Paths are relative to the working directory."""
_RENAME_EXCHANGE = 2
"""The flag; macOS calls it RENAME_SWAP."""


def swap(one: Path, other: Path) -> bool:
    """Returns whether the two have been swapped; False if the system cannot do it here. Raises OSError."""
    system = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            failed = system.renamex_np(*names, ctypes.c_uint(_RENAME_EXCHANGE))
        else:
            failed = system.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE))
    except AttributeError:
        return False
    number = ctypes.get_errno()
    if failed and number not in _UNSUPPORTED:
        raise OSError(number, os.strerror(number), str(other))
    return not failed
