"""Several servers for one job: who is asked next, on a clock of the test's own; and real servers, one of which is
killed and brought back in the middle."""

import asyncio
import json
import logging
import math
import socket
import time
from collections import Counter
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.connections import connection
from support.own_server import OwnServer
from support.service import Delay, Hold, Raw, Service, Status, error_body

from batchgen.api.failure_kinds import Kind
from batchgen.api.never_sent import NeverSent
from batchgen.api.outcome import Answer, Failure
from batchgen.send.concurrency import AdaptiveConcurrency
from batchgen.send.engines.load_balancer import LoadBalancer
from batchgen.send.engines.per_server import ConcurrencyPerServer
from batchgen.send.engines.server_pool import FAILURES_IN_A_ROW, FIRST_COOLDOWN, MAX_COOLDOWN, Server, ServerPool
from batchgen.send.limits import RateLimiter

MODEL_GONE = error_body("fail.notFound", "Model m not found")


def pool_of(count: int) -> ServerPool:
    return ServerPool([Server() for _ in range(count)])


def ask(some: ServerPool, now: float = 0.0, tried: frozenset[int] = frozenset()) -> int | None:
    at = some.choose(now, set(tried))
    if at is not None:
        some.begin(at, now)
    return at


# who is asked next


def test_the_freest_is_asked_and_equals_take_turns():
    some = pool_of(3)
    assert [ask(some) for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    some.end(1, 0.0)
    assert [ask(some), ask(some)] == [1, 0]


@given(st.lists(st.integers(0, 4), max_size=60))
def test_no_sound_server_has_two_requests_more_than_another(ends):
    some = pool_of(3)
    in_flight: list[int] = []
    for end in ends:
        in_flight.append(ask(some))
        busy = [server.in_flight for server in some.servers]
        assert busy[in_flight[-1]] <= min(busy) + 1
        if end < len(in_flight):
            some.end(in_flight.pop(end), 0.0)


def test_a_sick_server_rests_longer_each_time_and_is_tried_by_one_request():
    some = pool_of(2)
    now, rests = 0.0, []
    for _ in range(9):
        some.begin(0, 0.0)
        some.end(0, 0.0)
        some.mark_down(0, now, now)
        rests.append(some.servers[0].cooldown)
        assert {ask(some, now), ask(some, now + rests[-1] - 0.001)} == {1}
        now += rests[-1]
        assert [ask(some, now), ask(some, now), ask(some, now)] == [0, 1, 1]
    assert rests == [min(MAX_COOLDOWN, FIRST_COOLDOWN * 2**n) for n in range(9)]
    some.mark_up(0)
    assert ask(some, now) == 0
    some.mark_down(0, now, now)
    assert some.servers[0].cooldown == FIRST_COOLDOWN


def test_requests_that_fail_together_make_one_rest():
    some = pool_of(2)
    for _ in range(50):
        some.begin(0, 0.0)
    for end in range(50):
        some.mark_down(0, 0.0, 1 + end / 100)
    assert some.servers[0].cooldown == FIRST_COOLDOWN
    some.mark_down(0, 0.0, 29.0)
    assert some.servers[0].cooldown == FIRST_COOLDOWN, "one that was sent before, and took its time, is none"
    some.mark_down(0, 1.5, 30.0)
    assert some.servers[0].cooldown == 2 * FIRST_COOLDOWN, "one that was sent since is news"


def test_a_server_that_asks_for_rest_gets_it_within_bounds():
    some = pool_of(1)
    some.mark_down(0, 0.0, 0.0, 7.0)
    assert some.servers[0].cooldown == 7.0
    some.mark_down(0, 8.0, 8.0, 1e9)
    assert some.servers[0].cooldown == MAX_COOLDOWN


def test_a_server_that_asks_for_a_moment_each_time_rests_longer_each_time():
    some = pool_of(1)
    now, rests = 0.0, []
    for _ in range(8):
        some.mark_down(0, now, now, 0.005)
        rests.append(some.servers[0].cooldown)
        now += rests[-1]
    assert rests == [0.005, *(min(MAX_COOLDOWN, FIRST_COOLDOWN * 2**n) for n in range(7))]
    some.mark_up(0)
    some.mark_down(0, now, now, 0.005)
    assert some.servers[0].cooldown == 0.005, "once it has answered it is believed"


def test_where_all_rest_each_is_asked_in_turn_and_none_twice_for_one_request():
    some = pool_of(3)
    for at in range(3):
        some.mark_down(at, 0.0, 0.0)
    assert [ask(some) for _ in range(4)] == [0, 1, 2, 0]
    assert ask(some, 0.0, frozenset({0})) is None
    assert ask(some, FIRST_COOLDOWN, frozenset({0})) is None, "somebody tries the others already"
    some.mark_down(1, FIRST_COOLDOWN, FIRST_COOLDOWN)
    assert ask(some, 9.0, frozenset({0})) == 1


def test_failures_without_an_answer_between_make_a_server_sick():
    some = pool_of(2)
    for _ in range(5):
        for _ in range(FAILURES_IN_A_ROW - 1):
            some.failed(0, 0.0, 0.0, at_once=False)
        assert not some.servers[0].cooldown
        some.mark_up(0)
    for _ in range(FAILURES_IN_A_ROW):
        some.failed(0, 0.0, 0.0, at_once=False)
    assert some.servers[0].cooldown


# each with its own number in flight


def numbered(*numbers: int) -> tuple[ServerPool, ConcurrencyPerServer]:
    servers = [Server(concurrency=AdaptiveConcurrency(64, number)) for number in numbers]
    return ServerPool(servers), ConcurrencyPerServer(servers, [f"server {at}" for at in range(len(servers))])


def test_a_server_that_refuses_gets_as_many_as_it_takes():
    pool, numbers = numbered(40, 40)
    for _ in range(80):
        ask(pool)
    assert numbers.most == 80
    for beside in range(9, 41):
        pool.refused(0, 1.0, 1.1, beside)
    assert (pool.servers[0].most, pool.servers[1].most) == (8, 40)
    pool.answered(0, 1.0, 1.5, 50, 8)
    assert pool.servers[0].concurrency.most == 8, "and no fewer: one burst is one cut"


def test_what_hangs_at_one_server_takes_nothing_from_another():
    pool, numbers = numbered(40, 40)
    pool.servers[0].in_flight = 40
    pool.mark_down(0, 0.0, 1.0)
    assert numbers.most == 40 + 40
    assert ask(pool, 1.5) == 1


def test_time_outs_at_one_server_hold_back_no_other():
    """Where one number is all servers', they lower what may be in flight at all."""
    _, numbers = numbered(40, 40)
    limits = RateLimiter(None, None, 0.0)
    for found, most in ((numbers, math.inf), (AdaptiveConcurrency(64, 40), 1)):
        limits.auto = found
        limits.answered(5.0, 4.0, 100, 50, 1)
        limits.unanswered(20.0, 0.0)
        assert limits.window.max_in_flight == most


def test_each_move_is_told_once_and_says_whose_it_is():
    pool, numbers = numbered(4, 4)
    pool.answered(0, 0.0, 1.0, 50, 4)
    first = numbers.moves
    assert [(one.most, one.why) for one in first] == [(4, "server 0: the start")]
    pool.answered(1, 0.0, 2.0, 50, 4)
    assert numbers.moves is first, "what was stored is not stored again"
    assert [(one.most, one.why) for one in first][1:] == [(8, "server 1: the start")]


# with real servers


@pytest.fixture
def three():
    with Service() as a, Service() as b, Service() as c:
        yield a, b, c


def balancer_of(urls: list[str], clock=time.monotonic, **more) -> LoadBalancer:
    return LoadBalancer(connection(*urls, **more), clock)


def closed() -> str:
    """An address at which nobody listens."""
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{plug.getsockname()[1]}"


def body(n: int) -> bytes:
    return json.dumps({"model": "m", "prompt": f"prompt {n}"}).encode()


async def test_what_could_not_be_sent_goes_to_another_at_once(three):
    urls = [closed(), three[0].url, closed(), three[1].url]
    async with balancer_of(urls) as some:
        outcomes = await asyncio.gather(*(some.attempt(body(n), "m") for n in range(40)))
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert (three[0].served + three[1].served).total() == 40
    assert min(three[0].served.total(), three[1].served.total()) >= 15


async def test_where_nobody_can_be_reached_the_failure_is_the_pumps():
    urls = [closed(), closed()]
    async with balancer_of(urls) as some:
        told = [await some.attempt(body(n), "m") for n in range(3)]
    assert {failure.kind for failure in told} == {Kind.UNSENT}
    assert all(any(failure.message.startswith(f"{url}: no connection") for url in urls) for failure in told)


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        pytest.param(Status(404), Kind.MISDIRECTED, id="a wrong address"),
        pytest.param(Status(401), Kind.KEY, id="a key it does not take"),
        pytest.param(Status(404, MODEL_GONE), Kind.MODEL, id="a model it has not"),
    ],
)
async def test_a_refusal_is_the_servers_while_another_serves_and_then_the_runs(three, action, kind):
    now = 0.0
    for server in three[:2]:
        server.script = lambda *_: action
    async with balancer_of([server.url for server in three], clock=lambda: now) as some:
        told = [await some.attempt(body(n), "m") for n in range(9)]
        assert [failure.kind for failure in told[:2]] == [Kind.TRANSIENT] * 2
        assert all(isinstance(outcome, Answer) for outcome in told[2:]), "the refusing two rest"
        three[2].script = lambda *_: action
        assert (await some.attempt(body(9), "m")).kind is kind


