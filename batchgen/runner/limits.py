"""When a request may go: requests and tokens a minute, declared or learned from refusals, the shared cool-down,
an outage's trickle of probes. Arithmetic only: the caller passes the time, in seconds of any steady clock;
nothing here sleeps, keeps a request or knows what one is.
"""

from __future__ import annotations

import math
from collections import deque
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


class Outage:
    """When nothing gets through: after so many failures in a row one probe a second, until an answer comes."""

    BEGINS, PROBE = 16, 1.0

    def __init__(self) -> None:
        self._failures = 0
        self._since: float | None = None
        self._next_probe = -math.inf

    def failed(self, now: float) -> None:
        self._failures += 1
        if self._failures == self.BEGINS:
            self._since, self._next_probe = now, now + self.PROBE

    def answered(self) -> bool:
        """Whether this ended an outage."""
        ended = self._since is not None
        self._failures, self._since = 0, None
        return ended

    def lasts(self, now: float) -> float:
        """Seconds; 0 where there is none."""
        return 0.0 if self._since is None else now - self._since

    def wait(self, now: float) -> float:
        return 0.0 if self._since is None else self._next_probe - now

    def take(self, now: float) -> None:
        if self._since is not None:
            self._next_probe = now + self.PROBE


class Estimate:
    """How much of the longest answer an answer takes: what was seen, and at the start the whole, for prudence."""

    PRUDENCE, MEMORY = 5, 200

    def __init__(self) -> None:
        self._seen = float(self.PRUDENCE)
        self._share = float(self.PRUDENCE)

    def observe(self, longest: int, used: float) -> None:
        """Old answers count less and less once there are many."""
        keep = 1 - 1 / self.MEMORY if self._seen > self.MEMORY else 1.0
        self._seen = self._seen * keep + 1
        self._share = self._share * keep + min(used / longest, 1.0)

    def tokens(self, longest: int) -> float:
        return longest * self._share / self._seen


class Limits:
    """Everything that holds a request back. One for all slots of a run. `learned`: requests a minute that an
    earlier run found the server to grant."""

    def __init__(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        now: float,
        learned: float | None = None,
    ) -> None:
        self._requests = Pace(requests_per_minute, now) if requests_per_minute else None
        self._tokens = Pace(tokens_per_minute, now) if tokens_per_minute else None
        self._learned = Learned(learned, now)
        self._estimate = Estimate()
        self._outage = Outage()
        self._resume_at = -math.inf
        self._slowed_at = -math.inf
        self._refusals = 0

    def wait(self, now: float, in_flight: int) -> float:
        """Seconds until one more request may go; 0 or less: now."""
        waits = [self._resume_at - now, self._outage.wait(now), self._learned.wait(now, in_flight)]
        waits += [pace.wait(now) for pace in (self._requests, self._tokens) if pace is not None]
        return max(waits)

    def expect(self, prompt_tokens: int, longest_answer: int) -> float:
        """The tokens a request will take, by what answers took so far."""
        return prompt_tokens + self._estimate.tokens(longest_answer)

    def take(self, now: float, tokens: float) -> None:
        self._learned.take(now)
        self._outage.take(now)
        if self._requests is not None:
            self._requests.take(now, 1)
        if self._tokens is not None:
            self._tokens.take(now, tokens)

    def give_back(self, tokens: float) -> None:
        """Tokens that were taken for a request that has ended, and were not used (negative: used beyond it)."""
        if self._tokens is not None:
            self._tokens.give_back(tokens)

    def answered(self, now: float, longest_answer: int, used: float) -> None:
        self._refusals = 0
        self._estimate.observe(longest_answer, used)
        if self._outage.answered():
            self._learned.restart(now)

    def refused(self, now: float, sent_at: float, wait: float, *, by_rate: bool) -> None:
        """Everyone waits, for `wait` seconds. `by_rate`: it was about the rate (429), and not overload (503)."""
        if sent_at >= self._slowed_at:
            self._refusals += 1
            self._slowed_at = now
        self._resume_at = max(self._resume_at, now + wait)
        if by_rate:
            self._learned.refused(now, sent_at, self._resume_at)

    def failed(self, now: float) -> None:
        """An attempt ended without any answer of the service itself."""
        self._outage.failed(now)

    def outage(self, now: float) -> float:
        """Seconds since nothing gets through; 0 where something does."""
        return self._outage.lasts(now)

    @property
    def refusals(self) -> int:
        """Bursts of refusals since the last answer."""
        return self._refusals

    def learned(self, now: float) -> float | None:
        """Requests a minute that the server was found to grant; None where it never refused."""
        return self._learned.settled(now)


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
    latency: float = 0

    def exhausted(self, now: float, tokens: float, cost: float) -> str | None:
        """Why a request of this estimate may not go any more; None: it may."""
        if self.deadline is not None and now + self.latency >= self.deadline:
            return "the deadline has come"
        if self.requests is not None and self.spent_requests >= self.requests:
            return f"the budget of {self.requests:,} requests is spent"
        if self.tokens is not None and self.spent_tokens + tokens > self.tokens:
            return f"the budget of {self.tokens:,.0f} tokens is spent"
        if self.cost is not None and self.spent_cost + cost > self.cost:
            return f"the budget of ${self.cost:,.2f} is spent, by estimate"
        return None

    def observe(self, latency: float) -> None:
        """Seconds that an answer took: the slowest of late is what is left for those in flight at the deadline."""
        self.latency = max(latency, 0.95 * self.latency)

    def take(self, tokens: float, cost: float) -> None:
        self.spent_requests += 1
        self.spent_tokens += tokens
        self.spent_cost += cost

    def give_back(self, tokens: float, cost: float) -> None:
        """What was taken for a request that has ended, and was not used."""
        self.spent_tokens -= tokens
        self.spent_cost -= cost
