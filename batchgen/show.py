"""Values -> the text a person reads at eighty columns. Formats only."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
from typing import Any

from batchgen.commands import Forecast, Status
from batchgen.errors import ServiceRefused
from batchgen.night import Summary
from batchgen.rehearsal import Rehearsal
from batchgen.results.parquet import Published
from batchgen.runner.limits import dollars
from batchgen.runner.progress import counted, duration
from batchgen.runner.reader import LearnedRate
from batchgen.terminal import inert_json

PROMPT_LINES = 6


def _line(label: str, text: str) -> str:
    return f"  {label:<9} {text}"


def _shown_path(path: str) -> str:
    """Relative where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) else path


def as_json(value: Any) -> str:
    """Plain values, or a dataclass of them, as one line."""
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
    return inert_json(json.dumps(plain, ensure_ascii=False))


def summary(ended: Summary) -> str:
    """Six lines: rows, reused, failed and why, time, where file and report are; and more where it was stopped or
    rejected."""
    verdict = "rejected" if ended.rejected else "finished"
    verdict = "refused" if ended.exit_code == ServiceRefused.exit_code else "stopped" if ended.pending else verdict
    pending = f", {ended.pending:,} still to do" if ended.pending else ""
    have = "has its" if ended.rows == 1 else "have their"
    lines = [f"{ended.name}: {verdict}: {ended.ok:,} of {counted(ended.rows, 'row')} {have} text{pending}"]
    lines.append(_line("reused", f"{counted(ended.reused, 'answer')} of earlier runs" if ended.reused else "none"))
    lines.append(_line("failed", _failures(ended)))
    rate = f" ({(ended.ok - ended.reused) / ended.seconds:,.1f} rows/s)" if ended.ok > ended.reused else ""
    lines.append(_line("time", f"{duration(ended.seconds)}{rate}; {_requests(ended)}"))
    lines.append(_line("results", _shown_path(ended.path)))
    lines += [_line("report", _shown_path(ended.report))] if ended.report else []
    if ended.stopped:
        lines.append(_line("stopped", f"{ended.stopped}; the same command resumes{_runs_left(ended)}"))
    lines += _rejected(ended.rejected)
    return "\n".join(lines)


def _rejected(reasons: list[str]) -> list[str]:
    """Why the gate kept the results out."""
    if not reasons:
        return []
    return [_line("rejected", f"\n{'':12}".join([*reasons, "what stands in the output's place was left as it is"]))]


def _runs_left(ended: Summary) -> str:
    """How many runs like this one are left to do."""
    bought = ended.ok - ended.reused
    return f": {counted(-(-ended.pending // bought), 'more run')} like this one" if bought and ended.pending else ""


def _failures(ended: Summary) -> str:
    if not ended.failed:
        return "none"
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in ended.reasons.items())
    more = f"\n{'':12}and {ended.failed - len(ended.failures):,} more" if ended.failed > len(ended.failures) else ""
    return f"{counted(ended.failed, 'row')}: {reasons}" + "".join(f"\n{'':12}{row}" for row in ended.failures) + more


def _requests(ended: Summary) -> str:
    if not ended.sent:
        return "nothing sent"
    parts = [f"{counted(ended.sent, 'request')} sent"]
    if ended.retries:
        parts.append(f"{ended.retries:,} tried again")
    if ended.possibly_billed:
        parts.append(f"{ended.possibly_billed:,} possibly billed without an answer")
    if ended.interrupted:
        parts.append(f"{ended.interrupted:,} were in flight when an earlier run was killed")
    return ", ".join(parts)


def forecast_values(forecast: Forecast) -> dict[str, Any]:
    """The plan as plain values, for `--json`."""
    plan = forecast.plan
    kept = ("reused", "new", "changed", "failed_before", "unfinished", "gone", "todo", "prompt_tokens", "answer_tokens")
    return {
        "name": forecast.name,
        "path": forecast.path,
        "endpoint": forecast.endpoint,
        "rows": plan.rows.height,
        **{name: getattr(plan, name) for name in kept},
        "cost": plan.cost,
        "seconds": seconds(forecast),
        "limits": forecast.limits.model_dump(),
        "rehearsal": dataclasses.asdict(forecast.rehearsal) if forecast.rehearsal else None,
        "learned": forecast.learned._asdict() if forecast.learned else None,
        "models": list(plan.models),
        "prompts": list(plan.prompts),
        "warnings": forecast.warnings,
    }


def seconds(forecast: Forecast) -> float | None:
    """What the limits ask, or what the last answers' latency makes likely; None where nothing tells."""
    by_latency = (forecast.latency_s or 0) * forecast.plan.todo / forecast.limits.concurrency
    by_rate = forecast.plan.todo * 60 / forecast.learned.per_minute if forecast.learned else 0
    return max(forecast.plan.seconds, by_latency, by_rate) or (0.0 if not forecast.plan.todo else None)


