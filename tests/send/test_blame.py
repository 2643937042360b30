"""Whose fault a failure is: no row is blamed for a service that is away, and a row that is at fault fails alone."""

import datetime as dt
import json
import sqlite3
from contextlib import closing
from zoneinfo import ZoneInfo

import pytest
from support.own_server import OwnServer
from support.service import Raw, Reset, Status, error_body

from batchgen.api.failure_kinds import Kind
from batchgen.api.outcome import Failure
from batchgen.job.sections import Until
from batchgen.send.blame import Blame
from batchgen.send.limits import RateLimiter
from batchgen.send.retry import Retries
from batchgen.send.task import Task

SMALL = {"retry": {"attempts": 3, "max_wait": 0.1}, "limits": {"concurrency": 8}}
BUSY = error_body("fail.tooManyRequestsLimitReached", "slow down")

ANOTHER = Task(b"another row", b"", "m", None, 1, 5, 200, (0.0, 0.0))

LMDEPLOY_HAD_NONE = b'{"error_code":10402,"text":"Failed to get response after a period of time"}'
"""The 200 of LMDeploy's balancer for a server that is down, or breaks off (findings/lmdeploy_proxy_200.sh)."""


def rows_of(count: int) -> list[dict[str, str]]:
    return [{"id": f"{number:02}", "name": f"shelf {number}"} for number in range(count)]


def always(action, *names: str):
    """Rows of these names, or all of them."""
    prompts = {f"Write about {name}." for name in names}
    return lambda _, body: action if not names or body["prompt"] in prompts else None


AWAY = [
    pytest.param(Reset(), id="every connection breaks"),
    pytest.param(Status(500), id="every answer is an error of the server's"),
    pytest.param(Status(503), id="every answer says overloaded"),
    pytest.param(Status(429, BUSY), id="every answer says too many"),
    pytest.param(Raw(LMDEPLOY_HAD_NONE), id="every 200 says that the balancer had no answer"),
]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("count", [1, 3, 60])
@pytest.mark.parametrize("action", AWAY)
def test_no_row_is_blamed_for_a_service_that_is_away(action, count, job, service, called):
    service.script = always(action)
    ended = called("run", job(rows_of(count), **SMALL), "--json")
    assert (ended.returncode, ended.json["failed"], ended.json["pending"]) == (3, 0, count), ended.stderr
    assert ended.json["possibly_billed"] <= 8 + 16 + 10, "those in flight, those that tell, and a probe a second"
    service.script = None
    assert called("run", job.folder / "job.yaml", "--json").json["ok"] == count


