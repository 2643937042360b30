"""The congestion window: how many requests may be in flight at a server that limits them, or answers too slowly.

Two signs show the limit. Requests are refused while so many are in flight, and none while fewer are: nginx'
`limit_conn`, uvicorn's `--limit-concurrency`, a full queue. Or requests time out while others are answered: the server
has more work than it can do. Arithmetic only: the caller passes the time, in seconds.
"""

from __future__ import annotations

import math
from collections import deque

MAX_RETRY_FACTOR = 32
"""A limit that was confirmed again and again is tested after this many times as many answers as there are slots."""
MIN_LIMIT = 4
"""A refusal with fewer requests in flight is about the rate, not about their number."""
MARGIN, MARGIN_SHARE = 2, 0.25
"""A request granted among this many more than a refused one shows that the refusal was not about their number."""


class CongestionWindow:
    """The window: `max_in_flight` requests may be in flight. Requests sent before the last cut say nothing new."""

    def __init__(self) -> None:
        self.max_in_flight = math.inf
        self.late = 0
        """How many requests found no answer in time while others did."""
        self._refused_at = math.inf
        self._is_rate = self._confirmed = self._is_late = False
        self._retry_factor = 1
        self._answers = 0
        self._lately: deque[float] = deque(maxlen=1 << 16)
        self._cut_at = -math.inf

    def refused(self, now: float, sent_at: float, beside: int) -> None:
        """Lowers the window after a refusal. `beside`: requests in flight when it was sent, itself included."""
        self._answers = 0
        self._refused_at = min(self._refused_at, beside)
        if self._is_rate or self._is_late:
            return  # what time-outs found holds
        if self._refused_at < MIN_LIMIT:
            self._is_rate, self.max_in_flight = True, math.inf
            return
        if sent_at > self._cut_at:
            self._confirmed = self.max_in_flight < math.inf
            self._retry_factor = min(MAX_RETRY_FACTOR, 2 * self._retry_factor) if self._confirmed else 1
            self._cut_at = now
        self.max_in_flight = max(1, self._refused_at - 1)

    def answered(self, now: float, beside: float) -> None:
        self._lately.append(now)
        if self._refused_at < math.inf and beside >= self._beyond() and not self._is_late:
            self._is_rate, self._refused_at, self.max_in_flight = True, math.inf, math.inf
        if self.max_in_flight == math.inf:
            return
        self._answers += 1
        if self._answers >= self._retry_factor * self.max_in_flight:
            self._answers = 0
            self.max_in_flight = self.max_in_flight + 1 if self._confirmed else self._beyond()

    def _beyond(self) -> float:
        return self._refused_at + max(MARGIN, MARGIN_SHARE * self._refused_at)

    def unanswered(self, now: float, sent_at: float) -> None:
        """Lowers the window after a time-out, to the number of requests that were answered in half of that time."""
        seconds = now - sent_at
        while self._lately and self._lately[0] < sent_at:
            self._lately.popleft()
        if not self._lately:
            return  # nobody is answered: that is an outage
        self.late += 1
        if sent_at > self._cut_at:
            half = sum(at >= now - seconds / 2 for at in self._lately)
            self.max_in_flight = min(self.max_in_flight, max(1, half))
            self._confirmed, self._retry_factor, self._answers = True, 1, 0
            self._refused_at, self._is_late = math.inf, True
            self._cut_at = now
