"""`limits.concurrency: auto` on a simulated clock: beside the best fixed number, on servers of several shapes."""

from __future__ import annotations

import math
import sqlite3
import statistics
from collections import deque
from contextlib import closing
from itertools import pairwise

import pytest
from support.built_in import serving
from support.connections import connection
from support.service import Delay
from support.shapes import ByTokens, Deaf, Drifting, SoftBatching, Unsteady, play, play_several, play_together

from batchgen.send.concurrency import START, AdaptiveConcurrency
from batchgen.send.engines.load_balancer import LoadBalancer
from batchgen.send.other_runs import Others
from batchgen.simulator.shapes import Batching, Slots


def about(seconds: float):
    return lambda dice: seconds * dice.uniform(0.5, 1.5)


def exactly(value: float):
    return lambda _: value


def long_tailed(median: float):
    """Latencies as real ones are: one in a hundred takes four times the median."""
    return lambda dice: median * dice.lognormvariate(0, 0.6)


def between(least: int, most: int):
    return lambda dice: dice.randint(least, most)


def batching(capacity) -> Batching:
    return Batching(capacity, 50)


SHAPES = [
    pytest.param(lambda: Slots(((0, 8),)), exactly(0.4), exactly(50), 8, id="8 slots, answers alike"),
    pytest.param(lambda: Slots(((0, 8),)), about(0.4), exactly(50), 8, id="8 slots"),
    pytest.param(lambda: Slots(((0, 300),)), about(0.5), exactly(50), 300, id="300 slots"),
    pytest.param(lambda: Slots(((0, 100),)), about(2.0), exactly(50), 100, id="100 slots, slow answers"),
    pytest.param(lambda: Batching(((0, 8),), 50), exactly(0.1), between(20, 100), 8, id="a batch of 8"),
    pytest.param(lambda: Batching(((0, 32),), 50), exactly(0.02), between(10, 100), 32, id="a batch of 32"),
    pytest.param(lambda: Batching(((0, 100),), 50), exactly(0.1), between(20, 200), 106, id="a batch of 100, long answers"),
]  # fmt: skip


@pytest.mark.simulated
@pytest.mark.parametrize(
    ("shape", "latency", "tokens", "best", "seed"),
    [
        pytest.param(*shape.values, seed, id=f"{shape.id}-{seed}")
        for shape in SHAPES
        for seed in ([1] if shape.id == "300 slots" else [1, 2])  # which takes ten seconds
    ],
)
def test_after_a_minute_it_is_as_good_as_the_best_fixed_number_and_stays_there(shape, latency, tokens, best, seed):
    fixed = play(shape(), latency, tokens, best, 60, seed)
    auto = play(shape(), latency, tokens, None, 125, seed)
    assert auto.throughput(60, 120) >= 0.97 * fixed.throughput(20, 55)
    assert auto.latency(60, 120) <= 1.3 * fixed.latency(20, 55)
    numbers = auto.numbers(60, 120)
    assert statistics.pstdev(numbers) <= 0.15 * statistics.mean(numbers)
    assert auto.reached(0.9 * best) <= 6 * math.log2(best / 2)
    assert not auto.late()


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_few_slots_are_found_too(slots):
    auto = play(Slots(((0, slots),)), about(0.3), exactly(50), None, 120)
    assert auto.throughput(40, 110) >= 0.95 * slots / 0.3
    assert statistics.mean(auto.numbers(40, 110)) <= slots + 1


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_server_of_few_slow_slots_is_not_left_idle(seed):
    auto = play(Slots(((0, 3),)), about(8.0), exactly(50), None, 300, seed)
    assert auto.throughput(120, 280) >= 0.7 * 3 / 8