REFUSALS = {
    "a wrong address": Status(404),
    "a method it does not know": Status(405),
    "a permission": Status(403),
    "a login page": Status(302, headers={"Location": "/login"}),
    "a request it does not understand": Status(400),
}


@pytest.mark.parametrize("action", REFUSALS.values(), ids=REFUSALS)
async def test_what_one_that_served_refuses_goes_to_another_at_once(three, action):
    """Its rows are answered, and it gets no more of them."""
    good, bad = three[:2]
    bad.script = lambda n, _: action if n > 20 else None
    async with balancer_of([good.url, bad.url], clock=lambda: 0.0) as some:
        told = [await some.attempt(body(n), "m") for n in range(100)]
    assert all(isinstance(one, Answer) for one in told)
    assert (bad.served.total(), bad.requests - 20 <= FAILURES_IN_A_ROW) == (20, True)
    assert sum(one.resent for one in told) == bad.requests - 20


@pytest.mark.parametrize("action", REFUSALS.values(), ids=REFUSALS)
async def test_what_two_refuse_alike_is_the_rows(three, action):
    for server in three[:2]:
        server.script = lambda _, asked: action if asked["prompt"] == "prompt 50" else None
    async with balancer_of([server.url for server in three[:2]], clock=lambda: 0.0) as some:
        told = [await some.attempt(body(n), "m") for n in range(100)]
        assert not any(server.cooldown for server in some.pool.servers)
    assert [n for n, one in enumerate(told) if not isinstance(one, Answer)] == [50]
    assert (told[50].status, told[50].resent) == (action.status, 1)


