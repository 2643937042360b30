"""Estimates the remaining time of a run, by what its answers took: one figure for every display.

The limits are applied to the tokens that answers really took, not to the longest that they may have. Arithmetic only:
the caller passes the time.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchgen.send.stats import Stats

RECENT_SHARE = 0.2
"""The share of the elapsed time whose rate is assumed for the rest."""
MIN_SECONDS = 5.0
"""The least seconds that the rate is measured over."""
STALL_FACTOR = 3
"""A gap this many times as long as the usual one between answers counts in the rate, too."""


class RemainingTime:
    """The remaining time of a run that began at `now`. Limits are those in force; None: no such limit."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None, now: float) -> None:
        self._requests, self._tokens = requests_per_minute, tokens_per_minute
        self._began = now
        self._seen: deque[tuple[float, int]] = deque([(now, 0)])

    def rate(self, stats: Stats, now: float) -> float:
        """Returns the recent rows a second, up to the last answer unless that is long ago; those of the whole run once
        nothing is left: of its last moments, they would say nothing."""
        self._observe(stats, now)
        if not stats.left and now > self._began:
            return stats.todo / (now - self._began)
        (then, before), (last, done) = self._span()
        until = now if self._has_stalled(now) else last
        return (done - before) / (until - then) if until > then else 0.0

    def _span(self) -> tuple[tuple[float, int], tuple[float, int]]:
        """Returns the two moments between which the rate is measured, with the rows that were done by then."""
        one = len(self._seen) == 1  # until the first answer there is nothing to be seen of the rate
        return (self._began, 0) if one else self._seen[0], self._seen[-1]

    def _has_stalled(self, now: float) -> bool:
        (then, _), (last, _) = self._span()
        return now - last > STALL_FACTOR * (last - then) / max(len(self._seen) - 1, 1)

    def _is_overdue(self, left: int, now: float) -> bool:
        """Returns whether the rest would be done by now, had nothing stalled: those that are left are no rows like the
        others, such as ones that are refused again and again."""
        (then, before), (last, done) = self._span()
        return self._has_stalled(now) and left * (last - then) < (now - last) * (done - before)

    def _observe(self, stats: Stats, now: float) -> None:
        if stats.done > self._seen[-1][1]:
            if not self._seen[-1][1]:
                self._seen.clear()
            self._seen.append((now, stats.done))
        since = now - max(MIN_SECONDS, RECENT_SHARE * (now - self._began))
        while len(self._seen) > 2 and self._seen[1][0] <= since:  # noqa: PLR2004  a rate is between two
            self._seen.popleft()

    def seconds(self, stats: Stats, now: float) -> float | None:
        """Returns the seconds until the last row is done; None before the first answer, and once the rows that are left
        have taken longer than those before."""
        if not stats.left:
            return 0.0
        rate = self.rate(stats, now)
        if not stats.ok or not rate or self._is_overdue(stats.left, now):
            return None
        lately = stats.left / rate - (now - self._seen[-1][0])
        return max(lately, self._granted(stats), 0.0)

    def _granted(self, stats: Stats) -> float:
        """Returns the seconds in which the limits grant the remaining rows."""
        requests, tokens = stats.answers / stats.ok, (stats.prompt_tokens + stats.answer_tokens) / stats.ok
        needs = [(requests, self._requests), (tokens, self._tokens)]
        return max((stats.left * need * 60 / most for need, most in needs if most), default=0.0)
