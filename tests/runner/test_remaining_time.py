"""How long the rest takes: by what answers took, and not by the longest that they may have."""

import pytest

from batchgen.runner.remaining_time import RemainingTime
from batchgen.send.stats import Stats
from batchgen.ui.humanize import dollars

ROWS = 300


def told(ends: list[float], at: float, **limits: float) -> float | None:
    """Seconds left, of a run that is looked at every second; `ends`: when each row has its answer, of 10 tokens in and
    90 out."""
    stats = Stats(todo=len(ends))
    outlook = RemainingTime(limits.get("requests"), limits.get("tokens"), 0.0)
    left = None
    for moment in range(int(at) + 1):
        stats.ok = sum(end <= moment for end in ends)
        stats.prompt_tokens, stats.answer_tokens = 10 * stats.ok, 90 * stats.ok
        left = outlook.seconds(stats, float(moment))
    return left


@pytest.mark.parametrize(
    ("ends", "limits"),
    [
        pytest.param([2 + row / 4 for row in range(ROWS)], {}, id="four a second, after two seconds"),
        pytest.param([3 + row / 4 for row in range(ROWS)], {"tokens": 24_000}, id="as the tokens of a minute allow"),
        pytest.param([1 + row for row in range(ROWS)], {"requests": 60}, id="as the requests of a minute allow"),
        pytest.param([row / 2 if row < 10 else 5 + (row - 10) / 4 for row in range(ROWS)], {"tokens": 24_000}, id="slowly at first"),
        pytest.param([5 * (1 + row // 20) for row in range(ROWS)], {}, id="twenty at a time, five seconds each"),
    ],
)  # fmt: skip
def test_from_a_tenth_of_the_run_on_it_is_within_a_quarter(ends, limits):
    whole = ends[-1]
    for share in (0.12, 0.25, 0.5, 0.75):
        left = told(ends, share * whole, **limits)
        assert left == pytest.approx(whole - int(share * whole), rel=0.25, abs=6)


def test_before_an_answer_nothing_is_told_and_after_the_last_nothing_is_left():
    assert told([5.0] * 3, 2) is None
    assert told([1.0] * 3, 2) == 0


def test_rows_that_take_longer_than_all_others_leave_the_time_unknown():
    ends = [row / 400 for row in range(1980)] + [90.0] * 20
    assert told(ends, 30) is None
    assert told(ends, 89) is None
    assert told(ends, 90) == 0
    assert told([2 + row / 4 for row in range(ROWS)] + [500.0] * 2000, 79) > 300  # so few are done: not yet


def test_the_last_rate_is_the_whole_runs():
    """Of the last moment, in which one row ended, it would be one a second."""
    stats, outlook = Stats(todo=148, ok=147), RemainingTime(None, None, 0.0)
    outlook.rate(stats, 1.0)
    stats.ok = 148
    assert outlook.rate(stats, 2.0) == 74


@pytest.mark.parametrize(
    ("amount", "said"),
    [(0, "$0.00"), (1234.5, "$1,234.50"), (0.01, "$0.01"), (0.00061, "$0.00061"), (1.54e-5, "$0.000015")],
)
def test_an_amount_is_told_without_an_exponent(amount, said):
    assert dollars(amount) == said
