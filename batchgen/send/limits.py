"""Limits: the declared rates, the learned one, the shared pause, the probes of an outage, and the run's budget.

Arithmetic only: the caller passes the time, in seconds of any steady clock. Nothing here sleeps, or keeps a request.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from batchgen.send.adaptive_pacer import AdaptivePacer
from batchgen.send.circuit_breaker import CircuitBreaker
from batchgen.send.interfaces import FoundConcurrency
from batchgen.send.pacing import GcraPacer
from batchgen.send.token_estimator import TokenEstimator
from batchgen.send.window import CongestionWindow
from batchgen.ui.humanize import dollars, pluralize

TOGETHER = 0.05
"""Requests within so many seconds were sent together: a limit grants the first of them and refuses the others."""
EXACT_DIGITS = 12
"""Of what is spent, in tokens and dollars. A token costs some 1e-7 dollars."""


class RateLimiter:
    """All rates and pauses of a run, for all of its slots. `learned`: requests a minute that an earlier run found the
    server to grant."""

    MAX_DOUBTFUL = 64
    SHORT_WAIT = 2.0
    """A refusal at a learned rate that asks for so many seconds at most makes only its row wait: the rate was slightly
    too high."""

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
        self.auto: FoundConcurrency | None = None
        self._resume_at = -math.inf
        self._slowed_at = -math.inf
        self.refusals = 0
        """Bursts of refusals since the last answer."""
        self._runs = 1
        self._doubtful: list[tuple[float, int]] = []
        """When refusals came that may be an outage, since the last answer: when each was sent, and beside how many."""

    def share(self, now: float, runs: int, wait: float = 0.0) -> None:
        """Divides the declared rates equally among so many runs. `wait`: seconds until the other runs notice."""
        for pace in (self._requests, self._tokens):
            if pace is not None:
                pace.share(now, self._runs / runs)
        if runs > 1:
            self._resume_at = max(self._resume_at, now + wait)
        self._runs = runs

    @property
    def is_declared(self) -> bool:
        """Returns whether the job sets a rate."""
        return self._requests is not None or self._tokens is not None

    def wait(self, now: float, in_flight: int) -> float:
        """Returns the seconds until one more request may be sent; 0 or less: now. `in_flight`: those whose outcome is
        being stored count as well."""
        if in_flight >= self.window.max_in_flight or (self.auto is not None and not self.auto.has_room(in_flight)):
            return math.inf
        wait = max(self._resume_at - now, self._outage.wait(now), self._learned.wait(now, in_flight))
        if self._requests is not None:
            wait = max(wait, self._requests.wait(now))
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait(now))
        return wait

    @property
    def most(self) -> float:
        """Returns how many requests may be in flight, by the server's own limits as far as they were found."""
        return self.window.max_in_flight if self.auto is None else min(self.window.max_in_flight, self.auto.most)

    @property
    def is_per_server(self) -> bool:
        """Returns whether each of several servers has its own number of requests in flight, to be found."""
        return self.auto is not None and self.auto.is_per_server

    def expected_tokens(self, prompt_tokens: int, longest_answer: int) -> float:
        """Returns the tokens that a request will take, by what answers took so far."""
        return prompt_tokens + self._estimate.tokens(longest_answer)

    def take(self, now: float, tokens: float) -> None:
        self._learned.take(now)
        self._outage.take(now)
        if self._requests is not None:
            self._requests.take(now, 1)
        if self._tokens is not None:
            self._tokens.take(now, tokens)

    def give_back(self, tokens: float) -> None:
        """Gives back tokens that were reserved for a finished request and not used (negative: used beyond the
        reservation)."""
        if self._tokens is not None:
            self._tokens.give_back(tokens)

    def answered(self, now: float, sent_at: float, longest_answer: int, used: float, beside: int = 1) -> None:
        """Counts an answer. `beside`: requests in flight when it was sent, itself included."""
        self.refusals = 0
        self.window.answered(now, beside)
        if self.auto is not None:
            self.auto.answered(now, sent_at, used, beside, self.window.max_in_flight)
        self._estimate.observe(longest_answer, used)
        was_away = self._outage.answered(sent_at)
        doubtful, self._doubtful = self._doubtful, []
        if doubtful and doubtful[0][0] - TOGETHER <= sent_at <= doubtful[-1][0]:  # one sent with them got through
            self._outage.answered(math.inf)
            for refused_at, others in doubtful:
                self._by_rate(now, refused_at, others)
        elif was_away:
            self._learned.restart(now)

    def refused(self, now: float, sent_at: float, wait: float, *, by_rate: bool, beside: int = 1) -> bool:
        """Pauses all slots for `wait` seconds. `by_rate`: the refusal was about how much is sent, as far as can be
        determined. Returns whether it is the first refusal since the request was sent."""
        is_burst = sent_at >= self._slowed_at
        is_lone = by_rate and self._learned.is_met and wait <= self.SHORT_WAIT
        if is_burst:
            self.refusals += 1
            self._slowed_at = now
        if not is_lone:
            self._resume_at = max(self._resume_at, now + wait)
        if by_rate:
            self._by_rate(now, sent_at, beside)
        elif len(self._doubtful) < self.MAX_DOUBTFUL:
            self._doubtful.append((sent_at, beside))
        return is_burst

    def _by_rate(self, now: float, sent_at: float, beside: int) -> None:
        self.window.refused(now, sent_at, beside)
        self._learned.refused(now, sent_at, self._resume_at)

    def unanswered(self, now: float, sent_at: float) -> None:
        """Counts a request that timed out: for the server that was asked, where each has its own number."""
        if not self.is_per_server:
            self.window.unanswered(now, sent_at)
        if self.auto is not None:
            self.auto.unanswered(now, sent_at)

    def failed(
        self,
        now: float,
        rows: int = CircuitBreaker.TO_OPEN,
        *,
        billed: bool = False,
        amid_answers: bool = False,
    ) -> None:
        """Counts an attempt that ended without an answer of the service itself, while so many rows were left to do."""
        self._outage.failed(now, rows, billed=billed, amid_answers=amid_answers)

    def is_closed(self) -> bool:
        """Returns whether nothing gets through, as it seems."""
        return self._outage.is_likely() or self._learned.is_refused_in_a_row

    def unlearn(self, now: float) -> None:
        """Forgets the rate that the server's refusals seemed to show."""
        if self._learned.is_met:
            self._learned = AdaptivePacer(None, now)

    def outage(self, now: float) -> float:
        """Returns the seconds since the outage began; 0 if there is none."""
        return self._outage.seconds_open(now)

    @property
    def outages(self) -> int:
        """Returns how many outages there were."""
        return self._outage.times_opened

    def learned(self) -> float | None:
        """Returns the requests a minute that the server was found to grant; None if it never refused."""
        return self._learned.learned_rate()


