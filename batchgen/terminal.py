"""What goes to a terminal: text that may hold anything, made inert. Formats, and prints nothing."""

from __future__ import annotations

import re

_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but tab and line feed, and those that turn the direction of writing (CVE-2021-42574)."""


def inert(text: str) -> str:
    """The text with every active character spelled out, as in `\\x1b[31m`."""
    return _ACTIVE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def inert_json(line: str) -> str:
    """One line of JSON, of which it stays what it was: active characters become its own escapes."""
    return _ACTIVE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)
