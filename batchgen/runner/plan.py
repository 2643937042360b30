"""Rows x checkpoint -> what is to be done. Reads the whole input once and sends nothing.

Every prompt is rendered and every row's value checked here, so that a mistake in the last row costs nothing.
Keeps some forty bytes a row: its key, and what is known of it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl

from batchgen.api.contract import PRICES
from batchgen.errors import UsageError
from batchgen.job import Job, Limits
from batchgen.rows.identity import occurrence_key
from batchgen.rows.request import Prepared, Problem, Requests
from batchgen.rows.source import Source
from batchgen.runner.index import Index, State, add_keys, join, split, to_frame

SHOWN_PROBLEMS = 5
SHOWN_PROMPTS = 3
MAX_MODELS = 1000
COLUMNS = {"hi": "Q", "lo": "Q", "prompt_tokens": "I", "answer_tokens": "I", "model": "H"}
"""Of the survey, as array type codes: 26 bytes a row."""


@dataclass(frozen=True)
class Plan:
    """`rows`: for each input row `hi`, `lo`, `occurrence`, `prompt_tokens`, `answer_tokens`, `model`, `record`,
    `state`, `attempts` and `todo`. `changed` is None where no `input.id` names the rows. Costs are US dollars,
    None where a model's price is not known; `seconds` is what the limits allow, 0 where there are none."""

    rows: pl.DataFrame
    models: tuple[str, ...]
    prompts: tuple[str, ...]
    reused: int
    new: int
    changed: int | None
    failed_before: int
    unfinished: int
    gone: int
    prompt_tokens: int
    answer_tokens: int
    cost: float | None
    seconds: float

    @property
    def todo(self) -> int:
        return int(self.rows["todo"].sum())


@dataclass
class _Survey:
    """What the pass over the input gathers."""

    columns: dict[str, array[int]] = field(
        default_factory=lambda: {name: array(code) for name, code in COLUMNS.items()}
    )
    models: dict[str, int] = field(default_factory=dict)
    names: list[pl.Series] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)
    troubled: int = 0
    height: int = 0

    def add(self, made: list[Prepared]) -> None:
        columns, models = self.columns, self.models
        add_keys(columns, b"".join([p.digest for p in made]))
        columns["prompt_tokens"].extend([p.prompt_tokens for p in made])
        columns["answer_tokens"].extend([min(p.answer_tokens, 2**32 - 1) for p in made])
        columns["model"].extend([models.setdefault(p.model, len(models)) for p in made])
        self.prompts += [p.prompt for p in made[: SHOWN_PROMPTS - len(self.prompts)]]

    def refuse(self, reason: str, row: str) -> None:
        rows = self.problems.setdefault(reason, [])
        if len(rows) < SHOWN_PROBLEMS:
            rows.append(row)
        self.troubled += 1


def make_plan(
    job: Job,
    source: Source,
    requests: Requests,
    index: Index,
    known_names: Iterator[str],
    limits: Limits,
    *,
    retry_failed: bool,
) -> Plan:
    """Raises UsageError where a row cannot be sent; then it names the first rows and counts them all."""
    survey = _survey(job, source, requests)
    if survey.problems:
        raise UsageError(_tell(survey, job))
    _refuse_unpriced(job, survey)
    rows = _rows(survey)
    rows = rows.hstack(index.find(rows["hi"], rows["lo"]))
    keep = [State.DONE] if retry_failed else [State.DONE, State.FAILED]
    rows = rows.with_columns(todo=~pl.col("state").is_in([int(s) for s in keep]))
    count = dict(rows["state"].value_counts().iter_rows())
    todo = rows.filter("todo").select("prompt_tokens", "answer_tokens", "model")
    return Plan(
        rows=rows,
        models=tuple(survey.models),
        prompts=tuple(survey.prompts),
        reused=count.get(State.DONE, 0),
        new=count.get(State.NEW, 0),
        changed=_changed(rows, survey.names, known_names) if job.input.id else None,
        failed_before=count.get(State.FAILED, 0),
        unfinished=count.get(State.OPEN, 0),
        gone=index.done() - count.get(State.DONE, 0),
        prompt_tokens=_sum(todo["prompt_tokens"]),
        answer_tokens=_sum(todo["answer_tokens"]),
        cost=_cost(job, todo, tuple(survey.models)),
        seconds=_seconds(todo, limits),
    )