def forecast(forecast: Forecast) -> str:
    plan = forecast.plan
    lines = [
        f"{forecast.name}: {counted(plan.rows.height, 'row')}, {plan.todo:,} to send to {forecast.endpoint}",
        _line("reused", f"{plan.reused:,}"),
        _line("new", f"{plan.new:,}" + (f", {plan.changed:,} of them known rows that changed" if plan.changed else "")),
    ]
    if plan.failed_before:
        lines.append(_line("failed", f"{plan.failed_before:,} in an earlier run"))
    if plan.unfinished:
        lines.append(_line("begun", f"{plan.unfinished:,} tried and not finished"))
    if plan.gone:
        lines.append(_line("gone", f"{counted(plan.gone, 'stored answer')} that the input no longer uses"))
    lines += [
        _line("tokens", f"about {plan.prompt_tokens:,} in, at most {plan.answer_tokens:,} out (estimates)"),
        _line("cost", f"at most {dollars(plan.cost)} (an estimate)" if plan.cost is not None else "no price is known"),
        _line("time", _time(forecast)),
        *([_line("learned", _learned(forecast.learned))] if forecast.learned else []),
        *([_line("rehearsed", _rehearsed(forecast, forecast.rehearsal))] if forecast.rehearsal else []),
        _line("results", _shown_path(forecast.path)),
    ]
    lines += [_line("warning", warning) for warning in forecast.warnings]
    for number, prompt in enumerate(plan.prompts, 1):
        lines += ["", f"prompt {number}:", *_excerpt(prompt)]
    return "\n".join(lines)


def _time(forecast: Forecast) -> str:
    expected = seconds(forecast)
    limits = forecast.limits
    named = {"requests": limits.requests_per_minute, "tokens": limits.tokens_per_minute}
    given = " and ".join(f"{limit:,.0f} {what}" for what, limit in named.items() if limit is not None)
    under = f" under {given} a minute" if given else f" at {limits.concurrency:,} at a time, no other limit"
    if expected is None:
        return f"as fast as the service answers{under}"
    return f"about {duration(expected)}{under}" if expected else "nothing to wait for"


def _learned(learned: LearnedRate) -> str:
    day = dt.datetime.fromtimestamp(learned.found_at / 1e6, dt.UTC).date().isoformat()
    return f"the service granted about {learned.per_minute:,.0f} requests a minute on {day}"


def _rehearsed(forecast: Forecast, night: Rehearsal) -> str:
    """When it would end, which concurrency is enough, and what of it is assumed."""
    ends = (dt.datetime.now().astimezone() + dt.timedelta(seconds=night.seconds)).strftime("%a %H:%M")
    verdict = (
        "ends" if night.stopped is None else f"{night.stopped}: {night.done:,} of {forecast.plan.todo:,} rows are done"
    )
    lines = [f"{verdict} after {duration(night.seconds)}, {ends} if it began now"]
    allowed = forecast.limits.concurrency
    if night.enough is None:
        lines.append("no limit is known: every slot more makes it faster")
    elif night.enough > allowed:
        lines.append(f"{night.enough:,} in flight would use all of the limits; the job allows {allowed:,}")
    else:
        lines.append(f"{night.enough:,} in flight are enough; the job allows {allowed:,}")
    how = "assumed: none was measured yet" if night.assumed else "the median of the last ones"
    lines.append(f"with answers of {night.latency_s:,.1f} s ({how})")
    if night.rehearsed < forecast.plan.todo:
        lines.append(f"reckoned from the first {night.rehearsed:,} rows")
    return f"\n{'':12}".join(lines)


def _excerpt(prompt: str) -> list[str]:
    lines = prompt.splitlines()
    cut = [f"  | {line[:74]}{'…' if len(line) > 74 else ''}" for line in lines[:PROMPT_LINES]]  # noqa: PLR2004
    return [*cut, f"  | … {len(lines) - PROMPT_LINES:,} more lines"] if len(lines) > PROMPT_LINES else cut


def status(now: Status) -> str:
    lines = [
        f"{now.name}: {now.state}, started {now.started_at}",
        _line("rows", f"{now.rows:,}: {now.done:,} have their text, {now.failed:,} failed, {now.left:,} left"),
    ]
    if now.rate is not None:
        left = f", about {duration(now.left_s)} left" if now.left_s is not None else ""
        lines.append(_line("rate", f"{now.rate:,.1f} rows/s{left}"))
    return "\n".join(lines)


def published(done: Published) -> str:
    counts = f"{done.ok:,} ok, {done.failed:,} failed, {done.pending:,} pending"
    lines = [f"{_shown_path(str(done.path))}: {counted(done.rows, 'row')}: {counts}"]
    lines += [
        _line("damaged", f"{row}: its stored answer cannot be read; the next run buys it again")
        for row in done.damaged.values()
    ]
    lines += _rejected(done.rejected)
    return "\n".join(lines)
