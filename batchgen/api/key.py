"""The key: from a variable or from a file that nobody else can read, checked, and never shown.

No message here holds the key or a part of it, nor does any exception carry it along.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from batchgen.errors import UsageError

MOST_BYTES = 4096


def check_key(key: str, source: str) -> str:
    """The key without white space around it. Raises UsageError, which never shows it."""
    key = key.strip()
    if not key:
        raise UsageError(f"{source}: no key: set it to the service's API key, or try the job with --local")
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise UsageError(f"{source}: the key holds a space or a character that no key has: copy it again")
    return key


def read_key(path: Path) -> str:
    """The key that a file holds. Raises UsageError where there is none, or where others than its owner may read it."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123  a descriptor
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise UsageError(f"{path}: no file: a key lies in a file of its own")
            if found.st_mode & 0o077:
                raise UsageError(f"{path}: others may read the key: chmod 600 {path}")
            held = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: the key cannot be read: {error.strerror}") from None
    if len(held) > MOST_BYTES:
        raise UsageError(f"{path}: too long for a key: the file holds the key and nothing else")
    return check_key(held.decode("ascii", errors="replace"), str(path))
