"""Shows rows: what is sent for each, how every attempt went, and what came back. Reads the input and the checkpoint,
also during a run, and changes neither.

The checkpoint is opened only for moments, so that a person paging through rows holds nothing up.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import polars as pl

from batchgen.api.failure_kinds import Billed, Kind
from batchgen.api.outcome import Answer
from batchgen.api.usage import billed_tokens, stored_answer
from batchgen.checkpoint.index import Index, join
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import DAMAGED, INTERRUPTED, Record
from batchgen.errors import NotRunYet
from batchgen.input.chosen_rows import ChosenRow, read_rows
from batchgen.input.request import PreparedRequest
from batchgen.job.prices import cost_of
from batchgen.output.column_names import MORE_CHOICES
from batchgen.output.columns import ResultColumns
from batchgen.output.owner import refuse_anothers_checkpoint
from batchgen.runner.plan import NO_INDEX, Plan, make_plan
from batchgen.runner.prepare import PreparedJob
from batchgen.runner.recheck import recheck_states
from batchgen.runner.row_selection import RowSelection, named_rows
from batchgen.runner.shown_row import ShownAttempt, ShownRow

_KINDS = set(Kind)
_LOST = "what the checkpoint holds of it is damaged"


def show(setup: PreparedJob, which: RowSelection) -> Iterator[ShownRow]:
    """Yields the rows, in the input's order. Raises UsageError if a requested row does not exist, and as
    `make_plan`."""
    with _checkpoint(setup) as reader:
        if reader is not None:
            refuse_anothers_checkpoint(setup.job, reader.owner())
        last = reader.last_run() if reader is not None else None
        floor = last.floor if last is not None else 0
        read_index = NO_INDEX if reader is None else partial(reader.index, floor)
        recheck = partial(recheck_states, reader=reader, checker=setup.checker) if reader and not which.names else None
        plan = make_plan(setup, read_index, iter(()), retry_failed=True, recheck=recheck)
    states = plan.rows["state"]
    places = named_rows(setup.source, which.names) if which.names else states.is_in(which.states).arg_true().to_list()
    return _shown(setup, plan, floor, places)


@contextmanager
def _checkpoint(setup: PreparedJob) -> Iterator[Reader | None]:
    """Yields the reader; None if the job has not run yet."""
    try:
        opened = setup.state.open_readonly(without_trace=True)
    except NotRunYet:
        yield None
        return
    with opened as reader:
        yield reader


def _shown(setup: PreparedJob, plan: Plan, floor: int, places: Sequence[int]) -> Iterator[ShownRow]:
    for batch in read_rows(setup.source, setup.requests, places):
        planned = _with_keys_of_answers(plan.rows, [row.at for row in batch])
        with _checkpoint(setup) as reader:
            if reader is None:
                shown = [_row(setup, row, _Seen()) for row in batch]
            else:
                shown = _looked_up(setup, batch, planned, plan.models, reader, floor)
        yield from shown


def _with_keys_of_answers(rows: pl.DataFrame, places: Sequence[int]) -> pl.DataFrame:
    """Returns the rows at these places; `hi` and `lo` are the key of what was sent, where rows share an answer."""
    planned = rows[places]
    if "answered_by" not in rows.columns:
        return planned
    return planned.with_columns(rows[half].gather(planned["answered_by"]) for half in ("hi", "lo"))


class _Seen(NamedTuple):
    """What the checkpoint has of a row: its result columns, and its attempts."""

    results: dict[str, Any] = {"status": "pending"}  # noqa: RUF012  nobody changes it
    attempts: tuple[ShownAttempt, ...] = ()


_COLUMNS = ("text", "model", "finish_reason", "prompt_tokens", "completion_tokens", "reasoning", "status", "error",
            "latency_s", MORE_CHOICES)  # fmt: skip


def _looked_up(
    setup: PreparedJob,
    batch: list[ChosenRow],
    planned: pl.DataFrame,
    models: tuple[str, ...],
    reader: Reader,
    floor: int,
) -> list[ShownRow]:
    """Returns the rows as the checkpoint has them at this moment."""
    keys = [join(hi, lo) for hi, lo in planned.select("hi", "lo").iter_rows()]
    states = reader.states_of(keys)
    index = Index(states, floor)
    found = index.find(planned["hi"], planned["lo"])
    planned = recheck_states(planned.with_columns(found["record"], found["state"]), index, reader, setup.checker)
    ids: dict[bytes, list[int]] = defaultdict(list)
    for key, id_, *_ in states:
        ids[key].append(id_)
    of_rows = [ids[key] for key in keys]
    attempts = _attempts(setup, batch, of_rows, reader)
    results = _results(planned, setup.answer_models(models), reader, setup)
    attempted = zip(batch, results, of_rows, strict=True)
    return [_row(setup, row, _Seen(one, tuple(attempts[id_] for id_ in own))) for row, one, own in attempted]


def _results(
    planned: pl.DataFrame, models: Sequence[str], reader: Reader, setup: PreparedJob
) -> Iterator[dict[str, Any]]:
    """Yields the result columns of each row, as they would be published."""
    start = 0
    for ids, records, _ in reader.record_batches(planned["record"].to_list()):
        results = ResultColumns(planned.slice(start, len(ids)), models, records, reader, setup.checker)
        columns = [column.to_pylist() for column in results.columns(list(_COLUMNS))]
        yield from (dict(zip(_COLUMNS, values, strict=True)) for values in zip(*columns, strict=True))
        start += len(ids)


def _attempts(
    setup: PreparedJob, batch: list[ChosenRow], of_rows: list[list[int]], reader: Reader
) -> dict[int, ShownAttempt]:
    """Returns the attempts of all rows, by id."""
    requests = {id_: row.request for row, ids in zip(batch, of_rows, strict=True) for id_ in ids}
    shown = dict.fromkeys(requests, ShownAttempt(outcome=DAMAGED, error=_LOST))
    for _, records, _ in reader.record_batches(list(requests)):
        shown |= {id_: _attempt(setup, requests[id_], record, reader) for id_, record in records.items()}
    return shown


def _attempt(setup: PreparedJob, request: PreparedRequest, record: Record, reader: Reader) -> ShownAttempt:
    answer = _billed_answer(record, reader)
    tokens = prompt = None
    if answer is not None:
        prompt, tokens = billed_tokens(answer, request)
    elif _may_be_billed(record):
        prompt, tokens = request.prompt_tokens, request.answer_tokens
    return ShownAttempt(
        outcome=record.outcome,
        status=record.status,
        error=record.error,
        latency_s=record.latency,
        finished_at=dt.datetime.fromtimestamp(record.finished_at / 1e6, dt.UTC).isoformat(timespec="milliseconds"),
        prompt_tokens=prompt,
        answer_tokens=tokens,
        counted=answer is not None and answer.prompt_tokens is not None,
        possibly_billed=answer is None and tokens is not None,
        cost=cost_of(setup.job, request.model, prompt or 0, tokens or 0),
    )


def _may_be_billed(record: Record) -> bool:
    if record.outcome in _KINDS:
        return Kind(record.outcome).policy.billed is Billed.MAYBE
    return record.outcome == INTERRUPTED


def _billed_answer(record: Record, reader: Reader) -> Answer | None:
    """Returns the answer; None if there is none, or none that could be used."""
    read = None if _may_be_billed(record) else reader.answer(record)
    return None if read is None else stored_answer(read)


def _row(setup: PreparedJob, row: ChosenRow, seen: _Seen) -> ShownRow:
    results = dict(seen.results)
    request: dict[str, Any] = json.loads(row.request.body)
    more = results.pop(MORE_CHOICES, None) or ()
    costs = [attempt.cost for attempt in seen.attempts]
    return ShownRow(
        job=setup.job.name,
        row=row.number,
        id=row.name,
        prompt=row.request.prompt,
        messages=request.get("messages"),
        request=request,
        attempts=seen.attempts,
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        more_choices=[{"text": one["text"], "finish_reason": one["finish_reason"]} for one in more],
        **results,
    )
