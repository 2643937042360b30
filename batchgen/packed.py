"""An answer's body as the checkpoint keeps it: as it came, or as zstd.

So that who makes the attempt may do the packing, and who keeps the answers need not unpack them.
"""

from __future__ import annotations

import msgspec

FROM = 2048
"""Bodies of this many bytes or more (log-probs) are packed; smaller ones stay readable in any SQLite shell."""


class Packed(msgspec.Struct, frozen=True, gc=False):
    """zstd, and the size in bytes of what it was made of."""

    zstd: bytes
    size: int

    def __len__(self) -> int:
        return len(self.zstd)


Body = bytes | Packed


def pack(body: Body) -> Body:
    if isinstance(body, Packed) or len(body) < FROM:
        return body
    import pyarrow as pa  # noqa: PLC0415  heavy, and not everyone who knows an answer packs one

    return Packed(pa.compress(body, codec="zstd", asbytes=True), len(body))


def whole(body: Body) -> bytes:
    """As it came. Raises where it is damaged, whatever pyarrow raises."""
    if not isinstance(body, Packed):
        return body
    import pyarrow as pa  # noqa: PLC0415

    came: bytes = pa.decompress(body.zstd, body.size, codec="zstd", asbytes=True)
    return came


def stored(body: Body | None) -> tuple[int | None, bytes | None]:
    """(size, bytes): as the checkpoint's columns have it, where a size says that the bytes are zstd."""
    return (body.size, body.zstd) if isinstance(body, Packed) else (None, body)


def restored(size: int | None, data: bytes | None) -> Body | None:
    """The opposite of `stored`."""
    return data if data is None or size is None else Packed(data, size)
