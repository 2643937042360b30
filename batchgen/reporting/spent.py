"""What a run and its whole job have cost: as stored by the runs, or by estimate for a run of an older version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from batchgen.api.usage import Usage
from batchgen.job.job import Job
from batchgen.job.prices import price_of
from batchgen.reporting.figures import Figures
from batchgen.reporting.queries import ReportReader
from batchgen.reporting.subject import Subject


@dataclass(frozen=True)
class Spent:
    """`cost` is in US dollars, None if a price is unknown. `prompt_tokens` is None if the input is unknown. `how`: who
    counted the tokens. `in_all`: what all runs of the job have used, None if they did not store it. `models`: with the
    number of answers of each."""

    prompt_tokens: float | None
    answer_tokens: float
    cost: float | None
    how: str
    in_all: Usage | None
    models: tuple[tuple[str, int], ...]


def spent_of(reader: ReportReader, subject: Subject, figures: Figures) -> Spent | None:
    """Returns what a run has used; None if there is nothing to say."""
    ok, answers = figures.ok, figures.looked.answers
    scale = ok / max(answers.height, 1)
    grouped = answers.group_by("model").agg(n=pl.len(), tokens=pl.col("tokens").sum()).sort("n", descending=True)
    by_model = [(model or "", n * scale, tokens * scale) for model, n, tokens in grouped.iter_rows()]
    models = tuple((model, round(n)) for model, n, _ in by_model if model)
    if usage := reader.usage(figures.run):
        in_all = reader.total_usage()
        return Spent(usage.prompt_tokens, usage.answer_tokens, usage.cost, usage.source(), in_all, models)
    if not ok:
        return None
    each = subject.input.prompt_tokens if subject.input is not None else None
    return Spent(
        prompt_tokens=None if each is None else each * ok,
        answer_tokens=sum(tokens for *_, tokens in by_model),
        cost=_cost(subject.job, by_model, each),
        how="of the answered requests, by estimate",
        in_all=None,
        models=models,
    )


def _cost(job: Job, by_model: Sequence[tuple[str, float, float]], prompt_tokens: float | None) -> float | None:
    """Estimates the cost. A model without a known price gets the price of the requested one: answers may name it more
    precisely."""
    cost = 0.0
    for model, requests, tokens in by_model:
        price = price_of(job, model) or price_of(job, job.request.model)
        if price is None or (prompt_tokens is None and price[0]):
            return None
        cost += requests * (prompt_tokens or 0) * price[0] + tokens * price[1]
    return cost
