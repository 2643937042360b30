"""What a run of a job would do, and how that is told."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchgen.api.usage import NOTHING, Usage, spent
from batchgen.checkpoint.history import LearnedRate
from batchgen.job.sections import Limits
from batchgen.runner.plan import Plan
from batchgen.ui.humanize import approximately, dollars, duration, pluralize
from batchgen.ui.panel import Panel, PanelLine, Renderable, Severity, TextBlock, near

if TYPE_CHECKING:
    from batchgen.runner.rehearsal import Rehearsal


@dataclass(frozen=True)
class Forecast(Renderable):
    """What a run would do. `latency_s`: the median of the last answers, None before there are any;
    `learned`: the rate that an earlier run found; `rehearsal`: where one was asked for; `goes_on`: the date of an
    earlier day's run that it would go on with; `in_all`: what all runs of the job have used so far."""

    name: str
    path: str
    endpoint: str
    plan: Plan
    limits: Limits
    latency_s: float | None
    learned: LearnedRate | None
    warnings: list[str]
    rehearsal: Rehearsal | None
    goes_on: str | None = None
    in_all: Usage = NOTHING

    @property
    def seconds(self) -> float | None:
        """What the limits ask, or what the last answers' latency makes likely; None where nothing tells."""
        in_flight = math.inf if self.limits.concurrency == "auto" else self.limits.concurrency
        by_latency = (self.latency_s or 0) * self.plan.todo / in_flight
        by_rate = self.plan.todo * 60 / self.learned.per_minute if self.learned else 0
        return max(self.plan.seconds, by_latency, by_rate) or (0.0 if not self.plan.todo else None)

    def values(self) -> dict[str, Any]:
        """All of it as plain values, for `--json`."""
        plan = self.plan
        kept = (
            "reused",
            "new",
            "again",
            "changed",
            "failed_before",
            "unfinished",
            "gone",
            "todo",
            "prompt_tokens",
            "answer_tokens",
        )
        return {
            "name": self.name,
            "path": self.path,
            "endpoint": self.endpoint,
            "rows": plan.rows.height,
            **{name: getattr(plan, name) for name in kept},
            "tokens": plan.prompt_tokens + plan.answer_tokens,
            "cost": plan.cost,
            "in_all": dataclasses.asdict(self.in_all),
            "seconds": self.seconds,
            "limits": self.limits.model_dump(),
            "rehearsal": dataclasses.asdict(self.rehearsal) if self.rehearsal else None,
            "learned": self.learned._asdict() if self.learned else None,
            "models": list(plan.models),
            "prompts": list(plan.prompts),
            "warnings": self.warnings,
        }

    def sheet(self) -> Panel:
        plan = self.plan
        lines = [
            *self._rows(),
            PanelLine("tokens", f"about {plan.prompt_tokens:,} in, at most {plan.answer_tokens:,} out (estimates)"),
            PanelLine(
                "cost", f"at most {dollars(plan.cost)} (an estimate)" if plan.cost is not None else "no price is known"
            ),
            *([PanelLine("so far", so_far)] if (so_far := spent(self.in_all, self.in_all)) else []),
            PanelLine("time", self._time()),
            *([PanelLine("learned", _learned(self.learned))] if self.learned else []),
            *([PanelLine("rehearsed", self._rehearsed(self.rehearsal))] if self.rehearsal else []),
            PanelLine("results", near(self.path) + self._night()),
            *(PanelLine("warning", warning, Severity.WAIT) for warning in self.warnings),
        ]
        verdict = f"{pluralize(plan.rows.height, 'row')}, {plan.todo:,} to send"
        prompts = tuple(TextBlock(f"prompt {number}", prompt) for number, prompt in enumerate(plan.prompts, 1))
        return Panel(self.name, verdict, f" to {self.endpoint}", lines, texts=prompts)

    def _night(self) -> str:
        return f" (of the run of {self.goes_on}, which goes on)" if self.goes_on and self.plan.todo else ""

    def _rows(self) -> list[PanelLine]:
        plan = self.plan
        told = [f"{plan.changed:,} of them known rows that changed"] if plan.changed else []
        told += [f"{plan.again:,} of them bought again: their older answers are not reused"] if plan.again else []
        new = ", ".join([f"{plan.new:,}", *told])
        lines = [PanelLine("reused", f"{plan.reused:,}"), PanelLine("new", new)]
        if plan.failed_before:
            lines.append(PanelLine("failed", f"{plan.failed_before:,} in an earlier run"))
        if plan.unfinished:
            lines.append(PanelLine("begun", f"{plan.unfinished:,} tried and not finished"))
        if plan.gone:
            lines.append(PanelLine("gone", f"{pluralize(plan.gone, 'stored answer')} that the input no longer uses"))
        return lines

    def _time(self) -> str:
        limits, expected = self.limits, self.seconds
        named = {"requests": limits.requests_per_minute, "tokens": limits.tokens_per_minute}
        given = " and ".join(f"{limit:,.0f} {what}" for what, limit in named.items() if limit is not None)
        under = f" under {given} a minute" if given else f" at {self._in_flight()}, no other limit"
        if expected is None:
            return f"as fast as the service answers{under}"
        if not expected:
            return "nothing to wait for"
        by_tokens = limits.tokens_per_minute is not None and expected == self.plan.seconds  # of the longest answers
        return f"{'at most ' if by_tokens and expected >= 1 else ''}{approximately(expected)}{under}"

    def _in_flight(self) -> str:
        if self.limits.concurrency == "auto":
            return f"as many at a time as it turns into throughput, {self.limits.most_in_flight:,} at most"
        return f"{self.limits.concurrency:,} at a time"

    def _rehearsed(self, night: Rehearsal) -> str:
        """When it would end, which concurrency is enough, and what of it is assumed."""
        ends = (dt.datetime.now().astimezone() + dt.timedelta(seconds=night.seconds)).strftime("%a %H:%M")
        verdict = (
            "ends" if night.stopped is None else f"{night.stopped}: {night.done:,} of {self.plan.todo:,} rows are done"
        )
        lines = [f"{verdict} after {duration(night.seconds)}, {ends} if it began now"]
        allowed = self.limits.most_in_flight
        if night.enough is None:
            lines.append("no limit is known: every slot more makes it faster")
        elif night.enough > allowed:
            lines.append(f"{night.enough:,} in flight would use all of the limits; the job allows {allowed:,}")
        else:
            lines.append(f"{night.enough:,} in flight are enough; the job allows {allowed:,}")
        how = "assumed: none was measured yet" if night.assumed else "the median of the last ones"
        lines.append(f"with answers of {night.latency_s:,.1f} s ({how})")
        if night.rehearsed < self.plan.todo:
            lines.append(f"reckoned from the first {night.rehearsed:,} rows")
        return "\n".join(lines)


def _learned(learned: LearnedRate) -> str:
    day = dt.datetime.fromtimestamp(learned.found_at / 1e6, dt.UTC).date().isoformat()
    return f"the service granted about {learned.per_minute:,.0f} requests a minute on {day}"
