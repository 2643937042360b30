"""Decompresses bodies that servers compressed although nobody asked for it. Pure."""

from __future__ import annotations

import zlib

_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
_WINDOWS = {"gzip": (_GZIP,), "x-gzip": (_GZIP,), "deflate": (_ZLIB, _RAW)}
"""zlib's `wbits` for each encoding. `deflate` is zlib's own format by RFC 9110; some servers send it raw."""


def decompressed(body: bytes, encoding: str, most: int) -> bytes | None:
    """Returns the body decompressed; as it came if the encoding is unknown or wrong. None: it would have more than
    `most` bytes."""
    for window in _WINDOWS.get(encoding.strip().lower(), ()):
        try:
            return _inflated(body, window, most)
        except zlib.error:
            continue
    return body


def _inflated(body: bytes, window: int, most: int) -> bytes | None:
    """Decompresses all members. Raises zlib.error if the body is not compressed so, or is cut."""
    plain = b""
    while body:
        reader = zlib.decompressobj(window)
        plain += reader.decompress(body, most - len(plain) + 1)
        if len(plain) > most:
            return None
        if not reader.eof:
            raise zlib.error
        body = reader.unused_data
    return plain