@pytest.mark.parametrize(
    ("shape", "latency", "tokens", "numbers"),
    [
        pytest.param(Slots, about(0.4), exactly(50), (8, 4, 16), id="slots: 8, then 4, then 16"),
        pytest.param(batching, exactly(0.02), between(20, 60), (32, 12, 64), id="a batch: 32, then 12, then 64"),
    ],
)
def test_a_change_of_capacity_is_followed(shape, latency, tokens, numbers):
    changes = tuple(zip((0, 60, 120), numbers, strict=True))
    auto = play(shape(changes), latency, tokens, None, 180)
    for begin, (before, after) in zip((60, 120), pairwise(numbers), strict=True):
        found = statistics.mean(auto.numbers(begin + 15, begin + 40))
        assert abs(math.log(found / after)) < abs(math.log(found / before))
    assert not auto.late()


TOLD = [
    pytest.param(lambda: Slots(((0, 3),)), about(8.0), 3, id="3 slots, slow answers"),
    pytest.param(lambda: Slots(((0, 8),)), about(0.4), 8, id="8 slots"),
    pytest.param(lambda: Slots(((0, 30),)), long_tailed(1.0), 30, id="30 slots, long tails"),
    pytest.param(lambda: Unsteady(8, 1.0, 0.6), about(0.4), 8, id="8 slots, another pace each second"),
    pytest.param(lambda: Unsteady(20, 5.0, 0.3), about(0.4), 20, id="20 slots, another pace each five seconds"),
    pytest.param(lambda: Slots(((0, 10), (40, 40))), about(0.5), 40, id="10 slots, then 40"),
    pytest.param(lambda: Slots(((0, 64), (40, 16))), about(0.5), 16, id="64 slots, then 16"),
    pytest.param(lambda: Drifting(24, lambda now: max(1, 6 - now / 6)), about(0.4), 24, id="24 slots, warming up"),
]


@pytest.mark.simulated
@pytest.mark.parametrize(("shape", "latency", "slots"), TOLD)
def test_a_server_that_tells_its_queue_is_kept_busy_with_a_short_one(shape, latency, slots):
    auto = play(shape(), latency, exactly(50), None, 120, others=0)
    fixed = play(shape(), latency, exactly(50), slots, 120)
    assert auto.throughput(55, 100) >= 0.95 * fixed.throughput(55, 100)
    assert auto.latency(55, 100) <= 1.3 * fixed.latency(55, 100)
    numbers = auto.numbers(55, 100)
    assert slots <= statistics.median(numbers) <= math.ceil(1.13 * slots)
    assert statistics.pstdev(numbers) <= 0.15 * statistics.mean(numbers)


def test_a_queue_in_which_others_wait_is_not_taken_for_the_runs_own():
    """Else it would go back to one request in flight, since the queue stays whatever it does."""
    played = [play(Slots(((0, 8),)), about(0.4), exactly(50), None, 60, others=others) for others in (None, 40)]
    assert played[0].in_flight == played[1].in_flight


@pytest.mark.simulated
@pytest.mark.parametrize("seed", [5, 6])
def test_room_that_is_four_times_as_large_is_not_taken_for_a_faster_server(seed):
    """The queue is gone, and so answers come sooner."""
    auto = play(Slots(((0, 10), (60, 40))), about(0.5), exactly(50), None, 125, seed)
    assert auto.throughput(85, 120) >= 0.97 * 40 / 0.5


@pytest.mark.simulated
def test_a_batch_without_a_clear_limit_is_used_well():
    """Each request more slows the others down, and brings a little less than the one before."""
    shares = []
    for seed in range(1, 5):
        fixed = play(SoftBatching(40), exactly(0.05), between(20, 80), 160, 50, seed)
        auto = play(SoftBatching(40), exactly(0.05), between(20, 80), None, 90, seed)
        shares.append(auto.throughput(50, 85) / fixed.throughput(20, 45))
        assert auto.latency(50, 85) <= 0.75 * fixed.latency(20, 45)
    assert statistics.mean(shares) >= 0.83, shares


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_latencies_that_differ_much_are_not_taken_for_a_queue(seed):
    auto = play(Slots(((0, 30),)), long_tailed(1.0), exactly(50), None, 100, seed)
    fixed = play(Slots(((0, 30),)), long_tailed(1.0), exactly(50), 30, 100, seed)
    assert auto.throughput(40, 90) >= 0.9 * fixed.throughput(40, 90)


