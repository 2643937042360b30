"""The rig: each option of `batchgen serve` against a real server, its arithmetic on a clock of the test's own, and a
night on it with everything that may go wrong."""

import asyncio
import json
import re
import statistics
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from itertools import product
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from support.built_in import serving
from support.service import PATIENCE

from batchgen.cli import main
from batchgen.errors import UsageError
from batchgen.send.retry import MAX_BILLED_TRIES
from batchgen.simulator import responses
from batchgen.simulator.faults import PERMANENT, SPOILED, Faults, FaultSource, Latency, Outages
from batchgen.simulator.ledger import digest
from batchgen.simulator.limits import Admission, Bucket
from batchgen.simulator.options import ServerOptions, read
from batchgen.simulator.server import make_app

FOREVER = "3600"
"""Seconds, and more than any test has."""
PASSING = ("408", "409", "429", "500", "502", "503", "504", "507", "529")


class Asker:
    """A client of the simplest kind: one request, and what became of it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, prompt: str, **fields) -> tuple[str, bytes, dict[str, str]]:
        """(status or how the connection ended, body, headers)."""
        body = {"model": "palmyra-x5", "prompt": prompt, "max_tokens": 5, **fields}
        answer = b""
        headers: dict[str, str] = {}
        try:
            async with self._session.post("/v1/completions", json=body) as response:
                headers = dict(response.headers)
                async for chunk in response.content.iter_any():
                    answer += chunk
                return str(response.status), answer, headers
        except aiohttp.ClientPayloadError:
            return "cut", answer, headers
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            return "reset", answer, headers

    async def in_two(self, prompt: str, **fields) -> tuple[bytes, bytes]:
        """An answer's first bytes, as soon as there are any, and the others."""
        body = {"model": "palmyra-x5", "prompt": prompt, **fields}
        async with self._session.post("/v1/completions", json=body) as response:
            return await response.content.readany(), await response.read()

    async def statuses(self, prompts) -> list[str]:
        return [(await self.ask(prompt))[0] for prompt in prompts]

    async def models(self) -> str:
        async with self._session.get("/v1/models") as response:
            return await response.text()

    async def ledger(self) -> dict:
        async with self._session.get("/ledger") as response:
            return await response.json()

    async def until(self, true) -> dict:
        """The ledger, once `true(ledger)`."""
        async with asyncio.timeout(PATIENCE):
            while not true(ledger := await self.ledger()):
                pass
        return ledger


@pytest.fixture(scope="module")
def faultless():
    """The URL of a server without any option."""
    with serving() as url:
        yield url


@asynccontextmanager
async def calling(url: str):
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=PATIENCE)
    key = {"Authorization": "Bearer any"}
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout, headers=key) as session:
        yield Asker(session)


@asynccontextmanager
async def asking(*options):
    with serving(*options) as url:
        async with calling(url) as asker:
            yield asker


@asynccontextmanager
async def waiting(asker: Asker, prompts):
    """Clients that wait for an answer to each prompt, and go."""
    tasks = [asyncio.create_task(asker.ask(prompt)) for prompt in prompts]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def prompts(count: int) -> list[str]:
    return [f"Write about stove number {n}." for n in range(count)]


def shares(kinds, share: float) -> list[str]:
    return [option for kind in kinds for option in ("--fault", f"{kind}={share}")]


def tell_error(body: bytes) -> str:
    """An error's `tpe`, of a body that is the contract's."""
    error = json.loads(body)
    assert error == {
        "tpe": error["tpe"],
        "errors": [{"description": error["errors"][0]["description"], "key": None, "extras": None}],
        "extras": None,
    }
    return error["tpe"]


# the limits


def test_a_bucket_starts_full_and_fills_at_its_rate():
    bucket = Bucket(per_minute=120, holds=4)
    waits = []
    for now in (0, 0, 0, 0, 0, 0.25, 0.5, 0.5, 100, 100, 100, 100, 100):
        waits.append(bucket.wait(now, 1))
        if not waits[-1]:
            bucket.take(now, 1)
    assert waits == [0, 0, 0, 0, 0.5, 0.25, 0, 0.5, 0, 0, 0, 0, 0.5]


