"""Warns of what is likely a mistake in a job that fits its input, before anything is spent."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable

from batchgen.api.models import DEPRECATED
from batchgen.errors import UsageError
from batchgen.input.template.error_messages import column_warning, unread_warning
from batchgen.job.job import Job, is_vendor
from batchgen.output.column_names import advised_rename, left_out
from batchgen.output.input_columns import json_columns
from batchgen.runner.prepare import PreparedJob
from batchgen.ui.humanize import duration

CHARS_PER_TOKEN = 4
"""A rule of thumb."""
LIKELY_MILLISECONDS = {"timeout.connect": 600.0, "timeout.total": 21_600.0, "retry.max_wait": 86_400.0}
"""The most seconds that somebody may mean who sets these. A day: a quota may ask for that wait."""
LIKELY_PER_TOKEN = 1e-3
"""A price below this is hardly one per million tokens: the cheapest models cost some cents."""


def warnings(setup: PreparedJob, models: Iterable[str], rows: int) -> list[str]:
    """Returns warnings for a job of so many rows that asks these models. Raises UsageError for one that is no longer
    served."""
    job, now = setup.job, dt.datetime.now(dt.UTC)
    return [
        *setup.source.notes,
        *_row_warnings(job, rows),
        *_column_warnings(setup),
        *_prompt_warnings(setup, rows),
        *_model_warnings(setup, models, now.date()),
        *_length_warnings(job),
        *_stop_warnings(job),
        *_check_warnings(job),
        *_gate_warnings(job),
        *_time_warnings(job),
        *_price_warnings(job),
    ]


def _row_warnings(job: Job, rows: int) -> list[str]:
    """Warns of an input without rows, which replaces the last results: an export that broke off, perhaps. With a
    condition there may be none."""
    if rows or job.input.where is not None or job.gate.min_rows:
        return []
    return [f"{job.input.path}: has no rows: so will the results (`gate: {{min_rows: 1}}` keeps the last ones)"]


def _column_warnings(setup: PreparedJob) -> list[str]:
    """Warns if results hold a column as text, or lack one because the input has a column of that name."""
    as_text, taken = json_columns(setup.source.columns), left_out(setup.source.columns)
    what = f"column{'s' * (len(as_text) > 1)} {', '.join(map(repr, as_text[:5]))}"
    warned = [f"{what}: of a type that Parquet does not have: JSON text in the results"] if as_text else []
    if taken:
        warned.append(
            f"the results lack the answers' {', '.join(map(str.casefold, taken))}: the input has such columns; "
            f"to have both, write {advised_rename(taken, setup.job.input.rename)}"
        )
    return warned


def _prompt_warnings(setup: PreparedJob, rows: int) -> list[str]:
    """Warns if all rows send the same prompt, or if YAML has cut off a part of the prompt as a comment."""
    job = setup.job
    cut = f"YAML took {job.cut_off!r} for a comment: put the prompt in quotes, or below `prompt: |`"
    seen = "\n".join([one.text for one in job.templates]), setup.requests.columns_read, setup.source.columns
    same = column_warning(*seen) if rows > 1 else None
    unread = unread_warning(*seen)
    is_text = re.match(r"#\S|#.*\{\{", job.cut_off)  # a comment that is meant as one begins with a blank
    messages = [one for one in (same, unread) if one]
    messages += [cut] if job.cut_off and (same or is_text) else []
    return ["; ".join(messages)] if messages else []


def _model_warnings(setup: PreparedJob, models: Iterable[str], today: dt.date) -> list[str]:
    """Warns of deprecated models. Raises UsageError for a model that the vendor's own host no longer serves."""
    warnings = []
    for model in models:
        deprecation = DEPRECATED.get(model)
        if deprecation is None:
            continue
        advice = f"use {deprecation.replacement} in its place"
        removed = today >= dt.date.fromisoformat(deprecation.removed_on)
        if removed and is_vendor(setup.urls) and not setup.job.endpoint.allow_removed_models:
            raise UsageError(
                f"request.model: {model} was announced as removed on {deprecation.removed_on}: {advice}, or set "
                "`endpoint: {allow_removed_models: true}` to send to it anyway; nothing was sent"
            )
        when = "was announced as removed on" if removed else "is deprecated and will be removed on"
        warnings.append(f"{model} {when} {deprecation.removed_on}: {advice}")
    return warnings


