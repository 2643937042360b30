"""Pace, learned rate, outage, cool-down and budget: arithmetic over hours that pass in no time."""

import heapq
import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.send.circuit_breaker import CircuitBreaker
from batchgen.send.limits import Budget, RateLimiter
from batchgen.send.pacing import BURST_SECONDS, GcraPacer

TINY = 1e-6
COSTS = st.lists(st.floats(0.01, 9000), min_size=2, max_size=200)
RATES = st.sampled_from([1, 60, 400, 25_000, 1e6])


def sent(pace: GcraPacer, costs: list[float], idle: list[float] | None = None, start: float = 0) -> list[float]:
    """When each request goes, if all go as early as they may, after `idle` seconds of having nothing to send."""
    now, times = start, []
    for index, cost in enumerate(costs):
        now += max(0.0, pace.wait(now)) + (idle[index % len(idle)] if idle else 0)
        pace.take(now, cost)
        times.append(now)
    return times


def most_over(rate: float, times: list[float], costs: list[float]) -> float:
    """The most that any window of any length granted beyond `rate` a minute, each window's last request aside."""
    worst, lowest, total = -math.inf, math.inf, 0.0
    for moment, cost in zip(times, costs, strict=True):
        level = total - moment * rate / 60
        lowest = min(lowest, level)
        worst = max(worst, level - lowest)
        total += cost
    return worst


@given(COSTS, RATES, st.lists(st.floats(0, 600), min_size=1, max_size=20), st.sampled_from([0, 1e6]))
@settings(deadline=None, max_examples=100)
def test_no_window_grants_more_than_the_rate_and_a_small_burst(costs, rate, idle, start):
    times = sent(GcraPacer(rate, start), costs, idle, start)
    assert most_over(rate, times, costs) <= rate / 60 * BURST_SECONDS + TINY * sum(costs)


@given(st.permutations([n * 60e-8 + 1e-7 for n in range(12)]))
@settings(deadline=None)
def test_nothing_is_left_of_what_was_given_back(costs):
    budget = Budget()
    for cost in sorted(costs):
        budget.take(cost * 1e7, cost)
    for cost in costs:
        budget.give_back(cost * 1e7, cost)
    assert (budget.spent_tokens, budget.spent_cost) == (0, 0)


@given(COSTS, RATES)
@settings(deadline=None)
def test_all_of_the_rate_is_used(costs, rate):
    times = sent(GcraPacer(rate, 0), costs)
    assert times[-1] <= sum(costs[:-1]) / (rate / 60) + TINY * (1 + times[-1])


def test_the_first_minute_grants_what_every_minute_grants():
    times = sent(GcraPacer(400, 1000), [1] * 2000, start=1000)
    minutes = [sum(1000 + 60 * m <= moment < 1060 + 60 * m for moment in times) for m in range(4)]
    assert all(399 <= granted <= 402 for granted in minutes)


def test_an_hour_of_silence_saves_nothing_up():
    pace = GcraPacer(60, 0)
    sent(pace, [1] * 5)
    times = sent(pace, [1] * 61, start=3600)
    assert times[-1] - times[0] >= 60 - BURST_SECONDS - TINY


@given(st.floats(1, 1e6), st.floats(1, 1e6), RATES)
@settings(deadline=None)
def test_a_request_of_any_size_waits_for_what_went_before_it_alone(before, cost, rate):
    pace = GcraPacer(rate, 0)
    pace.take(0, before)
    wait = pace.wait(0)
    assert wait == pytest.approx(before / (rate / 60), abs=BURST_SECONDS)
    pace.take(max(0, wait), cost)
    assert pace.wait(max(0, wait)) == pytest.approx(cost / (rate / 60), abs=2 * BURST_SECONDS)


def test_a_request_larger_than_a_minutes_grant_goes_and_is_followed_by_a_gap():
    pace = GcraPacer(60, 0)
    assert pace.wait(0) <= 0
    pace.take(0, 600)
    assert pace.wait(0) == pytest.approx(600)


@given(st.lists(st.tuples(st.floats(1, 5000), st.floats(0, 1)), min_size=1, max_size=50), RATES)
@settings(deadline=None)
def test_what_is_given_back_at_once_was_never_taken(requests, rate):
    generous, exact = GcraPacer(rate, 0), GcraPacer(rate, 0)
    for cost, used in requests:
        generous.take(0, cost)
        generous.give_back(cost * (1 - used))
        exact.take(0, cost * used)
    assert generous.wait(0) == pytest.approx(exact.wait(0), abs=1e-3)


