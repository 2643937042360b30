"""Outages, deadlines and budgets: a run that ends early ends in order, and the next one goes on."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from support.service import Delay, Raw, Reset, Status, error_body, expected_answer

from batchgen.api.failure_kinds import Kind, Scope, kinds_of
from batchgen.api.outcome import Failure
from batchgen.send import retry
from batchgen.send.circuit_breaker import CircuitBreaker
from batchgen.send.stops import IDENTICAL_ANSWERS, REJECTED_ROWS, Stops


def rows_of(count: int) -> list[dict]:
    return [{"id": f"r{n}", "name": f"shelf {n}"} for n in range(count)]


def texts(rows: list[dict]) -> list[str]:
    return [expected_answer(f"Write about {row['name']}.")["text"] for row in rows]


# The rules: what happens, a second apart, ends the run with the last of it, or does not

LONG_WAIT = Failure(Kind.BUSY, "429", 429, 7200)
BUSY = Failure(Kind.BUSY, "429", 429)
BLOCKED = Failure(Kind.KEY, "403", 403)
PAGE = Failure(Kind.UNUSABLE, "a page of HTML: down until 04:00", 200, is_page=True)
BROKEN = Failure(Kind.UNUSABLE, "the answer broke off: its finish_reason is 'repetition'", 200)
ANSWER = -1.0
"""A request that was sent a second ago is answered."""
LATE_ANSWER = -1000.0
"""The same of one that was sent before everything else."""


def invalid(count: int, message: str) -> list[Failure]:
    return [Failure(Kind.INVALID, message.format(number), 400) for number in range(count)]


@pytest.mark.parametrize(
    ("concurrency", "events", "ends"),
    [
        pytest.param(8, [LONG_WAIT] * 3, True, id="three waits beyond patience"),
        pytest.param(8, [LONG_WAIT] * 2 + [ANSWER] + [LONG_WAIT] * 2, False, id="an answer between them"),
        pytest.param(8, [BUSY] * 362, True, id="refused for longer than patience"),
        pytest.param(8, [BUSY] * 361 + [ANSWER] + [BUSY] * 361, False, id="twice for as long as patience"),
        pytest.param(8, [ANSWER] + [BLOCKED] * REJECTED_ROWS, True, id="the key is refused for many rows"),
        pytest.param(
            8, [ANSWER] + [BLOCKED] * (REJECTED_ROWS - 1), False, id="for one row less: it may be their words"
        ),
        pytest.param(8, [ANSWER] + [BLOCKED] * 11 + [ANSWER, BLOCKED], False, id="others are answered meanwhile"),
        pytest.param(8, [ANSWER] + [BLOCKED] * 11 + [LATE_ANSWER, BLOCKED], True, id="that was sent before them"),
        pytest.param(40, [ANSWER] + [BLOCKED] * 40, True, id="40 at once: for as many rows"),
        pytest.param(40, [ANSWER] + [BLOCKED] * 39, False, id="for one row less, which may have been sent with them"),
        pytest.param(8, invalid(IDENTICAL_ANSWERS, "row {} is bad"), True, id="the same but for numbers, for all rows"),
        pytest.param(8, invalid(IDENTICAL_ANSWERS - 1, "row {} is bad"), False, id="for one row less"),
        pytest.param(
            8,
            [one for word in "abc" for one in invalid(IDENTICAL_ANSWERS - 1, word)],
            False,
            id="as many of three kinds",
        ),
        pytest.param(200, invalid(50, "bad"), True, id="200 at once: for a quarter of them"),
        pytest.param(200, invalid(49, "bad"), False, id="for one row less of them"),
        pytest.param(8, [ANSWER] + [PAGE] * IDENTICAL_ANSWERS, True, id="a page for all rows, amid a night"),
        pytest.param(8, [ANSWER] + [PAGE] * (IDENTICAL_ANSWERS - 1), False, id="a page for one row less"),
        pytest.param(8, [ANSWER] + [PAGE] * 23 + [ANSWER, PAGE], False, id="a page, and others are answered meanwhile"),
        pytest.param(8, [ANSWER] + [PAGE] * 23 + [LATE_ANSWER, PAGE], True, id="a page, and an answer from before it"),
        pytest.param(40, [ANSWER] + [PAGE] * 39, False, id="a page for 39 rows of 40 at once"),
        pytest.param(8, [ANSWER] + [BROKEN] * 100, False, id="answers that break off, which may be the rows' own"),
    ],
)
def test_what_ends_a_run(concurrency, events, ends):
    stops, ended_after = Stops(kinds_of(Scope.RUN), 360), []
    for now, event in enumerate(events):
        if isinstance(event, float):
            stops.answered(now + event)
        elif stops.failed(now.to_bytes(16, "big"), event, float(now), in_flight=concurrency, outage=0.0, is_burst=True):
            ended_after.append(now + 1)
    assert ended_after == ([len(events)] if ends else [])


def test_as_many_count_as_were_in_flight_at_most():
    """Toward a run's end fewer are, and the answers to those before may still come."""
    stops, ended_after = Stops(kinds_of(Scope.RUN), 360), None
    for now, failure in enumerate(invalid(50, "bad"), 1):
        key, in_flight = now.to_bytes(16, "big"), 204 - 4 * now
        stop = stops.failed(key, failure, float(now), in_flight=in_flight, outage=0.0, is_burst=True)
        ended_after = ended_after or (stop and now)
    assert ended_after == 50


