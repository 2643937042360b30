"""A night on a simulated clock: it ends when arithmetic says it would, and in no time."""

from __future__ import annotations

import asyncio

import pytest
from support.service import Delay

import batchgen
from batchgen.runner import rehearsal


def rows_of(count: int) -> list[dict]:
    return [{"id": f"r{n:04d}", "name": f"shelf {n:04d}"} for n in range(count)]


LATENCY = rehearsal.FIRST_TOKEN_SECONDS + 50 / rehearsal.TOKENS_PER_SECOND  # assumed of max_tokens: 50
TOKENS = 6 + 50  # of a row, prompt and answer


@pytest.fixture
def rehearsed(job, called):
    def rehearse(count: int, **sections: object) -> dict:
        ended = called("plan", job(rows_of(count), **sections), "--rehearse", "--json")
        assert ended.returncode == 0, ended.stderr
        return ended.json["rehearsal"]

    return rehearse


@pytest.mark.parametrize(
    ("limits", "seconds", "enough"),
    [
        pytest.param({"requests_per_minute": 60}, 200 + LATENCY, 2, id="bound by requests"),
        pytest.param({"requests_per_minute": 600}, 20 + LATENCY, 15, id="ten times the rate takes ten times the slots"),
        pytest.param({"tokens_per_minute": 56 * 60}, 200 + LATENCY, 2, id="bound by tokens"),
        pytest.param({"concurrency": 4}, 50 * LATENCY, None, id="bound by its slots"),
        pytest.param({"concurrency": 4, "requests_per_minute": 600}, 50 * LATENCY, 15, id="fewer slots than are enough"),
    ],
)  # fmt: skip
def test_when_it_would_end_and_what_is_enough(rehearsed, limits, seconds, enough):
    night = rehearsed(200, limits={"concurrency": 64, **limits})
    assert night["seconds"] == pytest.approx(seconds, rel=0.03)
    assert night["enough"] == (None if enough is None else pytest.approx(enough, abs=1))
    assert night["done"] == 200
    assert night["stopped"] is None
    assert night["assumed"]
    assert night["latency_s"] == LATENCY


@pytest.mark.parametrize(
    ("until", "done", "said"),
    [
        pytest.param({"after": "60s"}, 59, "the deadline has come", id="a deadline, less the slowest answer"),
        pytest.param({"requests": 30}, 30, "the budget of 30 requests is spent", id="requests"),
        pytest.param({"tokens": 30 * TOKENS}, 30, "tokens is spent", id="tokens"),
        pytest.param({"cost": 0.0091}, 30, "is spent, by estimate", id="cost"),
    ],
)
def test_a_night_that_is_cut_off(rehearsed, until, done, said):
    night = rehearsed(200, limits={"requests_per_minute": 60}, until=until)
    assert night["done"] == pytest.approx(done, abs=1)
    assert said in night["stopped"]
    assert night["seconds"] == pytest.approx(done + LATENCY, abs=3)


def test_what_is_longer_is_reckoned_from_the_first_rows(rehearsed, monkeypatch):
    monkeypatch.setattr(rehearsal, "MAX_ROWS", 100)
    night = rehearsed(1000, limits={"requests_per_minute": 600, "concurrency": 64}, until={"requests": 500})
    assert night["rehearsed"] == 100
    assert night["done"] == pytest.approx(500, abs=10)
    night = rehearsed(1000, limits={"requests_per_minute": 600, "concurrency": 64}, until={})
    assert night["seconds"] == pytest.approx(100 + LATENCY, rel=0.02)
    assert night["done"] == 1000


def test_answers_are_played_as_they_were_of_late(job, service, called):
    service.script = lambda *_: Delay(0.3)
    assert called("run", job(rows_of(8))).returncode == 0
    ended = called("plan", job(rows_of(48), limits={"concurrency": 4}), "--rehearse", "--json")
    night = ended.json["rehearsal"]
    assert not night["assumed"]
    assert night["latency_s"] >= 0.3
    assert night["seconds"] >= 40 / 4 * 0.3
    shown = called("plan", job(rows_of(48)), "--rehearse").stdout
    assert "no limit is known" in shown
    assert "the median of the last ones" in shown


def test_nothing_is_sent_kept_or_waited_for(job, service, batchgen):
    path = job(rows_of(2000), limits={"requests_per_minute": 1})
    before = job.files()
    assert "ends after 33 h" in batchgen("plan", path, "--rehearse").stdout
    assert service.requests == 0
    assert job.files() == before


def test_nothing_to_do_is_no_night(job, called):
    path = job(rows_of(3))
    assert called("run", path).returncode == 0
    assert "rehearsed" not in called("plan", path, "--rehearse").stdout


def test_also_where_a_loop_is_at_work(job):
    path = job(rows_of(5), limits={"requests_per_minute": 60})

    async def cell() -> float:
        return batchgen.plan(path, rehearse=True).rehearsal.seconds

    assert asyncio.run(cell()) == pytest.approx(4 + LATENCY, abs=0.2)