def test_what_a_bucket_said_to_wait_is_enough():
    for per_minute, cost in product((1, 7, 400, 25_000), (1, 3, 77.7)):
        bucket, now = Bucket(per_minute, holds=cost), 12345.678
        for _ in range(50):
            bucket.take(now, cost)
            now += bucket.wait(now, cost)
            assert bucket.wait(now, cost) == 0


def test_what_is_larger_than_the_bucket_is_granted_by_a_full_one_and_paid_by_the_next():
    bucket = Bucket(per_minute=60, holds=10)
    assert bucket.wait(0, 1000) == 0
    bucket.take(0, 1000)
    assert bucket.wait(0, 1) == 991
    assert bucket.wait(990, 1000) == 10


def test_a_gate_charges_the_answer_and_a_refusal_costs_nothing():
    gate = Admission(requests_per_minute=60, tokens_per_minute=600, burst=4)  # so the tokens' bucket holds 40
    assert gate.admit(0, 30, 0) is None
    gate.charge(0, 20)
    for _ in range(10):  # -10 tokens: the 10 that are asked for are there in 2 s
        refusal = gate.admit(0, 10, 0)
        assert (refusal.reason, refusal.wait, refusal.retry_after) == ("too many tokens a minute", 2, 2)
    assert [gate.admit(2, 0, 0) for _ in range(4)] == [None] * 4
    assert gate.admit(2, 0, 0).retry_after == 1
    assert gate.admit(2, 0, 0).reason == "too many requests a minute"


@pytest.mark.parametrize(
    ("limits", "holds"),
    [({"tokens_per_minute": 400}, 4), ({"tokens_per_minute": 400, "burst": 40}, 40),
     ({"tokens_per_minute": 400, "requests_per_minute": 100, "burst": 10}, 40)],
    ids=["of the documented 400 requests", "a larger burst", "of the given rate"],
)  # fmt: skip
def test_the_tokens_bucket_holds_the_share_of_a_minute_that_the_burst_is(limits, holds):
    gate = Admission(**limits)
    assert gate.admit(0, holds, 0) is None
    assert gate.admit(0, 1, 0) is not None
    assert Admission(**limits).admit(0, holds - 1, 0) is None


@pytest.mark.parametrize(
    ("options", "granted", "patience"),
    [
        (["--requests-per-minute", 1], 4, 60),
        (["--tokens-per-minute", 1], 1, 1200),
        (["--requests-per-minute", 1, "--tokens-per-minute", 1000, "--burst", 3], 3, 60),
        (["--requests-per-minute", 4, "--tokens-per-minute", 24], 2, 60),
    ],
    ids=["requests", "tokens", "both, requests first", "both, prompts and answers first"],
)
async def test_what_is_over_the_limit_is_refused_and_told_when_to_come_again(options, granted, patience):
    async with asking(*options) as asker:
        answers = [await asker.ask(prompt) for prompt in prompts(granted + 3)]
        ledger = await asker.ledger()
    assert [status for status, _, _ in answers] == ["200"] * granted + ["429"] * 3
    for _, body, headers in answers[granted:]:
        assert tell_error(body) == "fail.tooManyRequests"
        assert re.fullmatch(r"\d+", headers["Retry-After"])
        assert 1 <= int(headers["Retry-After"]) <= patience
    assert (ledger["requests"], ledger["billed"], ledger["refusals"]) == (granted + 3, granted, 3)
    assert (ledger["faults"], ledger["in_flight_max"]) == ({}, 1)
    assert ledger["prompts"] == {digest(prompt): 1 for prompt in prompts(granted)}


async def test_more_in_flight_than_may_be_are_refused_until_a_client_goes():
    async with asking("--concurrency", 2, "--latency", FOREVER) as asker, waiting(asker, prompts(2)) as tasks:
        await asker.until(lambda ledger: ledger["billed"] == 2)
        status, body, headers = await asker.ask("a third")
        assert (status, tell_error(body), headers["Retry-After"]) == ("429", "fail.tooManyRequests", "1")
        tasks[0].cancel()
        await asker.until(lambda ledger: ledger["in_flight"] == 1)
        async with waiting(asker, ["a third"]):
            ledger = await asker.until(lambda ledger: ledger["billed"] == 3)
    assert (ledger["requests"], ledger["refusals"], ledger["in_flight_max"]) == (4, 1, 2)


