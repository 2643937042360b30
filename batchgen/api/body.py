"""Compresses answers' bodies for the checkpoint, as LZ4 frames. Small ones stay raw.

Workers compress; the checkpoint stores the bytes as they are. For log-probs, zstd would need a third less disk and
twice the time to compress and to decompress.
"""

from __future__ import annotations

from typing import Literal

import msgspec

MIN_COMPRESSED_BYTES = 2048
"""Bodies of this many bytes or more (log-probs) are compressed. Smaller ones stay readable in any SQLite shell."""
ZSTD = b"\x28\xb5\x2f\xfd"
"""The first bytes of a body that an earlier version compressed (RFC 8878)."""


class CompressedBody(msgspec.Struct, frozen=True, gc=False):
    """Holds the compressed bytes (`data`) and the size of the raw body in bytes."""

    data: bytes
    size: int

    def __len__(self) -> int:
        return len(self.data)


Body = bytes | CompressedBody
"""Test for bytes to tell the two apart: `isinstance(body, CompressedBody)` takes five times as long."""


def compress(body: Body) -> Body:
    """Returns the body compressed if it is large enough, else as it is."""
    if not isinstance(body, bytes) or len(body) < MIN_COMPRESSED_BYTES:
        return body
    import pyarrow as pa  # noqa: PLC0415  heavy, and not every reader of answers compresses one

    return CompressedBody(pa.compress(body, codec="lz4", asbytes=True), len(body))


def decompress(body: Body) -> bytes:
    """Returns the raw body. Raises whatever pyarrow raises if it is damaged."""
    if isinstance(body, bytes):
        return body
    import pyarrow as pa  # noqa: PLC0415

    codec: Literal["zstd", "lz4"] = "zstd" if body.data.startswith(ZSTD) else "lz4"
    raw: bytes = pa.decompress(body.data, body.size, codec=codec, asbytes=True)
    return raw


def to_columns(body: Body | None) -> tuple[int | None, bytes | None]:
    """Returns (size, bytes), the checkpoint's columns. The size is None for raw bytes."""
    return (None, body) if body is None or isinstance(body, bytes) else (body.size, body.data)


def from_columns(size: int | None, data: bytes | None) -> bytes | None:
    """Returns the raw body of the checkpoint's columns. Raises whatever pyarrow raises if it is damaged."""
    return data if data is None or size is None else decompress(CompressedBody(data, size))