def test_what_is_given_back_after_a_silence_is_no_credit():
    pace = GcraPacer(60, 0)
    pace.take(0, 1000)
    pace.give_back(0)
    pace.take(2000, 1)
    pace.give_back(1000)
    costs = [1.0] * 120
    times = sent(pace, costs, start=2001)
    assert most_over(60, times, costs) <= BURST_SECONDS + TINY * 120


def test_what_was_used_beyond_the_estimate_is_paid_for():
    pace = GcraPacer(60, 0)
    pace.take(0, 10)
    pace.give_back(-5)
    assert pace.wait(0) == pytest.approx(15)


# Requests and tokens together


@given(st.lists(st.floats(1, 3000), min_size=2, max_size=150), RATES, RATES)
@settings(deadline=None)
def test_requests_and_tokens_hold_together(tokens, requests_rate, tokens_rate):
    limits, now, times = RateLimiter(requests_rate, tokens_rate, 0), 0.0, []
    for cost in tokens:
        now += max(0.0, limits.wait(now, 0))
        limits.take(now, cost)
        times.append(now)
    assert most_over(requests_rate, times, [1] * len(tokens)) <= requests_rate / 60 * BURST_SECONDS + TINY * len(tokens)
    assert most_over(tokens_rate, times, tokens) <= tokens_rate / 60 * BURST_SECONDS + TINY * sum(tokens)


def test_the_vendors_tokens_for_a_night():
    """25,000 a minute are 12 million in eight hours: 24,000 requests of 500."""
    limits, now, count = RateLimiter(400, 25_000, 0), 0.0, 0
    while (now := now + max(0.0, limits.wait(now, 0))) < 8 * 3600:
        limits.take(now, 500)
        count += 1
    assert count == pytest.approx(24_000, abs=2)


def test_limits_that_are_left_out_hold_nothing_back():
    limits = RateLimiter(None, None, 0)
    for _ in range(1000):
        assert limits.wait(0, 3) <= 0
        limits.take(0, 1e9)


@pytest.mark.parametrize(
    ("requests", "tokens", "wait"),
    [
        pytest.param(60, None, 1, id="requests alone: tokens do not count"),
        pytest.param(None, 60, 500, id="tokens alone: requests do not count"),
        pytest.param(60, 60, 500, id="the longer of both"),
        pytest.param(6, 6e6, 10, id="the longer of both, the other way round"),
    ],
)
def test_what_holds_the_next_request_back(requests, tokens, wait):
    limits = RateLimiter(requests, tokens, 0)
    limits.take(0, 500)
    assert limits.wait(0, 1) == pytest.approx(wait)


def test_tokens_that_were_not_used_are_given_back():
    limits = RateLimiter(None, 60, 0)
    limits.take(0, 300)
    assert limits.wait(0, 1) == pytest.approx(300)
    limits.give_back(290)
    assert limits.wait(0, 1) == pytest.approx(10)


# A rate that only the server knows: simulated, so that a minute takes a moment


class Bucket:
    """A server that grants `rate` a second from a bucket of `size`, and otherwise says when to come back."""

    def __init__(self, rate: float, size: int) -> None:
        self.rate, self.size, self.level, self.at = rate, size, float(size), 0.0

    def asked(self, now: float) -> float | None:
        self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level >= 1:
            self.level -= 1
            return None
        return (1 - self.level) / self.rate


class Chance:
    """A server without a limit that refuses one in so many, for no reason."""

    def __init__(self, share: float) -> None:
        self.share, self.dice = share, random.Random(4)

    def asked(self, _: float) -> float | None:
        return 1.0 if self.dice.random() < self.share else None


