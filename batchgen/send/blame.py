"""Whose fault a failed attempt is: the row's, or the service's, by what becomes of others meanwhile.

Arithmetic only: the caller passes the time.
"""

from __future__ import annotations

import math
from dataclasses import replace

from batchgen.api.outcome import Billed, Failure, Kind, Scope, status_policy
from batchgen.send.limits import RateLimiter
from batchgen.send.task import Task

OFTEN = 2
"""Failures of a row, each while others were answered, after which it is taken to be at fault."""
AMID = 3.0
"""Seconds since the last answer in which others are said to be answered."""


class Blame:
    """Of one run. `answers`: how many it had."""

    def __init__(self, limits: RateLimiter) -> None:
        self._limits = limits
        self.answers = 0
        self._answered_at = -math.inf
        self._failing: set[bytes] = set()
        """Rows that failed since the last answer."""

    def answered(self, now: float) -> None:
        self.answers += 1
        self._answered_at = now
        self._failing.clear()

    def as_refusal(self, failure: Failure, now: float) -> Failure:
        """Where others are answered, a server that says it is overloaded has a limit: that is a refusal as by rate.
        What all are told for longer is an outage."""
        is_refusal = status_policy(failure.status).is_limit and now - self._answered_at < AMID
        return replace(failure, kind=Kind.BUSY) if is_refusal else failure

    def weigh(self, task: Task, failure: Failure, now: float, left: int) -> None:
        """Holds a failure against the row, unless it may be the service's. `left`: rows that are to be done."""
        policy = failure.kind.policy
        may_be_the_services = policy.scope is Scope.SERVER
        is_limit = policy.slows and status_policy(failure.status).is_limit
        is_away = may_be_the_services and not policy.slows
        if (is_away or is_limit) and not task.failed_before:
            self._limits.failed(now, left, billed=policy.billed is Billed.MAYBE, amid_answers=is_limit)
        self._failing.add(task.key)
        causes = (failure.cause,) * (1 + failure.resent)  # what ends over a fresh connection, too, does so by no chance
        if not may_be_the_services or self._is_its_own(task, failure, now):
            self._hold_against(task, causes)
        else:
            task.doubtful, task.outages = (*task.doubtful, *causes), self._limits.outages
        task.answers = self.answers

    def _hold_against(self, task: Task, causes: tuple[str, ...]) -> None:
        """And those before that were in doubt, unless the service was away meanwhile."""
        causes = (*task.doubtful, *causes) if task.outages == self._limits.outages else causes
        task.doubtful = ()
        task.held += 1
        for one in causes:
            task.tries[one] = task.tries.get(one, 0) + 1

    def _is_its_own(self, task: Task, failure: Failure, now: float) -> bool:
        """Whether the row is at fault: others were answered since it was sent, or it has failed often while others
        were, or in an earlier run, or it is the only one that fails at a service that has answered, and did before."""
        if self.answers > (task.answers or 0):
            return True
        if failure.kind.policy.slows or not failure.kind.policy.left:
            return False  # nobody has looked at the row
        alone = self.answers and self._failing == {task.key}
        if task.failed_before or (alone and (task.tried_before or task.held)):
            return True
        return not self._limits.outage(now) and task.held >= OFTEN
