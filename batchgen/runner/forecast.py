"""Makes the forecast of a run by what earlier runs left, and presents it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchgen.api.usage import NOTHING, Usage, spent
from batchgen.checkpoint.history import LearnedRate
from batchgen.job.sections import Limits, Until
from batchgen.output import destination
from batchgen.output.owner import refuse_anothers_results
from batchgen.runner import adoption, descriptors
from batchgen.runner.earlier import earlier_runs, rehearsed
from batchgen.runner.endpoints import other_endpoint
from batchgen.runner.job_warnings import warnings
from batchgen.runner.plan import Plan, with_prompts
from batchgen.runner.prepare import PreparedJob, today
from batchgen.storage import folders
from batchgen.ui.humanize import approximately, dollars, duration, inflect, moment, pluralize
from batchgen.ui.panel import Panel, PanelLine, Renderable, Severity, TextBlock, path_line

if TYPE_CHECKING:
    from batchgen.runner.rehearsal import Rehearsal


@dataclass(frozen=True, repr=False)
class Forecast(Renderable):
    """The forecast of a run. `latency_s`: the median of the last answers, None before there are any. `learned`: the
    rate that an earlier run found. `rehearsal`: set if one was requested. `continues`: the date of an earlier day's run
    that this run would continue. `in_all`: what all runs of the job have used so far."""

    name: str
    path: str
    endpoint: str
    plan: Plan
    limits: Limits
    until: Until
    latency_s: float | None
    learned: LearnedRate | None
    warnings: list[str]
    rehearsal: Rehearsal | None
    continues: str | None = None
    in_all: Usage = NOTHING

    @property
    def seconds(self) -> float | None:
        """Returns the longest time by the limits, the last answers' latency and the learned rate; None if none of them
        is known."""
        in_flight = math.inf if self.limits.concurrency == "auto" else self.limits.concurrency
        by_latency = (self.latency_s or 0) * self.plan.todo / in_flight
        by_rate = self.plan.todo * 60 / self.learned.per_minute if self.learned else 0
        return max(self.plan.seconds, by_latency, by_rate) or (0.0 if not self.plan.todo else None)

    def values(self) -> dict[str, Any]:
        """Returns everything as plain values, for `--json`."""
        plan = self.plan
        kept = (
            "reused",
            "new",
            "again",
            "changed",
            "failed_before",
            "unfinished",
            "saved",
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
            "until": self.until.model_dump(),
            "rehearsal": dataclasses.asdict(self.rehearsal) if self.rehearsal else None,
            "learned": self.learned._asdict() if self.learned else None,
            "models": list(plan.models),
            "prompts": list(plan.prompts),
            "warnings": self.warnings,
        }

    def panel(self) -> Panel:
        plan = self.plan
        lines = [
            *self._rows(),
            PanelLine("tokens", self._tokens()),
            PanelLine("cost", self._cost()),
            *([PanelLine("so far", so_far)] if (so_far := spent(self.in_all, self.in_all)) else []),
            PanelLine("time", self._time()),
            *([PanelLine("until", early, Severity.WAIT)] if (early := self._ends_early()) else []),
            *([PanelLine("learned", _learned(self.learned))] if self.learned else []),
            *([PanelLine("rehearsed", self._rehearsed(self.rehearsal))] if self.rehearsal else []),
            path_line("results", self.path, self._continued_run()),
            *(PanelLine("warning", warning, Severity.WAIT) for warning in self.warnings),
        ]
        verdict = f"{pluralize(plan.rows.height, 'row')}, {plan.todo:,} to send"
        prompts = tuple(TextBlock(f"prompt {number}", prompt) for number, prompt in enumerate(plan.prompts, 1))
        return Panel(self.name, verdict, f" to {self.endpoint}", lines, texts=prompts)

    def _continued_run(self) -> str:
        return f" (of the run of {self.continues}, which is continued)" if self.continues and self.plan.todo else ""

    def _rows(self) -> list[PanelLine]:
        plan = self.plan
        notes = (
            [f"{plan.changed:,} of them {inflect(plan.changed, 'a known row', 'known rows')} that changed"]
            if plan.changed
            else []
        )
        notes += [f"{plan.again:,} of them bought again: their older answers are not reused"] if plan.again else []
        new = ", ".join([f"{plan.new:,}", *notes])
        lines = [PanelLine("reused", f"{plan.reused:,}"), PanelLine("new", new)]
        if plan.failed_before:
            lines.append(PanelLine("failed", f"{plan.failed_before:,} in an earlier run"))
        if plan.unfinished:
            lines.append(PanelLine("begun", f"{plan.unfinished:,} tried and not finished"))
        if plan.saved:
            lines.append(PanelLine("shared", f"{pluralize(plan.saved, 'request')} saved: rows that send the same"))
        elif plan.repeated:
            some = f"{pluralize(plan.repeated, 'request')} that an earlier row makes, too"
            lines.append(PanelLine("repeated", f"{some}: `duplicates: once` buys one answer for all"))
        if plan.gone:
            lines.append(PanelLine("gone", f"{pluralize(plan.gone, 'stored answer')} that the input no longer uses"))
        return lines

    def _tokens(self) -> str:
        if not self.plan.todo:
            return "none"
        return f"about {self.plan.prompt_tokens:,} in, at most {self.plan.answer_tokens:,} out (estimates)"

    def _cost(self) -> str:
        if not self.plan.todo:
            return "none: a run would send nothing"
        if self.plan.cost is None:
            return "no price is known"
        return f"at most {dollars(self.plan.cost)} (an estimate)" if self.plan.cost else "none: these requests are free"

    def _time(self) -> str:
        limits, expected = self.limits, self.seconds
        named = {"requests": limits.requests_per_minute, "tokens": limits.tokens_per_minute}
        rates = " and ".join(f"{limit:,.0f} {what}" for what, limit in named.items() if limit is not None)
        under = f" under {rates} a minute" if rates else f" at {self._in_flight()}, no other limit"
        if not self.plan.todo:
            return "nothing to wait for"
        if expected is None:
            return f"as fast as the service answers{under}"
        by_tokens = limits.tokens_per_minute is not None and expected == self.plan.seconds  # of the longest answers
        return f"{'at most ' if by_tokens and expected >= 1 else ''}{approximately(expected)}{under}"

    def _ends_early(self) -> str:
        """Names what of `until` may end the run before its last row, by these estimates; empty if nothing does."""
        until, plan, now = self.until, self.plan, dt.datetime.now().astimezone()
        seconds, moment = self.seconds or 0, until.moment(now)
        bounds = {
            "after": (until.after, seconds),
            "at": (None if moment is None else moment - now.timestamp(), seconds),
            "requests": (until.requests, plan.todo),
            "tokens": (until.tokens, plan.prompt_tokens + plan.answer_tokens),
            "cost": (until.cost, plan.cost or 0),
        }
        early = [f"`{name}`" for name, (granted, needed) in bounds.items() if granted is not None and needed > granted]
        return f"{' or '.join(early)} may end it before all rows are done; the next run goes on" if early else ""

    def _in_flight(self) -> str:
        if self.limits.concurrency == "auto":
            return f"as many at a time as it turns into throughput, {self.limits.most_in_flight:,} at most"
        return f"{self.limits.concurrency:,} at a time"

    def _rehearsed(self, rehearsal: Rehearsal) -> str:
        """Describes when the run would end, which concurrency suffices, and what is assumed."""
        ends = moment(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=rehearsal.seconds), "%a %H:%M")
        done = f"{rehearsal.done:,} of {pluralize(self.plan.todo, 'row')} {inflect(rehearsal.done, 'is', 'are')} done"
        verdict = "ends" if rehearsal.stopped is None else f"{rehearsal.stopped}: {done}"
        lines = [f"{verdict} after {duration(rehearsal.seconds)}, {ends} if it starts now"]
        allowed = self.limits.most_in_flight
        if self.limits.concurrency == "auto":
            lines.append(_found(rehearsal, allowed))
        elif rehearsal.enough is None:
            lines.append("no limit is known: every additional slot makes it faster")
        elif rehearsal.enough > allowed:
            lines.append(f"{rehearsal.enough:,} in flight would use all of the limits; the job allows {allowed:,}")
        else:
            lines.append(f"{rehearsal.enough:,} in flight are enough; the job allows {allowed:,}")
        how = "assumed: none was measured yet" if rehearsal.assumed else "the median of the last ones"
        lines.append(f"with answers of {rehearsal.latency_s:,.1f} s ({how})")
        if rehearsal.rehearsed < self.plan.todo:
            lines.append(f"estimated from the first {pluralize(rehearsal.rehearsed, 'row')}")
        return "\n".join(lines)


def _found(rehearsal: Rehearsal, most: int) -> str:
    """Describes what is assumed of a number in flight that the run finds itself: the server's queue is not played."""
    if rehearsal.in_flight is None:
        return f"as if the server answered {most:,} at a time: how many it does, no run has found yet"
    return f"with {rehearsal.in_flight:,} in flight, as the last run found; the run itself may find more or fewer"