# the latency


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", [0, 0, 0]), ("2.5", [2.5, 2.5, 2.5]), ("0.8,6", [0.8**2 / 6, 0.8, 6]), ("3,3", [3, 3, 3])],
)
def test_latency_has_the_median_and_the_percentile_it_was_given(text, seconds):
    latency = read(latency=text, fault=(), outage=()).latency
    assert [latency.seconds(u) for u in (0.01, 0.5, 0.99)] == pytest.approx(seconds)


def test_latencies_are_spread_as_asked():
    fault_source = FaultSource(0, Faults({}), Latency(1.0, 5.0))
    drawn = sorted(fault_source.draw(prompt).latency for prompt in prompts(20_000))
    assert statistics.median(drawn) == pytest.approx(1, rel=0.05)
    assert drawn[19_800] == pytest.approx(5, rel=0.1)


async def test_who_waits_for_an_answer_holds_up_nobody_and_has_bought_it():
    async with asking("--latency", FOREVER) as asker:
        async with waiting(asker, prompts(40)) as tasks:
            ledger = await asker.until(lambda ledger: ledger["billed"] == 40)
            assert not any(task.done() for task in tasks)
        assert (ledger["requests"], ledger["in_flight_max"], ledger["faults"]) == (40, 40, {})


async def test_an_answer_that_was_late_is_the_answer(faultless):
    async with asking("--latency", "0.01,0.05") as asker:
        for streamed in (False, True):
            assert (await asker.ask("a stove", stream=streamed))[1] == await the_answer(faultless, streamed)


# the faults


def test_every_kind_of_spoiled_answer_has_its_way():
    assert set(responses.SPOILS) == {None, *SPOILED}


STATUSES = ("400", "401", "404", "413", "418", "422", "429", "500", "503", "599")


async def test_a_status_on_demand_is_the_contracts_and_costs_nothing():
    async with asking(*shares(STATUSES, 0.1)) as asker:
        answers = [await asker.ask(prompt) for prompt in prompts(200)]
        ledger = await asker.ledger()
    met = Counter(status for status, _, _ in answers)
    assert set(met) == set(STATUSES)
    assert (ledger["faults"], ledger["requests"], ledger["billed"]) == (met, 200, 0)
    for status, body, headers in answers:
        assert (tell_error(body) == "fail.tooManyRequests") == (status == "429")
        assert headers.get("Retry-After") == ("1" if status in ("429", "503") else None)


async def the_answer(url: str, streamed: bool, **fields) -> bytes:  # noqa: FBT001
    async with calling(url) as asker:
        status, body, _ = await asker.ask("a stove", stream=streamed, **fields)
        assert status == "200"
        return body


