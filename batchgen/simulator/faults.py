"""Draws what happens to a request: a fault, a latency, an outage. Draws are digests, so that a run can be repeated.

Pure: the caller passes the time. No generator may carry state from one draw to the next: then the order of requests
would decide, and the same run with another concurrency would meet other faults.
"""

from __future__ import annotations

import functools
import hashlib
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist

SPOILED = ("reset", "hang", "cut", "drip", "garbage")
"""Faults that spoil an answer which was generated, and is billed."""
STATUSES = tuple(map(str, range(400, 600)))
"""Faults that refuse a request: nothing is billed."""
REFUSAL = "refusal"
"""The model refuses to answer: a chat's refusal is billed, a completion's is a status."""
PERMANENT = frozenset({"400", "413", "422", REFUSAL})
"""Faults that depend on the prompt: it meets them however often it is sent."""


def chance(*of: object) -> float:
    """Returns a number above 0 and below 1, evenly distributed, which depends only on the arguments."""
    digest = hashlib.sha256(repr(of).encode()).digest()
    return (int.from_bytes(digest[:6]) + 0.5) / 2**48


@dataclass(frozen=True, slots=True)
class Latency:
    """Holds the seconds until an answer begins: always `p50`, or log-normal with that median and 99th percentile."""

    p50: float = 0.0
    p99: float | None = None

    def seconds(self, drawn: float) -> float:
        """Returns the latency for a draw, above 0 and below 1."""
        if self.p99 is None:
            return self.p50
        normal = NormalDist()
        return self.p50 * math.pow(self.p99 / self.p50, normal.inv_cdf(drawn) / normal.inv_cdf(0.99))


class Faults:
    """Chooses faults, each by its share of all requests."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        """Takes the share of each kind: a status as text, one of SPOILED, or REFUSAL. Their order does not matter."""
        self._kinds = sorted(shares, key=lambda kind: (kind not in PERMANENT, kind))
        self._ends = list(accumulate(shares[kind] for kind in self._kinds))
        lasting = sum(kind in PERMANENT for kind in self._kinds)
        self._permanent = self._ends[lasting - 1] if lasting else 0.0

    def fault_for(self, prompt: float, attempt: float) -> str | None:
        """Returns the fault for two draws, one for the prompt and one for this attempt; None: the request is
        answered."""
        free = 1 - self._permanent
        at = prompt if prompt < self._permanent else self._permanent + free * attempt
        found = bisect_right(self._ends, at)
        return self._kinds[found] if found < len(self._kinds) else None


@dataclass(frozen=True, slots=True)
class FaultDraw:
    """Holds a request's fault, if any, and the seconds until its answer begins."""

    fault: str | None
    latency: float

    @property
    def status(self) -> int | None:
        """Returns the status with which it is refused; None if an answer is generated."""
        return int(self.fault) if self.fault and self.fault.isdigit() else None


class FaultSource:
    """Draws faults by the seed, the prompt, and how often the prompt was sent before."""

    def __init__(self, seed: int, faults: Faults, latency: Latency) -> None:
        self._faults, self._latency = faults, latency
        self._chance = functools.partial(chance, seed)
        self._request: Counter[str] = Counter()

    def draw(self, prompt: str) -> FaultDraw:
        """Returns the next draw for a prompt, by its digest. Not called for requests that a limit refuses: their number
        depends on the client."""
        self._request[prompt] += 1
        n = self._request[prompt]
        fault = self._faults.fault_for(self._chance("prompt", prompt), self._chance("attempt", prompt, n))
        return FaultDraw(fault, self._latency.seconds(self._chance("latency", prompt, n)))


class Outages:
    """Knows when nothing is answered: spans of seconds since the first request."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        self._spans = spans
        self._first: float | None = None

    def is_active(self, now: float) -> bool:
        """Returns whether a request that comes now is lost. The first one starts the clock."""
        self._first = now if self._first is None else self._first
        return any(start <= now - self._first < end for start, end in self._spans)
