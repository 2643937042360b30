"""What a run took, and its job in all: as runs took it down, and of an older version's run by estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from batchgen.api.usage import Usage
from batchgen.checkpoint.schema import Run
from batchgen.job.job import Job
from batchgen.job.prices import price_of
from batchgen.reporting.queries import ReportReader
from batchgen.reporting.subject import Subject


@dataclass(frozen=True)
class Spent:
    """`cost` in US dollars, None where a price is unknown; `prompt_tokens` None where the input is. `how`: whose count
    the tokens are. `in_all`: what all runs of the job took; None where nobody took it down. `models`: with the answers
    of each."""

    prompt_tokens: float | None
    answer_tokens: float
    cost: float | None
    how: str
    in_all: Usage | None
    models: tuple[tuple[str, int], ...]


def spent_of(archive: ReportReader, subject: Subject, run: Run, ok: int, answers: pl.DataFrame) -> Spent | None:
    """`ok`: how many answers the run had; `answers`: those of them that are looked at. None where there is nothing to
    say."""
    scale = ok / max(answers.height, 1)
    grouped = answers.group_by("model").agg(n=pl.len(), tokens=pl.col("tokens").sum()).sort("n", descending=True)
    by_model = [(model or "", n * scale, tokens * scale) for model, n, tokens in grouped.iter_rows()]
    models = tuple((model, round(n)) for model, n, _ in by_model if model)
    if usage := archive.usage(run):
        in_all = archive.total_usage()
        return Spent(usage.prompt_tokens, usage.answer_tokens, usage.cost, usage.how(), in_all, models)
    if not ok:
        return None
    each = subject.known.prompt_tokens if subject.known is not None else None
    return Spent(
        prompt_tokens=None if each is None else each * ok,
        answer_tokens=sum(tokens for *_, tokens in by_model),
        cost=_cost(subject.job, by_model, each),
        how="of the answered requests, by estimate",
        in_all=None,
        models=models,
    )


def _cost(job: Job, by_model: Sequence[tuple[str, float, float]], prompt_tokens: float | None) -> float | None:
    """A model whose price is unknown is taken for the one asked for: answers may name theirs more exactly."""
    cost = 0.0
    for model, requests, tokens in by_model:
        price = price_of(job, model) or price_of(job, job.request.model)
        if price is None or (prompt_tokens is None and price[0]):
            return None
        cost += requests * (prompt_tokens or 0) * price[0] + tokens * price[1]
    return cost
