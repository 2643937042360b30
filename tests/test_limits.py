"""Pace, window, cool-down and budget: arithmetic over hours that pass in no time."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.runner.limits import BURST, Budget, Limits, Pace

TINY = 1e-6
COSTS = st.lists(st.floats(0.01, 9000), min_size=2, max_size=200)
RATES = st.sampled_from([1, 60, 400, 25_000, 1e6])


def sent(pace: Pace, costs: list[float], idle: list[float] | None = None, start: float = 0) -> list[float]:
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
@settings(deadline=None, max_examples=200)
def test_no_window_grants_more_than_the_rate_and_a_small_burst(costs, rate, idle, start):
    times = sent(Pace(rate, start), costs, idle, start)
    assert most_over(rate, times, costs) <= rate / 60 * BURST + TINY * sum(costs)


@given(COSTS, RATES)
@settings(deadline=None)
def test_all_of_the_rate_is_used(costs, rate):
    times = sent(Pace(rate, 0), costs)
    assert times[-1] <= sum(costs[:-1]) / (rate / 60) + TINY * (1 + times[-1])


def test_the_first_minute_grants_what_every_minute_grants():
    times = sent(Pace(400, 1000), [1] * 2000, start=1000)
    minutes = [sum(1000 + 60 * m <= moment < 1060 + 60 * m for moment in times) for m in range(4)]
    assert all(399 <= granted <= 402 for granted in minutes)


def test_an_hour_of_silence_saves_nothing_up():
    pace = Pace(60, 0)
    sent(pace, [1] * 5)
    times = sent(pace, [1] * 61, start=3600)
    assert times[-1] - times[0] >= 60 - BURST - TINY


@given(st.floats(1, 1e6), st.floats(1, 1e6), RATES)
@settings(deadline=None)
def test_a_request_of_any_size_waits_for_what_went_before_it_alone(before, cost, rate):
    pace = Pace(rate, 0)
    pace.take(0, before)
    wait = pace.wait(0)
    assert wait == pytest.approx(before / (rate / 60), abs=BURST)
    pace.take(max(0, wait), cost)
    assert pace.wait(max(0, wait)) == pytest.approx(cost / (rate / 60), abs=2 * BURST)


def test_a_request_larger_than_a_minutes_grant_goes_and_is_followed_by_a_gap():
    pace = Pace(60, 0)
    assert pace.wait(0) <= 0
    pace.take(0, 600)
    assert pace.wait(0) == pytest.approx(600)


@given(st.lists(st.tuples(st.floats(1, 5000), st.floats(0, 1)), min_size=1, max_size=50), RATES)
@settings(deadline=None)
def test_what_is_given_back_at_once_was_never_taken(requests, rate):
    generous, exact = Pace(rate, 0), Pace(rate, 0)
    for cost, used in requests:
        generous.take(0, cost)
        generous.give_back(cost * (1 - used))
        exact.take(0, cost * used)
    assert generous.wait(0) == pytest.approx(exact.wait(0), abs=1e-3)


def test_what_is_given_back_after_a_silence_is_no_credit():
    pace = Pace(60, 0)
    pace.take(0, 1000)
    pace.give_back(0)
    pace.take(2000, 1)
    pace.give_back(1000)
    costs = [1.0] * 120
    times = sent(pace, costs, start=2001)
    assert most_over(60, times, costs) <= BURST + TINY * 120


def test_what_was_used_beyond_the_estimate_is_paid_for():
    pace = Pace(60, 0)
    pace.take(0, 10)
    pace.give_back(-5)
    assert pace.wait(0) == pytest.approx(15)


# Requests and tokens together


@given(st.lists(st.floats(1, 3000), min_size=2, max_size=150), RATES, RATES)
@settings(deadline=None)
def test_requests_and_tokens_hold_together(tokens, requests_rate, tokens_rate):
    limits, now, times = Limits(64, requests_rate, tokens_rate, 0), 0.0, []
    for cost in tokens:
        now += max(0.0, limits.wait(now, 0))
        limits.take(now, cost)
        times.append(now)
    assert most_over(requests_rate, times, [1] * len(tokens)) <= requests_rate / 60 * BURST + TINY * len(tokens)
    assert most_over(tokens_rate, times, tokens) <= tokens_rate / 60 * BURST + TINY * sum(tokens)


def test_the_vendors_tokens_for_a_night():
    """25,000 a minute are 12 million in eight hours: 24,000 requests of 500."""
    limits, now, count = Limits(64, 400, 25_000, 0), 0.0, 0
    while (now := now + max(0.0, limits.wait(now, 0))) < 8 * 3600:
        limits.take(now, 500)
        count += 1
    assert count == pytest.approx(24_000, abs=2)


def test_limits_that_are_left_out_hold_nothing_back():
    limits = Limits(4, None, None, 0)
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
    limits = Limits(4, requests, tokens, 0)
    limits.take(0, 500)
    assert limits.wait(0, 1) == pytest.approx(wait)


def test_tokens_that_were_not_used_are_given_back():
    limits = Limits(64, None, 60, 0)
    limits.take(0, 300)
    assert limits.wait(0, 1) == pytest.approx(300)
    limits.give_back(290)
    assert limits.wait(0, 1) == pytest.approx(10)


# The window


@given(st.integers(1, 1000))
@settings(deadline=None)
def test_no_more_in_flight_than_allowed(concurrency):
    limits = Limits(concurrency, None, None, 0)
    assert limits.wait(0, concurrency - 1) <= 0
    assert limits.wait(0, concurrency) == math.inf


def window(limits: Limits, now: float) -> int:
    """How many may be in flight: the first number at which one more may not go."""
    return next(count for count in range(100_000) if limits.wait(now, count) == math.inf)


def test_a_burst_of_refusals_halves_the_window_once():
    limits = Limits(64, None, None, 0)
    for refused_at in range(10, 20):
        limits.refused(refused_at, sent_at=9, wait=0)
    assert window(limits, 100) == 32
    assert limits.refusals == 1


def test_refusals_of_what_was_sent_after_a_cut_halve_it_again():
    limits = Limits(64, None, None, 0)
    for sent_at, left in ((0, 32), (10, 16), (20, 8), (30, 4), (40, 2), (50, 1), (60, 1)):
        limits.refused(sent_at + 5, sent_at=sent_at, wait=0)
        assert window(limits, 1000) == left
    assert limits.refusals == 7


def test_answers_open_the_window_again_and_no_further_than_it_was():
    limits = Limits(64, None, None, 0)
    limits.refused(1, sent_at=0, wait=0)
    for before in range(32, 64):
        for _ in range(before + 1):
            limits.answered()
        assert before < window(limits, 100) <= before + 2
    for _ in range(10_000):
        limits.answered()
    assert window(limits, 100) == 64
    assert limits.refusals == 0


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100), st.floats(0, 100)), max_size=100), st.integers(1, 64))
@settings(deadline=None)
def test_the_window_is_never_shut_and_never_wider_than_allowed(happenings, concurrency):
    limits, now = Limits(concurrency, None, None, 0), 0.0
    for refused, passed, ago in happenings:
        now += passed
        if refused:
            limits.refused(now, sent_at=now - ago, wait=0)
        else:
            limits.answered()
        assert 1 <= window(limits, now) <= concurrency


# The cool-down


def test_everyone_waits_as_long_as_the_server_asked():
    limits = Limits(64, None, None, 0)
    limits.refused(100, sent_at=99, wait=30)
    assert limits.wait(100, 0) == 30
    assert limits.wait(129, 0) == 1
    assert limits.wait(130, 0) <= 0


def test_the_longest_of_several_waits_holds():
    limits = Limits(64, None, None, 0)
    limits.refused(100, sent_at=99, wait=30)
    limits.refused(101, sent_at=99, wait=5)
    assert limits.wait(101, 0) == 29
    limits.refused(102, sent_at=99, wait=60)
    assert limits.wait(102, 0) == 60


def test_a_cool_down_saves_nothing_up():
    limits, now, times = Limits(64, 60, None, 0), 0.0, []
    limits.refused(0, sent_at=0, wait=600)
    for _ in range(100):
        now += max(0.0, limits.wait(now, 0))
        limits.take(now, 1)
        times.append(now)
    assert times[0] == 600
    assert most_over(60, times, [1] * 100) <= BURST + TINY


# The budget

SPENDING = st.lists(st.tuples(st.floats(0, 500), st.floats(0, 2), st.floats(0, 1), st.integers(0, 5)), max_size=100)


@given(SPENDING, st.integers(1, 50) | st.none(), st.floats(0, 5000) | st.none(), st.floats(0, 20) | st.none())
@settings(deadline=None, max_examples=200)
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
