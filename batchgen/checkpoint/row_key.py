"""What would be sent -> the row's key: same endpoint, same body, same occurrence, same key; else another.

Pure. A key never depends on where the row stands in the input, when it ran, or which machine ran it.
"""

from __future__ import annotations

from hashlib import blake2b

KEY_BYTES = 16
"""128 bits: among ten million rows two bodies share a key with probability 10^-25 (birthday bound)."""


class Identity:
    """Keys of requests to one endpoint, which is named by its `endpoint.name`, else by its URL."""

    def __init__(self, endpoint: str) -> None:
        self._seed = blake2b(digest_size=KEY_BYTES, key=blake2b(endpoint.encode()).digest())

    def digest(self, body: bytes) -> bytes:
        """The key of a body's first occurrence in the input."""
        state = self._seed.copy()
        state.update(body)
        return state.digest()


def occurrence_key(digest: bytes, occurrence: int) -> bytes:
    """The key of a body's further occurrences, from 1 on; the first (0) has the digest itself."""
    if occurrence == 0:
        return digest
    return blake2b(digest + occurrence.to_bytes(8, "big"), digest_size=KEY_BYTES).digest()
