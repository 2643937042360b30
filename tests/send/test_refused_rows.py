"""Rows that are refused whatever is sent beside them, as if by a limit; and limits, which refuse any row."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from support.service import Status, error_body
from test_dispatcher import dispatched
from test_load_balancer import balancer_of

from batchgen.api.failure_kinds import Kind
from batchgen.api.outcome import Answer, Failure
from batchgen.send.dispatcher import Dispatcher
from batchgen.send.limits import Budget
from batchgen.send.refused_rows import ALONE_SECONDS, QUIET_SECONDS
from batchgen.send.stats import Stats
from batchgen.send.task import Task

TOO_MANY = Failure(Kind.BUSY, "429 slow down", 429)
OVERLOADED = Failure(Kind.TRANSIENT, "503 overloaded", 503)


@dataclass
class Night:
    """Sends so many rows to a server that refuses some: `grants(row, now)`. An answer takes so many seconds, a refusal
    50 ms. `sharing`: rows that share each answer."""

    rows: int
    grants: Callable[[int, float], bool]
    refusal: Failure = TOO_MANY
    failed_before: Callable[[int], bool] = lambda _: False
    takes: tuple[float, float] = (0.2, 1)
    sharing: int = 1
    sent: int = 0
    answered_at: list[float] = field(default_factory=list)
    ended_at: float = 0.0

    def __post_init__(self) -> None:
        self._chance = random.Random(1)
        random.seed(1)  # the jitter's
        tasks = [
            Task(n.to_bytes(16, "big"), n.to_bytes(4, "big"), "m", None, 0, 5, 50, (0.0, 0.0)) for n in range(self.rows)
        ]
        for number, task in enumerate(tasks):
            task.failed_before, task.rows = self.failed_before(number), self.sharing
        self.stats = Stats(todo=self.rows * self.sharing)
        self.dispatcher: Dispatcher = dispatched(tasks, self._attempt, Budget(), self.stats)

    async def _attempt(self, body: bytes, _: str, **__: object) -> Answer | Failure:
        clock = asyncio.get_running_loop().time
        self.sent += 1
        is_granted = self.grants(int.from_bytes(body, "big"), clock())
        await asyncio.sleep(self._chance.uniform(*self.takes) if is_granted else 0.05)
        self.ended_at = clock()
        if not is_granted:
            return self.refusal
        self.answered_at.append(self.ended_at)
        return Answer(b"", 1, 20)


def all_but(every: int) -> Callable[[int, float], bool]:
    """Refuses each so-many-th row."""
    return lambda row, _: row % every != 3 % every


class Window:
    """Grants so many tokens a minute of the clock."""

    def __init__(self, tokens: int, of_row: Callable[[int], int] = lambda _: 1) -> None:
        self._tokens, self._of_row, self._used = tokens, of_row, [0] * 1000

    def __call__(self, row: int, now: float) -> bool:
        minute = int(now // 60)
        is_granted = self._used[minute] + self._of_row(row) <= self._tokens
        self._used[minute] += self._of_row(row) * is_granted
        return is_granted


class Bucket:
    """Grants so many tokens a minute, as they flow in; it holds as many, or `most`, and is full at first."""

    def __init__(self, tokens: int, of_row: Callable[[int], int] = lambda _: 1, most: int | None = None) -> None:
        self._tokens, self._of_row, self._most = tokens, of_row, most or tokens
        self._level, self._at = float(self._most), 0.0

    def __call__(self, row: int, now: float) -> bool:
        self._level = min(self._most, self._level + (now - self._at) * self._tokens / 60)
        self._at = now
        is_granted = self._level >= self._of_row(row)
        self._level -= self._of_row(row) * is_granted
        return is_granted


@pytest.mark.parametrize("refusal", [TOO_MANY, OVERLOADED], ids=["429", "503"])
@pytest.mark.parametrize(
    ("rows", "every"),
    [
        pytest.param(400, 400, id="one row"),
        pytest.param(400, 20, id="one in twenty"),
        pytest.param(400, 10, id="one in ten"),
        pytest.param(3000, 10, id="one in ten of many"),
    ],
)
def test_rows_that_are_always_refused_hold_up_no_others_and_fail_when_these_are_done(rows, every, refusal):
    night, undisturbed = Night(rows, all_but(every), refusal), Night(rows, lambda *_: True)
    bad = rows // every
    assert (night.stats.ok, night.stats.failed, night.dispatcher.stopped) == (rows - bad, bad, None)
    assert max(night.answered_at) <= 15 + 1.5 * undisturbed.ended_at
    assert night.ended_at - max(night.answered_at) <= 2.5 * QUIET_SECONDS
    assert night.sent <= rows + 10 * bad


@pytest.mark.parametrize("refusal", [TOO_MANY, OVERLOADED], ids=["429", "503"])
def test_rows_that_failed_so_before_hold_up_no_others_either(refusal):
    is_bad = lambda row: row < 40  # noqa: E731  all of them come first
    night = Night(400, lambda row, _: not is_bad(row), refusal, failed_before=is_bad)
    assert (night.stats.ok, night.stats.failed, night.dispatcher.stopped) == (360, 40, None)
    assert max(night.answered_at) <= 30


@dataclass
class OneOfSeveral:
    """A server that refuses each tenth row, as the others do."""

    refusal: Failure

    async def attempt(self, body: bytes, _: str, **__: object) -> Answer | Failure:
        is_granted = int.from_bytes(body, "big") % 10 != 3
        await asyncio.sleep(0.5 if is_granted else 0.05)
        return Answer(b"", 1, 20) if is_granted else self.refusal


@pytest.mark.parametrize("refusal", [TOO_MANY, OVERLOADED], ids=["429", "503"])
@pytest.mark.parametrize("servers", [2, 3])
def test_rows_that_each_of_several_servers_refuses_fail_when_the_others_are_done(servers, refusal):
    random.seed(1)
    balancer = balancer_of(
        [f"http://{n}.test/v1" for n in range(servers)], clock=lambda: asyncio.get_running_loop().time()
    )
    balancer._clients = [OneOfSeveral(refusal) for _ in range(servers)]
    tasks = [Task(n.to_bytes(16, "big"), n.to_bytes(4, "big"), "m", None, 0, 5, 50, (0.0, 0.0)) for n in range(400)]
    dispatcher = dispatched(tasks, balancer.attempt, Budget())
    assert (dispatcher.stats.ok, dispatcher.stats.failed, dispatcher.stopped) == (360, 40, None)


@pytest.mark.parametrize("kind", [Kind.TRANSIENT, Kind.UNANSWERED])
@pytest.mark.parametrize("every", [20, 10])
def test_rows_that_always_fail_are_no_outage_when_they_alone_are_left(kind, every):
    night = Night(400, all_but(every), Failure(kind, "no", 500))
    assert (night.stats.ok, night.stats.failed, night.dispatcher.stopped) == (400 - 400 // every, 400 // every, None)
    assert night.ended_at - max(night.answered_at) <= 30


def test_rows_that_failed_so_before_end_a_run_that_has_no_others():
    night = Night(40, lambda *_: False, failed_before=lambda _: True)
    assert (night.stats.failed, night.dispatcher.stopped) == (40, None)
    assert night.ended_at <= 2 * QUIET_SECONDS


@pytest.mark.parametrize(("rows", "every"), [(12, 3), (40, 4), (100, 10)])
def test_rows_that_failed_so_before_end_a_run_in_which_others_of_them_are_answered(rows, every):
    """However large their share is, so that a limit seems to be there."""
    night = Night(rows, lambda row, _: row % every == 2, failed_before=lambda _: True)
    answered = sum(row % every == 2 for row in range(rows))
    assert (night.stats.ok, night.stats.failed, night.dispatcher.stopped) == (answered, rows - answered, None)
    assert night.ended_at <= 3 * QUIET_SECONDS


@pytest.mark.parametrize("rows", [1, 40])
def test_a_minute_that_an_earlier_run_used_up_fails_no_row_that_failed_before(rows):
    night = Night(rows, lambda _, now: now > 45, failed_before=lambda _: True)
    assert (night.stats.ok, night.stats.failed, night.dispatcher.stopped) == (rows, 0, None)


@pytest.mark.parametrize("every", [10, 20])
def test_few_rows_that_are_always_refused_are_found_in_a_short_run_too(every):
    night = Night(100, all_but(every))
    assert (night.stats.ok, night.stats.failed) == (100 - 100 // every, 100 // every)


@pytest.mark.parametrize(("rows", "bad"), [(5, 1), (10, 2), (20, 1), (20, 4), (40, 3), (60, 6)])
def test_a_run_of_some_dozens_of_rows_ends_with_those_that_are_always_refused(rows, bad):
    """Too few to tell how probable it is: they alone are left, and two minutes bring no answer."""
    night = Night(rows, lambda row, _: row % (rows // bad) != 1)
    assert (night.stats.ok, night.stats.failed, night.dispatcher.stopped) == (rows - bad, bad, None)
    assert night.ended_at <= 2 * ALONE_SECONDS


@pytest.mark.parametrize("rows", [21, 23, 30, 42])
@pytest.mark.parametrize(
    "grants",
    [
        pytest.param(lambda: Window(20), id="20 requests by the minute of the clock"),
        pytest.param(lambda: Bucket(7, most=1), id="seven a minute, one at a time"),
    ],
)
def test_the_last_rows_that_a_limit_refuses_do_not_fail(grants, rows):
    night = Night(rows, grants())
    assert (night.stats.ok, night.dispatcher.stopped) == (rows, None)


@pytest.mark.parametrize(("rows", "slots", "seconds"), [(22, 1, 90), (22, 1, 65), (30, 2, 180), (60, 2, 60)])
def test_the_last_rows_do_not_fail_while_slow_answers_have_all_slots(rows, slots, seconds):
    free_at = [0.0] * slots

    def is_free(_: int, now: float) -> bool:
        slot = min(range(slots), key=free_at.__getitem__)
        is_granted = free_at[slot] <= now
        free_at[slot] += (now + seconds - free_at[slot]) * is_granted
        return is_granted

    night = Night(rows, is_free, takes=(seconds, seconds))
    assert (night.stats.ok, night.stats.failed, night.dispatcher.stopped) == (rows, 0, None)


def test_a_row_that_is_always_refused_ends_a_short_run_though_others_share_its_answer():
    night = Night(20, lambda row, _: row != 7, sharing=5)
    assert (night.stats.ok, night.stats.failed, night.dispatcher.stopped) == (95, 5, None)


@pytest.mark.parametrize(("asked", "why"), [(3600.0, "the service asks to come back in 1 h"), (150.0, "refused for")])
def test_the_last_rows_do_not_fail_where_the_service_asks_for_more_than_two_minutes(asked, why):
    night = Night(8, lambda row, _: row != 7, replace(TOO_MANY, retry_after=asked))
    assert (night.stats.ok, night.stats.failed) == (7, 0)
    assert night.dispatcher.stopped.startswith(why), night.dispatcher.stopped


@pytest.mark.parametrize(("rows", "quota"), [(100, 60), (12, 6), (1000, 900)])
def test_a_quota_that_leaves_out_many_rows_ends_the_run_and_fails_none(rows, quota):
    granted = iter(range(quota))
    night = Night(rows, lambda *_: next(granted, None) is not None)
    assert (night.stats.ok, night.stats.failed) == (quota, 0)
    assert night.dispatcher.stopped.startswith("refused for"), night.dispatcher.stopped


def test_a_quota_that_is_used_up_later_ends_the_run_and_fails_no_row_for_it():
    """Though so many rows were refused for themselves before."""
    night = Night(5000, lambda row, now: now < 40 and row % 10 != 3)
    assert night.dispatcher.stopped.startswith("refused for"), night.dispatcher.stopped
    assert night.stats.failed == 0
    assert night.sent <= night.stats.ok + 4 * night.stats.ok / 9 + 300


def long_rows(every: int, long: int, short: int) -> Callable[[int], int]:
    return lambda row: long if row % every == 3 else short


@pytest.mark.simulated
@pytest.mark.parametrize(
    ("grants", "minutes"),
    [
        pytest.param(lambda: Window(60), 17, id="60 requests by the minute of the clock"),
        pytest.param(lambda: Window(400), 2.4, id="400 requests by the minute of the clock"),
        pytest.param(lambda: Bucket(60), 16, id="60 requests a minute"),
        pytest.param(lambda: Bucket(60, most=1), 20, id="a request a second"),
        pytest.param(lambda: Window(25_000, long_rows(10, 5000, 200)), 28, id="tokens by the clock, some rows long"),
        pytest.param(lambda: Window(25_000, long_rows(100, 12_000, 200)), 13, id="tokens by the clock, few very long"),
        pytest.param(lambda: Bucket(25_000, long_rows(10, 5000, 200)), 28, id="tokens, some rows long"),
        pytest.param(lambda: Bucket(25_000, long_rows(100, 12_000, 200)), 13, id="tokens, few rows very long"),
    ],
)
@pytest.mark.parametrize("failed_before", [False, True], ids=["new rows", "rows that failed before"])
def test_a_limit_fails_no_row_and_is_not_flooded(grants, minutes, failed_before):
    night = Night(1000, grants(), failed_before=lambda _: failed_before)
    assert (night.stats.ok, night.stats.failed, night.dispatcher.stopped) == (1000, 0, None)
    assert night.sent <= 2000
    assert night.ended_at <= 60 * minutes


@pytest.mark.parametrize(
    ("rows", "every", "limit", "sharing"),
    [
        pytest.param(1000, 200, lambda: Window(400), 1, id="one in 200, 400 by the minute of the clock"),
        pytest.param(1800, 100, lambda: Bucket(300), 1, id="one in 100, 300 a minute, at once at first"),
        pytest.param(360, 20, lambda: Window(60), 1, id="one in 20, 60 by the minute of the clock"),
        pytest.param(360, 20, lambda: Window(60), 2, id="the same, two rows share each answer"),
    ],
)
def test_rows_that_are_always_refused_are_found_beside_a_limit_too(rows, every, limit, sharing):
    granted, is_good = limit(), all_but(every)
    night = Night(rows, lambda row, now: is_good(row, now) and granted(row, now), sharing=sharing)
    bad = sharing * rows // every
    assert (night.stats.ok, night.stats.failed, night.dispatcher.stopped) == (sharing * rows - bad, bad, None)
    assert night.sent <= 2 * rows


def test_a_run_ends_with_the_rows_that_are_refused_alone(job, service, called, monkeypatch):
    monkeypatch.setattr("batchgen.send.refused_rows.QUIET_SECONDS", 0.0)
    refused = Status(429, error_body("fail.tooManyRequestsLimitReached", "slow down"))
    service.script = lambda _, body: refused if body["prompt"].endswith("7.") else None
    path = job([{"id": str(n), "name": f"shelf {n}"} for n in range(100)])
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (1, 90, 10), ended.stderr
    assert "refused again and again, while others were answered: 10 rows, tried last" in ended.stderr
    service.script = None
    assert called("run", path, "--json").json["ok"] == 100
