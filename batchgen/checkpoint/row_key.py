"""Row keys: same endpoint, same request body and same occurrence make the same key; anything else another.

Pure. A key does not depend on the row's position in the input, on the time, or on the machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

KEY_BYTES = 16
"""128 bits: among ten million rows two bodies share a key with probability 10^-25 (birthday bound)."""


class Identity:
    """The keys of requests to one endpoint, named by its `endpoint.name`, else by its URL."""

    def __init__(self, endpoint: str) -> None:
        self._seed = blake2b(digest_size=KEY_BYTES, key=blake2b(endpoint.encode()).digest())

    def digest(self, body: bytes) -> bytes:
        """Returns the key of a body's first occurrence in the input."""
        return self.digests([body])[0]

    def digests(self, bodies: Iterable[bytes]) -> list[bytes]:
        """Returns what `digest` does for each body. A loop of its own: a call for each of a million would take a
        seventh more."""
        digests, copy = [], self._seed.copy
        for body in bodies:
            state = copy()
            state.update(body)
            digests.append(state.digest())
        return digests


def occurrence_key(digest: bytes, occurrence: int) -> bytes:
    """Returns the key of an occurrence: 0 is the first, which has the digest itself."""
    if occurrence == 0:
        return digest
    return blake2b(digest + occurrence.to_bytes(8, "big"), digest_size=KEY_BYTES).digest()