def test_a_request_that_all_refuse_ends_a_run_that_finds_its_number_as_soon(job, service, called):
    """Its upper limit of 1,024 says nothing of how many were in flight."""
    service.script = lambda *_: Status(400, error_body("x", "no such field"))
    ended = called("run", job(rows_of(300), limits={"concurrency": "auto"}), "--json")
    assert ended.returncode == 4, ended.stderr
    assert service.requests <= IDENTICAL_ANSWERS + 8


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>back at 04:00</html>", "a page of HTML: back at 04:00"),
        (b"back at 04:00\n", "a 200 that is neither JSON nor a stream: back at 04:00"),
        (b"", "a 200 whose body is not the contract's: it is empty"),
    ],
)
def test_a_page_that_takes_the_services_place_amid_a_run_buys_no_row_again_and_again(job, service, called, body, said):
    """A 200 about maintenance, in HTML or plain text, or of nothing: each such answer may be billed."""
    service.script = lambda n, _: Raw(body, "text/html") if n > 20 else None
    ended = called("run", job(rows_of(200)), "--json")
    assert (ended.returncode, ended.json["ok"]) == (4, 20), ended.stderr
    assert f"24 rows in a row, each with no answer in its 200: {said}" in ended.json["stopped"]
    assert ended.json["failed"] < 24
    assert service.requests <= 20 + 3 * 24 + 8
    service.script = None
    ended = called("run", job.folder / "job.yaml", "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["reused"]) == (0, 200, 20)


@pytest.mark.parametrize("action", [Status(403, "blocked"), Status(404, "no such path"), Raw(b'{"choices": []}')])
def test_rows_that_failed_before_end_no_run_by_failing_again(job, service, called, action):
    """They come first, and new ones wait behind them: these were never sent, night after night."""
    bad = {f"Write about shelf {n}." for n in range(11, 43, 2)}
    service.script = lambda _, body: action if body["prompt"] in bad else None
    ended = called("run", job(rows_of(60)), "--json")
    assert (ended.returncode, ended.json["failed"], ended.json["ok"]) == (1, len(bad), 44), ended.stderr
    job.write(rows_of(90))
    for ok in (74, 74):
        ended = called("run", job.folder / "job.yaml", "--json")
        assert (ended.returncode, ended.json["failed"], ended.json["ok"]) == (1, len(bad), ok), ended.stderr


def test_a_page_for_all_rows_that_failed_before_ends_the_run(job, service, called):
    """They would all be bought again and again."""
    service.script = lambda _, body: Raw(b'{"choices": []}') if int(body["prompt"][18:-1]) % 2 else None
    ended = called("run", job(rows_of(100)), "--json")
    assert (ended.returncode, ended.json["failed"]) == (1, 50), ended.stderr
    service.script = lambda *_: Raw(b"<html>back at 04:00</html>", "text/html")
    ended = called("run", job.folder / "job.yaml", "--json")
    assert (ended.returncode, ended.json["ok"]) == (4, 50), ended.stderr
    assert ended.json["sent"] <= 3 * 24 + 8


@pytest.mark.parametrize("status", [500, 503])
def test_an_outage_is_probed_and_no_row_fails_of_it(job, service, batchgen, status):
    """Thirty rows of three tries each: without the trickle an outage of so many requests would fail some."""
    lasts = CircuitBreaker.TO_OPEN + 2
    path = job(rows_of(30), limits={"concurrency": 8})
    service.script = lambda n, _: Status(status) if n <= lasts else None
    ended = batchgen("run", path, "--json")
    assert ended.returncode == 0, ended.stderr
    found = job.rows()
    assert [row["text"] for row in found] == texts(found)
    assert service.requests == 30 + lasts


def test_a_service_that_stays_away_stops_the_run_and_the_next_one_goes_on(job, service, called, monkeypatch):
    monkeypatch.setattr(retry, "MIN_PATIENCE", 1.5)
    path = job(rows_of(30), limits={"concurrency": 8})
    service.script = lambda *_: Status(500)
    ended = called("run", path)
    assert ended.returncode == 3, ended.stderr
    assert "no answer for" in ended.stdout
    assert "the same command resumes" in ended.stdout
    assert service.requests < 3 * 30, "a trickle"
    assert {row["status"] for row in job.rows()} <= {"pending", "failed"}
    service.script = None
    assert called("run", path).returncode == 0
    found = job.rows()
    assert [row["text"] for row in found] == texts(found)


@pytest.mark.parametrize(
    ("until", "said"),
    [
        pytest.param({"requests": 7}, "the budget of 7 requests is spent", id="requests"),
        pytest.param({"tokens": 600}, "the budget of 600 tokens is spent", id="tokens"),
        pytest.param({"cost": 0.003}, "the budget of $0.003 is spent, by estimate", id="cost"),
        pytest.param({"after": "0.000001s"}, "the deadline has come", id="a deadline"),
    ],
)
def test_a_budget_ends_the_run_and_what_is_done_is_published(job, service, called, until, said):
    rows = rows_of(40)
    path = job(rows, until=until, limits={"concurrency": 2})
    ended = called("run", path)
    assert ended.returncode == 3, ended.stderr
    assert said in ended.stdout
    found = job.rows()
    done = [row for row in found if row["status"] == "ok"]
    assert len(done) == service.requests < 40
    assert [row["text"] for row in done] == texts(done)
    assert {row["status"] for row in found} <= {"ok", "pending"}
    if done:
        left = -(-(40 - len(done)) // len(done))
        runs = f"{left} more run{'s' * (left > 1)} like this one"
        assert runs in " ".join(ended.stdout.split())
    job(rows, until={}, limits={"concurrency": 2})
    assert called("run", path).returncode == 0
    assert service.requests == 40


@pytest.mark.parametrize("slots", [1, 4, 30])
@pytest.mark.parametrize("every", [90, 30, 15])
def test_a_budget_of_requests_is_never_passed_where_kept_connections_break(job, service, called, slots, every):
    """Such a request leaves again at once, and both count."""
    service.script = lambda n, _: Reset() if n % every == 0 else None
    ended = called("run", job(rows_of(200), until={"requests": 90}, limits={"concurrency": slots}), "--json")
    assert ended.returncode == 3, ended.stderr
    assert service.requests == ended.json["sent"] == 90
    assert sum(row["attempts"] for row in job.rows()) == 90


def test_a_time_of_day_is_by_the_clock_also_where_that_is_set_or_the_machine_slept(job, service, called, monkeypatch):
    """While it sleeps, the steady clock stands still: the run went on for as long after `until.at`."""
    in_three_hours = (dt.datetime.now().astimezone() + dt.timedelta(hours=3)).strftime("%H:%M")
    clock, ahead = time.time, [0.0]
    monkeypatch.setattr("time.time", lambda: clock() + ahead[0])

    def script(n: int, _: object) -> Delay:
        ahead[0] = 4 * 3600.0 if n > 20 else 0.0
        return Delay(0.05)

    service.script = script
    path = job(rows_of(400), until={"at": in_three_hours}, limits={"concurrency": 4})
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["stopped"]) == (3, "the deadline has come"), ended.stderr
    assert 20 < ended.json["ok"] < 400


def test_no_further_runs_are_reckoned_from_a_run_that_the_service_ended(job, service, called):
    """A day's quota that is used up says nothing of how much the next day grants."""
    service.script = lambda n, _: Status(429, headers={"Retry-After": "30000"}) if n > 5 else None
    ended = called("run", job(rows_of(30), limits={"concurrency": 2}))
    assert ended.returncode == 3, ended.stderr
    assert "the service asks to come back in 8 h 20 min" in ended.stdout
    assert "the same command resumes" in ended.stdout
    assert "like this one" not in ended.stdout


@pytest.mark.parametrize(
    ("action", "helps"),
    [
        pytest.param(Status(422, {"error": "the tenant is missing"}), "in request or endpoint", id="words"),
        pytest.param(Raw(b"<html>login</html>"), "check endpoint.url", id="another service"),
    ],
)
def test_a_refusal_of_every_request_is_told_with_what_helps(action, helps, job, service, called):
    service.script = lambda *_: action
    ended = called("run", job(rows_of(60), limits={"concurrency": 8}))
    assert ended.returncode == 4, ended.stderr
    assert helps in ended.stdout
    assert ("endpoint.url" in ended.stdout) == ("endpoint.url" in helps)


def test_what_a_refusing_service_grants_is_told_by_plan_the_next_day(job, service, called):
    path = job(rows_of(60), limits={"concurrency": 32})
    service.script = lambda n, _: Status(429, headers={"Retry-After": "0.2"}) if 8 < n <= 20 else None
    assert called("run", path).returncode == 0
    assert "the service granted about" in called("plan", path).stdout
