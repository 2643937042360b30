"""How long the rest of a run will take, by what its answers took: one figure for everybody who asks.

What the limits grant is reckoned with the tokens that answers really took, and not with the longest that they may have.
Arithmetic only: the caller passes the time.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchgen.send.stats import Stats

LATELY = 0.2
"""The share of the time so far whose rate is taken for that of the rest."""
LEAST_S = 5.0
"""Seconds that it is taken over at least."""
STALLED = 3
"""Times as long as between the answers before nothing has come: then that counts, too."""


class RemainingTime:
    """Of a run that began at `now`. Limits are those in force; None: no such limit."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None, now: float) -> None:
        self._requests, self._tokens = requests_per_minute, tokens_per_minute
        self._began = now
        self._seen: deque[tuple[float, int]] = deque([(now, 0)])

    def rate(self, stats: Stats, now: float) -> float:
        """Rows a second, of late: up to the last answer, unless that is long ago."""
        self._see(stats, now)
        (then, before), (last, done) = self._seen[0], self._seen[-1]
        if len(self._seen) == 1:  # until the first answer there is nothing to be seen of the rate
            then, before = self._began, 0
        gap = (last - then) / max(len(self._seen) - 1, 1)
        until = now if now - last > STALLED * gap else last
        return (done - before) / (until - then) if until > then else 0.0

    def _see(self, stats: Stats, now: float) -> None:
        done = stats.todo - stats.left
        if done > self._seen[-1][1]:
            if not self._seen[-1][1]:
                self._seen.clear()
            self._seen.append((now, done))
        since = now - max(LEAST_S, LATELY * (now - self._began))
        while len(self._seen) > 2 and self._seen[1][0] <= since:  # noqa: PLR2004  a rate is between two
            self._seen.popleft()

    def seconds(self, stats: Stats, now: float) -> float | None:
        """Until the last row is done; None before there is an answer."""
        if not stats.left:
            return 0.0
        rate = self.rate(stats, now)
        if not stats.ok or not rate:
            return None
        lately = stats.left / rate - (now - self._seen[-1][0])
        return max(lately, self._granted(stats), 0.0)

    def _granted(self, stats: Stats) -> float:
        """Seconds in which the limits grant what is left."""
        requests, tokens = stats.answers / stats.ok, (stats.prompt_tokens + stats.answer_tokens) / stats.ok
        needs = [(requests, self._requests), (tokens, self._tokens)]
        return max((stats.left * need * 60 / most for need, most in needs if most), default=0.0)