def night(server: Bucket | Chance, rows: int, header: str, latency: float, slots: int = 64) -> tuple[float, int]:
    """(seconds, refusals) until every row has its answer. `header`: what a refusal says of when to come back."""
    dice, limits = random.Random(1), RateLimiter(None, None, 0)
    said = {"exact": lambda wait: wait, "seconds": math.ceil, "nothing": lambda _: dice.uniform(0, 0.5)}[header]
    now, done, todo, refusals = 0.0, 0, rows, 0
    flying: list[tuple[float, int, float, float | None]] = []
    again: list[float] = []
    for number in itertools.count():
        while flying and flying[0][0] <= now:
            _, _, sent_at, wait = heapq.heappop(flying)
            if wait is None:
                done += 1
                limits.answered(now, now, 100, 50)
            else:
                refusals += 1
                limits.refused(now, sent_at, min(said(wait), 60), by_rate=True)
                heapq.heappush(again, now + max(said(wait), dice.uniform(0, 0.5)))
        if done == rows:
            return now, refusals
        due = bool(again) and again[0] <= now
        free = len(flying) < slots and (due or todo)
        wait = limits.wait(now, len(flying)) if free else math.inf
        if wait <= 0:
            limits.take(now, 1)
            todo -= not due
            if due:
                heapq.heappop(again)
            refused = server.asked(now)
            ends = now + (0.005 if refused is not None else latency * dice.uniform(0.5, 1.5))
            heapq.heappush(flying, (ends, number, now, refused))
        else:
            moments = [flying[0][0]] if flying else []
            moments += [again[0]] if again and again[0] > now and len(flying) < slots else []
            now = min([*moments, now + wait])
    raise AssertionError("never")


@pytest.mark.parametrize("header", ["exact", "seconds", "nothing"])
@pytest.mark.parametrize("latency", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("size", [4, 20])
def test_a_limit_that_only_the_server_knows_is_found_and_used(header, latency, size):
    """1,200 a minute: within a quarter of the ideal time, with at most a tenth of the rows refused."""
    seconds, refusals = night(Bucket(20, size), 1200, header, latency)
    ideal = max((1200 - size) / 20, 1200 * latency / 64) + 1.5 * latency
    assert seconds <= 1.25 * ideal
    assert refusals <= 120


def test_a_server_that_refuses_at_random_is_not_taken_for_one_with_a_limit():
    """3 % of 2,000 rows refused, for half a second at most: 60 waits of a quarter on average, and the rows."""
    seconds, refusals = night(Chance(0.03), 2000, "nothing", 0.1)
    assert seconds < 60
    assert refusals < 120


def test_nothing_is_held_back_after_the_first_half_second_where_nothing_is_refused():
    limits = RateLimiter(None, None, 0)
    assert limits.wait(0, 15) <= 0
    assert limits.wait(0, 16) > 0
    assert limits.wait(0.5, 10_000) <= 0


def test_the_start_after_a_cool_down_is_as_gentle_as_the_first():
    limits = RateLimiter(None, None, 0)
    limits.wait(0, 0)
    limits.refused(50, sent_at=49, wait=10, by_rate=True)
    assert limits.wait(60, 15) <= 0
    assert limits.wait(60, 16) > 0


def test_overload_says_nothing_of_the_rate():
    limits, now = RateLimiter(None, None, 0), 0.0
    for _ in range(100):
        limits.take(now, 1)
        limits.refused(now, sent_at=now, wait=0.1, by_rate=False)
        now += 0.1
    assert limits.learned() is None


HAPPENINGS = st.lists(st.tuples(st.sampled_from("trafo"), st.floats(0, 86_400), st.floats(0, 600)), max_size=200)


@given(HAPPENINGS, st.floats(1, 1e6) | st.none())
@settings(deadline=None, max_examples=150)
def test_days_of_anything_leave_limits_that_say_how_long_to_wait(happenings, learned):
    limits, now = RateLimiter(None, None, 0, learned), 0.0
    for what, passed, wait in happenings:
        now += passed
        if what == "t":
            limits.take(now, 100)
        elif what == "r":
            limits.refused(now, now - passed / 2, wait, by_rate=True)
        elif what == "a":
            limits.answered(now, now, 100, 50)
        elif what == "f":
            limits.failed(now)
        else:
            limits.refused(now, now, wait, by_rate=False)
        assert limits.wait(now, 0) <= 86_400
        assert (limits.learned() or 1) > 0


def test_a_day_after_its_only_refusals_a_rate_is_no_limit_any_more():
    limits = RateLimiter(None, None, 0)
    for _ in range(10):
        limits.take(0, 1)
        limits.refused(0, 0, 0, by_rate=True)
    assert limits.wait(86_400, 1000) <= 0


def test_what_was_learned_is_where_the_next_night_begins():
    limits = RateLimiter(None, None, 0, learned=1200)
    times, now = [], 0.0
    for _ in range(100):
        now += max(0.0, limits.wait(now, 0))
        limits.take(now, 1)
        times.append(now)
    assert 0.85 * 20 < 99 / (times[-1] - times[0]) < 20
    assert limits.learned() == 1200


# What answers take of what they may


def test_the_first_request_reserves_all_it_may_take_and_later_ones_what_answers_took():
    limits = RateLimiter(None, 1000, 0)
    assert limits.expected_tokens(10, 100) == 110
    for _ in range(500):
        limits.answered(0, 0, 100, 20)
    assert limits.expected_tokens(10, 100) == pytest.approx(30, abs=1)
    for _ in range(1000):
        limits.answered(0, 0, 100, 80)
    assert limits.expected_tokens(10, 100) == pytest.approx(90, abs=1), "what is long ago counts less"


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 5000)), max_size=300), st.integers(1, 10_000))
@settings(deadline=None)
def test_no_more_is_expected_than_allowed(answers, longest):
    limits = RateLimiter(None, None, 0)
    for allowed, used in answers:
        limits.answered(0, 0, allowed, used)
    assert 0 <= limits.expected_tokens(0, longest) <= longest * (1 + 1e-9)


