"""One rate, kept: a declared one exactly, or one that only the server knows, as its refusals teach it.

Arithmetic only: the caller passes the time, in seconds of any steady clock; nothing here sleeps.
"""

from __future__ import annotations

import math
from collections import deque

BURST = 0.1
"""Seconds' worth of the rate that may go at once, which evens out the event loop's jitter. A server whose
bucket holds four requests refused none of 80 at this setting, and one at a full second (nginx `limit_req`)."""


class Pace:
    """The generic cell rate algorithm (ITU-T I.371, annex A) for requests of any size.

    A request pays after it went: the next waits until its cost has flowed in. So a large one waits no
    longer than a small one, and is followed by a longer gap. Starts empty: the first minute grants what
    every minute grants.
    """

    def __init__(self, per_minute: float, now: float, burst: float = BURST) -> None:
        self._per_second = per_minute / 60
        self._burst = burst
        self._paid_at = now + burst

    def wait(self, now: float) -> float:
        """Seconds until the next request may go; 0 or less: now."""
        return self._paid_at - self._burst - now

    def take(self, now: float, cost: float) -> None:
        self._paid_at = max(self._paid_at, now) + cost / self._per_second

    def give_back(self, cost: float) -> None:
        """What was reserved and not used (negative: what was used beyond it)."""
        self._paid_at -= cost / self._per_second

    def share(self, now: float, part: float) -> None:
        """The rate is multiplied by `part`; what is owed is paid back at the new one."""
        self._per_second *= part
        self._paid_at = now + (self._paid_at - now) / part if self._paid_at > now else self._paid_at

    def change(self, per_minute: float) -> None:
        """Another rate, for what is taken from now on, and half a request of it as burst."""
        self._per_second = per_minute / 60
        self._paid_at += 0.5 / self._per_second - self._burst
        self._burst = 0.5 / self._per_second


class Learned:
    """A rate that only the server knows, found from its refusals.

    Until then only the start is held back: the requests in flight double every 50 ms from 16, so that a
    refusing server is met by a handful and not by all. When it refuses many, the rate goes to what it granted
    of the last seconds and doubles every 3 s from there, up to the next time; then it follows a cubic: 0.9 of
    what was granted, flat around it, and beyond it after 30 s (as TCP does with its window, RFC 9438). A lone
    refusal that costs a long wait takes 2 % off, and never more than a tenth of what was granted: some servers
    refuse at random. A burst counts once: what was sent before the last cut says nothing new.
    """

    START, DOUBLES = 16, 0.05
    SPAN, GROWS, BACK, FLAT = 3.0, 3.0, 0.9, 30.0
    FEW, SHARE = 4, 0.08
    """Many: at least so many of the last seconds' requests, and more than this share of them."""
    COSTLY = 0.15

    def __init__(self, per_minute: float | None = None, now: float = 0.0) -> None:
        """`per_minute`: what an earlier run learned."""
        self._began: float | None = None
        self._sent: deque[float] = deque()
        self._refused: deque[float] = deque()
        self._cut_at = -math.inf
        self._base: float | None = None
        self._proven = per_minute or 0.0
        self._ceiling: float | None = None
        self._pace: Pace | None = None
        if per_minute is not None:
            self._ceiling, self._cut_at, self._pace = per_minute, now, Pace(per_minute * self.BACK, now)

    def restart(self, now: float) -> None:
        """The service is back after an outage, in which refusals said nothing of its rate."""
        self._began, self._cut_at = now, now
        self._sent.clear()
        self._refused.clear()
        if self._ceiling is None:
            self._base = self._pace = None

    def settled(self, now: float) -> float | None:
        """The rate that is worth remembering: the last that was granted."""
        return self._ceiling if self._ceiling is not None else self.rate(now)

    def rate(self, now: float) -> float | None:
        """Requests a minute at the moment; None while no limit was met."""
        since = max(0.0, now - self._cut_at)
        if self._ceiling is not None:
            short = (self.FLAT - since) / self.FLAT
            return self._ceiling * (1 - (1 - self.BACK) * short**3)
        return None if self._base is None else self._base * 2 ** min(since / self.GROWS, 40)

    def wait(self, now: float, in_flight: int) -> float:
        if self._began is None:
            self._began = now
        if self._pace is not None:
            self._pace.change(self.rate(now) or 1.0)
            return self._pace.wait(now)
        doublings = (now - self._began) / self.DOUBLES
        held = doublings < 20 and in_flight >= self.START * 2**doublings  # noqa: PLR2004  a million in flight: all
        return self.DOUBLES / 4 if held else 0.0

    def take(self, now: float) -> None:
        self._sent.append(now)
        _forget(self._sent, now - self.SPAN)
        if self._pace is not None:
            self._pace.take(now, 1)

    def refused(self, now: float, sent_at: float, resume_at: float) -> None:
        self._refused.append(sent_at)
        _forget(self._refused, now - self.SPAN)
        _forget(self._sent, now - self.SPAN)
        if sent_at <= self._cut_at:
            return
        current = self.rate(now)
        if current is None:
            self._began = max(self._began or now, resume_at)  # and from there as gently as at the start
        if len(self._refused) >= self.FEW and len(self._refused) > self.SHARE * len(self._sent):
            self._proven = self._granted(now)
            if self._pace is None:
                self._base, self._pace = self._proven, Pace(self._proven, max(now, resume_at))
            else:
                self._ceiling = min(current or self._proven, self._proven)
            self._cut_at = max(now, resume_at)
        elif current is not None and resume_at - now > self.COSTLY:
            self._ceiling = max(0.98 * current, self.BACK * self._proven)
            self._cut_at = max(now, resume_at)

    def _granted(self, now: float) -> float:
        """Requests a minute that were sent in the last seconds and not refused."""
        span = max(min(now - (self._began or now), self.SPAN), 1.0)
        return max(len(self._sent) - len(self._refused), 1) * 60 / span


def _forget(times: deque[float], before: float) -> None:
    while times and times[0] < before:
        times.popleft()