def _length_warnings(job: Job) -> list[str]:
    """Warns if the job does not set how long an answer may be."""
    if job.request.max_tokens is not None or job.request.max_completion_tokens is not None:
        return []
    whose = " where a row sets none" if "max_tokens" in job.columns else ""
    dialect = job.dialect
    if not dialect.documented:
        plans = f"plans and budgets assume {dialect.default_tokens:,}"
        return [f"no request.max_tokens: the service decides how long an answer may be{whose}; {plans}"]
    who = "many a server" if dialect.is_own_server else "the service"
    cut = f"{who} cuts each answer at {dialect.default_tokens} tokens{whose}"
    return [f"no request.max_tokens: {cut}, and a cut cannot be seen in the answer"]


def _stop_warnings(job: Job) -> list[str]:
    """Warns of a backslash that YAML leaves as it stands outside double quotes: such a text ends no answer."""
    given = job.request.stop or []
    texts = [given] if isinstance(given, str) else given
    return [
        f'request.stop: {text} is sent with its backslash; in double quotes "\\n" is a line end'
        for text in texts
        if re.search(r"\\[nrt]", text)
    ]


def _check_warnings(job: Job) -> list[str]:
    """Warns if asking again for a text that fails the check would buy the same one, or another that is too short."""
    request, least = job.request, job.check.min_chars
    messages = []
    same = ["temperature 0"] if request.temperature == 0 else []
    same += [f"random_seed {request.random_seed}"] if request.random_seed is not None else []
    same += [f"seed {request.seed}"] if request.seed is not None else []
    if same and job.check.is_set and job.check.retries:
        messages.append(
            f"check.retries: with request.{same[0]} the same text is likely to come again: set `retries: 0`"
        )
    tokens = request.max_tokens or job.dialect.default_tokens
    if least is not None and tokens * CHARS_PER_TOKEN < least and "max_tokens" not in job.columns:
        longest = f"{tokens:,} tokens are about {tokens * CHARS_PER_TOKEN:,} characters"
        messages.append(f"check.min_chars: {longest}, and a text should have {least:,}: raise request.max_tokens")
    return messages


def _gate_warnings(job: Job) -> list[str]:
    """Warns of shares that reject nothing: somebody who writes `max_failed: 1` may mean one percent."""
    all_pass = {"min_done": 0.0, "max_failed": 1.0, "max_duplicates": 1.0, "max_drift": 1.0}
    idle = [name for name, share in all_pass.items() if getattr(job.gate, name) == share]
    return [f"gate.{name}: {all_pass[name]:.0%} rejects nothing; one percent is written 1%" for name in idle]


def _time_warnings(job: Job) -> list[str]:
    """Warns of milliseconds in the place of seconds, with which a run waits for days at a server that is away."""
    seconds = {
        "timeout.connect": job.timeout.connect,
        "timeout.total": job.timeout.total,
        "retry.max_wait": job.retry.max_wait,
    }
    return [
        f"{name}: {given:,g} seconds are {duration(given)}: it is not in milliseconds"
        for name, given in seconds.items()
        if given > LIKELY_MILLISECONDS[name]
    ]


def _price_warnings(job: Job) -> list[str]:
    """Warns of the price of a token in the place of a million's, by which a budget is never spent."""
    return [
        f"prices.{model}.{which}: {dollars:g} dollars are the price of a million tokens, and not of one"
        for model, price in job.prices.items()
        for which, dollars in (("input", price.input), ("output", price.output))
        if 0 < dollars < LIKELY_PER_TOKEN
    ]
