"""Tells a row that is always refused, as if by rate, from those that meet a limit by chance.

A request that is longer than an account's tokens a minute, or that its plan does not include, may get the 429 of a
rate, and some gateways say 503 of what their model cannot do. Taken for a limit, a few such rows slow down all others,
until nothing is sent any more. So they are set aside until the others are done. Arithmetic only: the caller passes the
time.
"""

from __future__ import annotations

import math

from batchgen.send.task import Task

IMPROBABLE = 0.01
"""A row is refused for itself if a limit would refuse it so often with this probability at most."""
LEAST_PRIOR = 0.05
"""The least probability that a refusal is a limit's, before anything is known of the row: one may begin at any time."""
WEIGHT = 0.05
"""Of the latest row, in the share of rows that are refused when they are first sent: a moving average."""
FEW = 3
"""Rows that must have been set aside before it is thought that there is no limit at all."""
LIMIT_SHARE = 0.25
"""There is a limit where more rows than this share are refused when they are first sent, or where more were answered
after a refusal than this share of the number that was set aside."""
FEW_LEFT, ALONE_SECONDS = 10, 120.0
"""So many rows, and LIMIT_SHARE of the answers, at most: if they alone are left beside those set aside, and nothing is
answered for so long, they are refused for themselves. In a short run nothing else tells."""
LAST_TRIES = 3
"""How often a row that was set aside is tried when the others are done, and nothing is answered any more."""
QUIET_SECONDS = 60.0
"""From the last answer, or from when the others are done, to the last try. Limits count by the minute: by then they
have nothing of the others, nor of an earlier run. Many rows are spread over as long: all at once could exceed one."""


class RefusedRows:
    """The rows of one run that were refused."""

    def __init__(self) -> None:
        self._share = 1.0  # of the rows that were refused when they were first sent, lately
        self._answered_later = self._set_aside = 0
        self._rows_left = self._rows_answered = self._rows_set_aside = 0  # with those that share an answer
        self._asked = 0.0  # seconds that the service last asked to wait
        self._answered_at = -math.inf  # when the latest answer came
        self._granted_at = -math.inf  # when its request was sent
        self._done_at = math.inf  # when the others were
        self._limit_until = -math.inf  # a refusal says something of a limit, once the others are done

    def answered(self, task: Task, sent_at: float, now: float) -> None:
        """Counts an answer. Once the others are done, it shows that a row that was set aside met a limit after all."""
        self._rows_answered += task.rows
        self._answered_at = now
        self._granted_at = max(self._granted_at, sent_at)
        if self._are_others_done:
            self._limit_until = sent_at + QUIET_SECONDS
        if task.refused_at is not None:
            self._answered_later += 1
        else:
            self._share *= 1 - WEIGHT

    def refused(self, task: Task, now: float, left: int, asked: float) -> None:
        """Counts a refusal. Once more says nothing of the row while nothing is granted. `left`: rows to do. `asked`:
        seconds that the service asks to wait."""
        self._rows_left, self._asked = left, asked
        if task.refused_at is None:
            self._share += WEIGHT * (1 - self._share)
            prior = (1 + self._answered_later) / (1 + self._answered_later + self._set_aside)
            task.by_chance = self._share * max(prior, LEAST_PRIOR)
        elif self._granted_at > task.refused_at:
            task.by_chance *= self._share
            task.last_tries = 0
        task.refused_at = now

    def is_improbable(self, task: Task) -> bool:
        """Returns whether a limit would hardly have refused the row so often."""
        return task.by_chance <= IMPROBABLE

    def is_its_own(self, task: Task) -> bool:
        """Returns whether the row is refused for itself, as far as is known. One that failed in an earlier run is,
        unless others that are still to do are refused as well."""
        is_limit = self._granted_at > -math.inf and self._share > LIMIT_SHARE
        if self.is_improbable(task) or self.are_most_their_own or self._is_of_the_last(task):
            return True
        return task.failed_before and (self._are_others_done or not is_limit)

    def _is_of_the_last(self, task: Task) -> bool:
        """Returns whether the row is one of few that are left of many, and nothing is answered for longer than limits
        take, nor may be: what is in flight beside the row may have the only slot, for minutes."""
        waited = 0.0 if task.refused_at is None else task.refused_at - self._answered_at
        is_long = waited >= ALONE_SECONDS >= self._asked and task.beside == 1
        return is_long and self._rows_left - self._rows_set_aside <= min(FEW_LEFT, LIMIT_SHARE * self._rows_answered)

    def is_no_limit(self, task: Task, now: float) -> bool:
        """Returns whether the refusal of the row says nothing of a limit, so that the others need not wait."""
        return now >= self._limit_until and self.is_its_own(task)

    @property
    def are_most_their_own(self) -> bool:
        """Returns whether no limit was met, as it seems: hardly a row was answered after it was refused."""
        is_share_low = max(self._answered_later / max(self._set_aside, 1), self._share) <= LIMIT_SHARE
        return self._set_aside >= FEW and is_share_low

    def postpone(self, task: Task, delay: float, now: float) -> float | None:
        """Sets a row aside that is refused for itself, or counts one of its last tries. Returns the seconds until the
        next one: infinity while there are others; then `delay`, as for any row, and None after the last."""
        if not self._are_others_done:
            self._set_aside += 1
            self._rows_set_aside += task.rows
            return math.inf
        task.last_tries += 1
        if task.last_tries >= LAST_TRIES:
            return None
        if task.last_tries < LAST_TRIES - 1:
            return delay
        quiet_at = max(self._granted_at, self._done_at) + QUIET_SECONDS
        return max(delay, quiet_at + self._spread(task) - now)

    def _spread(self, task: Task) -> float:
        """Returns seconds by which the row's last try comes after that of others."""
        return task.key[-1] / 256 * min(self._set_aside, QUIET_SECONDS)

    def others_are_done(self, now: float) -> None:
        self._done_at = now

    @property
    def _are_others_done(self) -> bool:
        return self._done_at < math.inf
