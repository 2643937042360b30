"""Bodies that come compressed, though nobody asked for it. Pure."""

from __future__ import annotations

import zlib

_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
_WINDOWS = {"gzip": (_GZIP,), "x-gzip": (_GZIP,), "deflate": (_ZLIB, _RAW)}
"""What zlib is told of each; `deflate` is zlib's own format by RFC 9110, and raw with some servers."""


def decompressed(body: bytes, encoding: str, most: int) -> bytes | None:
    """The body itself, where it is what its header says and we know how; as it came, where not. None: it would have
    more than `most` bytes."""
    for window in _WINDOWS.get(encoding.strip().lower(), ()):
        try:
            return _inflated(body, window, most)
        except zlib.error:
            continue
    return body


def _inflated(body: bytes, window: int, most: int) -> bytes | None:
    """All members of it. Raises zlib.error where it is none, or is cut."""
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
