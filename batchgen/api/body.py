"""An answer's body as the checkpoint keeps it: as it came, or packed, as an LZ4 frame.

So that who makes the attempt may do the packing, and who keeps the answers need not unpack them. zstd would
take a third less of the disk for log-probs, and twice the time to pack and to unpack.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FROM = 2048
"""Bodies of this many bytes or more (log-probs) are packed; smaller ones stay readable in any SQLite shell."""
ZSTD = b"\x28\xb5\x2f\xfd"
"""How a body begins that an earlier version packed (RFC 8878)."""


class CompressedBody(msgspec.Struct, frozen=True, gc=False):
    """The packed bytes, and the size in bytes of what they were made of."""

    data: bytes
    size: int

    def __len__(self) -> int:
        return len(self.data)


Body = bytes | CompressedBody
"""Told apart by asking for bytes: to ask whether something is no Struct takes five times as long."""


def compress(body: Body) -> Body:
    if not isinstance(body, bytes) or len(body) < FROM:
        return body
    import pyarrow as pa  # noqa: PLC0415  heavy, and not everyone who knows an answer packs one

    return CompressedBody(pa.compress(body, codec="lz4", asbytes=True), len(body))


def decompress(body: Body) -> bytes:
    """As it came. Raises where it is damaged, whatever pyarrow raises."""
    if isinstance(body, bytes):
        return body
    import pyarrow as pa  # noqa: PLC0415

    codec: Literal["zstd", "lz4"] = "zstd" if body.data.startswith(ZSTD) else "lz4"
    came: bytes = pa.decompress(body.data, body.size, codec=codec, asbytes=True)
    return came


def stored(body: Body | None) -> tuple[int | None, bytes | None]:
    """(size, bytes): as the checkpoint's columns have it, where a size says that the bytes are packed."""
    return (None, body) if body is None or isinstance(body, bytes) else (body.size, body.data)


def restored(size: int | None, data: bytes | None) -> bytes | None:
    """As it came, from what `stored` gave. Raises where it is damaged, whatever pyarrow raises."""
    return data if data is None or size is None else decompress(CompressedBody(data, size))