async def test_what_may_leave_only_once_comes_again_later(three):
    good, bad = three[:2]
    async with balancer_of([bad.url, good.url], clock=lambda: 0.0) as some:
        assert isinstance(await some.attempt(body(0), "m"), Answer)
        bad.script = lambda *_: Status(404)
        told = [await some.attempt(body(n), "m", new_connection=True) for n in (1, 2)]
    assert [getattr(one, "kind", None) for one in told] == [None, Kind.TRANSIENT]
    assert (good.requests, bad.requests) == (1, 2)


async def test_one_that_refuses_what_others_answer_refuses_no_run_while_those_are_away(three):
    good, bad = three[:2]
    now = 0.0
    async with balancer_of([good.url, bad.url], clock=lambda: now) as some:
        for n in range(2):
            assert isinstance(await some.attempt(body(n), "m"), Answer)
        bad.script = lambda *_: Status(404)
        for n in range(2, 10):
            assert isinstance(await some.attempt(body(n), "m"), Answer)
        good.script = lambda *_: Status(503)
        told = [await some.attempt(body(n), "m") for n in range(10, 30)]
    assert {one.kind for one in told} == {Kind.TRANSIENT}


class Unread:
    """A server whose kept connection was closed after the request had left, and that cannot be reached again. `lost`:
    the request may have been read."""

    def __init__(self, lost: int) -> None:
        self._lost = lost

    async def attempt(self, *_: object, **__: object) -> Failure:
        return Failure(Kind.UNSENT, "no connection").after(resent=1, lost=self._lost)


class Opening:
    """A server to which a connection never opens."""

    async def attempt(self, *_: object, **__: object) -> Failure:
        try:
            await asyncio.sleep(math.inf)
        except asyncio.CancelledError:
            raise NeverSent from None


class Misdirected:
    async def attempt(self, *_: object, **__: object) -> Failure:
        return Failure(Kind.MISDIRECTED, "404", 404)


