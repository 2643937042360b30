"""The passes of one run: usually one, and another if stored answers were found damaged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchgen.api.outcome import Failure
from batchgen.api.usage import Usage
from batchgen.checkpoint.schema import Run
from batchgen.job.job import Job
from batchgen.runner.opening import OpenedJob, earlier_rate
from batchgen.runner.plan import Plan
from batchgen.runner.signals import Signals
from batchgen.send.engines.local import EngineFactory
from batchgen.ui.humanize import pluralize

if TYPE_CHECKING:
    from batchgen.runner.sender import SendResult
    from batchgen.send.stats import Stats

MIN_LATE = 5
"""With fewer requests that time out the server is not called overloaded."""

log = logging.getLogger("batchgen")


@dataclass
class Passes:
    """The results of all passes, summed."""

    stats: list[Stats] = field(default_factory=list)
    stopped: str | None = None
    fatal: Failure | None = None
    is_broken: bool = False
    learned: float | None = None
    usages: list[Usage] = field(default_factory=list)

    def add(self, sent: SendResult) -> None:
        self.stats.append(sent.stats)
        self.usages.append(sent.usage)
        self.learned = sent.learned or self.learned
        self.stopped = self.stopped or sent.stopped
        self.fatal = self.fatal or sent.fatal
        self.is_broken = self.is_broken or sent.is_broken

    def total(self, count: Callable[[Stats], int]) -> int:
        return sum(map(count, self.stats))


def send(held: OpenedJob, plan: Plan, run: Run, signals: Signals, engine: EngineFactory, *, quiet: bool) -> SendResult:
    """Sends the plan's rows, as one pass. Warns of what was odd. Raises MachineRefused as `Sender.run` does."""
    from batchgen.runner.sender import Sender  # noqa: PLC0415  it takes long, and many a run sends nothing

    setup, connection, checkpoint, reader, budget = held
    sender = Sender(setup, connection, checkpoint, signals, engine, budget, run, reader.total_usage())
    sent = sender.run(plan, earlier_rate(setup, reader), reader.last_in_flight(), quiet=quiet)
    _warn_of_oddities(sent, setup.job)
    return sent


def describe_fatal(fatal: Failure, job: Job) -> str:
    """Says why the service refuses a run, or nothing reaches it, and what to do."""
    policy = fatal.kind.policy
    what = "the service refuses the run" if policy.reaches_server else "nothing gets through"
    advice = "" if fatal.is_systematic else f"; {policy.advice.format(key_source=job.endpoint.key_source)}"
    return f"{what}: {fatal.message}{advice}"


def _warn_of_oddities(sent: SendResult, job: Job) -> None:
    """Warns of unexpected behaviour of the server that fails no row."""
    stats, request = sent.stats, job.request
    if request.logprobs is not None and request.logprobs is not False and 0 < stats.answers == stats.without_log_probs:
        log.warning("warning: request.logprobs: no answer of the server had any")
    if (request.n or 1) > 1 and 0 < stats.answers == stats.single:
        mixed = "; a gateway may have mixed several in one text: leave out stream, or n" if request.stream else ""
        log.warning("warning: request.n: no answer of the server had more than one choice%s", mixed)
    if stats.several:
        count = pluralize(stats.several, "answer")
        log.warning("warning: %s had more choices than were requested: see `more_choices`", count)
    late, most = sent.late
    if late >= MIN_LATE and job.limits.concurrency != "auto" and most < job.limits.concurrency:
        log.warning(
            "warning: %s had no answer within timeout.total (%g s) while others did: the server has more work than "
            "it can do. Set limits.concurrency to about %d, so that nothing is bought twice; or raise timeout.total",
            pluralize(late, "request"),
            job.timeout.total,
            most,
        )
