"""Decides whether a failed attempt is the row's fault or the service's, by what happens to other rows meanwhile.

Arithmetic only: the caller passes the time.
"""

from __future__ import annotations

import math
from dataclasses import replace

from batchgen.api.failure_kinds import Billed, Kind, Scope, status_policy
from batchgen.api.outcome import Failure
from batchgen.send.limits import RateLimiter
from batchgen.send.refused_rows import RefusedRows
from batchgen.send.stops import REJECTED_ROWS
from batchgen.send.task import Task

FAILURES_AMID_ANSWERS = 2
"""A row is at fault after this many failures, each while other rows were answered."""
RECENT_ANSWER_SECONDS = 3.0
"""Others count as being answered for so many seconds after an answer."""
MIN_DELAY = 1.0
"""Seconds until the next of its last tries for a row that has used up its others."""
MAX_WINDOW = 15.0
"""Where the server was found to have a rate: it may refuse everything until its window has passed."""


class Blame:
    """The fault of failures in one run. `answers`: how many answers the run has had."""

    def __init__(self, limits: RateLimiter) -> None:
        self._limits = limits
        self._refused = RefusedRows()
        self.answers = 0
        self._answered_at = -math.inf
        self._failing: set[bytes] = set()
        """Rows that failed since the last answer, and are not done."""
        self._overloaded: set[bytes] = set()
        """Rows that met an overloaded server since the last answer."""

    def answered(self, task: Task, sent_at: float, now: float) -> None:
        self.answers += 1
        self._answered_at = now
        self._failing.clear()
        self._overloaded.clear()
        self._refused.answered(task, sent_at, now)

    def failed(self, key: bytes) -> None:
        """Counts a row that has failed for good: it no longer speaks for the others."""
        self._failing.discard(key)

    def as_refusal(self, task: Task, failure: Failure, now: float) -> Failure:
        """Returns the failure, as a refusal by rate if the server says it is overloaded while it answers others: it has
        a limit, or refuses this row alone. The same failure for all rows, and for longer, is an outage."""
        recent = MAX_WINDOW if self._limits.learned() is not None else RECENT_ANSWER_SECONDS
        is_amid_answers = now - self._answered_at < recent or self._refused.is_improbable(task)
        is_refusal = is_amid_answers and status_policy(failure.status).is_limit
        return replace(failure, kind=Kind.BUSY) if is_refusal else failure

    def weigh(self, task: Task, failure: Failure, now: float, left: int) -> None:
        """Charges a failure to the row, unless it may be the service's. `left`: rows still to do."""
        policy = failure.kind.policy
        if failure.kind is Kind.BUSY:
            self._refused.refused(task, now, left, failure.retry_after or 0.0)
        may_be_the_service = policy.scope is Scope.SERVER
        is_overloaded = status_policy(failure.status).is_limit
        may_be_away = may_be_the_service and (is_overloaded or not policy.slows)  # else it refuses by rate
        if is_overloaded:
            self._overloaded.add(task.key)
        has_failed = task.failed_before or task.own_failures >= FAILURES_AMID_ANSWERS
        may_be_the_row = has_failed and not self._says_nothing_of_rows(failure)  # once more
        if may_be_away and not may_be_the_row:
            amid_answers = policy.slows or (failure.is_late and now - self._answered_at < RECENT_ANSWER_SECONDS)
            self._limits.failed(now, left, billed=policy.billed is Billed.MAYBE, amid_answers=amid_answers)
        self._failing.add(task.key)
        broken = failure.cause if policy.reaches_server else str(Kind.UNANSWERED)
        causes = (failure.cause, *[broken] * failure.resent)  # on a new connection, too: by no chance
        if not may_be_the_service or self._is_at_fault(task, failure, now):
            self._charge(task, causes)
        else:
            task.doubtful_causes, task.outages = (*task.doubtful_causes, *causes), self._limits.outages
        task.answers = self.answers

    def is_refused_for_itself(self, task: Task, failure: Failure) -> bool:
        """Returns whether the service refuses the row by rate, and others not."""
        return failure.kind is Kind.BUSY and self._refused.is_its_own(task)

    def is_no_limit(self, task: Task, failure: Failure, now: float) -> bool:
        """Returns whether a refusal by rate says nothing of a limit: others need not wait."""
        return failure.kind is Kind.BUSY and self._refused.is_no_limit(task, now)

    def postpone(self, task: Task, failure: Failure, delay: float | None, now: float) -> float | None:
        """Sets a row aside that is refused for itself. Returns the seconds until its next attempt, `delay` for any
        other row: infinity until the others are done; None if it is not tried again."""
        if not self.is_refused_for_itself(task, failure):
            return delay
        delay = self._refused.postpone(task, delay or MIN_DELAY, now)
        if self._refused.are_most_their_own:
            self._limits.unlearn(now)
        return delay

    def others_are_done(self, now: float) -> None:
        self._refused.others_are_done(now)

    def _charge(self, task: Task, causes: tuple[str, ...]) -> None:
        """Charges this failure to the row, and the doubtful ones before it, unless an outage began meanwhile."""
        causes = (*task.doubtful_causes, *causes) if task.outages == self._limits.outages else causes
        task.doubtful_causes = ()
        task.own_failures += 1
        for one in causes:
            task.tries[one] = task.tries.get(one, 0) + 1

    def _is_at_fault(self, task: Task, failure: Failure, now: float) -> bool:
        """Returns whether the row is at fault. It is if others were answered since it was sent; if it has failed often
        while others were answered; if it failed in an earlier run; or if only this row fails, again, at a service that
        has answered."""
        if self.answers > (task.answers or 0):
            return True
        if failure.kind.policy.slows or self._says_nothing_of_rows(failure):
            return False  # the service has not seen the row
        alone = self.answers and self._failing == {task.key}
        if task.failed_before or (alone and (task.tried_before or task.own_failures)):
            return True
        return not self._limits.outage(now) and task.own_failures >= FAILURES_AMID_ANSWERS

    def _says_nothing_of_rows(self, failure: Failure) -> bool:
        """Returns whether the server was not reached, or so many rows in a row met an overloaded one that it is no
        row's doing."""
        is_overload = status_policy(failure.status).is_limit and len(self._overloaded) >= REJECTED_ROWS
        return is_overload or not failure.kind.policy.reaches_server