CANCELLED = {
    "the first may have read it": (Unread(lost=1), asyncio.CancelledError, None),
    "it left, and was not read": (Unread(lost=0), NeverSent, 1),
    "the first refused it": (Misdirected(), NeverSent, 1),
    "it never left": (Opening(), NeverSent, 0),
}


@pytest.mark.parametrize(("first", "raised", "left"), CANCELLED.values(), ids=CANCELLED)
async def test_what_is_cancelled_at_the_second_server_cost_nothing_unless_the_first_may_have_read_it(
    first, raised, left
):
    some = balancer_of(["http://127.0.0.1:1", "http://127.0.0.1:2"])
    some._clients = [first, Opening()]
    some.pool.servers[0].has_answered = True
    attempt = asyncio.create_task(some.attempt(body(0), "m"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await attempt
    assert type(cancelled.value) is raised
    assert left is None or cancelled.value.failure.resent == left


async def test_a_rows_own_model_is_no_servers_fault(three):
    three[0].script = lambda *_: Status(404, MODEL_GONE)
    async with balancer_of([server.url for server in three], fatal_kinds=frozenset({Kind.KEY})) as some:
        assert (await some.attempt(body(0), "m")).kind is Kind.MODEL
        assert not some.pool.servers[0].cooldown


@pytest.mark.parametrize("status", [429, 503])
async def test_nobody_waits_for_one_that_is_busy(three, status):
    three[0].script = lambda *_: Status(status, headers={"Retry-After": "20"})
    now = 0.0
    async with balancer_of([server.url for server in three[:2]], clock=lambda: now) as some:
        told = await some.attempt(body(0), "m")
        assert (told.status, told.others_serve, told.retry_after) == (status, True, None)
        assert [isinstance(await some.attempt(body(n), "m"), Answer) for n in range(1, 5)] == [True] * 4
        three[1].script = three[0].script
        told = await some.attempt(body(9), "m")
        assert (told.status, told.others_serve, told.retry_after) == (status, False, 20)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(Status(200, {"error": {"message": "too many requests", "code": 429}}), id="within a 200"),
        pytest.param(Status(500, {"error": {"message": "Context size has been exceeded."}}), id="for its context"),
    ],
)
async def test_one_that_is_busy_in_other_words_rests_as_one_that_says_429(three, said):
    """It answers at once, and so has the fewest requests in flight: it would get nearly all of them."""
    three[0].script = lambda *_: said
    async with balancer_of([server.url for server in three[:2]], clock=lambda: 0.0) as some:
        told = [await some.attempt(body(n), "m") for n in range(20)]
    assert [getattr(one, "kind", None) for one in told].count(Kind.BUSY) == three[0].requests == 1


async def test_a_broken_server_rests_after_a_few_failures(three):
    three[0].script = lambda *_: Raw(b"garbage")
    async with balancer_of([server.url for server in three[:2]]) as some:
        told = [await some.attempt(body(n), "m") for n in range(20)]
    assert [getattr(one, "kind", None) for one in told].count(Kind.UNUSABLE) == FAILURES_IN_A_ROW
    assert three[1].served.total() == 20 - FAILURES_IN_A_ROW


async def test_a_server_that_is_down_is_told_of_once_and_so_is_its_return(three, caplog):
    """Not at once: one that is started anew is back in a second."""
    caplog.set_level(logging.INFO)
    now = [0.0]
    three[0].script = lambda *_: Status(500)
    async with balancer_of([server.url for server in three[:2]], lambda: now[0]) as some:
        for _ in range(40):
            await some.attempt(body(1), "m")
            now[0] += 0.5
        assert [record.getMessage() for record in caplog.records] == [
            f"warning: {three[0].url}: 500; the other servers get its requests"
        ]
        three[0].script = None
        for _ in range(70):
            await some.attempt(body(1), "m")
            now[0] += 1
    assert [record.getMessage() for record in caplog.records][1:] == [f"{three[0].url} answers again"]


async def test_a_server_that_refuses_by_rate_is_none_that_is_down(three, caplog):
    now = [0.0]
    three[0].script = lambda *_: Status(429, headers={"Retry-After": "20"})
    async with balancer_of([server.url for server in three[:2]], lambda: now[0]) as some:
        for _ in range(40):
            await some.attempt(body(1), "m")
            now[0] += 1
    assert three[0].requests >= 2
    assert not caplog.records


