"""Servers, gateways and proxies as they really are: what they say to one row fails that row, what they say to all ends
the run, and nothing that was paid for is lost over how it was said. Real connections, and the server's own counts."""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress
from itertools import chain

import pytest
from msgspec.structs import replace
from support.connections import connection
from support.own_server import OwnServer, answer
from support.service import Delay, Raw, Status, error_body
from support.wire import Proxy, http

from batchgen.api.client import Client
from batchgen.api.outcome import Answer
from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.reader import Reader

pytestmark = pytest.mark.usefixtures("each_pool")
SMALL = {"retry": {"attempts": 3, "max_wait": 0.1}, "limits": {"concurrency": 8}}
BUSY = error_body("fail.tooManyRequestsLimitReached", "slow down")


def rows_of(count: int, name: str = "shelf") -> list[dict[str, str]]:
    return [{"id": f"{number:03}", "name": f"{name} {number}"} for number in range(count)]


def told_to(action, *names: str):
    """Rows of these names, or all of them."""
    prompts = {f"Write about {name}." for name in names}
    return lambda _, body: action if not names or body["prompt"] in prompts else None


def said(body: dict) -> Raw:
    return Raw(json.dumps(body).encode())


# errors inside of a 200

RATE = {"error": {"type": "rate_limit_error", "message": "Rate limit reached"}}
QUOTA = {"choices": [], "error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}
BAD = {"error": {"code": 400, "type": "BadRequestError", "message": "the prompt has a forbidden token"}}


def test_a_bad_request_inside_of_a_200_ends_its_row_and_its_words_are_kept(job, service, called):
    service.script = told_to(said(BAD), "shelf 3")
    ended = called("run", job(rows_of(20), **SMALL), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["sent"]) == (1, 19, 20)
    assert ended.json["possibly_billed"] == 0
    (row,) = [row for row in job.rows() if row["status"] == "failed"]
    assert "the prompt has a forbidden token" in row["error"]


def test_a_quota_inside_of_a_200_ends_the_run(job, service, called):
    service.script = lambda number, _: said(QUOTA) if number > 10 else None
    ended = called("run", job(rows_of(60), **SMALL), "--json")
    assert (ended.returncode, ended.json["failed"], ended.json["possibly_billed"]) == (4, 0, 0)
    assert "You exceeded your current quota" in ended.json["stopped"]
    assert service.requests <= 10 + 8 + 2


def test_a_rate_limit_inside_of_a_200_slows_everybody_and_fails_nobody(job, service, called):
    service.script = lambda number, _: said(RATE) if number % 4 == 0 else None
    ended = called("run", job(rows_of(40), **SMALL), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["possibly_billed"]) == (0, 40, 0)


def test_a_page_is_told_by_what_it_shows(job, service, called):
    page = "<html><head><style>p {}</style></head><body><p>Please <b>sign in</b> first</p></body></html>"
    service.script = told_to(Raw(page.encode(), "text/html"))
    ended = called("run", job(rows_of(60), **SMALL), "--json")
    assert ended.returncode == 4
    assert "a page of HTML: Please sign in first" in ended.json["stopped"]
    assert service.requests <= 24 + 8


# one row stops no night; what all are told does

FIREWALL = "<html>Request blocked: Injection attempt</html>"


@pytest.mark.parametrize("status", [302, 403, 404, 405, 501])
def test_a_status_for_one_row_fails_that_row(status, job, service, called):
    service.script = told_to(Status(status, FIREWALL), "shelf 5")
    ended = called("run", job(rows_of(30), **SMALL), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (1, 29, 1), ended.stderr


@pytest.mark.parametrize("status", [302, 403, 404, 405, 501])
def test_a_status_for_one_row_that_comes_before_any_answer_waits_for_those_in_flight(status, job, service, called):
    """A firewall is faster than a model: a first run ended with its first refusal, and the night with it."""
    refused = told_to(Status(status, FIREWALL), "shelf 0", "shelf 5")
    service.script = lambda number, body: refused(number, body) or Delay(0.3)
    ended = called("run", job(rows_of(30), **SMALL), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (1, 28, 2), ended.stderr


def test_the_first_row_of_all_is_refused_alone(job, service, called):
    """Nothing is in flight with it: the second row decides."""
    service.script = told_to(Status(403, FIREWALL), "shelf 0")
    ended = called("run", job(rows_of(10), limits={"concurrency": 1}), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (1, 9, 1), ended.stderr


@pytest.mark.parametrize(
    ("refused", "other"),
    [
        pytest.param(["shelf 0"], 403, id="as the others are"),
        pytest.param(["shelf 0", "shelf 1"], 429, id="two rows, and the others by their rate"),
        pytest.param(["shelf 0", "shelf 1"], 500, id="two rows, and the others by an error"),
    ],
)
def test_a_refusal_before_any_answer_ends_the_run_if_none_in_flight_is_answered(refused, other, job, service, called):
    alone = told_to(Status(403, FIREWALL), *refused)
    service.script = lambda number, body: alone(number, body) or Status(other)
    ended = called("run", job(rows_of(30), **SMALL), "--json")
    assert (ended.returncode, ended.json["failed"]) == (4, 0), ended.stderr
    assert "403" in ended.json["stopped"]


def test_a_refusal_of_the_only_row_ends_the_run(job, service, called):
    service.script = told_to(Status(403, FIREWALL))
    ended = called("run", job(rows_of(1), **SMALL), "--json")
    assert (ended.returncode, ended.json["failed"], job.rows()[0]["status"]) == (4, 0, "pending"), ended.stderr


def test_a_row_that_is_the_only_new_one_is_judged_by_what_was_answered_before(job, service, called):
    assert called("run", job(rows_of(20), **SMALL), "--quiet").returncode == 0
    service.script = told_to(Status(403, FIREWALL), "shelf 20")
    ended = called("run", job(rows_of(21), **SMALL), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (1, 20, 1)


@pytest.mark.parametrize("status", [403, 404])
def test_a_status_for_all_from_some_moment_on_ends_the_run_and_blames_no_row(status, job, service, called):
    service.script = lambda number, _: Status(status, FIREWALL) if number > 20 else None
    ended = called("run", job(rows_of(100), **SMALL), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (4, 20, 0)
    assert service.requests <= 20 + 2 * 12 + 8


ECHOES = [
    pytest.param("The prompt 'Write about unknown model railways, no longer available.' is too odd", id="the prompt's words"),
    pytest.param("'temperature' is not supported with this model", id="a field that the model lacks"),
]  # fmt: skip


@pytest.mark.parametrize("words", ECHOES)
def test_words_about_something_else_are_no_unknown_model(words, job, service, called):
    rows = [*rows_of(10), {"id": "x", "name": "unknown model railways, no longer available"}]
    service.script = told_to(Status(400, error_body("BadRequest", words)), rows[-1]["name"])
    ended = called("run", job(rows, **SMALL), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (1, 10, 1)


MISTAKES = [
    pytest.param(Status(400, "The plain HTTP request was sent to HTTPS port"), id="http to an https port"),
    pytest.param(Status(400, {"error": {"message": "Authentication Error, Invalid proxy server token"}}), id="LiteLLM's wrong key"),
    pytest.param(Status(500, {"error": {"message": "Authentication Error: no such key"}}), id="a wrong key by 500"),
    pytest.param(Status(422, {"detail": "the model 'x' is pinned here"}), id="a pinned model"),
    pytest.param(Status(400, {"error": {"message": "max_tokens 5000 exceeds 4096"}}), id="max_tokens beyond the context"),
    pytest.param(Status(413, "too large"), id="a body that is too large"),
]  # fmt: skip


@pytest.mark.parametrize("action", MISTAKES)
def test_a_mistake_of_the_job_is_told_once(action, job, service, called):
    service.script = told_to(action)
    ended = called("run", job(rows_of(100), **SMALL), "--json")
    assert ended.returncode == 4, ended.stderr
    words = action.body if isinstance(action.body, str) else next(iter(action.body.values()))
    assert (words if isinstance(words, str) else words["message"]) in ended.json["stopped"]
    assert ended.json["failed"] == 0, "no row is to blame"
    assert service.requests <= 24 + 8


# limits


def test_a_days_quota_ends_the_run_and_says_when_to_come_back(job, service, called, impatient):
    service.script = lambda number, _: Status(429, BUSY, {"Retry-After": "7200"}) if number > 20 else None
    ended = called("run", job(rows_of(60), **SMALL), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (3, 20, 0)
    assert "come back in 2 h" in ended.json["stopped"]
    assert service.requests <= 20 + 3 * 8


def test_one_request_beyond_a_limit_fails_alone(job, service, called):
    large = Status(
        429, {"error": {"message": "Request too large for m on tokens per min: Limit 30000, Requested 45000"}}
    )
    service.script = told_to(large, "shelf 7")
    ended = called("run", job(rows_of(30), **SMALL), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (1, 29, 1)
    assert service.asked["Write about shelf 7."] == 1


@pytest.mark.parametrize("status", [503, 529, 408])
def test_a_full_server_amid_answers_has_a_limit_and_no_row_is_at_fault(status, job, service, called):
    """It works on four at once, and refuses whoever comes beside them: rows have three tries, and need more."""
    service.script = lambda *_: Status(status, "overloaded") if service.in_flight > 4 else Delay(0.05)
    ended = called("run", job(rows_of(60), **{**SMALL, "limits": {"concurrency": 32}}), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (0, 60, 0), ended.stderr
    assert service.requests > 60


@pytest.mark.parametrize("status", [504, 524, 599])
def test_a_gateways_lost_patience_may_have_been_billed(status, job, service, called):
    seen: Counter[str] = Counter()

    def script(_, body):
        seen[body["prompt"]] += 1
        return Status(status, "gateway time-out") if seen[body["prompt"]] == 1 else None

    service.script = script
    ended = called("run", job(rows_of(10), **SMALL), "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["possibly_billed"]) == (0, 10, 10)


# connections


async def test_a_server_that_closes_after_each_answer_costs_nothing():
    """It does not say that it will; the peer's end is there before the next request is sent."""

    async def answers(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        body = b'{"choices": [{"text": "x"}]}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Client(connection(url, patience=5)) as client:
        outcomes = [await client.attempt(b"{}", "m") for _ in range(10)]
    assert [(outcome.resent, outcome.lost) for outcome in outcomes] == [(0, 0)] * 10


@pytest.mark.usefixtures("keeping_pool")
@pytest.mark.parametrize("slots", [1, 16])
async def test_a_server_that_closes_soon_after_each_stream_costs_nothing(slots):
    """As llama.cpp's server does, though it says Keep-Alive."""
    conversations, unread = [], []

    async def answers(reader, writer):
        conversations.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        event = b'data: {"value": "x"}\n\n'
        head = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(event), event))
        await asyncio.sleep(0.01)  # a request that comes meanwhile meets the close
        unread.append(len(reader._buffer))
        writer.close()
        await writer.wait_closed()

    async def rows(client) -> list[Answer]:
        return [await client.attempt(b"{}", "m") for _ in range(160 // slots)]

    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Client(connection(url)) as client:
        outcomes = [*chain.from_iterable(await asyncio.gather(*(rows(client) for _ in range(slots))))]
    await asyncio.gather(*conversations)
    assert [(outcome.resent, outcome.lost) for outcome in outcomes] == [(0, 0)] * 160
    assert not sum(unread)


@pytest.mark.usefixtures("keeping_pool")
async def test_a_kept_connection_that_ends_is_no_try_of_the_row():
    """It closes without an answer whatever is the second on a connection, having read it."""

    conversations = []

    async def answers(reader, writer):
        conversations.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError):
            for number in range(2):
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
                if number == 0:
                    body = b'{"choices": [{"text": "x"}]}'
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Client(connection(url, patience=5)) as client:
        first, second = [await client.attempt(b"{}", "m") for _ in range(2)]
    await asyncio.gather(*conversations)
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert (first.resent, second.resent, second.lost) == (0, 1, 1), "sent again at once; the first may have been read"


def test_a_stream_without_its_end_is_a_cut_once_one_has_had_it(job, service, called):
    seen: Counter[str] = Counter()

    def script(_, body):
        seen[body["prompt"]] += 1
        is_cut = body["prompt"] == "Write about shelf 9." and seen[body["prompt"]] == 1
        events = b'data: {"value": "half"}\n\n' if is_cut else b'data: {"value": "whole"}\n\ndata: [DONE]\n\n'
        return Raw(events, "text/event-stream")

    service.script = script
    path = job(rows_of(10), **{**SMALL, "limits": {"concurrency": 1}}, request={"stream": True})
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["sent"]) == (0, 10, 11)
    assert {row["text"] for row in job.rows()} == {"whole"}


@pytest.mark.parametrize(
    ("again", "sections", "bought"),
    [
        pytest.param([], {}, 0, id="and not bought"),
        pytest.param(["--fresh"], {}, 5, id="but not by a fresh run, which buys all"),
        pytest.param(["--fresh"], {"check": {"min_chars": 1}}, 5, id="nor by one that checks what is stored"),
    ],
)
def test_what_an_earlier_version_could_not_use_is_read_again(again, sections, bought, job, called):
    """Written as if by a version that knew no chunk without a text."""
    with OwnServer() as own:
        path = job(rows_of(5), **SMALL, **sections, endpoint={"api": "openai", "url": own.url})
        own.script = told_to(Raw(b'{"choices": []}'), "shelf 2")
        assert called("run", path).returncode == 1
        with closing(Reader(job.checkpoint)) as reader:
            (id_, *_) = reversed(reader.ids_of("unusable"))
            (record,) = reader.records([id_]).values()
        body = json.dumps(answer({"prompt": "Write about shelf 2.", "model": "palmyra-x5"})).encode()
        with closing(Checkpoint(job.checkpoint)) as checkpoint:
            checkpoint.add([replace(record, body=body, attempts=record.attempts + 1)])
        own.script = None
        before = own.requests
        ended = called("run", path, *again, "--json")
        assert (ended.returncode, ended.json["ok"], own.requests - before) == (0, 5, bought), ended.stderr
    assert all(row["text"] for row in job.rows())


@pytest.mark.parametrize("again", [[], ["--fresh"]], ids=["plain", "fresh"])
def test_a_stream_that_was_cut_is_no_answer_later_either(again, job, service, called):
    def script(_, body):
        is_cut = body["prompt"] == "Write about shelf 9."
        events = b'data: {"value": "half"}\n\n' if is_cut else b'data: {"value": "whole"}\n\ndata: [DONE]\n\n'
        return Raw(events, "text/event-stream")

    service.script = script
    path = job(rows_of(10), **{**SMALL, "limits": {"concurrency": 1}}, request={"stream": True})
    assert called("run", path, "--quiet").returncode == 1
    service.script = lambda *_: Raw(b'data: {"value": "whole"}\n\ndata: [DONE]\n\n', "text/event-stream")
    assert called("run", path, *again, "--json").json["ok"] == 10
    assert {row["text"] for row in job.rows()} == {"whole"}


def test_errors_inside_of_a_stream_are_read_once_an_end_was_seen(job, service, called):
    quota = b'data: {"error": {"code": "insufficient_quota", "message": "used up"}}\n\n'
    whole = b'data: {"value": "whole"}\n\ndata: [DONE]\n\n'
    service.script = lambda number, _: Raw(quota if number > 10 else whole, "text/event-stream")
    ended = called("run", job(rows_of(40), **SMALL, request={"stream": True}), "--json")
    assert (ended.returncode, ended.json["failed"], ended.json["possibly_billed"]) == (4, 0, 0)


def test_what_is_undecided_when_a_budget_ends_the_run_is_tried_again(job, service, called):
    """Who was refused last may have been refused as all would have been."""
    service.script = lambda number, _: Status(403, FIREWALL) if number > 10 else None
    path = job(rows_of(40), **SMALL, until={"requests": 15})
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (3, 10, 0)
    service.script = None
    assert called("run", job(rows_of(40), **SMALL), "--json").json["ok"] == 40


@pytest.mark.usefixtures("keeping_pool")
async def test_a_server_that_closes_what_it_should_keep_leaves_nothing_open():
    """Each second request on a connection finds it closed; soon none is kept."""
    conversations = []

    async def answers(reader, writer):
        conversations.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
            body = b'{"choices": [{"text": "x"}]}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await reader.readuntil(b"\r\n\r\n")  # and no answer
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Client(connection(url, patience=5)) as client:
        outcomes = [await client.attempt(b"%02d" % n, "m") for n in range(40)]
        assert len(client._pool._idle) <= 1
    await asyncio.gather(*conversations)
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert sum(outcome.resent for outcome in outcomes) <= 4


def test_a_proxys_password_is_taken_out_of_what_is_said(job, called):
    login = "ann:s3cret-of-ann"
    page = f"Forbidden. You sent Basic {base64.b64encode(login.encode()).decode()} for {login}".encode()
    with Proxy(http(page, status="403 Forbidden")) as proxy:
        endpoint = {"api": "openai", "url": "http://127.0.0.1:9", "proxy": proxy.url, "proxy_env": "OUR_PROXY"}
        ended = called("run", job(rows_of(3), **SMALL, endpoint=endpoint), "-v", env={"OUR_PROXY": login})
    assert ended.returncode == 4
    assert "s3cret" not in ended.stdout + ended.stderr
    assert base64.b64encode(login.encode()).decode() not in ended.stdout + ended.stderr


# proxies


def test_a_proxy_that_wants_a_password_ends_the_run_at_once(job, called):
    refusal = http(b"", status="407 Proxy Authentication Required")
    with OwnServer() as own, Proxy(refusal) as proxy:
        endpoint = {"api": "openai", "url": own.url, "proxy": proxy.url}
        ended = called("run", job(rows_of(30), **SMALL, endpoint=endpoint), "--json")
        assert ended.returncode == 4
        assert "proxy_env" in ended.json["stopped"]
        assert own.requests == 0
        assert len(proxy.connects) <= 8


LOGINS = [
    pytest.param("ann:s3cret-of-ann", True, id="user and password, beside the job's proxy"),
    pytest.param("http://ann:s3cret%2Dof-ann@{place}", False, id="a whole address"),
]


@pytest.mark.parametrize(("value", "named"), LOGINS)
def test_http_without_a_key_goes_through_a_proxy_with_its_password(value, named, job, called):
    body = json.dumps(answer({"prompt": "any", "model": "m"})).encode()
    with Proxy(http(body)) as proxy:
        place = proxy.url.removeprefix("http://")
        endpoint = {"api": "openai", "url": "http://127.0.0.1:9", "proxy_env": "OUR_PROXY"}
        endpoint |= {"proxy": proxy.url} if named else {}
        path = job(rows_of(3), **SMALL, endpoint=endpoint)
        ended = called("run", path, "--json", env={"OUR_PROXY": value.replace("{place}", place)})
        assert (ended.returncode, ended.json["ok"]) == (0, 3), ended.stderr
        head = proxy.connects[0].decode()
    assert head.startswith("POST http://127.0.0.1:9/v1/completions HTTP/1.1")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'ann:s3cret-of-ann').decode()}" in head
    everything = ended.stdout + ended.stderr + path.read_text() + str(job.checkpoint.read_bytes())
    assert "s3cret" not in everything


@pytest.mark.parametrize("value", ["", "just-a-word", "ftp://ann:pw@host", "http://ann:pw@host/path"])
def test_a_proxy_that_cannot_be_is_refused_and_not_shown(value, job, called):
    endpoint = {"api": "openai", "url": "http://127.0.0.1:9", "proxy_env": "OUR_PROXY"}
    ended = called("run", job(rows_of(3), endpoint=endpoint), env={"OUR_PROXY": value})
    assert ended.returncode == 2
    assert "OUR_PROXY" in ended.stderr
    assert not value or value not in ended.stderr


# what is said, and what a machine must have


def test_why_nothing_gets_through_is_said_while_it_lasts(job, service, called, impatient):
    ended = called("run", job(rows_of(20), **SMALL), env={"WRITER_BASE_URL": "http://127.0.0.1:9"})
    assert ended.returncode == 3
    assert "nothing gets through: unsent: no connection: 127.0.0.1:9: Connect" in ended.stderr


def test_too_few_open_files_are_told_before_anything_is_sent(job, service, start, tmp_path):
    path = job(rows_of(3), limits={"concurrency": 500})
    command = [str(sys.executable), "-m", "batchgen", "run", str(path)]
    env = {"WRITER_BASE_URL": service.url, "WRITER_API_KEY": service.key, "PATH": "", "HOME": str(tmp_path)}
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))  # noqa: E731
    ended = subprocess.run(command, env=env, preexec_fn=few, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, service.requests) == (2, 0)
    assert "500 requests in flight need 628 open files, and this process may have 300" in ended.stderr
    assert "set it to 172 at most, or raise" in ended.stderr
    fewer = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # noqa: E731
    ended = subprocess.run(command, env=env, preexec_fn=fewer, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, "set it to" in ended.stderr) == (2, False), "one in flight has not enough, either"
    low = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (300, 4096))  # noqa: E731
    ended = subprocess.run(command, env=env, preexec_fn=low, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, "the soft limit is raised"


def test_log_probs_that_never_come_and_choices_that_nobody_asked_for_are_told(job, called):
    def script(_, body):
        said = answer({**body, "logprobs": None})
        return Raw(json.dumps({**said, "choices": [{**said["choices"][0], "index": n} for n in range(3)]}).encode())

    with OwnServer() as own:
        own.script = script
        endpoint = {"api": "openai", "url": own.url}
        ended = called("run", job(rows_of(4), **SMALL, endpoint=endpoint, request={"logprobs": 2}))
    assert ended.returncode == 0
    assert "request.logprobs: no answer of the server had any" in ended.stderr
    assert "4 answers had more choices than were requested" in ended.stderr
