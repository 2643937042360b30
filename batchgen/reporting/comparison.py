"""Compares the figures of a run with those of the last good one before it."""

from __future__ import annotations

from typing import Any

from batchgen.reporting.facts import Facts
from batchgen.reporting.figures import Figures
from batchgen.reporting.wording import figure, moment, negative, seconds
from batchgen.ui.humanize import duration

MIN_CHANGE = 0.5
"""Percent; less is none."""


def before(facts: Facts) -> dict[str, Any] | None:
    if facts.sending is None or facts.sending.before is None:
        return None
    now, before = facts.sending.figures, facts.sending.before
    rows = [_compared(name, *values) for name, *values in _comparable(now, before)]
    rest = " This run went on with one that was stopped: its counts are not a whole run's." if now.is_rest else ""
    return {"summary": f"The last good run before it began {moment(before.run.started_at)}.{rest}", "rows": rows}


def _comparable(now: Figures, before: Figures) -> list[tuple[Any, ...]]:
    """Returns rows of (name, now, before, how to show it)."""

    def latency(figures: Figures, share: float) -> float | None:
        value = figures.latencies.quantile(share, "nearest")
        return None if value is None else float(value)

    def mean(figures: Figures, column: str) -> float | None:
        value = figures.looked.answers[column].mean()
        return float(value) if isinstance(value, int | float) else None

    whole = "{:,.0f}".format
    two = (now, before)
    counts = [
        ("answers", now.ok, before.ok, whole),
        ("failed rows", now.failed, before.failed, whole),
        ("requests", now.requests, before.requests, whole),
        ("time", now.seconds, before.seconds, duration),
    ]
    return [
        *([] if now.is_rest else counts),
        ("answers a second", now.rate, before.rate, figure),
        ("latency, p50", *(latency(one, 0.5) for one in two), seconds),
        ("latency, p95", *(latency(one, 0.95) for one in two), seconds),
        ("characters a text", *(mean(one, "chars") for one in two), whole),
        ("mean log-prob", *(mean(one, "mean_logprob") for one in two), negative),
    ]


def _compared(name: str, now: float | None, before: float | None, show: Any) -> dict[str, str]:
    change = 100 * (now - before) / abs(before) if now is not None and before else None
    difference = "" if change is None else "as before" if abs(change) < MIN_CHANGE else f"{change:+,.0f} %"
    values = ["none" if value is None else show(value) for value in (now, before)]
    return {"name": name, "now": values[0], "before": values[1], "change": difference.replace("-", "\u2212")}
