"""Reads the key, from a variable or from a file that only its owner can read, checks it, and never shows it.

No message or exception here holds the key or a part of it.
"""

from __future__ import annotations

import base64
import html.entities
import os
import re
import stat
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from batchgen.api.outcome import Failure
from batchgen.errors import UsageError

MAX_BYTES = 4096
_BEGINS_ESCAPE = re.compile(rb"\\[ux\\]")
"""One search for three pairs: a quarter of the time that `in` takes for each."""


def check_key(key: str, source: str) -> str:
    """Returns the key without white space around it. Raises UsageError, which does not show it."""
    key = key.strip()
    if not key:
        raise UsageError(
            f"{source}: no key: set it to the service's API key, or try the job with --local (in Python, local=True)"
        )
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise UsageError(f"{source}: the key holds a space or a character that no key has: copy it again")
    return key


def read_key(path: Path) -> str:
    """Returns the key that a file holds. Raises UsageError if there is none, or if others may read the file."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123  a descriptor
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise UsageError(f"{path}: no file: a key lies in a file of its own")
            if found.st_mode & 0o077:
                raise UsageError(f"{path}: others may read the key: chmod 600 {path}")
            held = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"endpoint.key_file: No such file in {path.parent}") from None  # its name may be a key, pasted
    except OSError as error:
        raise UsageError(f"{path}: the key cannot be read: {error.strerror}") from None
    if len(held) > MAX_BYTES:
        raise UsageError(f"{path}: too long for a key: the file holds the key and nothing else")
    return check_key(held.decode("ascii", errors="replace"), str(path))


class Redactor:
    """Replaces the key in what a service says by `[key]`, also where JSON, HTML, URLs or encoders escape it. Keys of
    fewer than LEAST characters are not redacted: they could be ordinary words."""

    LEAST, MIN_RUN = 12, 4

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self._encoded = _encodings(key)
        run = max(re.findall(rb"[A-Za-z0-9]*", self._key), key=len)  # few encoders escape letters and digits
        has_run = len(run) >= self.MIN_RUN
        self._hints = [*self._encoded, run] if has_run else [b""]
        self._escapes = [*_escapes(key[:1])] if has_run else []
        self._is_too_short = len(key) < self.LEAST

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        """Returns a pattern of all spellings. It takes 40 ms to compile, and most runs need none."""
        escaped = b"".join(map(_spellings, self._key))
        return re.compile(b"|".join([*map(re.escape, self._encoded), escaped]))

    def answer(self, said: bytes) -> bytes:
        """Redacts an answer's body. Searches for hints of the key first: nearly every answer has none, and is returned
        as it came."""
        if self._is_too_short:
            return said
        hints = [*self._hints, *self._escapes] if self._escapes and _may_escape(said) else self._hints
        for hint in hints:
            if hint in said:
                return self._pattern.sub(b"[key]", said)
        return said

    def failure(self, failure: Failure) -> Failure:
        """Redacts everything that is kept of a failure, after decoding."""
        message = self.all(failure.message.encode()).decode(errors="replace")
        return replace(failure, message=message, body=self.all(failure.body))

    def all(self, said: bytes) -> bytes:
        """Redacts the text without searching for hints first."""
        return said if self._is_too_short else self._pattern.sub(b"[key]", said)


def _may_escape(said: bytes) -> bool:
    """Returns whether the text holds a character sequence with which escapes begin. A lone backslash, as before a
    line's end, is none."""
    return b"%" in said or b"&" in said or (b"\\" in said and _BEGINS_ESCAPE.search(said) is not None)


def _spellings(byte: int) -> bytes:
    """Returns a pattern of all spellings of one character of a key: plain, or escaped, once or repeatedly."""
    character = chr(byte)
    entity = rf"{_HASH}(?:0*{byte}|x0*{byte:x}){''.join(f'|{name}' for name in _ENTITIES.get(character, ()))}"
    escaped = rf"{_PERCENT}{byte:02x}|{_AMPERSAND}(?:{entity}){_SEMICOLON}"
    with_backslash = rf"{_BACKSLASH}+(?:{re.escape(character)}|(?:u00|x){byte:02x}|{escaped})"
    return f"(?:{re.escape(character)}|(?i:{escaped}|{with_backslash}))".encode()


def _entities() -> dict[str, list[str]]:
    """Returns the names that HTML has for each character."""
    names: dict[str, list[str]] = {}
    for name, meant in html.entities.html5.items():
        if name.endswith(";"):
            names.setdefault(meant, []).append(name[:-1])
    return names


_ENTITIES = _entities()


def _mark(character: str, again: str = "") -> str:
    """Returns a pattern of a character that begins or ends an escape, and may be escaped itself."""
    byte = f"{ord(character):02x}"
    by_number = rf"&(?:#{ord(character)}|#x{byte});"
    return rf"(?:{re.escape(character)}{again}|{by_number}|\\+(?:u00|x){byte}|%{byte})"


_BACKSLASH = _mark("\\")
_PERCENT = _mark("%", "(?:25)*")
_AMPERSAND = _mark("&", "(?:amp;)*")
_HASH, _SEMICOLON = _mark("#"), _mark(";") + "?"


def _escapes(character: str) -> set[bytes]:
    """Returns escapes of a character that needs none. If it is escaped all the same, so is the whole key."""
    forms = (
        "u{:04x}",
        "u{:04X}",
        "x{:x}",
        "x{:X}",
        "%{:02x}",
        "%{:02X}",
        "25{:02x}",
        "25{:02X}",
        ";{:02x}",
        ";{:02X}",
        "#{}",
    )
    return {form.format(ord(character or " ")).encode() for form in forms}


def _encodings(key: str) -> list[bytes]:
    """Returns the key in encodings that keep none of its characters: hex and base64."""
    raw = key.encode()
    spelt = {raw.hex().encode(), raw.hex().upper().encode()}
    for shift in range(3):  # base64, wherever the key begins in a longer text
        whole = base64.b64encode(b"\0" * shift + raw)
        within = whole[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
        spelt |= {within, within.translate(bytes.maketrans(b"+/", b"-_"))}
    return sorted(spelt, key=len, reverse=True)