# whole jobs


def rows(count: int) -> list[dict[str, str]]:
    return [{"id": f"r{n}", "name": f"product {n}"} for n in range(count)]


def test_a_job_on_several_servers_is_known_by_its_name(job, called):
    """A server more or less buys nothing again."""
    with ExitStack() as stack:
        servers = [stack.enter_context(OwnServer()) for _ in range(3)]
        urls = [server.url for server in servers]
        endpoint = {"api": "openai", "name": "ours", "url": urls[:2]}
        assert called("run", job(rows(40), endpoint=endpoint)).returncode == 0
        assert min(server.served.total() for server in servers[:2]) >= 15
        ended = called("run", job(rows(50), endpoint={**endpoint, "url": urls[:0:-1]}), "--json")
        assert (ended.returncode, ended.json["sent"], servers[0].served.total() < 41) == (0, 10, True)
        assert servers[2].served.total() >= 3
        assert called("plan", job(rows(50), endpoint=endpoint)).stdout.count("ours") == 1
        assert sum((server.served for server in servers), Counter()) == Counter(
            f"Write about {r['name']}." for r in rows(50)
        )


def test_a_job_where_one_server_is_loading_slows_nobody(job, batchgen):
    """Were anybody to wait as that one asks, the run would not end today."""
    with OwnServer() as loading, OwnServer() as sound:
        loading.script = lambda *_: Status(503, headers={"Retry-After": "80000"})
        endpoint = {"api": "openai", "name": "ours", "url": [loading.url, sound.url]}
        ended = batchgen("run", job(rows(30), endpoint=endpoint, retry={"max_wait": 80000}), "--json")
        assert (ended.returncode, sound.served.total()) == (0, 30)
        assert ended.json["retries"] == loading.requests <= 8


def test_a_job_that_no_server_takes_ends(job, called):
    with Service() as a, Service() as b:
        a.script = b.script = lambda *_: Status(401, error_body("fail.unauthorized", "no"))
        path = job(rows(30), endpoint={"name": "ours", "url": [a.url, b.url]}, limits={"concurrency": 2})
        ended = called("run", path)
        assert ended.returncode == 4
        assert a.requests + b.requests <= 4


@pytest.mark.parametrize("before", [20, 0], ids=["served", "said once that a request was invalid"])
def test_a_job_is_served_by_one_though_the_other_goes_astray(job, called, before):
    """The one that refuses is the quickest, so that it would get most of the rows."""
    with OwnServer() as sound, OwnServer() as astray:
        sound.script = lambda *_: Delay(0.02)
        astray.script = lambda n, _: None if n <= before else Status(400) if n == 1 else Status(404)
        endpoint = {"api": "openai", "name": "ours", "url": [astray.url, sound.url]}
        ended = called("run", job(rows(400), endpoint=endpoint), "--json")
    assert (ended.returncode, ended.json["ok"]) == (0, 400), ended.stderr
    assert astray.served.total() == before
    assert ended.json["sent"] == astray.requests + sound.requests
    assert sum(row["attempts"] for row in job.rows()) == ended.json["sent"]


def test_a_server_dies_and_comes_back_and_nothing_is_lost(job, start, ended):
    """It dies with requests in flight; what each server billed is counted by the servers."""
    count, held = 300, 4
    with OwnServer() as b, OwnServer() as c:
        b.script = c.script = lambda *_: Delay(0.1)
        with OwnServer() as a:
            a.script = lambda n, _: Hold() if n > 30 else None
            endpoint = {"api": "openai", "name": "ours", "url": [a.url, b.url, c.url]}
            run = start("run", job(rows(count), endpoint=endpoint, limits={"concurrency": 3 * held}), "--json")
            a.wait(lambda a: a.served.total() == 30 and a.in_flight == held)
        with OwnServer(port=a.port) as again:
            again.wait(lambda again: again.served.total() >= 10)
            told = ended(run)
    assert told.returncode == 0, told.stderr
    summary = told.json
    assert (summary["ok"], summary["failed"]) == (count, 0)
    assert summary["sent"] - count == summary["possibly_billed"] == a.in_flight_max
    assert a.served + b.served + c.served + again.served == Counter(
        f"Write about {row['name']}." for row in rows(count)
    )
    assert abs(b.served.total() - c.served.total()) <= count // 20, "the load is spread"
    assert Counter(row["attempts"] for row in job.rows()) == {1: count - held, 2: held}
