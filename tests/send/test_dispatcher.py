"""The dispatcher on a simulated clock: hours of a service's moods in no time. What it does for real, all other tests see."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from batchgen.api.failure_kinds import Kind, Scope, kinds_of
from batchgen.api.outcome import Answer, Failure
from batchgen.checkpoint.schema import Record
from batchgen.errors import EngineGone, InputChanged, UsageError
from batchgen.runner.rehearsal import NoInFlightLog
from batchgen.send.dispatcher import Dispatcher
from batchgen.send.interfaces import Attempt, Save
from batchgen.send.limits import Budget, RateLimiter
from batchgen.send.retry import MAX_BILLED_TRIES, Retries
from batchgen.send.stats import Stats
from batchgen.send.stops import Stops
from batchgen.send.task import Task
from batchgen.simulator.clock import SimulatedLoop


class Night:
    """`rows` rows at a service that answers in 0.2 to 1 s, but from `away` to `back` seconds ends all in `failure`."""

    def __init__(self, rows: int, away: float, back: float, failure: Failure, seed: int = 0, unfit: int = 0) -> None:
        self._chance = random.Random(seed)
        random.seed(seed)  # the jitter's
        self._away, self._back, self._failure, self._unfit = away, back, failure, unfit
        self.sent_at: list[float] = []
        self.sent: list[bytes] = []
        self.tries: Counter[bytes] = Counter()
        self.stats = Stats(todo=rows)
        tasks = [
            Task(n.to_bytes(16, "big"), n.to_bytes(4, "big"), "m", None, 0, 5, 50, (0.0, 0.0)) for n in range(rows)
        ]
        self.dispatcher = dispatched(tasks, self._attempt, Budget(), self.stats, self._unfit)
        self.ended = self.dispatcher.clock()

    async def _attempt(self, body: bytes, _: str, **__: object) -> Answer | Failure:
        now = asyncio.get_running_loop().time()
        self.sent_at.append(now)
        self.sent.append(body)
        self.tries[body] += 1
        if self._away <= now < self._back:
            await asyncio.sleep(0.01)
            return self._failure
        await asyncio.sleep(self._chance.uniform(0.2, 1))
        return Answer(b"", 1, 20)


def dispatched(
    tasks: list[Task], attempt: Attempt, budget: Budget, stats: Stats | None = None, unfit: int = 0
) -> Dispatcher:
    """All of them, sent on a simulated clock."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        more = {"budget": budget, "stats": stats or Stats(todo=len(tasks)), "retries": Retries(6, 60, unfit)}
        dispatcher = dispatcher_of(tasks, attempt, runner.get_loop().time, lambda _: asyncio.sleep(0), **more)
        runner.run(dispatcher.run())
    return dispatcher


def dispatcher_of(
    tasks: list[Task], attempt: Attempt, clock: Callable[[], float], save: Save, **more: object
) -> Dispatcher:
    given = {
        "batches": iter([tasks]),
        "attempt": attempt,
        "save": save,
        "flight": NoInFlightLog(),
        "limits": RateLimiter(None, None, clock()),
        "budget": Budget(),
        "retries": Retries(6, 60),
        "stats": Stats(todo=len(tasks)),
        "concurrency": 32,
        "stops": Stops(kinds_of(Scope.RUN), 360),
        "clock": clock,
    }
    return Dispatcher(**given | more)


AWAY = {
    "resets": Failure(Kind.UNANSWERED, "the connection broke"),
    "nobody listens": Failure(Kind.UNSENT, "no connection"),
    "503": Failure(Kind.TRANSIENT, "503", 503),
}


@pytest.mark.parametrize("seconds", [5, 30, 120])
@pytest.mark.parametrize("failure", AWAY.values(), ids=AWAY)
def test_no_row_fails_of_an_outage(failure, seconds):
    for seed in range(10):
        night = Night(400, 2, 2 + seconds, failure, seed)
        assert night.stats.failed == 0
        assert night.stats.ok == 400
        assert max(night.tries.values()) <= MAX_BILLED_TRIES or failure.kind is not Kind.UNANSWERED


