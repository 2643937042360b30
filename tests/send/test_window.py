"""The congestion window, by the order in which refusals, answers and time-outs come."""

from __future__ import annotations

import math

import pytest

from batchgen.send.window import MAX_RETRY_FACTOR, CongestionWindow


def test_what_is_found_of_a_servers_slots():
    """Eight at work: the ninth is refused, and so is every one that comes while eight are there."""
    window = CongestionWindow()
    for beside in range(9, 17):
        window.refused(0.1, 0.0, beside)
    assert window.max_in_flight == 8
    for number in range(8):
        window.answered(1.0 + number / 10, 8)
    assert window.max_in_flight > 8, "tried once more"
    window.refused(2.0, 1.9, 9)
    assert window.max_in_flight == 8


def test_refusals_beside_few_are_about_the_rate():
    window = CongestionWindow()
    window.refused(0.1, 0.0, 2)
    assert window.max_in_flight == math.inf


def test_time_outs_amid_answers_narrow_what_is_in_flight():
    window = CongestionWindow()
    for number in range(20):
        window.answered(number / 4, 64)
    for _ in range(44):
        window.unanswered(5.0, 0.0)
    assert window.max_in_flight == 10, "as many as were answered in half of the time-out"
    assert window.late == 44
    window.unanswered(20.0, 15.0)
    assert window.max_in_flight == 10, "nobody was answered: that is an outage, and nothing about how many"


@pytest.mark.parametrize("beside", [2, 9], ids=["about a rate", "about slots"])
def test_what_time_outs_found_holds_whatever_is_refused_later(beside):
    window = CongestionWindow()
    for number in range(20):
        window.answered(number / 4, 64)
    window.unanswered(5.0, 0.0)
    window.refused(6.0, 5.5, beside)
    assert window.max_in_flight == 10


def answers_until_it_grows(window: CongestionWindow) -> int:
    before = window.max_in_flight
    return next(number for number in range(1, 1000) if window.answered(0.0, 8) or window.max_in_flight > before)


@pytest.mark.parametrize(
    ("refusals", "factor", "then"),
    [
        pytest.param(1, 1, 11.25, id="found: tested after as many answers as slots, and by a quarter more"),
        pytest.param(2, 2, 9, id="confirmed: after twice as many, and by one"),
        pytest.param(3, 4, 9, id="confirmed again: after four times as many"),
        pytest.param(9, MAX_RETRY_FACTOR, 9, id="confirmed again and again: no more rarely than this"),
    ],
)
def test_a_limit_is_tested_the_more_rarely_the_more_often_it_was_confirmed(refusals, factor, then):
    window = CongestionWindow()
    for number in range(refusals):
        window.refused(number + 1.0, number + 0.5, 9)
    assert answers_until_it_grows(window) == factor * 8
    assert window.max_in_flight == then
