"""Counts what the built-in server was asked, billed, refused and spoiled. It holds digests, and must never keep a
prompt."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec


def digest(prompt: str) -> str:
    """Returns the SHA-256 of a prompt, in hex. A chat's prompt is its messages' texts with a blank line between
    them."""
    return hashlib.sha256(prompt.encode()).hexdigest()


class Ledger:
    """Counts requests and answers. An answer counts as billed once it is generated, read or not."""

    def __init__(self) -> None:
        self.requests = 0
        self.billed: Counter[str] = Counter()
        self.refusals = 0
        self.faults: Counter[str] = Counter()
        self.in_flight = 0
        self.in_flight_max = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts an accepted request as in flight while the block runs."""
        self.requests += 1
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    def refuse(self) -> None:
        """Counts a valid request that exceeds a limit."""
        self.requests += 1
        self.refusals += 1

    def as_json(self) -> bytes:
        """Returns the ledger as JSON. `requests`: valid ones; each was billed, was one of `refusals` (429, by the
        limits), or met a status in `faults`. The other faults were billed, except `outage`: those requests were not
        even read. `prompts`: times billed, by digest."""
        totals = {
            "requests": self.requests,
            "billed": self.billed.total(),
            "refusals": self.refusals,
            "faults": self.faults,
            "in_flight": self.in_flight,
            "in_flight_max": self.in_flight_max,
        }
        return msgspec.json.encode({**totals, "prompts": self.billed})