@pytest.mark.parametrize("failure", AWAY.values(), ids=AWAY)
def test_an_outage_is_met_by_a_trickle_and_its_end_by_all(failure):
    night = Night(2000, 2, 62, failure)
    within = [moment for moment in night.sent_at if 10 <= moment < 62]
    assert len(within) <= 53
    after = [moment for moment in night.sent_at if 62 <= moment < 67]
    assert len(after) > 100, "five seconds after it is back"
    assert night.stats.trouble == ""


@pytest.mark.parametrize("failure", AWAY.values(), ids=AWAY)
def test_no_row_uses_up_its_tries_on_an_outage_while_new_ones_can_ask(failure):
    night = Night(2000, 2, 62, failure)
    probes = [body for moment, body in zip(night.sent_at, night.sent, strict=True) if 4 <= moment < 62]
    assert len(probes) > 10
    assert all(night.sent.index(probe) >= night.sent.index(probes[0]) for probe in probes), "new rows, all of them"
    assert len(set(probes)) == len(probes), "each once"


def test_unfit_texts_are_answers_that_are_asked_for_again():
    """They slow nobody down, are no outage, and take the tokens of an answer and no more."""
    unfit = Failure(Kind.UNFIT, "too short", 200, answer=Answer(b"", 1, 20))
    night = Night(500, 0, math.inf, unfit, unfit=2)
    assert night.dispatcher.stopped is None
    assert night.stats.failed == 500
    assert set(night.tries.values()) == {3}
    assert night.ended == pytest.approx(1500 * 0.01 / 32, rel=0.1)
    assert night.dispatcher.budget.spent_tokens == pytest.approx(1500 * (5 + 20))


@pytest.mark.parametrize("others_serve", [False, True])
def test_everyone_waits_for_a_refusal_unless_other_servers_serve(others_serve):
    night = Night(400, 2, 2.1, Failure(Kind.BUSY, "429", 429, 30.0, others_serve=others_serve))
    within = [moment for moment in night.sent_at if 3 <= moment < 30]
    assert bool(within) is others_serve
    assert night.stats.ok == 400


@pytest.mark.parametrize(("sent", "counted"), [(1, False), (4, False), (1, True)], ids=["best_of", "n", "counted"])
@pytest.mark.parametrize("seed", range(5))
def test_a_budget_is_passed_by_no_more_than_was_in_flight(sent, counted, seed):
    """Four answers are made for each request, of which `sent` are seen; short ones for a while, then the longest."""
    chance, billed, in_flight, most = random.Random(seed), 0.0, 0, 0

    async def attempt(*_: object, **__: object) -> Answer:
        nonlocal billed, in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(chance.uniform(0.2, 1))
        in_flight -= 1
        each = chance.randint(1, 5) if billed < 2 else 50
        billed += (5 + 4 * each) / 1000
        return Answer(b"", sent, (4 if counted else sent) * each, 5 if counted else None)

    tasks = [Task(n.to_bytes(16, "big"), b"", "m", None, 0, 5, 200, (0.001, 0.001), candidates=4) for n in range(2000)]
    dispatcher = dispatched(tasks, attempt, Budget(cost=10.0))
    assert dispatcher.stopped == "the budget of $10.00 is spent, by estimate"
    assert billed <= 10 + most * 0.205
    assert dispatcher.budget.spent_cost == pytest.approx(billed)


def tasks_of(count: int) -> list[Task]:
    """They take 5 tokens and up to 200, each for a tenth of a cent."""
    return [Task(n.to_bytes(16, "big"), bytes([n]), "m", None, 0, 5, 200, (0.001, 0.001)) for n in range(count)]


