"""Makes the plan from rows and checkpoint: what is to be done, in which order, at what cost and in what time. Sends
nothing.

Keeps about forty bytes a row: its key, and its state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import polars as pl

from batchgen.checkpoint.index import Index, State
from batchgen.errors import UsageError
from batchgen.input.chosen_rows import read_rows
from batchgen.job.job import Job
from batchgen.job.prices import cost_of, price_of
from batchgen.job.sections import Limits
from batchgen.runner.duplicates import first_of_each, is_sent, share_answers, with_occurrence_keys
from batchgen.runner.preflight import SHOWN_PROBLEMS, Preflight, names_at, preflight
from batchgen.runner.prepare import PreparedJob
from batchgen.ui.humanize import inflect, pluralize


@dataclass(frozen=True)
class Plan:
    """The plan of a run. `rows`: for each input row `hi`, `lo`, `prompt_tokens`, `answer_tokens`, `model`, `checksum`
    (of the body), `record`, `state`, `attempts`, `todo` (whether it is to be sent); and `occurrence` if a body occurs
    more than once. If rows share answers, also `answered_by`, the number of the row that is sent for all of them and
    whose `record`, `state` and `attempts` they all have, and `sharing`, how many they are. `order`: the numbers, from
    0, of the rows to be sent, in the order of sending; None: in input order. `again`: new rows whose older answers are
    not reused. `changed` is None if the job has no `input.id`. Costs are US dollars, None if a model's price is not
    known. `seconds`: the time that the limits ask, 0 if there are none. `prompts`: of the first rows; `with_prompts`:
    of the first ones to be sent."""

    rows: pl.DataFrame
    order: pl.Series | None
    models: tuple[str, ...]
    reused: int
    new: int
    again: int
    changed: int | None
    failed_before: int
    unfinished: int
    gone: int
    prompt_tokens: int
    answer_tokens: int
    cost: float | None
    seconds: float
    prompts: tuple[str, ...] = ()

    @property
    def requests(self) -> str:
        """Returns a digest of all requests of the job, in any order."""
        halves = [int(self.rows[half].sum()) for half in ("hi", "lo")]
        return f"{self.rows.height}-{halves[0]:x}-{halves[1]:x}"

    @property
    def todo(self) -> int:
        """Counts the rows that are to be sent."""
        return int(self.rows["todo"].sum())

    @property
    def rows_left(self) -> int:
        """Counts the rows without an answer: those that are to be sent, and those that share their answers."""
        return int(self.rows.filter("todo")["sharing"].sum()) if "sharing" in self.rows.columns else self.todo

    @property
    def saved(self) -> int:
        """Counts the requests that need not be made because rows share their answers."""
        return self.rows_left - self.todo

    @property
    def repeated(self) -> int:
        """Counts the rows to be sent that send what an earlier row sends."""
        return self.rows.filter("todo", pl.col("occurrence") > 0).height if "occurrence" in self.rows.columns else 0


ReadIndex = Callable[[], Index]
"""Returns the index of what earlier runs have stored."""
NO_INDEX: ReadIndex = partial(Index, (), 0)
"""Of a job that has not run yet."""


def make_plan(
    setup: PreparedJob,
    read_index: ReadIndex,
    known_names: Iterator[str],
    *,
    retry_failed: bool,
    recheck: Callable[[pl.DataFrame, Index], pl.DataFrame] | None = None,
) -> Plan:
    """Makes the plan. `read_index`: is called in a thread, while the input is read; for half of its time SQLite is at
    work, which needs no Python. `recheck`: returns the rows with their answers by the present check. Raises UsageError
    if a row has no valid request; its message names the first such rows and counts them all."""
    job = setup.job
    with ThreadPoolExecutor(1, "index") as beside:
        reading = beside.submit(read_index)
        seen = preflight(job, setup.source, setup.requests)
        index = reading.result()
    _refuse_unpriced(job, seen)
    rows = seen.columns.frame()
    first = first_of_each(rows) if job.duplicates == "once" else None
    rows = with_occurrence_keys(rows)
    rows = rows.hstack(index.find(rows["hi"], rows["lo"]))
    answered = int((rows["state"] == State.DONE).sum())
    rows = recheck(rows, index) if recheck else rows
    rows = rows if first is None else share_answers(rows, first)
    keep = [State.DONE] if retry_failed else [State.DONE, State.FAILED]
    rows = rows.with_columns(todo=~pl.col("state").is_in([int(s) for s in keep]) & is_sent(rows))
    count = dict(rows["state"].value_counts().iter_rows())
    todo = rows.filter("todo").select("prompt_tokens", "answer_tokens", "model")
    return Plan(
        rows=rows,
        order=_order(job, rows, seen.priorities),
        models=tuple(seen.models),
        reused=count.get(State.DONE, 0),
        new=count.get(State.NEW, 0),
        again=int(((rows["state"] == State.NEW) & (rows["attempts"] > 0)).sum()),
        changed=_changed(rows, seen.names, known_names) if job.input.id else None,
        failed_before=count.get(State.FAILED, 0),
        unfinished=count.get(State.OPEN, 0),
        gone=index.done() - answered,
        prompt_tokens=_sum(todo["prompt_tokens"]),
        answer_tokens=_sum(todo["answer_tokens"]),
        cost=_cost(job, todo, tuple(seen.models)),
        seconds=_seconds(todo, job.limits),
        prompts=tuple(seen.prompts),
    )


def with_prompts(plan: Plan, setup: PreparedJob, count: int) -> Plan:
    """Adds the prompts of so many of the rows that would be sent first. Raises InputChanged. The input is read again
    only where they are not among the first rows, whose prompts a plan has."""
    todo = plan.rows["todo"].arg_true() if plan.order is None else plan.order
    rows = todo[:count].to_list()
    if max(rows, default=0) < len(plan.prompts):
        return replace(plan, prompts=tuple(plan.prompts[row] for row in rows))
    batches = read_rows(setup.source, setup.requests, sorted(rows))
    found = {row.at: row.request.prompt for batch in batches for row in batch}
    return replace(plan, prompts=tuple(found[row] for row in rows))


def refuse_too_long(plan: Plan, setup: PreparedJob) -> None:
    """Raises UsageError for rows that need more tokens than a minute grants: they would be refused for ever, and delay
    all others."""
    rows, grant = plan.rows, setup.job.limits.tokens_per_minute
    if grant is None:
        return
    needs = pl.col("prompt_tokens").cast(pl.Int64) + pl.col("answer_tokens")
    too_long = rows.lazy().with_row_index("at").filter("todo", needs > grant).select("at", needs=needs).collect()
    if too_long.is_empty():
        return
    named = names_at(setup.job, setup.source, too_long["at"].head(SHOWN_PROBLEMS).to_list())
    shown = "\n".join(f"  {name}: {tokens:,}" for name, tokens in zip(named, too_long["needs"], strict=False))
    some = f"{too_long.height:,} of {pluralize(rows.height, 'row')}"
    raise UsageError(
        f"{setup.job.input.path}: {some} cannot be sent: with its longest answer each may take more tokens than "
        f"limits.tokens_per_minute grants in a minute ({grant:,.0f}): shorten the prompt, lower request.max_tokens, or "
        f"raise the limit; nothing was sent:\n{shown}"
    )


def _order(job: Job, rows: pl.DataFrame, priorities: list[pl.Series]) -> pl.Series | None:
    """Returns the order of sending: highest priority first, empty ones last. Random order is by key, a digest, and so
    the same in every run: an interrupted run continues with the same sample."""
    if not priorities and job.order == "input":
        return None
    keyed = rows.select("hi", "todo").with_row_index("at")
    if priorities:
        keyed = keyed.with_columns(priority=_shared_priorities(rows, pl.concat(priorities)))
    by = {"priority": True} if priorities else {}
    by |= {"hi": False} if job.order == "random" else {}
    left = keyed.filter("todo").sort(list(by), descending=list(by.values()), nulls_last=True, maintain_order=True)
    return left["at"]


def _shared_priorities(rows: pl.DataFrame, priorities: pl.Series) -> pl.Series:
    """Returns the priorities; of rows that share an answer, each has the highest: it is sent when the first is due."""
    if "answered_by" not in rows.columns:
        return priorities
    highest = pl.col("priority").max().over("answered_by")
    return rows.select("answered_by").with_columns(priority=priorities).select(highest).to_series()


def _changed(rows: pl.DataFrame, names: list[pl.Series], known_names: Iterator[str]) -> int:
    """Counts new rows whose name was seen before with another request."""
    never = (rows["state"] == State.NEW) & (rows["attempts"] == 0)
    if not names or not never.any():
        return 0
    known = pl.Series(list(known_names), dtype=pl.String).hash().unique()
    fresh = pl.concat(names).filter(never)
    return int(fresh.is_in(known.implode()).sum())


def _refuse_unpriced(job: Job, seen: Preflight) -> None:
    unpriced = [model for model in seen.models if price_of(job, model) is None]
    if job.until.cost is not None and unpriced:
        raise UsageError(f"until.cost: no price is known for {unpriced[0]}: set it under `prices`")


def _cost(job: Job, todo: pl.DataFrame, models: tuple[str, ...]) -> float | None:
    total = 0.0
    for (model,), rows in todo.group_by("model"):
        cost = cost_of(job, models[int(str(model))], _sum(rows["prompt_tokens"]), _sum(rows["answer_tokens"]))
        if cost is None:
            return None
        total += cost
    return total


def _sum(column: pl.Series) -> int:
    return int(column.cast(pl.Int64).sum())


def _seconds(todo: pl.DataFrame, limits: Limits) -> float:
    seconds = [0.0]
    if limits.requests_per_minute is not None:
        seconds.append(todo.height * 60 / limits.requests_per_minute)
    if limits.tokens_per_minute is not None:
        tokens = _sum(todo["prompt_tokens"]) + _sum(todo["answer_tokens"])
        seconds.append(tokens * 60 / limits.tokens_per_minute)
    return max(seconds)


def nothing_to_send(plan: Plan) -> str:
    """Returns why there is nothing to send."""
    rows, failed = plan.rows.height, plan.failed_before
    if not rows:
        return "the input has no rows"
    if failed:
        answered = f"{plan.reused:,} of {pluralize(rows, 'row')} {inflect(plan.reused, 'is', 'are')} answered"
        return f"{answered}; {failed:,} failed in an earlier run and {inflect(failed, 'is', 'are')} not tried again"
    return f"all {rows:,} rows are answered" if rows > 1 else "the one row is answered"
