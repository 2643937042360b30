"""When a request may go: the declared rates, the learned one, the shared cool-down, an outage's trickle of probes, and
what a run may spend. Arithmetic only: the caller passes the time, in seconds of any steady clock; nothing here
sleeps, keeps a request or knows what one is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from batchgen.send.concurrency import AdaptiveConcurrency
from batchgen.send.pacing import AdaptivePacer, GcraPacer
from batchgen.send.window import CongestionWindow
from batchgen.ui.humanize import dollars


class CircuitBreaker:
    """When nothing gets through: after so many failures in a row one probe a second, until an answer comes.

    An answer to what was sent before the first of them says nothing of the service as it is now. After one of
    those the failures must be half of what was sent since, too: else a few quick ones among slow answers would do.
    """

    BEGINS, LEAST, PROBE, RAREST = 16, 4, 1.0, 4.0

    def __init__(self) -> None:
        self._failures = self._sent = 0
        self._first = 0.0
        self._doubtful = False
        self._since: float | None = None
        self._next_probe = -math.inf
        self._begins = self.BEGINS
        self._every = self.PROBE
        self.begun = 0
        """How many there were."""

    def failed(self, now: float, rows: int = BEGINS, *, billed: bool = False, amid_answers: bool = False) -> None:
        """`rows`: that are left to do; few of them would take long to fail so often. `billed`: possibly; then probes
        are made more rarely, one in four seconds in the end. `amid_answers`: it may be a limit, for now."""
        if not self._failures:
            self._first, self._sent, self._doubtful = now, 0, False
        self._failures += 1
        self._begins = min(self.BEGINS, max(self.LEAST, 2 * rows))
        likely = not self._doubtful or 2 * self._failures >= self._sent
        if self._since is not None and billed:
            self._every = min(2 * self._every, self.RAREST)
            self._next_probe = max(self._next_probe, now + self._every)
        if self._since is None and self._failures >= self._begins and likely and not amid_answers:
            self._every = self.PROBE
            self._since, self._next_probe = now, now + self.PROBE
            self.begun += 1

    def answered(self, sent_at: float) -> bool:
        """Whether this ended an outage."""
        if self._failures and sent_at < self._first:
            self._doubtful = True
            return False
        ended = self._since is not None
        self._failures, self._since = 0, None
        return ended

    def likely(self) -> bool:
        """Whether there is one, or half of what makes one has come together."""
        return self._failures >= self._begins // 2

    def lasts(self, now: float) -> float:
        """Seconds; 0 where there is none."""
        return 0.0 if self._since is None else now - self._since

    def wait(self, now: float) -> float:
        return 0.0 if self._since is None else self._next_probe - now

    def take(self, now: float) -> None:
        self._sent += 1
        if self._since is not None:
            self._next_probe = now + self._every


class TokenEstimator:
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


class RateLimiter:
    """Everything that holds a request back. One for all slots of a run. `learned`: requests a minute that an
    earlier run found the server to grant."""

    MOST_DOUBTFUL = 64
    LONE, LONE_WAIT = 0.5, 2.0
    """A refusal so many seconds after the last, at a rate that goes by the server's limit, is its row's to wait out,
    where so many are asked at most: the rate was a hair too high."""

    def __init__(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        now: float,
        learned: float | None = None,
    ) -> None:
        self._requests = GcraPacer(requests_per_minute, now) if requests_per_minute else None
        self._tokens = GcraPacer(tokens_per_minute, now) if tokens_per_minute else None
        self._learned = AdaptivePacer(learned, now)
        self._estimate = TokenEstimator()
        self._outage = CircuitBreaker()
        self.window = CongestionWindow()
        self.auto: AdaptiveConcurrency | None = None
        self._resume_at = -math.inf
        self._slowed_at = -math.inf
        self._refusals = 0
        self._runs = 1
        self._doubtful: list[tuple[float, int]] = []
        """When refusals came that may be an outage, since the last answer: when each was sent, and beside how many."""

    def share(self, now: float, runs: int, wait: float = 0.0) -> None:
        """So many runs spend the declared rates now, each an equal part. `wait`: seconds in which the others notice."""
        for pace in (self._requests, self._tokens):
            if pace is not None:
                pace.share(now, self._runs / runs)
        if runs > 1:
            self._resume_at = max(self._resume_at, now + wait)
        self._runs = runs

    @property
    def declared(self) -> bool:
        """Whether the job named a rate."""
        return self._requests is not None or self._tokens is not None

    def wait(self, now: float, in_flight: int) -> float:
        """Seconds until one more request may go; 0 or less: now."""
        if in_flight >= self.most:
            return math.inf
        wait = max(self._resume_at - now, self._outage.wait(now), self._learned.wait(now, in_flight))
        if self._requests is not None:
            wait = max(wait, self._requests.wait(now))
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait(now))
        return wait

    @property
    def most(self) -> float:
        """Requests in flight, as far as the server's own limits were found."""
        return self.window.most if self.auto is None else min(self.window.most, self.auto.most)

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

    def answered(self, now: float, sent_at: float, longest_answer: int, used: float, beside: int = 1) -> None:
        """`beside`: how many were in flight when it was sent, itself included."""
        self._refusals = 0
        self.window.answered(now, beside)
        if self.auto is not None:
            self.auto.answered(now, sent_at, used, beside, self.window.most)
        self._estimate.observe(longest_answer, used)
        was_away = self._outage.answered(sent_at)
        doubtful, self._doubtful = self._doubtful, []
        if doubtful and doubtful[0][0] <= sent_at <= doubtful[-1][0]:  # one sent with them got through
            self._outage.answered(math.inf)
            for refused_at, others in doubtful:
                self._by_rate(now, refused_at, others)
        elif was_away:
            self._learned.restart(now)

    def refused(self, now: float, sent_at: float, wait: float, *, by_rate: bool, beside: int = 1) -> bool:
        """Everyone waits, for `wait` seconds. `by_rate`: it was about how much is sent, as far as can be told. Whether
        no refusal had come since the request was sent."""
        is_burst = sent_at >= self._slowed_at
        is_lone = self._learned.is_met and wait <= self.LONE_WAIT and now - self._slowed_at > self.LONE and by_rate
        if is_burst:
            self._refusals += 1
            self._slowed_at = now
        if not is_lone:
            self._resume_at = max(self._resume_at, now + wait)
        if by_rate:
            self._by_rate(now, sent_at, beside)
        elif len(self._doubtful) < self.MOST_DOUBTFUL:
            self._doubtful.append((sent_at, beside))
        return is_burst

    def _by_rate(self, now: float, sent_at: float, beside: int) -> None:
        self.window.refused(now, sent_at, beside)
        is_explained = self.window.most < beside
        self._learned.refused(now, sent_at, self._resume_at, is_explained=is_explained)

    def unanswered(self, now: float, sent_at: float) -> None:
        """No answer came in time."""
        self.window.unanswered(now, sent_at)
        if self.auto is not None:
            self.auto.unanswered(now, sent_at)

    def failed(
        self, now: float, rows: int = CircuitBreaker.BEGINS, *, billed: bool = False, amid_answers: bool = False
    ) -> None:
        """An attempt ended without any answer of the service itself, while so many rows were left to do."""
        self._outage.failed(now, rows, billed=billed, amid_answers=amid_answers)

    def outage_likely(self) -> bool:
        return self._outage.likely()

    def outage(self, now: float) -> float:
        """Seconds since nothing gets through; 0 where something does."""
        return self._outage.lasts(now)

    @property
    def outages(self) -> int:
        """How many there were."""
        return self._outage.begun

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
            return f"the budget of {dollars(self.cost)} is spent, by estimate"
        return None

    def left(self, now: float) -> float:
        """Seconds until no request may go any more."""
        return math.inf if self.deadline is None else self.deadline - self.latency - now

    def may_be_freed(self, now: float) -> bool:
        """Whether what is in flight may give back what a request needs."""
        return self.left(now) > 0 and (self.requests is None or self.spent_requests < self.requests)

    def is_nearly_whole(self, tokens: float, cost: float) -> bool:
        """Whether less than half of it is spent, and a prompt that takes so much fits: then a request whose longest
        answer would be too much may go all the same, when nothing is in flight. What answers really take is not known
        before."""
        shares = [(self.spent_tokens, tokens, self.tokens), (self.spent_cost, cost, self.cost)]
        return all(2 * spent < most and spent + prompt <= most for spent, prompt, most in shares if most is not None)

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