@pytest.mark.simulated
@pytest.mark.parametrize(
    ("slots", "seconds", "deviation"),
    [
        pytest.param(8, 1.0, 0.15, id="8 slots, a little, every second"),
        pytest.param(8, 1.0, 0.3, id="8 slots, every second"),
        pytest.param(8, 5.0, 0.3, id="8 slots, every five seconds"),
        pytest.param(20, 2.0, 0.3, id="20 slots, every two seconds"),
        pytest.param(8, 1.0, 0.6, id="8 slots, much, every second"),
    ],
)
def test_a_pace_that_changes_by_itself_is_not_taken_for_a_queue(slots, seconds, deviation):
    """It neither starves the server, as one does that takes each slow second for a queue, nor floods it."""
    shares, slower = [], []
    for seed in range(1, 5):
        fixed = play(Unsteady(slots, seconds, deviation), about(0.4), exactly(50), slots, 130, seed)
        auto = play(Unsteady(slots, seconds, deviation), about(0.4), exactly(50), None, 130, seed)
        shares.append(auto.throughput(60, 120) / fixed.throughput(60, 120))
        slower.append(auto.latency(60, 120) / fixed.latency(60, 120))
    assert statistics.mean(shares) >= 0.85, shares
    assert min(shares) >= 0.7, shares
    assert statistics.mean(slower) <= 2.6, slower


@pytest.mark.simulated
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("capacity", "slower"),
    [
        pytest.param(tuple((10.0 * n, 64 - 8 * n) for n in range(6)), 2.0, id="degrades from 64 to 24 within a minute"),
        pytest.param(tuple((5.0 * n, 2**n) for n in range(6)), 1.4, id="warms up from 1 to 32 within half a minute"),
    ],
)
def test_a_capacity_that_drifts_is_followed(capacity, slower, seed):
    last = capacity[-1][1]
    auto = play(Slots(capacity), about(0.4), exactly(50), None, 120, seed)
    assert auto.throughput(75, 115) >= 0.93 * last / 0.4
    assert auto.latency(75, 115) <= slower * 0.4
    assert not auto.late()


@pytest.mark.simulated
@pytest.mark.parametrize("is_stuck", [False, True], ids=["the others go on", "the others wait, too"])
@pytest.mark.parametrize(("most", "total"), [(12, 20.0), (12, 60.0), (40, 20.0)])
def test_a_server_that_never_answers_more_than_so_many_is_left_in_peace(most, total, is_stuck):
    """Latency does not show it: it is that of those which are answered. Each time-out may be an answer bought twice."""
    auto = play(Deaf(most, is_stuck=is_stuck), about(0.5), exactly(50), None, 600, total=total)
    assert auto.throughput(200, 580) >= 0.6 * most / 0.5
    assert auto.late() <= 0.01
    assert max(auto.numbers(0, 600)) <= 8 * most


@pytest.mark.simulated
@pytest.mark.parametrize("seed", [1, 2])
def test_a_server_that_has_its_room_back_after_time_outs_is_used_well_again(seed):
    """The number stays below what it was for a while only."""
    auto = play(Slots(((0, 24), (40, 3), (60, 24))), about(0.4), exactly(50), None, 300, seed, total=2.0)
    assert auto.late()
    assert auto.throughput(200, 290) >= 0.97 * 24 / 0.4


@pytest.mark.simulated
@pytest.mark.parametrize("seed", [1, 2])
def test_a_server_that_warms_up_keeps_no_queue_of_that_time(seed):
    """While it becomes faster, more in flight seem to be why."""
    auto = play(Drifting(32, lambda now: max(1, 6 - now / 6)), about(0.4), exactly(50), None, 130, seed)
    assert auto.throughput(70, 120) >= 0.97 * 32 / 0.4
    assert auto.latency(70, 120) <= 1.9 * 0.4


