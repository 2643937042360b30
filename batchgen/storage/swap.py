"""Two names that change places in one step: Linux's renameat2 and macOS's renamex_np, which Python does not offer."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_UNABLE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV}
"""What a system or a file system says that cannot do it; the last, an overlay of a folder in a layer below."""
_HERE = -100
"""AT_FDCWD"""
_EXCHANGE = 2
"""RENAME_EXCHANGE, and RENAME_SWAP."""


def swap(one: Path, other: Path) -> bool:
    """Whether they have changed places; False where that cannot be done here. Raises OSError."""
    system = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            failed = system.renamex_np(*names, ctypes.c_uint(_EXCHANGE))
        else:
            failed = system.renameat2(_HERE, names[0], _HERE, names[1], ctypes.c_uint(_EXCHANGE))
    except AttributeError:
        return False
    number = ctypes.get_errno()
    if failed and number not in _UNABLE:
        raise OSError(number, os.strerror(number), str(other))
    return not failed