def _learned(learned: LearnedRate) -> str:
    day = dt.datetime.fromtimestamp(learned.found_at / 1e6, dt.UTC).date().isoformat()
    return f"the service granted about {learned.per_minute:,.0f} requests a minute on {day}"


def forecast_of(setup: PreparedJob, *, retry_failed: bool, rehearse: bool, prompts: int) -> Forecast:
    """Returns the forecast, with so many prompts, where the results would go, and what to warn of. Sends nothing and
    leaves no trace. Raises BatchgenError as a run does."""
    job = setup.job
    descriptors.raise_limit(job.limits.most_in_flight)
    folders.refuse_in_the_way(job.state_folder)
    with earlier_runs(setup, rehearse=rehearse) as earlier:
        made = with_prompts(earlier.plan(setup, retry_failed=retry_failed), setup, prompts)
        date = earlier.next_date(made.requests)
    to = destination.of(job, date)
    to.refuse(setup.source)
    refuse_anothers_results(job, to)
    beside = [] if earlier.has_run else adoption.offers(setup, made.rows.filter("todo"))
    return Forecast(
        name=job.name,
        path=str(job.output_path(date)),
        continues=date if date != today() else None,
        endpoint=setup.endpoint,
        plan=made,
        limits=job.limits,
        until=job.until,
        latency_s=earlier.latency,
        learned=earlier.learned,
        warnings=[
            *warnings(setup, made.models, made.rows.height),
            *(adoption.message(offer, made.rows.height, job) for offer in beside),
            *filter(None, [other_endpoint(setup, earlier.endpoints)]),
            *to.obstacles(),
        ],
        in_all=earlier.usage,
        rehearsal=rehearsed(setup, made, earlier) if rehearse and made.todo else None,
    )
