"""The key: from a variable or from a file that nobody else can read, checked, and never shown.

No message here holds the key or a part of it, nor does any exception carry it along.
"""

from __future__ import annotations

import base64
import html
import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from batchgen.api.contract import Failure
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
    except FileNotFoundError:
        raise UsageError(f"endpoint.key_file: No such file in {path.parent}") from None  # its name may be a key, pasted
    except OSError as error:
        raise UsageError(f"{path}: the key cannot be read: {error.strerror}") from None
    if len(held) > MOST_BYTES:
        raise UsageError(f"{path}: too long for a key: the file holds the key and nothing else")
    return check_key(held.decode("ascii", errors="replace"), str(path))


class Redactor:
    """Takes the key out of what a service says, as debug pages and encoders spell it. A key so short that it might
    be a word of a text is no secret, and stays."""

    LEAST = 12

    def __init__(self, key: str) -> None:
        self._spellings = sorted(_spellings(key), key=len, reverse=True)
        self._spelt = re.compile(b"|".join(map(re.escape, self._spellings)))
        self._idle = len(key) < self.LEAST

    def answer(self, said: bytes) -> bytes:
        """Looks for each spelling before it takes any out: nearly every answer has none, and is kept as it came."""
        if self._idle:
            return said
        for spelling in self._spellings:
            if spelling in said:
                return self._spelt.sub(b"[key]", said)
        return said

    def failure(self, failure: Failure) -> Failure:
        """Of all that is kept of a failure, and after it was decoded."""
        if self._idle:
            return failure
        message = self._spelt.sub(b"[key]", failure.message.encode()).decode(errors="replace")
        return replace(failure, message=message, body=self._spelt.sub(b"[key]", failure.body))


def _spellings(key: str) -> set[bytes]:
    raw = key.encode()
    spelt = {raw, raw.hex().encode(), raw.hex().upper().encode(), html.escape(key).encode()}
    spelt |= {quote(key).encode(), quote(key, safe="").encode(), raw.replace(b"/", b"\\/")}
    for shift in range(3):  # base64, wherever in a longer text the key begins
        whole = base64.b64encode(b"\0" * shift + raw)
        within = whole[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
        spelt |= {within, within.translate(bytes.maketrans(b"+/", b"-_"))}
    return spelt
