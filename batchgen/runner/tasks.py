"""Makes tasks, in batches, from a plan and its input. Reads the input again and compares it with the plan. Keeps one
batch in memory, or one portion if the rows have an order of their own."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from batchgen.checkpoint.index import State, join
from batchgen.errors import InputChanged
from batchgen.input.request import PreparedBatch
from batchgen.input.texts import texts
from batchgen.job.job import Job
from batchgen.job.prices import price_of
from batchgen.runner.plan import Plan
from batchgen.runner.preflight import checksums
from batchgen.runner.prepare import PreparedJob
from batchgen.send.task import Task

PORTION_BYTES, TASK_BYTES, TOKEN_BYTES = 64 << 20, 1000, 4


def tasks(setup: PreparedJob, plan: Plan) -> Iterator[list[Task]]:
    """Yields the tasks of the rows to be done, by batch, in the plan's order. Raises InputChanged if the input is no
    longer the planned one: then an answer might be stored for another row's prompt."""
    if plan.order is None:
        for made in _chosen(setup, plan, plan.rows["todo"]):
            yield list(made.values())
        return
    for portion in _portions(plan.rows, plan.order):
        chosen = pl.repeat(value=False, n=plan.rows.height, eager=True).scatter(portion, values=True)
        found: dict[int, Task] = {}
        for made in _chosen(setup, plan, chosen):
            found |= made
        yield [found[row] for row in portion]


def _portions(rows: pl.DataFrame, order: pl.Series) -> Iterator[pl.Series]:
    """Yields as many rows as may wait in memory, by their prompts' lengths. The input is read once for each portion."""
    size = rows["prompt_tokens"].gather(order).cast(pl.Int64) * TOKEN_BYTES + TASK_BYTES
    portion = (size.cum_sum() // PORTION_BYTES).rle_id()
    start = 0
    for length in portion.rle().struct.field("len"):
        yield order.slice(start, length)
        start += length


def _chosen(setup: PreparedJob, plan: Plan, chosen: pl.Series) -> Iterator[dict[int, Task]]:
    """Yields the tasks of some rows by number, in input order. `chosen`: a boolean for each row of the input."""
    job, source = setup.job, setup.source
    prices = {model: price_of(job, model) or (0.0, 0.0) for model in plan.models}
    left, start = int(chosen.sum()), source.start_of(chosen.arg_max() or 0)  # of the first that is true
    for frame, _ in source.numbered(start):
        rows, here = plan.rows.slice(start, frame.height), chosen.slice(start, frame.height)
        if rows.height != frame.height:
            source.verify()
            raise InputChanged(f"{job.input.path}: has more rows than a moment ago")
        if here.any():
            wanted = frame.filter(here)
            numbers = (here.arg_true() + start).to_list()
            names = texts(wanted[job.input.id]).to_list() if job.input.id else [None] * wanted.height
            sharing = "sharing" if "sharing" in rows.columns else pl.lit(1).alias("sharing")
            known = rows.filter(here).select("hi", "lo", "checksum", sharing, "attempts", "state").iter_rows()
            facts = zip(numbers, names, known, strict=True)
            for made in setup.requests.batches(wanted):
                yield dict(_tasks(job, made, facts, prices))
            left -= wanted.height
        start += frame.height
        if not left:
            break
    source.verify()


def _tasks(
    job: Job,
    made: PreparedBatch,
    facts: Iterator[tuple[int, str | None, tuple[int, int, int, int, int, int]]],
    prices: dict[str, tuple[float, float]],
) -> Iterator[tuple[int, Task]]:
    """Yields each row's number and task. `facts`: of each row its number, its name and what is planned. Takes as many
    as there are requests."""
    changed = InputChanged.of(job.input.path)
    if made.errors:
        raise changed
    requests = zip(made.bodies, checksums(made), made.prompt_tokens, made.around, strict=True)
    for (body, checksum, prompt_tokens, around), (row, name, known) in zip(requests, facts, strict=False):
        hi, lo, planned, sharing, attempts, state = known
        if checksum != planned:
            raise changed
        yield (
            row,
            Task(
                join(hi, lo),
                body,
                around.model,
                name,
                attempts,
                prompt_tokens,
                around.answer_tokens,
                prices[around.model],
                sharing,
                around.candidates,
                failed_before=state == State.FAILED,
                tried_before=attempts > 0,
            ),
        )