@pytest.mark.parametrize(
    ("failure", "until", "attempts"),
    [
        pytest.param(
            Failure(Kind.BUSY, "429", 429), {"tokens": 5000, "cost": 5.0}, 120, id="a refusal takes no tokens"
        ),
        pytest.param(AWAY["503"], {"tokens": 5000, "cost": 5.0}, 120, id="nor does an error"),
        pytest.param(AWAY["nobody listens"], {"requests": 100}, 100, id="what never left is no request"),
    ],
)
def test_what_is_not_billed_takes_nothing_of_the_budget(failure, until, attempts):
    """100 rows take 2,500 tokens in 100 requests, beside the first 20, which fail."""
    sent = 0

    async def attempt(*_: object, **__: object) -> Answer | Failure:
        nonlocal sent
        sent += 1
        if sent <= 20:
            return failure
        await asyncio.sleep(0.2)
        return Answer(b"", 1, 20, 5)

    tasks = tasks_of(100)
    budget = Budget(**until)
    dispatcher = dispatched(tasks, attempt, budget)
    assert (dispatcher.stopped, dispatcher.stats.ok) == (None, 100)
    assert budget.spent_tokens == pytest.approx(100 * (5 + 20))
    assert sum(task.attempts for task in tasks) == attempts


def test_a_budget_of_requests_leaves_all_slots_at_work_to_its_end():
    """What might have left twice, and did not, is given back."""

    async def attempt(*_: object, **__: object) -> Answer:
        await asyncio.sleep(1)
        return Answer(b"", 1, 20, 5)

    tasks = tasks_of(100)
    assert dispatched(tasks, attempt, Budget(requests=100)).stats.ok == 100
    assert {task.beside for task in tasks[32:]} == {32}


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        pytest.param(30, 30, id="30 s are waited for"),
        pytest.param(300, 60, id="300 s: no wait is longer than max_wait"),
        pytest.param(7200, 2, id="2 h, beyond all patience: asked again soon, for the next such answers end the run"),
    ],
)
def test_a_row_waits_as_the_service_asks(asked, waited):
    sent_at: list[float] = []

    async def attempt(*_: object, **__: object) -> Answer | Failure:
        sent_at.append(asyncio.get_running_loop().time())
        return Failure(Kind.BUSY, "429", 429, asked) if len(sent_at) == 1 else Answer(b"", 1, 20, 5)

    assert dispatched(tasks_of(1), attempt, Budget()).stats.ok == 1
    assert sent_at[1] - sent_at[0] == pytest.approx(waited, abs=0.01)


def test_a_row_that_has_failed_for_good_no_longer_speaks_for_a_service_that_is_away():
    """Of two rows without an answer one is refused, and the other is alone: it fails, too, and the run ends in order."""

    async def attempt(body: bytes, *_: object, **__: object) -> Answer | Failure:
        if body[0] == 8:
            await asyncio.sleep(0.5)
            return Failure(Kind.TRANSIENT, "500", 500)
        await asyncio.sleep(0.2 if body[0] < 8 else 0.5)
        return Failure(Kind.INVALID, "400", 400) if body[0] == 9 else Answer(b"", 1, 20, 5)

    dispatcher = dispatched(tasks_of(10), attempt, Budget())
    assert (dispatcher.stopped, dispatcher.stats.ok, dispatcher.stats.failed) == (None, 8, 2)


def test_what_may_have_been_read_before_it_left_again_is_in_the_budget():
    async def attempt(*_: object, **__: object) -> Answer:
        return Answer(b"", 1, 50, 5).after(resent=2, lost=1)

    dispatcher = dispatched([Task(bytes(16), b"", "m", None, 0, 5, 50, (0.001, 0.001))], attempt, Budget())
    assert dispatcher.budget.spent_requests == 3
    assert dispatcher.budget.spent_cost == pytest.approx(2 * 0.055)


ENDS = [
    "the engine is gone",
    "the run is cancelled",
    "its requests are cancelled",
    "all is done",
    "stopped by an answer",
]


