"""Plan x input -> the tasks of the rows that are to be done, in batches. Reads the input again and holds it against
the plan; never more than one batch in memory, or one portion where the rows have an order of their own."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import polars as pl

from batchgen.api.body import Body
from batchgen.api.contract import Answer, Failure, Kind
from batchgen.checkpoint.index import State, join
from batchgen.checkpoint.row_key import occurrence_key
from batchgen.checkpoint.schema import OK, Record
from batchgen.errors import InputChanged
from batchgen.input.request import Prepared, Problem, Requests
from batchgen.input.source import Source
from batchgen.input.texts import texts
from batchgen.job.job import Job
from batchgen.runner.plan import Plan, price_of

PORTION_BYTES, TASK_BYTES, TOKEN_BYTES = 64 << 20, 1000, 4


class Task(msgspec.Struct):
    """A row that is to be sent. `attempts`: requests sent for it so far, over all runs; `tries`: how many of this run
    failed, by cause; tokens are estimates."""

    key: bytes
    body: bytes
    model: str
    name: str | None
    attempts: int
    prompt_tokens: int
    answer_tokens: int
    price: tuple[float, float]  # US dollars a token, of prompt and answer
    failed_before: bool = False  # in an earlier run, by its own fault
    tried_before: bool = False  # in an earlier run, without an answer
    reserved: float = 0.0  # tokens, of limits and budget, while in flight
    reserved_cost: float = 0.0  # US dollars
    beside: int = 0  # that were in flight when it was sent, itself included
    answers: int | None = None  # that the run had when it was sent first, or failed last
    doubtful: tuple[str, ...] = ()  # causes of failures that may be the service's
    held: int = 0  # failures that were held against it
    outages: int = 0  # that the run had had by then
    tries: dict[str, int] = {}

    def cost(self, answer_tokens: float, prompt_tokens: int | None = None) -> float:
        """`prompt_tokens`: as the service counted them."""
        prompt = self.prompt_tokens if prompt_tokens is None else prompt_tokens
        return prompt * self.price[0] + answer_tokens * self.price[1]


def recorded(task: Task, result: Answer | Failure, latency: float, finished_at: int, *, final: bool = True) -> Record:
    """What is stored of an attempt. `latency` in seconds, `finished_at` in microseconds since 1970."""
    outcome, status, error, choices, body = _told(result)
    return Record(
        task.key, outcome, final, task.attempts, status, error, latency, finished_at, choices, task.name, body
    )


def _told(result: Answer | Failure) -> tuple[str, int | None, str | None, int, Body | None]:
    """(outcome, HTTP status, error, choices, body): a body that was billed is kept as it came."""
    if isinstance(result, Answer):
        return OK, 200, None, result.choices, result.body
    billed = result.kind is Kind.UNUSABLE or result.answer is not None
    choices = result.answer.choices if result.answer else 0
    return str(result.kind), result.status, result.message, choices, result.body if billed else None


def tasks(job: Job, source: Source, requests: Requests, plan: Plan) -> Iterator[list[Task]]:
    """The rows that are to be done, by batch, in the plan's order. Raises InputChanged where the input is no longer
    the one that was planned: then a row's answer might be stored for another's prompt."""
    if plan.order is None:
        for made in _chosen(job, source, requests, plan, plan.rows["todo"]):
            yield list(made.values())
        return
    for portion in _portions(plan.rows, plan.order):
        chosen = pl.repeat(value=False, n=plan.rows.height, eager=True).scatter(portion, values=True)
        found: dict[int, Task] = {}
        for made in _chosen(job, source, requests, plan, chosen):
            found |= made
        yield [found[row] for row in portion]


def _portions(rows: pl.DataFrame, order: pl.Series) -> Iterator[pl.Series]:
    """As many rows as may wait in memory, by their prompts' lengths: for each the input is read once more."""
    size = rows["prompt_tokens"].gather(order).cast(pl.Int64) * TOKEN_BYTES + TASK_BYTES
    portion = (size.cum_sum() // PORTION_BYTES).rle_id()
    start = 0
    for length in portion.rle().struct.field("len"):
        yield order.slice(start, length)
        start += length


def _chosen(job: Job, source: Source, requests: Requests, plan: Plan, chosen: pl.Series) -> Iterator[dict[int, Task]]:
    """The tasks of some rows by number, in input order. `chosen`: a truth value for each row of the input."""
    prices = {model: price_of(job, model) or (0.0, 0.0) for model in plan.models}
    start, left = 0, int(chosen.sum())
    for frame in source.batches():
        rows, here = plan.rows.slice(start, frame.height), chosen.slice(start, frame.height)
        if rows.height != frame.height:
            source.verify()
            raise InputChanged(f"{job.input.path}: has more rows than a moment ago")
        if here.any():
            wanted = frame.filter(here)
            numbers = (here.arg_true() + start).to_list()
            names = texts(wanted[job.input.id]).to_list() if job.input.id else [None] * wanted.height
            occurrence = pl.col("occurrence") if "occurrence" in rows.columns else pl.lit(0)
            known = rows.filter(here).select("hi", "lo", occurrence, "attempts", "state").iter_rows()
            told = zip(numbers, known, names, strict=True)
            for made in requests.batches(wanted):
                yield {
                    row: _task(job, one, facts, name, prices)
                    for one, (row, facts, name) in zip(made, told, strict=False)
                }
            left -= wanted.height
        start += frame.height
        if not left:
            break
    source.verify()


def _task(
    job: Job,
    made: Prepared | Problem,
    row: tuple[int, int, int, int, int],
    name: str | None,
    prices: dict[str, tuple[float, float]],
) -> Task:
    hi, lo, occurrence, attempts, state = row
    key = join(hi, lo)
    if isinstance(made, Problem) or occurrence_key(made.digest, occurrence) != key:
        raise InputChanged(f"{job.input.path}: changed while the job was at work; every answer is kept: run it again")
    return Task(
        key,
        made.body,
        made.model,
        name,
        attempts,
        made.prompt_tokens,
        made.answer_tokens,
        prices[made.model],
        failed_before=state == State.FAILED,
        tried_before=attempts > 0,
    )
