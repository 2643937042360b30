"""What the number of requests in flight makes of a server that tells how many wait in its queue."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.send.concurrency import START, AdaptiveConcurrency
from batchgen.send.hill_climb import HillClimb
from batchgen.send.measurement import Level
from batchgen.send.other_runs import Others


def climb(number: int, *rounds: tuple[float, float | None]) -> list[int]:
    """Ends rounds of (latency, share that waits), one each ten seconds, from this number on. Returns the numbers that
    followed."""
    hill, numbers = HillClimb(number, 1024, 300.0), []
    for at, (latency, waiting) in enumerate(rounds):
        hill.end_round(10.0 * at, Level(hill.number, latency, 0.01, waiting))
        numbers.append(hill.number)
    return numbers


def test_it_goes_back_to_as_many_as_are_at_work_and_an_eighth_more():
    assert climb(4, (1.0, 0.0), (1.0, 0.0), (2.0, 0.5)) == [8, 16, 9]
    assert climb(50, (1.0, 0.0), (2.0, 0.5)) == [100, 56]


def test_it_goes_back_by_two_thirds_at_most_since_a_moment_may_deceive():
    assert climb(90, (10.0, 0.9)) == [30]


def test_a_short_queue_is_kept_and_no_more_is_tried():
    assert climb(100, (2.0, 0.5), *[(1.12, 0.1)] * 9) == [56] * 10


def test_where_the_queue_is_gone_it_climbs_at_once():
    assert climb(100, (2.0, 0.5), (1.12, 0.1), (1.12, 0.1), (1.0, 0.0))[-1] == 84


@pytest.mark.parametrize(
    ("latency", "waiting", "lowest"),
    [
        pytest.param(2.0, 0.02, 56, id="hardly any wait: slow seconds are no queue"),
        pytest.param(2.0, None, 31, id="it does not tell: they may be one"),
        pytest.param(3.0, 0.02, 20, id="three times as slow: a batch that others fill, or whose machine has less"),
    ],
)
def test_slow_seconds_are_no_queue_where_none_wait(latency, waiting, lowest):
    assert min(climb(100, (2.0, 0.5), *[(1.12, 0.1)] * 3, *[(latency, waiting)] * 6)) == lowest


def test_more_may_bring_less_than_most_while_none_wait():
    """Four to eight bring a third more answers a second."""
    assert climb(4, (1.0, 0.0), (1.5, 0.0)) == [8, 16]
    assert climb(4, (1.0, None), (1.5, None)) == [8, 8]


def test_where_more_bring_nothing_and_none_wait_it_does_not_look_far_below():
    assert min(climb(4, (1.0, 0.0), (2.0, 0.0), (2.0, 0.0), (2.0, 0.0))) >= 4
    assert min(climb(4, (1.0, None), (2.0, None), (2.0, None), (2.0, None))) < 4


@given(
    st.integers(1, 1024),
    st.lists(st.tuples(st.floats(0.001, 900.0), st.none() | st.floats(0, 0.99)), min_size=1, max_size=60),
)
def test_whatever_is_told_the_number_is_one_that_may_be(number, rounds):
    assert all(1 <= one <= 1024 for one in climb(number, *rounds))


@pytest.mark.parametrize(("at_work", "waiting"), [(1, 17), (2, 16), (18, 0), (0.5, 16)])
def test_where_more_wait_than_are_in_flight_as_counted_here_answers_still_count(at_work, waiting):
    """What is told and what is in flight are not of the same moment."""
    auto = AdaptiveConcurrency(1024, 16)
    for at in range(400):
        auto.answered(at / 10, at / 10 - 1, 50, 16)
        auto.told(at / 10, at_work, waiting)
    assert 1 <= auto.most <= 1024


@pytest.mark.parametrize("tells", [True, False])
def test_a_round_lasts_until_the_server_tells_again(tells):
    """Answers come in hundredths of a second, and what the server tells twice a second."""
    auto = AdaptiveConcurrency(1024, 16)
    auto.answered(0.0, -0.01, 50, 16)
    auto.told(0.0, 8, 8)
    for at in range(1, 1900):
        auto.answered(at / 1000, at / 1000 - 0.01, 50, 16)
    assert len(auto.moves) == 1
    if tells:
        auto.told(1.9, 8, 8)
    auto.answered(2.1, 2.09, 50, 16)
    why = [move.why for move in auto.moves]
    assert why == ["the start", "requests wait in the server's queue" if tells else "the server has room for more"]


@pytest.mark.parametrize(
    ("at_work", "waiting", "counts"),
    [
        pytest.param(8, 8, True, id="all 16 in flight"),
        pytest.param(8, 2, True, id="six are on their way"),
        pytest.param(8, 10, True, id="two more: they left a moment ago"),
        pytest.param(8, 11, False, id="three more: others'"),
        pytest.param(4, 5, False, id="too few: one of two servers behind one address"),
        pytest.param(0, 16, False, id="it works at none: its engine starts"),
    ],
)
def test_what_a_server_tells_counts_if_it_can_be_about_what_is_in_flight(at_work, waiting, counts):
    auto = AdaptiveConcurrency(1024, 16)
    for at in range(60):
        auto.answered(at / 10, at / 10 - 1, 50, 16)
        auto.told(at / 10, at_work, waiting)
    assert (auto.most < 16 and auto.moves[-1].why == "requests wait in the server's queue") == counts


@pytest.mark.parametrize(
    ("at_work", "waiting", "counts"), [(16, 16, True), (8, 8, False)], ids=["of both runs", "of this run alone"]
)
def test_what_another_run_of_this_machine_has_in_flight_is_counted_too(at_work, waiting, counts):
    """Each has 16 in flight. Where only as many are told, another server has answered."""
    auto = AdaptiveConcurrency(1024, 16)
    auto.share(0.0, Others(2, 16))
    for at in range(60):
        auto.answered(at / 10, at / 10 - 1, 50, 16)
        auto.told(at / 10, at_work, waiting)
    assert ("requests wait in the server's queue" in {move.why for move in auto.moves}) == counts


def test_what_is_told_before_the_first_answer_changes_nothing():
    auto = AdaptiveConcurrency(1024)
    auto.told(0.0, 2, 0)
    assert auto.most == START
