"""What befalls a request of the rig: a fault, a wait, an outage. Drawn from digests, so that a night can be repeated.

Pure: the caller passes the time. It must never draw from a generator that goes on from draw to draw: then the
order in which requests happen to come would decide, and another concurrency would meet another night.
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
"""Faults that take an answer which was generated, and is billed."""
STATUSES = tuple(map(str, range(400, 600)))
"""Faults that refuse a request: nothing is billed."""
REFUSAL = "refusal"
"""The model will not answer: a chat's refusal is billed, a completion's is a status."""
PERMANENT = frozenset({"400", "413", "422", REFUSAL})
"""Faults that are about the prompt, which meets them however often it is asked."""


def chance(*of: object) -> float:
    """Above 0 and below 1, evenly, by what it is drawn for and by nothing else."""
    digest = hashlib.sha256(repr(of).encode()).digest()
    return (int.from_bytes(digest[:6]) + 0.5) / 2**48


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds until an answer begins: always `p50`, or log-normal with that median and that 99th percentile."""

    p50: float = 0.0
    p99: float | None = None

    def seconds(self, drawn: float) -> float:
        if self.p99 is None:
            return self.p50
        normal = NormalDist()
        return self.p50 * math.pow(self.p99 / self.p50, normal.inv_cdf(drawn) / normal.inv_cdf(0.99))


class Faults:
    """Which fault befalls a request, by the shares of all requests that are to meet each."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        """By kind: a status as text, one of SPOILED, or REFUSAL. The order in which they are given means nothing."""
        self._kinds = sorted(shares, key=lambda kind: (kind not in PERMANENT, kind))
        self._ends = list(accumulate(shares[kind] for kind in self._kinds))
        lasting = sum(kind in PERMANENT for kind in self._kinds)
        self._permanent = self._ends[lasting - 1] if lasting else 0.0

    def befalling(self, prompt: float, attempt: float) -> str | None:
        """Of two draws, one for the prompt and one for this attempt at it; None: the request is answered."""
        free = 1 - self._permanent
        at = prompt if prompt < self._permanent else self._permanent + free * attempt
        found = bisect_right(self._ends, at)
        return self._kinds[found] if found < len(self._kinds) else None


@dataclass(frozen=True, slots=True)
class FaultDraw:
    """Of one request: its fault, if any, and the seconds until its answer begins."""

    fault: str | None
    latency: float

    @property
    def status(self) -> int | None:
        """The status it is refused with; None where an answer is generated."""
        return int(self.fault) if self.fault and self.fault.isdigit() else None


class FaultSource:
    """The next fate of each prompt, by the seed, the prompt and how often it was asked before."""

    def __init__(self, seed: int, faults: Faults, latency: Latency) -> None:
        self._faults, self._latency = faults, latency
        self._chance = functools.partial(chance, seed)
        self._asked: Counter[str] = Counter()

    def draw(self, prompt: str) -> FaultDraw:
        """`prompt`: its digest. Not for requests that a limit refused: how many those are is up to the client."""
        self._asked[prompt] += 1
        n = self._asked[prompt]
        fault = self._faults.befalling(self._chance("prompt", prompt), self._chance("attempt", prompt, n))
        return FaultDraw(fault, self._latency.seconds(self._chance("latency", prompt, n)))


class Outages:
    """When nothing is answered: spans of seconds since the first request."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        self._spans = spans
        self._first: float | None = None

    def struck(self, now: float) -> bool:
        """Whether a request that comes now is lost. The first that comes starts the clock."""
        self._first = now if self._first is None else self._first
        return any(start <= now - self._first < end for start, end in self._spans)
