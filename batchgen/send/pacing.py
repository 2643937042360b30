"""Paces requests at one rate, exactly.

Arithmetic only: the caller passes the time, in seconds of any steady clock; nothing here sleeps.
"""

from __future__ import annotations

BURST_SECONDS = 0.1
"""Seconds' worth of the rate that may be sent at once, which evens out the event loop's jitter. A server whose bucket
holds four requests refused none of 80 at this setting, and one at a full second (nginx `limit_req`)."""

JITTER_SECONDS = 0.002
"""Seconds by which a request may be late with the next one still in time. A server without a bucket (nginx `limit_req`
without `burst`) refuses every request that comes sooner than its gap after the last."""


class GcraPacer:
    """The generic cell rate algorithm (ITU-T I.371, annex A) for requests of any size.

    A request pays after it was sent: the next one waits until its cost has flowed in. So a large request waits no
    longer than a small one, and is followed by a longer gap. The bucket starts empty: the first minute grants what
    every minute grants.
    """

    def __init__(self, per_minute: float, now: float, burst: float = BURST_SECONDS) -> None:
        self._per_second = per_minute / 60
        self._burst = burst
        self._paid_at = now + burst

    def wait(self, now: float) -> float:
        """Returns the seconds until the next request may be sent; 0 or less: now."""
        return self._paid_at - self._burst - now

    def take(self, now: float, cost: float) -> None:
        self._paid_at = max(self._paid_at, now) + cost / self._per_second

    def give_back(self, cost: float) -> None:
        """Gives back cost that was reserved and not used (negative: used beyond the reservation)."""
        self._paid_at -= cost / self._per_second

    def share(self, now: float, part: float) -> None:
        """Multiplies the rate by `part`; what is owed is paid back at the new rate."""
        self._per_second *= part
        self._paid_at = now + (self._paid_at - now) / part if self._paid_at > now else self._paid_at

    def change(self, per_minute: float) -> None:
        """Sets another rate for later requests, and half a request of it as burst at most."""
        self._per_second = per_minute / 60
        burst = min(JITTER_SECONDS, 0.5 / self._per_second)
        self._paid_at += burst - self._burst
        self._burst = burst
