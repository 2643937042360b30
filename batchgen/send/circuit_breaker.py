"""When a service is away: nothing gets through, and one request at a time asks whether it does again."""

from __future__ import annotations

import math


class CircuitBreaker:
    """Detects an outage: after so many failures in a row it lets one probe a second through, until an answer comes.

    An answer to a request from before the first failure says nothing about the service now. After such an answer the
    failures must also be half of all requests sent since: otherwise a few quick failures among slow answers would
    suffice.
    """

    TO_OPEN, MIN_TO_OPEN, PROBE_SECONDS, MAX_PROBE_SECONDS = 16, 4, 1.0, 4.0

    def __init__(self) -> None:
        self._failures = self._sent = 0
        self._first = 0.0
        self._doubtful = False
        self._open_since: float | None = None
        self._next_probe = -math.inf
        self._failures_to_open = self.TO_OPEN
        self._probe_seconds = self.PROBE_SECONDS
        self.times_opened = 0
        """How many outages there were."""

    def failed(self, now: float, rows: int = TO_OPEN, *, billed: bool = False, amid_answers: bool = False) -> None:
        """Counts a failure. `rows`: rows left to do; a few rows would take long to fail 16 times. `billed`: possibly
        billed; then probes become rarer, down to one in four seconds. `amid_answers`: for now it may be a limit."""
        if not self._failures:
            self._first, self._sent, self._doubtful = now, 0, False
        self._failures += 1
        self._failures_to_open = min(self.TO_OPEN, max(self.MIN_TO_OPEN, 2 * rows))
        likely = not self._doubtful or 2 * self._failures >= self._sent
        if self._open_since is not None and billed:
            self._probe_seconds = min(2 * self._probe_seconds, self.MAX_PROBE_SECONDS)
            self._next_probe = max(self._next_probe, now + self._probe_seconds)
        if self._open_since is None and self._failures >= self._failures_to_open and likely and not amid_answers:
            self._probe_seconds = self.PROBE_SECONDS
            self._open_since, self._next_probe = now, now + self.PROBE_SECONDS
            self.times_opened += 1

    def answered(self, sent_at: float) -> bool:
        """Counts an answer. Returns whether it ended an outage."""
        if self._failures and sent_at < self._first:
            self._doubtful = True
            return False
        ended = self._open_since is not None
        self._failures, self._open_since = 0, None
        return ended

    def is_likely(self) -> bool:
        """Returns whether there is an outage, or half of the failures that make one."""
        return self._failures >= self._failures_to_open // 2

    def seconds_open(self, now: float) -> float:
        """Returns the seconds since the outage began; 0 if there is none."""
        return 0.0 if self._open_since is None else now - self._open_since

    def wait(self, now: float) -> float:
        return 0.0 if self._open_since is None else self._next_probe - now

    def take(self, now: float) -> None:
        self._sent += 1
        if self._open_since is not None:
            self._next_probe = now + self._probe_seconds