@dataclass
class Budget:
    """The budget of a run: `until` of the job file. Reserved when a request is sent, corrected when it has ended.
    `is_spent`: it has ended the run. `resends`: requests in flight that may leave once more. `deadline`: the earlier of
    `after`, by the steady clock, and `moment`, in seconds since 1970, as far as that is off now (`keep_time`)."""

    deadline: float | None = None
    requests: int | None = None
    tokens: float | None = None
    cost: float | None = None
    spent_requests: int = 0
    spent_tokens: float = 0
    spent_cost: float = 0
    latency: float = 0
    is_spent: bool = False
    resends: int = 0
    after: float | None = None
    moment: float | None = None

    def keep_time(self, now: float, clock: float) -> None:
        """Sets the deadline. `clock`: seconds since 1970, which may have been set since; and while a machine sleeps the
        steady one stands still."""
        ends = self.after, None if self.moment is None else now + self.moment - clock
        self.deadline = min((end for end in ends if end is not None), default=None)

    def exhausted(self, now: float, tokens: float, cost: float) -> str | None:
        """Returns why a request of this estimate may not be sent any more; None if it may."""
        if self.deadline is not None and now + self.latency >= self.deadline:
            return "the deadline has come"
        if self.requests is not None and self.spent_requests + self.resends >= self.requests:
            return f"the budget of {pluralize(self.requests, 'request')} is spent"
        if self.tokens is not None and _exact(self.spent_tokens + tokens) > self.tokens:
            return f"the budget of {self.tokens:,.0f} tokens is spent"
        if self.cost is not None and _exact(self.spent_cost + cost) > self.cost:
            return f"the budget of {dollars(self.cost)} is spent, by estimate"
        return None

    def left(self, now: float) -> float:
        """Returns the seconds until no request may be sent any more."""
        return math.inf if self.deadline is None else self.deadline - self.latency - now

    def may_be_freed(self, now: float) -> bool:
        """Returns whether requests in flight may give back what a request needs."""
        return self.left(now) > 0 and (self.requests is None or self.spent_requests < self.requests)

    def is_mostly_unspent(self, tokens: float, cost: float) -> bool:
        """Returns whether less than half is spent and the prompt fits. Then a request whose longest answer would exceed
        the budget may be sent when nothing is in flight: real answers are usually shorter."""
        shares = [(self.spent_tokens, tokens, self.tokens), (self.spent_cost, cost, self.cost)]
        return all(2 * spent < most and spent + prompt <= most for spent, prompt, most in shares if most is not None)

    def observe(self, latency: float) -> None:
        """Adds an answer's latency in seconds. The slowest of the recent answers is the time reserved for those in
        flight at the deadline."""
        self.latency = max(latency, 0.95 * self.latency)

    def take(self, tokens: float, cost: float, others: int = 0) -> bool:
        """Reserves a request's estimate. Returns whether it may leave twice, though so many others in flight do."""
        self.spent_requests += 1
        self.spent_tokens += tokens
        self.spent_cost += cost
        may_resend = self.requests is None or self.spent_requests + self.resends + 2 * others < self.requests
        self.resends += may_resend
        return may_resend

    def give_back(self, tokens: float, cost: float) -> None:
        """Gives back what was reserved for a finished request and not used."""
        self.spent_tokens = _exact(self.spent_tokens - tokens)
        self.spent_cost = _exact(self.spent_cost - cost)


def _exact(spent: float) -> float:
    """Rounds, or what is taken and given back in another order would leave a rest: $0.0000000000000000001."""
    return round(spent, EXACT_DIGITS)
