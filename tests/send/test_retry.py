"""Retries: how often each kind of failure is tried again, and after how long."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.api.failure_kinds import Kind, Scope, kinds_of
from batchgen.api.outcome import Failure
from batchgen.send.retry import BUSY_FACTOR, LONG_WAIT_PROBE_SECONDS, MAX_BILLED_TRIES, Retries

MANY = 1000


def sent_until_done(retries: Retries, causes: list[Kind | int]) -> int:
    """Requests sent for a row whose attempts fail in these ways, over and over; a number is a status that may heal."""
    tries: Counter[str] = Counter()
    for sent in range(1, MANY + 1):
        cause = causes[(sent - 1) % len(causes)]
        failure = Failure(cause, "why") if isinstance(cause, Kind) else Failure(Kind.TRANSIENT, "why", cause)
        tries[failure.cause] += 1
        if retries.delay(failure, tries) is None:
            return sent
    return MANY


@pytest.mark.parametrize(
    ("kind", "attempts", "sent"),
    [
        *((kind, most, 1) for kind in sorted({Kind.INVALID, Kind.REFUSED} | kinds_of(Scope.RUN)) for most in (6, 100)),
        *((kind, attempts, attempts) for kind in (Kind.TRANSIENT, Kind.UNSENT) for attempts in (1, 2, 6, 100)),
        *((kind, attempts, min(attempts, MAX_BILLED_TRIES)) for kind in (Kind.UNANSWERED, Kind.UNUSABLE) for attempts in (1, 2, 4, 6, 100)),
        *((Kind.BUSY, attempts, attempts * BUSY_FACTOR) for attempts in (1, 2, 6, 100)),
    ],
)  # fmt: skip
def test_how_often_a_row_is_sent(kind, attempts, sent):
    assert sent_until_done(Retries(attempts, 60), [kind]) == sent


@pytest.mark.parametrize("unfit", [0, 1, 7])
def test_an_unfit_text_has_tries_of_its_own_and_nobody_waits(unfit):
    retries = Retries(6, 60, unfit)
    assert sent_until_done(retries, [Kind.UNFIT]) == unfit + 1
    assert sent_until_done(retries, [Kind.TRANSIENT, Kind.UNFIT]) == min(2 * unfit + 2, 11)
    for before in range(1, unfit + 1):
        assert retries.delay(Failure(Kind.UNFIT, "why", 200), Counter({Kind.UNFIT: before, Kind.TRANSIENT: 5})) == 0


def test_all_that_may_be_billed_counts_together():
    assert sent_until_done(Retries(6, 60), [Kind.UNANSWERED, Kind.UNUSABLE]) == MAX_BILLED_TRIES


def test_refusals_by_rate_take_nothing_from_other_tries():
    assert sent_until_done(Retries(6, 60), [Kind.BUSY, Kind.TRANSIENT]) == 12


def test_each_status_that_may_heal_has_its_own_tries_and_all_together_have_an_end():
    assert sent_until_done(Retries(6, 60), [500]) == 6
    assert sent_until_done(Retries(6, 60), [500, 502]) == 11
    assert sent_until_done(Retries(6, 60), [408, 409, 500, 502, 503, 504, 507]) == 18


def test_a_row_of_every_misfortune_is_done_with_at_last():
    kinds = [Kind.BUSY, Kind.TRANSIENT, Kind.UNSENT, Kind.UNANSWERED, Kind.UNUSABLE]
    assert sent_until_done(Retries(6, 60), kinds) < 30


@pytest.mark.parametrize("failures", [1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 2000])
@pytest.mark.parametrize("max_wait", [0, 0.1, 1, 60])
def test_waits_are_jittered_in_full(failures, max_wait):
    most = min(max_wait, 0.5 * 2 ** min(failures - 1, 50))
    waits = [Retries(6, max_wait).back_off(failures) for _ in range(300)]
    assert 0 <= min(waits) <= most / 2
    assert most / 2 <= max(waits) <= most


@given(st.floats(0, 1e12), st.floats(0, 600), st.integers(1, 5))
@settings(deadline=None)
def test_what_the_server_asks_for_is_honoured_up_to_the_longest_wait(asked, max_wait, failures):
    retries = Retries(6, max_wait)
    delay = retries.delay(Failure(Kind.BUSY, "why", 429, retry_after=asked), Counter({Kind.BUSY: failures}))
    assert delay is not None
    if asked <= retries.patience:
        assert min(asked, max_wait) <= delay <= max_wait
    else:
        assert delay == min(LONG_WAIT_PROBE_SECONDS, max_wait)


@pytest.mark.parametrize(
    ("asked", "delay"), [(360, 60), (361, LONG_WAIT_PROBE_SECONDS), (1e9, LONG_WAIT_PROBE_SECONDS)]
)
def test_a_wait_beyond_all_patience_is_tried_soon(asked, delay):
    failure = Failure(Kind.BUSY, "why", 429, retry_after=asked)
    assert Retries(6, 60).delay(failure, Counter({Kind.BUSY: 1})) == delay


def test_what_is_done_with_is_not_waited_for():
    failure = Failure(Kind.INVALID, "why", 400, retry_after=5)
    assert Retries(6, 60).delay(failure, Counter({Kind.INVALID: 1})) is None