def _survey(job: Job, source: Source, requests: Requests) -> _Survey:
    survey = _Survey()
    for frame in source.batches():
        names = None if job.input.id is None else frame[job.input.id]
        made = list(requests.of(frame))
        survey.add([p for p in made if isinstance(p, Prepared)])
        for at in [at for at, p in enumerate(made) if isinstance(p, Problem)]:
            name = names[at] if names is not None else None
            survey.refuse(str(made[at]), row_name(survey.height + at, name))
        if names is not None:
            survey.names.append(names.cast(pl.String).hash())
            for at in names.is_null().arg_true():
                survey.refuse(f"input.id: {job.input.id} is empty", row_name(survey.height + at, None))
        survey.height += frame.height
        if len(survey.models) > MAX_MODELS:
            raise UsageError(f"columns.model: more than {MAX_MODELS:,} different models: is it the right column?")
    _refuse_repeated_names(job, source, survey)
    source.verify()
    return survey


def row_name(at: int, name: object) -> str:
    """How a message names the row at an index of the input."""
    return f"row {at + 1:,}" if name is None else f"row {at + 1:,} ({name})"


def _tell(survey: _Survey, job: Job) -> str:
    lines = [f"{job.input.path}: {survey.troubled:,} of {survey.height:,} rows cannot be sent; nothing was sent:"]
    for reason, rows in list(survey.problems.items())[:SHOWN_PROBLEMS]:
        lines.append(f"  {reason}: {', '.join(rows)}")
    if len(survey.problems) > SHOWN_PROBLEMS:
        lines.append(f"  and {len(survey.problems) - SHOWN_PROBLEMS:,} further reasons")
    elif survey.troubled > sum(map(len, survey.problems.values())):
        lines.append(f"  (the first {SHOWN_PROBLEMS} rows of each reason are named)")
    return "\n".join(lines)


def _refuse_repeated_names(job: Job, source: Source, survey: _Survey) -> None:
    if not survey.names or (hashes := pl.concat(survey.names)).n_unique() == hashes.len():
        return
    first: dict[object, int] = {}
    row = 0
    repeated = set(hashes.filter(hashes.is_duplicated()).unique())
    for frame in source.batches():
        names = frame[job.input.id or ""].cast(pl.String)
        for at in names.hash().is_in(list(repeated)).arg_true():
            name = names[at]
            if name is not None and first.setdefault(name, row + at) != row + at:
                survey.refuse(
                    (f"input.id: {job.input.id} {name!r} repeats row {first[name] + 1:,}"),
                    row_name(row + at, None),
                )
        row += frame.height


def _rows(survey: _Survey) -> pl.DataFrame:
    """The survey as one frame, with the keys of repeated bodies told apart by their occurrence."""
    frame = to_frame(survey.columns).with_columns(occurrence=pl.lit(0, pl.UInt32))
    if frame["hi"].n_unique() == frame.height:
        return frame
    again = frame.lazy().select(
        "hi",
        "lo",
        at=pl.int_range(pl.len(), dtype=pl.UInt32),
        occurrence=pl.int_range(pl.len(), dtype=pl.UInt32).over("hi"),
    )
    repeated = again.filter(pl.col("occurrence") > 0).collect()
    keys = b"".join(
        occurrence_key(join(hi, lo), occurrence)
        for hi, lo, occurrence in repeated.select("hi", "lo", "occurrence").iter_rows()
    )
    new = {**split(keys), "occurrence": repeated["occurrence"]}
    return frame.with_columns(**{name: frame[name].scatter(repeated["at"], values) for name, values in new.items()})


def _changed(rows: pl.DataFrame, names: list[pl.Series], known_names: Iterator[str]) -> int:
    """New rows whose name was seen before with another request."""
    if not names or not (rows["state"] == State.NEW).any():
        return 0
    known = pl.Series(list(known_names), dtype=pl.String).hash().unique()
    fresh = pl.concat(names).filter(rows["state"] == State.NEW)
    return int(fresh.is_in(known.implode()).sum())


def price_of(job: Job, model: str) -> tuple[float, float] | None:
    """US dollars a token, of prompt and answer; the job's own prices first. The built-in model is free."""
    if job.is_local:
        return 0.0, 0.0
    if model in job.prices:
        return job.prices[model].input / 1e6, job.prices[model].output / 1e6
    if model in PRICES:
        return PRICES[model][0] / 1e6, PRICES[model][1] / 1e6
    return None


def _refuse_unpriced(job: Job, survey: _Survey) -> None:
    unpriced = [model for model in survey.models if price_of(job, model) is None]
    if job.until.cost is not None and unpriced:
        raise UsageError(f"until.cost: no price is known for {unpriced[0]}: set it under `prices`")


def _cost(job: Job, todo: pl.DataFrame, models: tuple[str, ...]) -> float | None:
    total = 0.0
    for (model,), rows in todo.group_by("model"):
        price = price_of(job, models[int(str(model))])
        if price is None:
            return None
        total += _sum(rows["prompt_tokens"]) * price[0] + _sum(rows["answer_tokens"]) * price[1]
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