@pytest.mark.simulated
@pytest.mark.parametrize("seed", [1, 3])
def test_a_few_long_answers_among_short_ones_are_not_taken_for_more_work_done(seed):
    auto = play(ByTokens(16, 100), exactly(0.05), lambda dice: 20 if dice.random() < 0.7 else 300, None, 180, seed)
    assert auto.throughput(90, 170) >= 0.93 * 16 / (0.05 + 1.04)
    assert statistics.mean(auto.numbers(90, 170)) <= 2 * 16


@pytest.mark.simulated
def test_answers_of_a_minute_leave_room_for_more_though_doubling_could_exceed_the_time_out():
    auto = play(Slots(((0, 16),)), about(60.0), exactly(50), None, 1900)
    assert auto.throughput(900, 1800) >= 0.9 * 16 / 60
    assert not auto.late()


@pytest.mark.simulated
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("slots", [(4, 32), (8, 8), (2, 16, 40)])
def test_several_servers_get_as_many_as_each_has_slots(slots, seed):
    shapes = [Slots(((0, one),)) for one in slots]
    played, at_each = play_several(shapes, about(0.4), exactly(50), 130, seed)
    assert played.throughput(60, 120) >= 0.95 * sum(slots) / 0.4
    assert played.latency(60, 120) <= 1.3 * 0.4
    for server, one in enumerate(slots):
        numbers = [numbers[server] for numbers in at_each[120:240]]
        assert 0.95 * one <= statistics.mean(numbers) <= 1.3 * one + 1


@pytest.mark.simulated
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("slots", "takes", "begins"),
    [
        pytest.param(16, 0.4, (0.0, 0.3), id="16 slots, together"),
        pytest.param(16, 0.4, (0.0, 30.0), id="16 slots, one later"),
        pytest.param(100, 1.0, (0.0, 0.3), id="100 slots, together"),
        pytest.param(100, 1.0, (0.0, 30.0), id="100 slots, one later"),
        pytest.param(60, 0.5, (0.0, 10.0, 20.0), id="60 slots, three runs"),
    ],
)
def test_runs_at_one_server_share_it(slots, takes, begins, seed):
    """Each gets as much, and they do not drive each other up."""
    runs = play_together(Slots(((0, slots),)), about(takes), begins, 180, seed)
    shares = [played.throughput(80, 170) for played in runs]
    assert sum(shares) >= 0.95 * slots / takes
    assert all(share == pytest.approx(sum(shares) / len(shares), rel=0.2) for share in shares)
    assert all(played.latency(80, 170) <= 2.0 * takes for played in runs)


@pytest.mark.parametrize("storing", [0.0, 0.1])
def test_several_servers_whose_answers_come_together_are_kept_busy(storing):
    """Many answers come before the first request that takes their place; on a slow disk, others are being stored. Else
    no server would ever seem to have its number in flight, and none could be judged."""
    played, _ = play_several([Slots(((0, 4),)), Slots(((0, 32),))], exactly(0.3), exactly(50), 70, storing=storing)
    assert played.throughput(30, 65) >= 0.95 * 36 / 0.3


def test_runs_that_begin_together_begin_with_four_each():
    """However many are counted before the first answer, and whether they stay."""
    auto = AdaptiveConcurrency(1024)
    for runs in (1, 2, 3, 4, 5, 2, 6, 1):
        auto.share(0.0, Others(runs, in_flight=4 * (runs - 1)))
        assert auto.most == 4, f"{runs} runs"


@pytest.mark.parametrize("takes", [4.0, 10.0])
def test_short_runs_that_come_and_go_keep_nobody_from_finding_the_number(takes):
    """Every 16 s another run has 4 in flight for 8 s."""
    auto, now = AdaptiveConcurrency(1024), 0.0
    sent = deque([0.0] * auto.most)
    while now < 300:
        now = sent.popleft() + takes
        others = Others(2, 4) if now % 16 < 8 else Others()
        auto.share(now, others)
        auto.answered(now, now - takes, 50, auto.most)
        sent.extend([now] * (auto.most - len(sent)))
    assert auto.most >= 256


