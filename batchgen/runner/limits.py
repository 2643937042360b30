"""When a request may go: requests and tokens a minute, the window of requests in flight, the shared
cool-down, the budgets. Arithmetic only: the caller passes the time, in seconds of any steady clock, and
nothing here sleeps, counts requests in flight or knows what a request is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

BURST = 0.1
"""Seconds' worth of the rate that may go at once, which evens out the event loop's jitter. A server whose
bucket holds four requests refused none of 80 at this setting, and one at a full second (nginx `limit_req`)."""


class Pace:
    """The generic cell rate algorithm (ITU-T I.371, annex A) for requests of any size.

    A request pays after it went: the next waits until its cost has flowed in. So a large one waits no
    longer than a small one, and is followed by a longer gap. Starts empty: the first minute grants what
    every minute grants.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self._per_second = per_minute / 60
        self._paid_at = now + BURST

    def wait(self, now: float) -> float:
        """Seconds until the next request may go; 0 or less: now."""
        return self._paid_at - BURST - now

    def take(self, now: float, cost: float) -> None:
        self._paid_at = max(self._paid_at, now) + cost / self._per_second

    def give_back(self, cost: float) -> None:
        """What was reserved and not used (negative: what was used beyond it)."""
        self._paid_at -= cost / self._per_second


class Limits:
    """Everything that holds a request back. One for all slots of a run."""

    def __init__(
        self, concurrency: int, requests_per_minute: float | None, tokens_per_minute: float | None, now: float
    ) -> None:
        self._requests = Pace(requests_per_minute, now) if requests_per_minute else None
        self._tokens = Pace(tokens_per_minute, now) if tokens_per_minute else None
        self._most = float(concurrency)
        self._window = float(concurrency)
        self._resume_at = -math.inf
        self._slowed_at = -math.inf
        self._refusals = 0

    def wait(self, now: float, in_flight: int) -> float:
        """Seconds until one more request may go; 0 or less: now; inf: not before one in flight has ended."""
        if in_flight >= int(self._window):
            return math.inf
        waits = [self._resume_at - now]
        waits += [pace.wait(now) for pace in (self._requests, self._tokens) if pace is not None]
        return max(waits)

    def take(self, now: float, tokens: float) -> None:
        if self._requests is not None:
            self._requests.take(now, 1)
        if self._tokens is not None:
            self._tokens.take(now, tokens)

    def give_back(self, tokens: float) -> None:
        """Tokens that were taken for a request that has ended, and were not used."""
        if self._tokens is not None:
            self._tokens.give_back(tokens)

    def answered(self) -> None:
        """The window opens by one a round of the window (AIMD)."""
        self._refusals = 0
        self._window = min(self._most, self._window + 1 / self._window)

    def refused(self, now: float, sent_at: float, wait: float) -> None:
        """The server asked everyone to slow down for `wait` seconds.

        A burst of refusals halves the window once: one that was sent before the last cut says nothing new.
        """
        self._resume_at = max(self._resume_at, now + wait)
        if sent_at >= self._slowed_at:
            self._slowed_at = now
            self._refusals += 1
            self._window = max(1.0, self._window / 2)

    @property
    def refusals(self) -> int:
        """Bursts of refusals since the last answer."""
        return self._refusals


@dataclass
class Budget:
    """What a run may spend: `until` of the job file. Reserved when a request goes, corrected when it ended."""

    deadline: float | None = None
    requests: int | None = None
    tokens: float | None = None
    cost: float | None = None
    spent_requests: int = 0
    spent_tokens: float = 0
    spent_cost: float = 0

    def exhausted(self, now: float, tokens: float, cost: float) -> str | None:
        """Why a request of this estimate may not go any more; None: it may."""
        if self.deadline is not None and now >= self.deadline:
            return "the deadline has come"
        if self.requests is not None and self.spent_requests >= self.requests:
            return f"the budget of {self.requests:,} requests is spent"
        if self.tokens is not None and self.spent_tokens + tokens > self.tokens:
            return f"the budget of {self.tokens:,.0f} tokens is spent"
        if self.cost is not None and self.spent_cost + cost > self.cost:
            return f"the budget of ${self.cost:,.2f} is spent, by estimate"
        return None

    def take(self, tokens: float, cost: float) -> None:
        self.spent_requests += 1
        self.spent_tokens += tokens
        self.spent_cost += cost

    def give_back(self, tokens: float, cost: float) -> None:
        """What was taken for a request that has ended, and was not used."""
        self.spent_tokens -= tokens
        self.spent_cost -= cost
