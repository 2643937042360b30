"""Rehearses a run on a simulated clock: the real dispatcher, limits and budget, against answers like the last ones.

Hours pass in seconds. Sends nothing and writes nothing. It shows only what the limits and the latency make likely:
failures and refusals are not simulated.
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice

from batchgen import event_loop
from batchgen.api.failure_kinds import Scope, kinds_of
from batchgen.api.outcome import Answer
from batchgen.checkpoint.schema import Record
from batchgen.job.sections import Limits, Until
from batchgen.runner.plan import Plan
from batchgen.runner.prepare import PreparedJob
from batchgen.runner.tasks import tasks
from batchgen.send.dispatcher import Dispatcher
from batchgen.send.limits import Budget, RateLimiter
from batchgen.send.retry import Retries
from batchgen.send.stats import Stats
from batchgen.send.stops import Stops
from batchgen.send.task import Task
from batchgen.simulator.clock import SimulatedLoop

MAX_ROWS, SEARCH_ROWS = 20_000, 5_000
"""The most rows that are simulated; longer runs are extrapolated from them."""
MAX_CONCURRENCY = 10_000
TOLERANCE = 1.02
FIRST_TOKEN_SECONDS, TOKENS_PER_SECOND = 0.5, 50.0
MAX_ANSWER_TOKENS = 8192
"""Assumed of a service that has never answered: seconds to the first token, tokens a second, and the most tokens."""


@dataclass(frozen=True)
class Rehearsal:
    """The end of a run that starts now. `done`: rows of those to be sent. `seconds`: until then. `stopped`: the reason,
    None if all rows are done. `enough`: the concurrency at which the limits bind, None if none is known. `latency_s`:
    the simulated median. `assumed`: it was not measured. `rehearsed`: rows that were simulated. `in_flight`:
    the number that an earlier run found, with which a job is played that leaves it open."""

    done: int
    seconds: float
    stopped: str | None
    enough: int | None
    latency_s: float
    assumed: bool
    rehearsed: int
    in_flight: int | None = None


def rehearse(
    setup: PreparedJob, plan: Plan, learned: float | None, found: int | None, seen: Sequence[tuple[float, int]]
) -> Rehearsal:
    """Rehearses the plan. `learned`, `found`: requests a minute, and in flight, that an earlier run found. `seen`:
    latency and tokens of the last answers."""
    waiting = chain.from_iterable(tasks(setup, plan))
    rows = list(islice(waiting, MAX_ROWS))
    for task in rows:
        task.candidates = 1  # what is played are the tokens of all of them
    played = list(seen) or [_assumed(plan)]
    granted = setup.job.limits
    if learned is not None and granted.requests_per_minute is None:
        granted = granted.model_copy(update={"requests_per_minute": learned})
    in_flight = found if granted.concurrency == "auto" else None
    if in_flight is not None:
        granted = granted.model_copy(update={"concurrency": in_flight})
    part = len(rows) / max(plan.todo, 1)
    latency = sorted(latency for latency, _ in played)[len(played) // 2]
    stats, seconds, stopped = _play(rows, granted, _budget(setup.job.until, part), setup, played)
    return Rehearsal(
        done=plan.todo if stopped is None else round(stats.ok / part),
        seconds=(seconds - latency) / part + latency,  # the last answers are waited for once
        stopped=stopped,
        enough=_enough(rows[:SEARCH_ROWS], granted, setup, played),
        latency_s=latency,
        assumed=not seen,
        rehearsed=len(rows),
        in_flight=in_flight,
    )


def _assumed(plan: Plan) -> tuple[float, int]:
    tokens = min(plan.answer_tokens // max(plan.todo, 1), MAX_ANSWER_TOKENS)
    return FIRST_TOKEN_SECONDS + tokens / TOKENS_PER_SECOND, tokens


def _budget(until: Until, part: float) -> Budget:
    """Returns the budget of a run over this part of all rows, which starts at 0 of its clock."""
    seconds = until.seconds(dt.datetime.now().astimezone())
    return Budget(
        deadline=None if seconds is None else seconds * part,
        requests=None if until.requests is None else math.ceil(until.requests * part),
        tokens=None if until.tokens is None else until.tokens * part,
        cost=None if until.cost is None else until.cost * part,
    )


def _enough(rows: list[Task], granted: Limits, setup: PreparedJob, played: Sequence[tuple[float, int]]) -> int | None:
    """Finds, by bisection, the fewest requests in flight that end as early as any number would."""
    if not rows or (granted.requests_per_minute is None and granted.tokens_per_minute is None):
        return None

    def seconds(concurrency: int) -> float:
        limits = granted.model_copy(update={"concurrency": concurrency})
        return _play(rows, limits, Budget(), setup, played)[1]

    goal = TOLERANCE * seconds(MAX_CONCURRENCY)
    high = 1
    while high < MAX_CONCURRENCY and seconds(high) > goal:
        high *= 2
    low = high // 2
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if seconds(middle) <= goal else (middle, high)
    return high


def _play(
    rows: list[Task], granted: Limits, budget: Budget, setup: PreparedJob, played: Sequence[tuple[float, int]]
) -> tuple[Stats, float, str | None]:
    """Simulates one run. Returns its stats, its seconds, and what stopped it."""
    chance = random.Random(0)
    stats = Stats(todo=len(rows))

    async def attempt(body: bytes, model: str, *, new_connection: bool = False) -> Answer:  # noqa: ARG001
        latency, tokens = chance.choice(played)
        await asyncio.sleep(latency)
        return Answer(b"", 1, tokens)

    async def save(_: Record) -> None:
        return

    async def simulate() -> tuple[float, str | None]:
        clock = asyncio.get_running_loop().time
        dispatcher = Dispatcher(
            batches=iter([[copy.copy(task) for task in rows]]),
            attempt=attempt,
            save=save,
            flight=NoInFlightLog(),
            limits=RateLimiter(granted.requests_per_minute, granted.tokens_per_minute, clock()),
            budget=budget,
            retries=(retries := Retries(setup.job.retry.attempts, setup.job.retry.max_wait)),
            stats=stats,
            concurrency=min(granted.most_in_flight, len(rows)),
            stops=Stops(kinds_of(Scope.RUN), retries.patience),
            clock=clock,
        )
        await dispatcher.run()
        return clock(), dispatcher.stopped

    return stats, *event_loop.run(simulate(), SimulatedLoop)


class NoInFlightLog:
    def begin(self, slot: int, key: bytes, attempt: int) -> None:
        pass

    def end(self, slot: int) -> None:
        pass