def test_who_is_held_back_by_a_rate_keeps_nobody_waiting():
    auto = play(Slots(((0, 100),)), about(0.5), exactly(50), None, 60, per_minute=600).auto
    assert not auto.settled
    assert not auto.is_looking


def test_time_outs_are_pressure():
    """Eight slots, answers of a second, and five are waited: more than 40 in flight are answered too late."""
    auto = play(Slots(((0, 8),)), about(1.0), exactly(50), None, 120, total=5.0)
    assert auto.late() <= 0.01
    assert auto.throughput(60, 110) >= 0.95 * 8


def test_a_declared_rate_holds_beside_it():
    auto = play(Slots(((0, 100),)), about(0.5), exactly(50), None, 60, per_minute=600)
    assert auto.throughput(10, 50) == pytest.approx(10, rel=0.05)
    assert max(number for _, number in auto.in_flight) <= 16


def test_each_move_says_why():
    auto = play(Slots(((0, 16),)), about(0.4), exactly(50), None, 30).auto
    assert auto.moves
    assert all(move.why and move.most >= 1 for move in auto.moves)


@pytest.mark.parametrize(
    ("found", "ceiling", "servers", "most"),
    [(40, 1024, 1, 40), (40, 16, 1, 16), (None, 1024, 1, START), (40, 1024, 2, 20), (1, 1024, 2, 1), (None, 16, 2, START)],
)  # fmt: skip
def test_what_an_earlier_run_found_is_where_it_begins(found, ceiling, servers, most):
    """Several servers begin with an equal part each."""
    if servers == 1:
        numbers = {"": AdaptiveConcurrency(ceiling, found)}
    else:
        urls = [f"http://server{n}" for n in range(servers)]
        numbers = LoadBalancer(connection(*urls)).find_concurrency(ceiling, found).each(*urls)
    assert [one.most for one in numbers.values()] == [most] * servers


def test_a_run_finds_it_says_it_and_the_next_begins_with_it(job, called, service):
    service.script = lambda *_: Delay(0.05)
    rows = [{"id": f"r{n}", "name": f"shelf {n}"} for n in range(300)]
    made = job(rows[:200], limits={"concurrency": "auto"})
    assert called("run", made).returncode == 0
    status = called("status", made, "--json").json
    assert START < status["in_flight"] <= 1024
    assert status["in_flight_why"] in called("status", made).stdout
    assert "auto" in called("plan", made, "--json").json["limits"]["concurrency"]
    assert called("run", job(rows, limits={"concurrency": "auto"})).returncode == 0
    with closing(sqlite3.connect(job.checkpoint)) as db:
        runs = db.execute("SELECT run, most FROM in_flight ORDER BY run, at").fetchall()
    assert next(most for run, most in runs if run != runs[0][0]) == status["in_flight"]


def test_a_run_reads_the_queue_of_a_server_that_tells_it(job, batchgen):
    rows = [{"id": f"r{n}", "name": f"shelf {n}"} for n in range(150)]
    path = job(rows, limits={"concurrency": "auto"})
    with serving("--slots", 4, "--latency", 0.1) as url:
        assert batchgen("run", path, env={"WRITER_BASE_URL": url}).returncode == 0
    with closing(sqlite3.connect(job.checkpoint)) as db:
        moves = dict(db.execute("SELECT why, most FROM in_flight ORDER BY at"))
    assert 3 <= moves["requests wait in the server's queue"] <= 6, "4 at work, or one fewer between two answers"


def test_a_rehearsal_says_what_it_assumes_of_a_number_that_is_found(job, called, service):
    rows = [{"id": f"r{n}", "name": f"shelf {n}"} for n in range(60)]
    made = job(rows, limits={"concurrency": "auto"})
    assert "as if the server answered 1,024 at a time" in called("plan", made, "--rehearse").stdout
    assert called("run", made).returncode == 0
    made = job([*rows, {"id": "new", "name": "one more"}], limits={"concurrency": "auto"})
    assert "in flight, as the last run found" in called("plan", made, "--rehearse").stdout