@pytest.mark.parametrize("kind", ["reset", "cut", "garbage"])
async def test_a_spoiled_answer_is_billed(kind, faultless):
    async with asking("--fault", f"{kind}=1") as asker:
        for streamed in (False, True):
            whole = await the_answer(faultless, streamed)
            status, body, headers = await asker.ask("a stove", stream=streamed)
            assert (status, body, headers.get("Content-Length")) == {
                "reset": ("reset", b"", None),
                "cut": ("cut", whole[: len(whole) // 2], str(len(whole))),
                "garbage": ("200", responses.GARBAGE, str(len(responses.GARBAGE))),
            }[kind]
        await all_billed(asker, kind, 2)


async def all_billed(asker: Asker, kind: str, times: int) -> None:
    ledger = await asker.ledger()
    assert (ledger["requests"], ledger["billed"], ledger["faults"]) == (times, times, {kind: times})
    assert ledger["prompts"] == {digest("a stove"): times}


async def test_a_hanging_answer_ends_when_the_client_goes():
    async with asking("--fault", "hang=1") as asker:
        async with waiting(asker, ["a stove"]) as [task]:
            await asker.until(lambda ledger: ledger["billed"] == 1)
            assert not task.done()
        await asker.until(lambda ledger: ledger["in_flight"] == 0)
        await all_billed(asker, "hang", 1)


async def test_a_dripping_answer_comes_byte_by_byte_and_whole(faultless):
    few = {"max_tokens": 1}
    async with asking("--fault", "drip=1") as asker:
        first, rest = await asker.in_two("a stove", stream=True, **few)
        assert rest
        assert first + rest == await the_answer(faultless, streamed=True, **few)
        await all_billed(asker, "drip", 1)


async def test_a_dripping_answer_takes_its_time(monkeypatch):
    naps = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(responses, "asyncio", SimpleNamespace(sleep=nap))
    body = {"model": "palmyra-x5", "prompt": "a stove", "max_tokens": 2}
    async with (
        TestClient(TestServer(make_app(ServerOptions(shares=(("drip", 1.0),))))) as client,
        client.post("/v1/completions", json=body, headers={"Authorization": "Bearer any"}) as response,
    ):
        assert naps == [1 / 50] * len(await response.read())


async def outcomes(options, asked, times: int, concurrency: int) -> tuple[dict[str, list[str]], dict]:
    """What each prompt met, attempt by attempt, and the ledger."""
    met: dict[str, list[str]] = defaultdict(list)
    slots = asyncio.Semaphore(concurrency)

    async def insist(prompt: str) -> None:
        for _ in range(times):
            async with slots:
                met[prompt].append((await asker.ask(prompt))[0])

    async with asking(*options) as asker:
        await asyncio.gather(*map(insist, asked))
        return met, await asker.ledger()


async def test_the_same_prompts_meet_the_same_faults_whatever_the_concurrency():
    options = [*shares(["400", "422"], 0.1), *shares(["500", "reset", "cut"], 0.15)]
    one, ledger = await outcomes(options, prompts(60), 4, concurrency=1)
    many, again = await outcomes([*reversed_pairs(options), "--seed", "0"], prompts(60)[::-1], 4, concurrency=30)
    other, _ = await outcomes([*options, "--seed", "1"], prompts(60), 4, concurrency=30)
    assert one == many
    assert {**ledger, "in_flight_max": again["in_flight_max"]} == again
    assert one != other
    for met in (one, other):
        is_active = {prompt for prompt, seen in met.items() if PERMANENT & set(seen)}
        assert 0 < len(is_active) < 30
        assert all(len(set(met[prompt])) == 1 for prompt in is_active)
        passing = [seen for prompt, seen in met.items() if prompt not in is_active]
        assert any(len(set(seen)) > 1 for seen in passing)


async def test_a_refusal_by_a_limit_leaves_the_faults_as_they_are():
    """So a client that is refused more often meets no other night."""
    options = shares(["500", "cut"], 0.3)
    expected, _ = await outcomes(options, ["a stove"], 8, concurrency=1)
    met: list[str] = []
    async with asking(*options, "--requests-per-minute", 600, "--burst", 1) as asker, asyncio.timeout(PATIENCE):
        while len(met) < 8:
            met += [status for status in await asker.statuses(["a stove"]) if status != "429"]
        assert (await asker.ledger())["refusals"] > 0
    assert met == expected["a stove"]
    assert len(set(met)) == 3


def reversed_pairs(options):
    pairs = list(zip(options[::2], options[1::2], strict=True))
    return [text for pair in reversed(pairs) for text in pair]


@pytest.mark.parametrize(
    "given",
    [{"500": 0.3}, {"400": 0.2, "422": 0.1, "reset": 0.3, "429": 0.25}, {"400": 0.5, "hang": 0.5}, {"413": 1.0}, {}],
    ids=["one", "several", "every request", "every prompt", "none"],
)
def test_faults_have_the_shares_they_were_given(given):
    fault_source = FaultSource(3, Faults(given), Latency())
    met = Counter(fault_source.draw(str(n)).fault for n in range(20_000))
    expected = {**given, None: 1 - sum(given.values())}
    for kind, share in expected.items():
        assert met.pop(kind, 0) / 20_000 == pytest.approx(share, abs=0.012), kind
    assert not met


def test_a_prompt_that_is_not_struck_for_good_meets_the_others_as_often_at_each_attempt():
    fault_source = FaultSource(0, Faults({"400": 0.5, "500": 0.25}), Latency())
    lives = [[fault_source.draw(str(n)).fault for _ in range(20)] for n in range(2000)]
    assert {tuple(sorted(set(map(str, life)))) for life in lives if "400" in life} == {("400",)}
    passing = [fault for life in lives if "400" not in life for fault in life]
    assert Counter(passing)["500"] / len(passing) == pytest.approx(0.5, abs=0.02)


# the outages


@pytest.mark.parametrize(
    ("spans", "is_active"),
    [
        ([(0, 2)], [True, True, True, False, False, False]),
        ([(1, 2)], [False, True, True, False, False, False]),
        ([(1, 1.5), (3, 4)], [False, True, False, False, True, False]),
        ([(50, 60)], [False] * 6),
    ],
)
def test_an_outage_counts_from_the_first_request(spans, is_active):
    outages = Outages(spans)
    assert [outages.is_active(1000 + after) for after in (0, 1, 1.5, 2, 3, 5)] == is_active


async def test_in_an_outage_nobody_is_answered_and_nothing_is_billed():
    async with asking("--outage", f"0:{FOREVER}", "--outage", f"{FOREVER}:7200") as asker:
        assert await asker.statuses(prompts(3)) == ["reset"] * 3
        ledger = await asker.ledger()
        with pytest.raises(aiohttp.ClientError):
            await asker.models()
    nothing = {"requests": 0, "billed": 0, "refusals": 0, "in_flight": 0, "in_flight_max": 0, "prompts": {}}
    assert ledger == {**nothing, "faults": {"outage": 3}}


async def test_an_outage_ends():
    async with asking("--outage", "0:0.2") as asker, asyncio.timeout(PATIENCE):
        seen = [(await asker.ask("a stove"))[0]]
        while seen[-1] != "200":
            seen += await asker.statuses(["a stove"])
        ledger = await asker.ledger()
    assert set(seen[:-1]) == {"reset"}
    assert (ledger["requests"], ledger["billed"], ledger["faults"]) == (1, 1, {"outage": len(seen) - 1})


# the command line

WRONG = {
    "no number": (["--latency", "soon"], "--latency soon: write seconds, such as 0.5"),
    "a negative wait": (["--latency", "-1"], "--latency -1: write seconds"),
    "no wait at all": (["--latency", "nan"], "--latency nan: write seconds"),
    "percentiles upside down": (["--latency", "5,2"], "the median and the 99th percentile, such as 0.8,6"),
    "a median of nothing": (["--latency", "0,2"], "--latency 0,2: "),
    "three of them": (["--latency", "1,2,3"], "--latency 1,2,3: "),
    "no such fault": (["--fault", "flood=0.1"], "--fault flood=0.1: there is no such fault; write a status from 400"),
    "no such status": (
        ["--fault", "200=0.1"],
        "reset, hang, cut, drip, garbage or refusal, and its share, such as 503=0.02",
    ),
    "a long status": (["--fault", "0503=0.1"], "there is no such fault"),
    "no share": (["--fault", "503"], "--fault 503: write the share of the requests, from 0 to 1, such as 503=0.02"),
    "a share in percent": (["--fault", "reset=3%"], "such as reset=0.02"),
    "a share above one": (["--fault", "reset=3"], "from 0 to 1"),
    "a kind twice": (["--fault", "500=0.1", "--fault", "500=0.2"], "a kind is given twice"),
    "more than everything": (["--fault", "500=0.6", "--fault", "502=0.6"], "the shares sum to 1.2"),
    "an outage without end": (["--outage", "60"], "--outage 60: write two times in seconds since the first request"),
    "an outage upside down": (["--outage", "9:3"], "such as 60:120"),
    "an outage of nothing": (["--outage", "3:3"], "such as 60:120"),
    "no requests": (["--requests-per-minute", "0"], "x>=1"),
    "some tokens": (["--tokens-per-minute", "many"], "not a valid integer"),
    "no burst": (["--burst", "0"], "x>=1"),
    "nobody in flight": (["--concurrency", "0"], "x>=1"),
    "no seed": (["--seed", "x"], "not a valid integer"),
}


@pytest.mark.parametrize(("options", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_told_with_what_to_write(options, says, called):
    ended = called("serve", "--port", "0", *options)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert says in ended.stderr
    assert options[-2] in ended.stderr


def test_ten_tenths_are_all():
    assert len(read(latency="0", fault=[f"{status}=0.1" for status in range(500, 510)], outage=()).shares) == 10
    with pytest.raises(UsageError):
        read(latency="0", fault=["500=1", "501=0.001"], outage=())


def test_the_examples_of_the_help_can_be_typed(batchgen):
    shown = re.sub(r" \\\n +", " ", batchgen("serve", "--help").stdout)  # as the shell joins lines
    examples = re.findall(r"^ +batchgen serve (--.*)$", shown, re.MULTILINE)
    assert len(examples) == 2
    for example in examples:
        context = main.serve.make_context("serve", example.split())
        rig = read(**{name: value for name, value in context.params.items() if name not in ("host", "port")})
        assert rig != read(latency="0", fault=(), outage=())
    assert max(map(len, shown.splitlines())) <= 100


# a night on the rig


def test_a_night_with_every_fault(job, batchgen):
    """Three of a hundred requests meet each passing fault, two of a hundred prompts are refused for good. The seed is
    of a night that has them all, and no row with so many answers lost in a row that it is given up."""
    rows = [{"id": f"r{n}", "name": f"product {n}"} for n in range(200)]
    path = job(rows, limits={"concurrency": 32}, retry={"attempts": 6, "max_wait": 0.1}, timeout={"total": 3})
    with serving(*shares([*PASSING, *SPOILED], 0.03), "--fault", "400=0.02", "--seed", 26, "--latency", 0.03) as url:
        ended = batchgen("run", path, "--json", env={"WRITER_BASE_URL": url})
        ledger = asyncio.run(read_ledger(url))

    assert ended.returncode == 1, ended.stderr
    summary, faults = ended.json, Counter(ledger["faults"])
    assert set(faults) == {*PASSING, *SPOILED, "400"}, "a night that met them all"
    billed_in_vain = sum(faults[kind] for kind in SPOILED)
    found = job.rows()
    failed = [row for row in found if row["status"] == "failed"]
    answered = [row for row in found if row["status"] == "ok"]
    assert len(failed) + len(answered) == len(rows)

    refused = {(1, "invalid: 400 BadRequest fault 400, on demand")}
    assert {(row["attempts"], row["error"]) for row in failed} == refused
    assert len(failed) == faults["400"]
    assert ledger["requests"] == summary["sent"] == sum(row["attempts"] for row in found)
    assert ledger["requests"] == len(rows) + sum(faults.values()) - faults["400"]
    assert ledger["billed"] == len(answered) + billed_in_vain
    assert summary["possibly_billed"] == billed_in_vain + faults["504"], "a gateway's 504 may have been billed"
    assert ledger["refusals"] == 0
    prompts_asked = {row["id"]: digest(f"Write about {row['name']}.") for row in found}
    assert set(ledger["prompts"]) == {prompts_asked[row["id"]] for row in answered}
    assert max(ledger["prompts"].values()) <= MAX_BILLED_TRIES


def test_a_run_that_keeps_to_the_limit_is_never_refused(job, batchgen):
    rows = [{"id": f"r{n}", "name": f"product {n}"} for n in range(30)]
    path = job(rows, limits={"concurrency": 32, "requests_per_minute": 1200})
    with serving("--requests-per-minute", 1200, "--burst", 20) as url:
        ended = batchgen("run", path, env={"WRITER_BASE_URL": url})
        ledger = asyncio.run(read_ledger(url))
    assert ended.returncode == 0, ended.stderr
    assert (ledger["requests"], ledger["billed"], ledger["refusals"]) == (30, 30, 0)


async def read_ledger(url: str) -> dict:
    async with calling(url) as asker:
        return await asker.ledger()