# When nothing gets through


def test_an_outage_is_a_trickle_of_probes_until_an_answer_comes():
    limits = RateLimiter(None, None, 0)
    for _ in range(CircuitBreaker.TO_OPEN - 1):
        limits.failed(10)
    assert limits.outage(10) == 0
    assert limits.wait(10, 0) <= 0, "so many failures are no outage yet"
    limits.failed(10)
    probes, now = [], 10.0
    while now < 70:
        now += max(0.0, limits.wait(now, 0))
        limits.take(now, 1)
        limits.failed(now)
        probes.append(now)
    assert probes == pytest.approx(list(range(11, 71)))
    assert limits.outage(70) == 60
    limits.answered(70, 70, 100, 50)
    assert limits.outage(70) == 0
    assert limits.wait(70, 0) <= 0


@pytest.mark.parametrize(
    ("is_slow", "sent", "is_open"),
    [
        pytest.param(False, 100, True, id="nobody is answered: after 16 failures"),
        pytest.param(True, 100, False, id="a slow answer from before the first came meanwhile: 16 of 100 are too few"),
        pytest.param(True, 32, True, id="half of all that was sent since are enough"),
    ],
)
def test_a_few_quick_failures_among_slow_answers_are_no_outage(is_slow, sent, is_open):
    breaker = CircuitBreaker()
    breaker.failed(10.0)
    for _ in range(sent):
        breaker.take(10.5)
    if is_slow:
        assert not breaker.answered(sent_at=5.0)
    for _ in range(CircuitBreaker.TO_OPEN - 1):
        breaker.failed(11.0)
    assert bool(breaker.times_opened) is is_open


def test_an_answer_between_begins_the_count_anew():
    limits = RateLimiter(None, None, 0)
    for _ in range(10):
        for _ in range(CircuitBreaker.TO_OPEN - 1):
            limits.failed(1)
        limits.answered(1, 1, 100, 50)
    assert limits.outage(1) == 0


# The cool-down


def test_a_burst_of_refusals_counts_once():
    limits = RateLimiter(None, None, 0)
    for refused_at in range(10, 20):
        limits.refused(refused_at, sent_at=9, wait=0, by_rate=True)
    assert limits.refusals == 1
    limits.refused(30, sent_at=25, wait=0, by_rate=True)
    assert limits.refusals == 2
    limits.answered(31, 31, 100, 50)
    assert limits.refusals == 0


def test_everyone_waits_as_long_as_the_server_asked():
    limits = RateLimiter(None, None, 0)
    limits.refused(100, sent_at=99, wait=30, by_rate=True)
    assert limits.wait(100, 0) == 30
    assert limits.wait(129, 0) == 1
    assert limits.wait(130, 0) <= 0


