"""The rig's limits: requests and tokens a minute, each a token bucket, and requests in flight.

Arithmetic only: the caller passes the time, in seconds of any steady clock. It must never import
`runner.limits`: that is what is tried against it, and a mistake they shared would be seen by neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DOCUMENTED = 400
"""Requests a minute by which a burst is a share of a minute's tokens, where no other rate is given."""
ENOUGH = 1e-9
"""What may be missing: the error of rounding that a wait for just what was missing leaves."""


class Bucket:
    """Starts full, as a server's does that was idle. Its level may fall below nothing: what was not known
    when it was taken is waited for by the next."""

    def __init__(self, per_minute: float, holds: float) -> None:
        self._per_second, self._holds = per_minute / 60, holds
        self._level, self._filled_at = holds, -math.inf

    def wait(self, now: float, cost: float) -> float:
        """Seconds until so much is there; 0: now. More than it holds is granted by a full bucket."""
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
    """Why a request is not admitted, and the seconds until one like it would be."""

    reason: str
    wait: float

    @property
    def retry_after(self) -> int:
        """Whole seconds, at least one, as servers say it."""
        return max(1, math.ceil(self.wait))


class Admission:
    """What admits a request. `burst`: requests the bucket holds; that of tokens holds the same share of a minute.
    A limit that is None is none."""

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
        """None where the request may go, and then it has paid for itself and its prompt. A refusal costs nothing."""
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
        """What an answer took, which is known once it is generated."""
        if self._tokens is not None:
            self._tokens.take(now, answer_tokens)
