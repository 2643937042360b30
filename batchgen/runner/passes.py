"""What the passes of one run sent: usually there is one, and one more where stored answers were found damaged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchgen.api.outcome import Failure
from batchgen.api.usage import Usage
from batchgen.job.job import Job
from batchgen.ui.humanize import pluralize

if TYPE_CHECKING:
    from batchgen.runner.sender import SendResult
    from batchgen.send.stats import Stats

FEW_LATE = 5
"""Requests without an answer in time that are no sign of overload."""

log = logging.getLogger("batchgen")


@dataclass
class Passes:
    """What was sent, summed over the passes."""

    stats: list[Stats] = field(default_factory=list)
    stopped: str | None = None
    refusal: Failure | None = None
    is_gone: bool = False
    learned: float | None = None
    usages: list[Usage] = field(default_factory=list)

    def add(self, sent: SendResult) -> None:
        self.stats.append(sent.stats)
        self.usages.append(sent.usage)
        self.learned = sent.learned
        self.stopped = self.stopped or sent.stopped
        self.refusal = self.refusal or sent.refusal
        self.is_gone = self.is_gone or sent.is_gone

    def total(self, count: Callable[[Stats], int]) -> int:
        return sum(map(count, self.stats))


def told_refusal(refusal: Failure, job: Job) -> str:
    """Why the service refuses a run, and what to do."""
    advice = refusal.kind.policy.advice.format(key_source=job.endpoint.key_source)
    return f"the service refuses the run: {refusal.message}; {advice}"


def tell_what_was_odd(sent: SendResult, job: Job) -> None:
    """What a server makes of its requests that nobody would guess, and no row fails of."""
    stats, request = sent.stats, job.request
    if request.logprobs is not None and 0 < stats.answers == stats.without_log_probs:
        log.warning("warning: request.logprobs: the server gave none with any of its answers")
    if stats.several and request.best_of in (None, 1):
        told = pluralize(stats.several, "answer")
        log.warning("warning: %s had more choices than one, which nobody asked for: see `more_choices`", told)
    late, most = sent.late
    if late >= FEW_LATE and job.limits.concurrency != "auto" and most < job.limits.concurrency:
        log.warning(
            "warning: %s had no answer within timeout.total (%g s) while others did: the server has more than it "
            "can do. limits.concurrency: %d or so buys nothing twice; or raise timeout.total",
            pluralize(late, "request"),
            job.timeout.total,
            most,
        )
