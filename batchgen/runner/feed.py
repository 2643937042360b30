"""Plan x input -> the tasks of the rows that are to be done, in batches. Reads the input a second time and
holds it against the plan; never more than one batch in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl

from batchgen.api.contract import Kind
from batchgen.errors import UsageError
from batchgen.job import Job
from batchgen.rows.identity import occurrence_key
from batchgen.rows.request import Prepared, Problem, Requests
from batchgen.rows.source import Source
from batchgen.runner.index import join
from batchgen.runner.plan import Plan, price_of


@dataclass(slots=True)
class Task:
    """A row that is to be sent. `attempts`: requests sent for it so far, over all runs; tokens are estimates."""

    key: bytes
    body: bytes
    model: str
    name: str | None
    attempts: int
    prompt_tokens: int
    answer_tokens: int
    price: tuple[float, float]  # US dollars a token, of prompt and answer
    reserved: float = 0.0  # tokens, of the limits, while in flight
    tries: Counter[Kind] = field(default_factory=Counter)

    def cost(self, answer_tokens: float) -> float:
        return self.prompt_tokens * self.price[0] + answer_tokens * self.price[1]


def tasks(job: Job, source: Source, requests: Requests, plan: Plan) -> Iterator[list[Task]]:
    """The rows that are to be done, by batch, in input order. Raises UsageError where the input is no longer
    the one that was planned: then a row's answer might be stored for another's prompt."""
    prices = {model: price_of(job, model) or (0.0, 0.0) for model in plan.models}
    start = 0
    for frame in source.batches():
        rows = plan.rows.slice(start, frame.height)
        start += frame.height
        todo = rows["todo"]
        if rows.height != frame.height:
            source.verify()
            raise UsageError(f"{job.input.path}: has more rows than a moment ago")
        if not todo.any():
            continue
        left = frame.filter(todo)
        names = left[job.input.id].cast(pl.String).to_list() if job.input.id else [None] * left.height
        known = rows.filter(todo).select("hi", "lo", "occurrence", "attempts").iter_rows()
        yield [
            _task(job, made, row, name, prices) for made, row, name in zip(requests.of(left), known, names, strict=True)
        ]
    source.verify()


def _task(
    job: Job,
    made: Prepared | Problem,
    row: tuple[int, int, int, int],
    name: str | None,
    prices: dict[str, tuple[float, float]],
) -> Task:
    hi, lo, occurrence, attempts = row
    key = join(hi, lo)
    if isinstance(made, Problem) or occurrence_key(made.digest, occurrence) != key:
        raise UsageError(f"{job.input.path}: changed while the job was at work; every answer is kept: run it again")
    return Task(key, made.body, made.model, name, attempts, made.prompt_tokens, made.answer_tokens, prices[made.model])
