"""How many requests may be in flight, where the server has a limit of its own to that, or takes longer than is waited.

Two things tell. Requests that are refused while so many are in flight, and none while fewer are: nginx' `limit_conn`,
uvicorn's `--limit-concurrency`, a queue that is full. And requests that find no answer in time while others do: the
server works on more than it can do. Arithmetic only: the caller passes the time, in seconds.
"""

from __future__ import annotations

import math
from collections import deque

RARELY = 32
"""A limit that was found again and again is tried after so many times as many answers as there are slots."""
FEWEST = 4
"""Fewer that are in flight when one is refused are no reason: that is about the rate."""
MARGIN, SHARE = 2, 0.25
"""Requests that are granted beside so many more than one that was refused: then it was not about their number."""


class CongestionWindow:
    """`most` requests may be in flight. What was sent before the last cut says nothing new."""

    def __init__(self) -> None:
        self.most = math.inf
        self.late = 0
        """How many requests found no answer in time while others did."""
        self._least = math.inf
        self._is_rate = self._confirmed = self._is_late = False
        self._every = 1
        self._answers = 0
        self._lately: deque[float] = deque(maxlen=1 << 16)
        self._cut_at = -math.inf

    def refused(self, now: float, sent_at: float, beside: int) -> None:
        """`beside`: how many were in flight when it was sent, itself included."""
        self._answers = 0
        self._least = min(self._least, beside)
        if self._is_rate or self._is_late:
            return  # what time-outs found holds
        if self._least < FEWEST:
            self._is_rate, self.most = True, math.inf
            return
        if sent_at > self._cut_at:
            self._confirmed = self.most < math.inf
            self._every = min(RARELY, 2 * self._every) if self._confirmed else 1
            self._cut_at = now
        self.most = max(1, self._least - 1)

    def answered(self, now: float, beside: int) -> None:
        self._lately.append(now)
        if self._least < math.inf and beside >= self._beyond() and not self._is_late:
            self._is_rate, self._least, self.most = True, math.inf, math.inf
        if self.most == math.inf:
            return
        self._answers += 1
        if self._answers >= self._every * self.most:
            self._answers = 0
            self.most = self.most + 1 if self._confirmed else self._beyond()

    def _beyond(self) -> float:
        return self._least + max(MARGIN, SHARE * self._least)

    def unanswered(self, now: float, sent_at: float) -> None:
        """No answer came in time. As many may be in flight as were answered in half of that."""
        seconds = now - sent_at
        while self._lately and self._lately[0] < sent_at:
            self._lately.popleft()
        if not self._lately:
            return  # nobody is answered: that is an outage
        self.late += 1
        if sent_at > self._cut_at:
            half = sum(at >= now - seconds / 2 for at in self._lately)
            self.most, self._confirmed, self._every, self._answers = min(self.most, max(1, half)), True, 1, 0
            self._least, self._is_late = math.inf, True
            self._cut_at = now