@pytest.mark.parametrize("bad", [1, 2])
@pytest.mark.parametrize("action", [AWAY[0], AWAY[1]])
def test_rows_that_are_at_fault_fail_alone(action, bad, job, service, called):
    names = [f"shelf {7 * number}" for number in range(1, bad + 1)]
    service.script = always(action, *names)
    ended = called("run", job(rows_of(60), **SMALL), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (1, 60 - bad, bad), ended.stderr
    assert max(service.asked[f"Write about {name}."] for name in names) <= 6, (
        "five tries, and once over a kept connection"
    )


@pytest.mark.parametrize(("last", "outages"), [(9.9, 0), (0.0, 1)], ids=["others were just answered", "nobody was"])
def test_time_outs_that_come_together_amid_answers_are_no_outage(last, outages):
    """A server that leaves 20 requests alone and answers eight is there: one request at a time would leave it idle."""
    limits = RateLimiter(None, None, 0.0)
    blame = Blame(limits)
    blame.answered(ANOTHER, last, last)
    for number in range(20):
        row = Task(bytes([number] * 16), b"", "m", None, 1, 5, 200, (0.0, 0.0), answers=0)
        blame.weigh(row, Failure(Kind.UNANSWERED, "no answer within 10 s", is_late=True), 10.0, 100)
    assert limits.outages == outages


def test_of_two_rows_at_fault_the_one_that_is_left_is_alone():
    """Once the other has failed for good, nothing else speaks for a service that is away."""
    blame, failure = Blame(RateLimiter(None, None, 0.0)), Failure(Kind.TRANSIENT, "no", 500)
    rows = [Task(bytes([n] * 16), b"", "m", None, 1, 5, 200, (0.0, 0.0), answers=0) for n in (1, 2)]
    blame.answered(ANOTHER, 0.0, 0.0)
    for left in (2, 2):  # amid answers; then neither is alone
        for row in rows:
            blame.weigh(row, failure, 1.0, left)
    assert [row.own_failures for row in rows] == [1, 1]
    blame.failed(rows[0].key)
    blame.weigh(rows[1], failure, 2.0, 1)
    assert rows[1].own_failures == 2


@pytest.mark.parametrize(
    ("others", "resent", "charged"),
    [
        pytest.param(0, 0, 2, id="the doubtful failure before it, too"),
        pytest.param(15, 0, 1, id="not the doubtful one, for an outage began with it"),
        pytest.param(0, 2, 2 * 3, id="once for each connection that the request was sent over"),
    ],
)
def test_what_a_row_is_charged_with_once_it_is_at_fault(others, resent, charged):
    """It fails while nobody is answered, as do `others`; and again, after some were answered."""
    blame, failure = Blame(RateLimiter(None, None, 0.0)), Failure(Kind.TRANSIENT, "no", 500, resent=resent)
    row, *rest = (Task(bytes([n] * 16), b"", "m", None, 1, 5, 200, (0.0, 0.0), answers=0) for n in range(1 + others))
    for one in (row, *rest):
        blame.weigh(one, failure, 1.0, 100)
    assert row.tries == {}
    blame.answered(ANOTHER, 2.0, 2.0)
    blame.weigh(row, failure, 3.0, 100)
    assert row.tries == {failure.cause: charged}


def test_what_broke_and_then_found_nobody_was_sent_once_and_once_not():
    """A server that ends: what is in flight breaks, and the new connection is refused. Two tries at a row are not used up
    at once."""
    blame, failure = Blame(RateLimiter(None, None, 0.0)), Failure(Kind.UNSENT, "no connection", resent=1)
    row = Task(b"1" * 16, b"", "m", None, 1, 5, 200, (0.0, 0.0), answers=0)
    blame.answered(ANOTHER, 0.0, 0.0)
    blame.weigh(row, failure, 1.0, 100)
    assert row.tries == {Kind.UNSENT: 1, Kind.UNANSWERED: 1}
    assert Retries(2, 60.0).delay(failure, row.tries) is not None


@pytest.mark.usefixtures("impatient")
def test_a_row_that_failed_before_fails_again_when_it_alone_is_left(job, service, called):
    service.script = always(Reset(), "shelf 7", "shelf 14")
    path = job(rows_of(60), **SMALL)
    for night in range(2):
        ended = called("run", path, "--json")
        assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (1, 58, 2), f"night {night + 1}"
        assert ended.json["possibly_billed"] <= 2 * 6, "five tries, and once over a kept connection"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("attempts", [1, 3])
def test_a_server_that_is_overloaded_fails_no_more_than_a_few_of_the_rows_that_failed_before(
    job, service, called, attempts
):
    """A dozen rows that are told so, and nobody is answered: it is none of their doing."""
    bad = [f"shelf {3 * number}" for number in range(40)]
    service.script = always(Status(400, error_body("BadRequest", "no")), *bad)
    path = job(rows_of(120), limits={"concurrency": 8}, retry={"attempts": attempts, "max_wait": 0.1})
    assert called("run", path, "--json").json["failed"] == 40
    service.forget()
    service.script = always(Status(503))
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["ok"]) == (3, 80), ended.stderr
    assert ended.json["reasons"].get("transient", 0) < 12, "the others failed as before, or are to be done"
    assert service.requests < 2 * 40, "three tries each would be more"
    assert "no answer for" in ended.json["stopped"]
    service.script = None
    assert called("run", path, "--json").json["ok"] == 120


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("bad", [1, 12])
def test_a_server_that_is_down_ends_a_run_that_has_only_rows_that_failed_before(job, service, called, bad):
    """What never reaches the server says nothing of the row, and all of the server."""
    service.script = always(Status(400, error_body("BadRequest", "no")), *[f"shelf {n}" for n in range(bad)])
    path = job(rows_of(20), **SMALL, endpoint={"name": "ours"}, until={"after": "20s"})
    assert called("run", path, "--json").json["failed"] == bad
    ended = called("run", path, "--json", env={"WRITER_BASE_URL": "http://127.0.0.1:9"})
    assert (ended.returncode, ended.json["failed"], ended.json["pending"]) == (3, 0, bad), ended.stderr
    assert "no answer for" in ended.json["stopped"]