@pytest.mark.parametrize("end", ENDS)
def test_failures_that_were_set_aside_are_stored_however_the_run_ends(end):
    """One row is answered, and eight get a 404, which may be theirs or concern all; then one more shows which, or the
    run ends. A cancelled COMMIT is made all the same."""
    saved: list[Record] = []

    async def save(record: Record) -> None:
        saved.append(record)
        await asyncio.sleep(0.1)

    async def attempt(body: bytes, *_: object, **__: object) -> Answer | Failure:
        number = body[0]
        await asyncio.sleep(number)
        if 0 < number < 9:
            return Failure(Kind.MISDIRECTED, "404", 404)
        if number == 9 and end == "the engine is gone":
            raise EngineGone
        if number == 9 and end == "the run is cancelled":
            running.cancel()
            await asyncio.sleep(1)
        if number == 9 and end == "its requests are cancelled":
            dispatcher.stop("no more")
            asyncio.get_running_loop().call_later(0.15, dispatcher.abort)
            return Failure(Kind.KEY, "401", 401)
        return Failure(Kind.KEY, "401", 401) if number == 9 and end == "stopped by an answer" else Answer(b"", 1, 20)

    async def run() -> None:
        nonlocal running
        running = asyncio.create_task(dispatcher.run())
        with suppress(EngineGone, asyncio.CancelledError):
            await running

    tasks = [Task(bytes([n] * 16), bytes([n]), "m", None, 0, 5, 50, (0.0, 0.0)) for n in range(10)]
    running: asyncio.Task[None]
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        dispatcher = dispatcher_of(tasks, attempt, runner.get_loop().time, save)
        runner.run(run())
    failures = [record for record in saved if record.status == 404]
    assert sorted(record.key[0] for record in failures) == list(range(1, 9))
    assert {record.final for record in failures} == {end == "all is done"}
    assert dispatcher.stats.failed == (8 if end == "all is done" else 0)


def test_an_answer_that_comes_after_the_stop_blames_no_row_for_what_ended_the_run():
    """A 404 is set aside after 1 s, the run ends by a 401 after 3 s, and what was sent between them is answered."""
    saved: list[Record] = []

    async def save(record: Record) -> None:
        saved.append(record)

    async def attempt(body: bytes, *_: object, **__: object) -> Answer | Failure:
        seconds, failure = [
            (0, None),
            (1, Failure(Kind.MISDIRECTED, "404", 404)),
            (3, Failure(Kind.KEY, "401", 401)),
            (3, None),
        ][body[0]]
        await asyncio.sleep(seconds)
        return failure or Answer(b"", 1, 20, 5)

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        dispatcher = dispatcher_of(tasks_of(4), attempt, runner.get_loop().time, save, concurrency=2)
        runner.run(dispatcher.run())
    assert [(record.key[-1], record.status, record.final) for record in saved] == [
        (0, 200, True),
        (2, 401, False),
        (1, 404, False),
        (3, 200, True),
    ]


@pytest.mark.parametrize(
    ("trouble", "stopped"),
    [
        (InputChanged(), "the input changed while the job was at work"),
        (UsageError("rows.csv: cannot be read"), "the input cannot be read again: rows.csv: cannot be read"),
    ],
    ids=["it changed", "a disk fails"],
)
def test_an_input_that_fails_amid_a_run_cancels_nothing_that_is_in_flight(trouble, stopped):
    saved: list[bytes] = []

    async def save(record: Record) -> None:
        await asyncio.sleep(0)
        saved.append(record.key)

    async def attempt(*_: object, **__: object) -> Answer:
        await asyncio.sleep(60)
        return Answer(b"", 1, 20)

    def batches() -> Iterator[list[Task]]:
        yield tasks
        raise trouble

    tasks = [Task(n.to_bytes(16, "big"), b"", "m", None, 0, 5, 50, (0.0, 0.0)) for n in range(20)]
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        sent = dispatcher_of(tasks, attempt, runner.get_loop().time, save, batches=batches())
        runner.run(sent.run())
    assert sent.stopped == stopped
    assert sorted(saved) == [task.key for task in tasks], "all were paid for"
