"""The price of a token."""

from __future__ import annotations

from batchgen.api.models import PRICES
from batchgen.job.job import Job


def price_of(job: Job, model: str) -> tuple[float, float] | None:
    """Returns US dollars a token, of prompt and answer. The job's own prices come first; the built-in model is free;
    None if no price is known."""
    if job.is_local:
        return 0.0, 0.0
    if model in job.prices:
        return job.prices[model].input / 1e6, job.prices[model].output / 1e6
    if model in PRICES:
        return PRICES[model][0] / 1e6, PRICES[model][1] / 1e6
    return None


def cost_of(job: Job, model: str, prompt_tokens: int, answer_tokens: int) -> float | None:
    """Returns US dollars; None if no price is known."""
    price = price_of(job, model)
    return None if price is None else prompt_tokens * price[0] + answer_tokens * price[1]
