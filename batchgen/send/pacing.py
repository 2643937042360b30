"""Paces requests at one rate: a declared one exactly, or the server's own, learned from its refusals.

Arithmetic only: the caller passes the time, in seconds of any steady clock; nothing here sleeps.
"""

from __future__ import annotations

import math
from collections import Counter, deque

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


class AdaptivePacer:
    """A rate that only the server knows, learned from its refusals.

    Before the first refusal only the start is held back: the requests in flight double every 50 ms from 16, so that a
    refusing server gets a handful and not all. When it refuses many, the rate falls to what it granted recently or over
    the last 20 s, whichever is more: some servers count by windows, and grant nothing at their end. From 0.9 of that
    the rate rises in a cubic to all of it (as TCP does with its window, RFC 9438). When nothing was refused for 10 s it
    doubles every 3 s until the next refusals. A burst counts once: requests sent before the last cut say nothing new.
    If a lower rate is refused as often, the refusals are not about the rate, and it rises again: some servers refuse at
    random. A single refusal takes 2 % off.
    """

    START_IN_FLIGHT, START_DOUBLING, MIN_FIRST_RATE = 16, 0.05, 8.0
    """Requests in flight at the start; seconds in which they double; the least requests a second of the first learned
    rate."""
    RECENT_SECONDS, LONG_SECONDS = 3.0, 20.0
    FIRST_DOUBLING, DOUBLING, CUT_FACTOR, PLATEAU = 0.75, 3.0, 0.9, 10.0
    MIN_REFUSALS, MIN_REFUSALS_AMID_NOISE, MIN_REFUSED_SHARE = 4, 16, 0.08
    """Many refusals: at least this many of the recent requests, and more than this share of them."""
    LOWER_RATE, SAME_REFUSED_SHARE, MAX_NOISE = 0.75, 0.6, 0.35
    """A rate lower by this factor did not help if this share of the refusals remains. A refused share above MAX_NOISE
    is not random."""
    ONSET_FACTOR, MAX_ONSET_RATIO = 0.95, 1.5
    """The share of the rate at which refusals began that may be granted, unless that rate was beyond this multiple of
    what is granted at all."""
    GROWTH_SECONDS = 1.0
    """Seconds over which the granted share of a growing rate is measured."""

    def __init__(self, per_minute: float | None = None, now: float = 0.0) -> None:
        """`per_minute`: the rate that an earlier run learned."""
        self._began: float | None = None
        self._sent: deque[float] = deque()
        self._refused: deque[float] = deque()
        self._granted_in: Counter[int] = Counter()
        self._cut_at = -math.inf
        self._high = 0.0, 0.0  # the highest rate that met many refusals, and their share
        self._noise, self._may_be_noise = 0.0, True
        self._onset_rate = 0.0  # the rate at which refusals began
        self._first_rate: float | None = None
        self._proven = per_minute or 0.0
        self._ceiling: float | None = None
        self._pace: GcraPacer | None = None
        if per_minute is not None:
            self._ceiling, self._cut_at, self._pace = per_minute, now, GcraPacer(per_minute * self.CUT_FACTOR, now)

    def restart(self, now: float) -> None:
        """Starts over after an outage, in which refusals said nothing about the rate."""
        self._began, self._cut_at = now, now
        self._sent.clear()
        self._refused.clear()
        self._ceiling = self._first_rate = self._pace = None

    def learned_rate(self, now: float) -> float | None:
        """Returns the rate to remember: the last one that was granted."""
        return self._ceiling if self._ceiling is not None else self.rate(now)

    @property
    def is_met(self) -> bool:
        """Returns whether a limit was met, which the rate now follows."""
        return self._pace is not None

    def rate(self, now: float) -> float | None:
        """Returns the current rate in requests a minute; None while no limit was met."""
        since = max(0.0, now - self._cut_at)
        if self._ceiling is None:
            return None if self._first_rate is None else self._first_rate * 2 ** min(since / self.FIRST_DOUBLING, 40)
        if since > self.PLATEAU:
            return self._ceiling * 2 ** min((since - self.PLATEAU) / self.DOUBLING, 40)
        return self._ceiling * (1 - (1 - self.CUT_FACTOR) * (1 - since / self.PLATEAU) ** 3)

    def wait(self, now: float, in_flight: int) -> float:
        if self._began is None:
            self._began = now
        if self._pace is not None:
            self._pace.change(self.rate(now) or 1.0)
            return self._pace.wait(now)
        doublings = (now - self._began) / self.START_DOUBLING
        held = doublings < 20 and in_flight >= self.START_IN_FLIGHT * 2**doublings  # noqa: PLR2004  a million in flight: all
        return self.START_DOUBLING / 4 if held else 0.0

    def take(self, now: float) -> None:
        self._sent.append(now)
        self._granted_in[int(now)] += 1
        _drop_before(self._sent, now - self.RECENT_SECONDS)
        if self._pace is not None:
            self._pace.take(now, 1)

    def refused(self, now: float, sent_at: float, resume_at: float, *, is_explained: bool = False) -> None:
        """Counts a refusal. `resume_at`: when all slots resume. `is_explained`: it may be about the number of requests
        in flight."""
        self._granted_in[int(sent_at)] -= 1
        if sent_at <= self._cut_at:
            return
        if not self._refused:
            self._onset_rate = self.rate(now) or 0.0
        self._refused.append(sent_at)
        _drop_before(self._refused, now - self.RECENT_SECONDS)
        _drop_before(self._sent, now - self.RECENT_SECONDS)
        current = self.rate(now)
        if current is None:
            self._began = max(self._began or now, resume_at)  # and from there as gently as at the start
        share = len(self._refused) / max(len(self._sent), 1)
        few = self.MIN_REFUSALS_AMID_NOISE if self._noise else self.MIN_REFUSALS
        if len(self._refused) >= few and share > self.MIN_REFUSED_SHARE + 1.5 * self._noise:
            self._cut(now, sent_at, max(now, resume_at), share)
        elif current is not None and not self._noise and not is_explained:
            self._ceiling = max(0.98 * current, self.CUT_FACTOR * min(self._proven, self._long(now)))
            self._cut_at = max(now, resume_at)

    def _cut(self, now: float, sent_at: float, resume_at: float, share: float) -> None:
        current, granted = self.rate(now), self._granted(now, sent_at)
        met, before = self._high
        rate = current or granted / max(1 - share, 0.01)
        self._high = (rate, share) if rate >= met else self._high
        if current is None:
            self._first_rate = max(granted, 60 * self.MIN_FIRST_RATE)
            self._pace = GcraPacer(self._first_rate, resume_at)
        elif self._is_noise(current, share, met, before):
            self._noise, self._ceiling = share, 2 * met
            self._may_be_noise = False
        else:
            shown = current * (1 - self._share_since(now - self.GROWTH_SECONDS))
            began = self.ONSET_FACTOR * self._onset_rate if self._onset_rate <= self.MAX_ONSET_RATIO * granted else 0.0
            self._ceiling, self._noise = min(current, max(shown, granted, began, current / 2)), 0.0
        self._proven = granted
        self._cut_at = resume_at
        self._sent.clear()
        self._refused.clear()

    def _share_since(self, moment: float) -> float:
        """Returns the refused share of the requests sent since then."""
        return sum(at >= moment for at in self._refused) / max(sum(at >= moment for at in self._sent), 1)

    def _granted(self, now: float, sent_at: float) -> float:
        """Returns the requests a minute that were sent and not refused, recently or over LONG_SECONDS, whichever is
        more. Requests sent with the refused one or just after it are not counted: their outcome is unknown."""
        burst = sent_at, sent_at + BURST_SECONDS
        unknown = sum(burst[0] <= at <= burst[1] for at in self._sent)
        unknown -= sum(burst[0] <= at <= burst[1] for at in self._refused)
        began = self._began or 0.0
        span = max(min(now - max(began, self._cut_at), self.RECENT_SECONDS), 1.0)
        lately = (len(self._sent) - len(self._refused) - unknown) / span
        return 60 * max(lately, self._long(now, unknown) / 60, 1 / span)

    def _long(self, now: float, unknown: int = 0) -> float:
        """Returns the requests a minute that were granted in the last LONG_SECONDS."""
        for second in [second for second in self._granted_in if second < now - self.LONG_SECONDS]:
            del self._granted_in[second]
        first = min(self._granted_in, default=now)
        return 60 * (self._granted_in.total() - unknown) / max(now - first, 1.0)

    def _is_noise(self, current: float, share: float, met: float, before: float) -> bool:
        as_often = current <= self.LOWER_RATE * met and self.SAME_REFUSED_SHARE * before <= share <= self.MAX_NOISE
        return self._may_be_noise and as_often and self._is_even()

    def _is_even(self) -> bool:
        """Returns whether refusals came from the beginning, and not only at the end, when a bucket was empty."""
        half = self._sent[len(self._sent) // 2] if self._sent else 0.0
        return 4 * sum(at <= half for at in self._refused) >= len(self._refused)


def _drop_before(times: deque[float], before: float) -> None:
    while times and times[0] < before:
        times.popleft()
