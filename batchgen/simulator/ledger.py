"""What the built-in server was asked, what it billed, refused and spoiled. It must never keep a prompt: it holds
digests."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec


def digest(prompt: str) -> str:
    """How the ledger names a prompt: its SHA-256, in hex. A chat's is its messages' texts with a blank line between."""
    return hashlib.sha256(prompt.encode()).hexdigest()


class Ledger:
    """An answer counts as billed once it is generated, read or not."""

    def __init__(self) -> None:
        self.requests = 0
        self.billed: Counter[str] = Counter()
        self.refusals = 0
        self.faults: Counter[str] = Counter()
        self.in_flight = 0
        self.in_flight_max = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """While a request that was accepted is being answered."""
        self.requests += 1
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    def refuse(self) -> None:
        """A request that was in order, and over a limit."""
        self.requests += 1
        self.refusals += 1

    def as_json(self) -> bytes:
        """`requests` are those in order; each was billed, was one of `refusals` (429, by the limits), or met a status
        of `faults`. The other faults were billed, but for `outage`: those came and were not even read. `prompts`
        is times billed by digest."""
        totals = {
            "requests": self.requests,
            "billed": self.billed.total(),
            "refusals": self.refusals,
            "faults": self.faults,
            "in_flight": self.in_flight,
            "in_flight_max": self.in_flight_max,
        }
        return msgspec.json.encode({**totals, "prompts": self.billed})
