"""An answer's body as the checkpoint keeps it: as it came, or as zstd with what a checksum needs to know of it.

So that who makes the attempt may do the packing, and who keeps the answers need not unpack them.
"""

from __future__ import annotations

import zlib

import msgspec

FROM = 2048
"""Bodies of this many bytes or more (log-probs) are packed; smaller ones stay readable in any SQLite shell."""


class Packed(msgspec.Struct, frozen=True, gc=False):
    """zstd; the rest is of the body as it came: `crc` is its CRC-32, `shift` what its size does to one before it."""

    zstd: bytes
    size: int
    crc: int
    shift: int

    def __len__(self) -> int:
        return len(self.zstd)


Body = bytes | Packed


def pack(body: Body) -> Body:
    """With its checksum's share, for who will not see it as it came."""
    if isinstance(body, Packed) or len(body) < FROM:
        return body
    return Packed(compress(body), len(body), zlib.crc32(body), shift(len(body)))


def compress(body: bytes) -> bytes:
    import pyarrow as pa  # noqa: PLC0415  heavy, and not everyone who knows an answer packs one

    zstd: bytes = pa.compress(body, codec="zstd", asbytes=True)
    return zstd


def unpack(size: int, zstd: bytes) -> bytes:
    """Raises where it is damaged, whatever pyarrow raises."""
    import pyarrow as pa  # noqa: PLC0415

    body: bytes = pa.decompress(zstd, size, codec="zstd", asbytes=True)
    return body


def whole(body: Body) -> bytes:
    """As it came."""
    return unpack(body.size, body.zstd) if isinstance(body, Packed) else body


def crc32(body: Body, before: int) -> int:
    """`zlib.crc32(body, before)`, of the body as it came."""
    if isinstance(body, Packed):
        return _times(body.shift, before) ^ body.crc
    return zlib.crc32(body, before)


_POLYNOMIAL = 0xEDB88320
"""CRC-32's, lowest power first, as all polynomials here: what follows is arithmetic modulo it."""
_ONE, _X = 1 << 31, 1 << 30


def _times(a: int, b: int) -> int:
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product


def _squares() -> list[int]:
    """x to the power of eight times 1, 2, 4, ..."""
    squares = [_X]
    while len(squares) < 3 + 40:
        squares.append(_times(squares[-1], squares[-1]))
    return squares[3:]


_SQUARES = _squares()


def shift(size: int) -> int:
    """What so many bytes do to the checksum of what came before them: x to the power of eight times as many."""
    power = _ONE
    for bit in range(size.bit_length()):
        if size >> bit & 1:
            power = _times(_SQUARES[bit], power)
    return power