def test_the_longest_of_several_waits_holds():
    limits = RateLimiter(None, None, 0)
    limits.refused(100, sent_at=99, wait=30, by_rate=True)
    limits.refused(101, sent_at=99, wait=5, by_rate=True)
    assert limits.wait(101, 0) == 29
    limits.refused(102, sent_at=99, wait=60, by_rate=True)
    assert limits.wait(102, 0) == 60


def test_a_cool_down_saves_nothing_up():
    limits, now, times = RateLimiter(60, None, 0), 0.0, []
    limits.refused(0, sent_at=0, wait=600, by_rate=True)
    for _ in range(100):
        now += max(0.0, limits.wait(now, 0))
        limits.take(now, 1)
        times.append(now)
    assert times[0] == 600
    assert most_over(60, times, [1] * 100) <= BURST_SECONDS + TINY


# The budget

SPENDING = st.lists(st.tuples(st.floats(0, 500), st.floats(0, 2), st.floats(0, 1), st.integers(0, 5)), max_size=100)


@given(SPENDING, st.integers(1, 50) | st.none(), st.floats(0, 5000) | st.none(), st.floats(0, 20) | st.none())
@settings(deadline=None, max_examples=100)
def test_a_budget_is_never_overrun(requests, most_requests, most_tokens, most_cost):
    """Requests that use no more than was reserved for them, and end in any order."""
    budget = Budget(requests=most_requests, tokens=most_tokens, cost=most_cost)
    open_ends: list[tuple[float, float]] = []
    count = used_tokens = used_cost = 0.0
    for tokens, cost, used, ended in requests:
        for _ in range(min(ended, len(open_ends))):
            budget.give_back(*open_ends.pop(0))
        if budget.exhausted(0, tokens, cost) is None:
            budget.take(tokens, cost)
            open_ends.append((tokens * (1 - used), cost * (1 - used)))
            count, used_tokens, used_cost = count + 1, used_tokens + tokens * used, used_cost + cost * used
        assert budget.spent_tokens <= (math.inf if most_tokens is None else most_tokens + TINY)
        assert budget.spent_cost <= (math.inf if most_cost is None else most_cost + TINY)
    for left in open_ends:
        budget.give_back(*left)
    assert budget.spent_requests == count <= (most_requests or math.inf)
    assert budget.spent_tokens == pytest.approx(used_tokens, abs=TINY)
    assert budget.spent_cost == pytest.approx(used_cost, abs=TINY)


@pytest.mark.parametrize(
    ("budget", "now", "said"),
    [
        pytest.param(Budget(), 1e9, None, id="no budget"),
        pytest.param(Budget(deadline=10), 9.9, None, id="just before the deadline"),
        pytest.param(Budget(deadline=10), 10, "the deadline has come", id="the deadline"),
        pytest.param(Budget(requests=2, spent_requests=1), 0, None, id="one request left"),
        pytest.param(Budget(requests=2000, spent_requests=2000), 0, "the budget of 2,000 requests is spent", id="no request left"),
        pytest.param(Budget(tokens=1000, spent_tokens=900), 0, None, id="as many tokens left as it needs"),
        pytest.param(Budget(tokens=1000, spent_tokens=901), 0, "the budget of 1,000 tokens is spent", id="too few tokens left"),
        pytest.param(Budget(cost=2.5, spent_cost=2), 0, None, id="as much money left as it needs"),
        pytest.param(Budget(cost=2.5, spent_cost=2.01), 0, "the budget of $2.50 is spent, by estimate", id="too little money left"),
    ],
)  # fmt: skip
def test_why_a_request_may_not_go_any_more(budget, now, said):
    assert budget.exhausted(now, tokens=100, cost=0.5) == said


@pytest.mark.parametrize(
    ("after", "moment", "left"),
    [
        pytest.param(None, None, (math.inf, math.inf, math.inf), id="no deadline"),
        pytest.param(100, None, (100, 90, 90), id="a duration, whatever the clock says"),
        pytest.param(None, 5100, (100, 30, 490), id="a moment: a machine that slept, a clock that was set back"),
        pytest.param(60, 5100, (60, 30, 50), id="whatever comes first"),
    ],
)
def test_a_deadline_is_by_the_clock_that_it_names(after, moment, left):
    budget = Budget(after=after, moment=moment)
    for seconds, (now, clock) in zip(left, [(0, 5000), (10, 5070), (10, 4610)], strict=True):
        budget.keep_time(now, clock)
        assert budget.left(now) == seconds