@pytest.mark.usefixtures("impatient")
def test_a_row_that_was_tried_before_fails_when_it_alone_is_left_though_others_were_answered(job, service, called):
    service.script = always(Status(500), "shelf 0")
    one = {**SMALL, "limits": {"concurrency": 1}}
    assert called("run", job(rows_of(1), **one, until={"requests": 1})).returncode == 3
    ended = called("run", job(rows_of(2)[::-1], **one), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (1, 1, 1), ended.stderr


@pytest.mark.usefixtures("impatient")
def test_a_service_that_goes_away_when_few_rows_are_left_ends_the_run(job, service, called):
    service.script = lambda n, _: Reset() if n > 56 else None
    ended = called("run", job(rows_of(60), **SMALL), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"], ended.json["pending"]) == (3, 56, 0, 4)


@pytest.mark.parametrize(
    "body", [b"{}", b"<html>welcome</html>", b'{"choices": []}'], ids=["empty", "a page", "no choice"]
)
def test_answers_that_are_never_of_use_end_the_run_after_some_dozens(body, job, service, called):
    service.script = always(Raw(body))
    ended = called("run", job(rows_of(60), **SMALL), "--json")
    assert ended.returncode == 4
    assert "24 answers, and nothing in any of them can be used" in ended.json["stopped"]
    assert service.requests <= 24 + 8


def events(*choices: dict) -> bytes:
    return (
        b"".join(b"data: " + json.dumps({"choices": [one]}).encode() + b"\n\n" for one in choices) + b"data: [DONE]\n\n"
    )


@pytest.mark.parametrize(
    ("body", "request_fields", "said"),
    [
        pytest.param(
            events({"index": 1, "text": "a"}, {"index": 0, "text": "b"}, {"index": 0, "finish_reason": "stop"}),
            {"stream": True, "n": 2},
            "leave out stream, or n",
            id="as LiteLLM has it: a stream that tells one end for two choices",
        ),
        pytest.param(b'{"choices": [{"text": "a"}]}', {}, "it has no finish_reason", id="a server that tells no ends"),
    ],
)
def test_what_every_answer_lacks_ends_the_run_after_the_first_few(body, request_fields, said, job, called):
    with OwnServer() as own:
        own.script = always(Raw(body, "text/event-stream" if "stream" in request_fields else "application/json"))
        path = job(rows_of(60), **SMALL, request=request_fields, endpoint={"api": "openai", "url": own.url})
        ended = called("run", path, "--json")
        assert (ended.returncode, ended.json["ok"]) == (4, 0)
        assert said in ended.json["stopped"]
        assert own.requests <= 3 + 8


# Budgets and deadlines


@pytest.mark.parametrize("until", [{"cost": 0.05}, {"tokens": 9000}], ids=["dollars", "tokens"])
def test_a_budget_is_spent_before_it_is_taken_for_spent(until, job, service, called):
    """Each of 16 in flight may take 4,000 tokens, and takes some ten."""
    rows = rows_of(1000)
    request = {"model": "palmyra-x5", "max_tokens": 4000}
    ended = called("run", job(rows, request=request, until=until, limits={"concurrency": 16}), "--json")
    prompt, answer = ended.json["prompt_tokens"], ended.json["answer_tokens"]
    spent, allowed = (prompt + answer, 9000) if "tokens" in until else (0.6e-6 * prompt + 6e-6 * answer, 0.05)
    assert ended.returncode == 3, "a thousand rows take more"
    assert spent > 0.8 * allowed, "most of it"
    assert spent < 1.2 * allowed, "and not much more"


def test_a_budget_counts_once_also_where_damaged_answers_are_bought_again(job, called, service):
    """Two new rows are sent, then one of three damaged ones."""
    assert called("run", job(rows_of(10))).returncode == 0
    with closing(sqlite3.connect(job.checkpoint, isolation_level=None)) as db:
        db.execute("UPDATE bodies SET body = x'00' WHERE id IN (SELECT id FROM bodies LIMIT 3)")
    ended = called("run", job(rows_of(12), until={"requests": 3}), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["pending"]) == (3, 10, 2), ended.stderr
    assert service.requests == 10 + 3


def test_a_deadline_is_not_overslept_by_a_wait(job, service, called):
    """Everyone is to wait for longer than is left: then nothing is waited for."""
    service.script = always(Status(429, BUSY, {"Retry-After": "3000"}))
    sections = {"retry": {"attempts": 3, "max_wait": 3600}, "until": {"after": "1s"}}
    ended = called("run", job(rows_of(4), **sections), "--json")
    assert (ended.returncode, ended.json["stopped"]) == (3, "the deadline has come")


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        pytest.param(dt.datetime(2026, 3, 28, 22, tzinfo=BERLIN), 7, id="an hour less in the night to summer time"),
        pytest.param(dt.datetime(2026, 10, 24, 22, tzinfo=BERLIN), 9, id="an hour more in the night to winter time"),
        pytest.param(dt.datetime(2026, 6, 1, 22, tzinfo=BERLIN), 8, id="any other night"),
        pytest.param(dt.datetime(2026, 6, 1, 5, tzinfo=BERLIN), 1, id="this morning"),
        pytest.param(dt.datetime(2026, 6, 1, 6, tzinfo=BERLIN), 24, id="at that very minute: tomorrow"),
    ],
)
def test_six_is_six_on_the_clock(now, hours):
    assert Until(at="06:00").seconds(now) == hours * 3600
