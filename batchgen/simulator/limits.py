"""Limits requests and tokens a minute, each by a token bucket, and requests in flight.

Arithmetic only: the caller passes the time, in seconds of any steady clock. It must never import `send.limits`, which
is tested against it: neither would notice a mistake that they share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DOCUMENTED = 400
"""Requests a minute that are assumed if none are set, to make of a burst a share of a minute's tokens."""
ENOUGH = 1e-9
"""Tolerance for rounding errors after a wait for exactly what was missing."""


class Bucket:
    """Represents a token bucket. It starts full, as an idle server's does. Its level may become negative, when costs
    are known later than they are taken: then the next request waits."""

    def __init__(self, per_minute: float, holds: float) -> None:
        self._per_second, self._holds = per_minute / 60, holds
        self._level, self._filled_at = holds, -math.inf

    def wait(self, now: float, cost: float) -> float:
        """Returns the seconds until `cost` is available; 0: now. More than it holds is granted when it is full."""
        self._fill(now)
        missing = min(cost, self._holds) - self._level
        return missing / self._per_second if missing > ENOUGH else 0.0

    def take(self, now: float, cost: float) -> None:
        self._fill(now)
        self._level -= cost

    def _fill(self, now: float) -> None:
        flowed_in = (now - self._filled_at) * self._per_second
        self._level, self._filled_at = min(self._holds, self._level + flowed_in), now


@dataclass(frozen=True, slots=True)
class Refusal:
    """Says why a request is not admitted, and in how many seconds one like it would be."""

    reason: str
    wait: float

    @property
    def retry_after(self) -> int:
        """Returns whole seconds, at least one, as servers send them."""
        return max(1, math.ceil(self.wait))


class Admission:
    """Admits or refuses requests. `burst`: requests that the bucket holds; the tokens' bucket holds the same share of a
    minute. None: no such limit."""

    def __init__(
        self,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        burst: int = 4,
        concurrency: int | None = None,
    ) -> None:
        share = burst / (requests_per_minute or DOCUMENTED)
        self._requests = Bucket(requests_per_minute, burst) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute, share * tokens_per_minute) if tokens_per_minute else None
        self._concurrency = concurrency

    def admit(self, now: float, prompt_tokens: int, in_flight: int) -> Refusal | None:
        """Admits a request: takes its cost and its prompt's, and returns None. A refusal costs nothing."""
        if self._concurrency is not None and in_flight >= self._concurrency:
            return Refusal(f"{in_flight} requests are in flight, and no more may be", 0.0)
        due = [(self._requests, 1, "requests"), (self._tokens, prompt_tokens, "tokens")]
        for bucket, cost, name in due:
            if bucket is not None and (wait := bucket.wait(now, cost)):
                return Refusal(f"too many {name} a minute", wait)
        for bucket, cost, _ in due:
            if bucket is not None:
                bucket.take(now, cost)
        return None

    def charge(self, now: float, answer_tokens: int) -> None:
        """Takes the tokens of an answer, which are known once it is generated."""
        if self._tokens is not None:
            self._tokens.take(now, answer_tokens)
