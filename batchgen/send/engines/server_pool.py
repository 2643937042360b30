"""The servers among which a load balancer chooses: which of them are up, and which gets the next request.

Pure: the caller passes the time, in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from batchgen.send.concurrency import AdaptiveConcurrency
from batchgen.send.window import CongestionWindow

FIRST_COOLDOWN, MAX_COOLDOWN = 1.0, 60.0
"""Seconds."""
FAILURES_IN_A_ROW = 3
"""A reachable server is down after this many failures without an answer between them."""


@dataclass
class Server:
    """The state of one server. Times are the clock's, in seconds; `cooldown` is its length, 0 for a server that is
    up. `seconds`: how long requests have been in flight, added up until `counted_at`. `has_answered`: since it last
    refused what others answer. `is_missed`: the log has said that it is down, and not yet that it is back.
    `concurrency`: how many requests it may have in flight, where that is found; `window`: as far as it refuses more."""

    in_flight: int = 0
    seconds: float = 0.0
    counted_at: float = 0.0
    asked: int = 0
    in_a_row: int = 0
    cooldown: float = 0.0
    cooldown_since: float = -math.inf
    probing: bool = False
    has_answered: bool = False
    is_missed: bool = False
    concurrency: AdaptiveConcurrency | None = None
    window: CongestionWindow = field(default_factory=CongestionWindow)

    @property
    def most(self) -> float:
        """Returns how many requests it may have in flight."""
        return min(self.window.max_in_flight, math.inf if self.concurrency is None else self.concurrency.most)

    @property
    def load(self) -> float:
        """Returns the requests in flight; where their number is found, as a share of it."""
        return self.in_flight if self.concurrency is None else self.in_flight / self.most

    def change(self, requests: int, now: float) -> None:
        """Adds to the requests in flight."""
        self.seconds += self.in_flight * (now - self.counted_at)
        self.in_flight, self.counted_at = self.in_flight + requests, now

    def is_free(self, now: float) -> bool:
        """Returns whether it may get a request: it is up, or its cooldown is over and it is not being probed."""
        return not self.cooldown or (not self.probing and now >= self.cooldown_since + self.cooldown)


@dataclass
class ServerPool:
    """Chooses the server for the next request."""

    servers: Sequence[Server]

    def choose(self, now: float, tried: Collection[int]) -> int | None:
        """Returns an untried server: first one whose cooldown is over, then the one with the least load. If all
        are cooling down and none was tried, it is the one asked longest ago: the dispatcher decides whether to send at
        all."""
        untried = [at for at in range(len(self.servers)) if at not in tried]
        free = [at for at in untried if self.servers[at].is_free(now)]
        if not free and tried:
            return None
        return min(free or untried, key=self._rank)

    def _rank(self, at: int) -> tuple[bool, float, int]:
        server = self.servers[at]
        return not server.cooldown, 0 if server.cooldown else server.load, server.asked

    def begin(self, at: int, now: float) -> None:
        server = self.servers[at]
        server.change(1, now)
        server.asked = 1 + max(other.asked for other in self.servers)
        server.probing = server.cooldown > 0

    def end(self, at: int, now: float) -> None:
        self.servers[at].change(-1, now)

    def answered(self, at: int, begun: float, now: float, tokens: int, beside: float) -> None:
        """Counts an answer. `beside`: the server's requests in flight meanwhile, in the mean, this one included."""
        self.mark_up(at)
        server = self.servers[at]
        server.has_answered = True
        if server.concurrency is not None:
            server.window.answered(now, beside)
            server.concurrency.answered(now, begun, tokens, beside, server.window.max_in_flight)

    def refused(self, at: int, begun: float, now: float, beside: int) -> None:
        """Counts a request that the server refused for now. `beside`: the server's requests in flight when it was
        asked, this one included."""
        if self.servers[at].concurrency is not None:
            self.servers[at].window.refused(now, begun, beside)

    def unanswered(self, at: int, begun: float, now: float) -> None:
        """Counts a request that the server did not answer in time."""
        concurrency = self.servers[at].concurrency
        if concurrency is not None:
            concurrency.unanswered(now, begun)

    def mark_up(self, at: int) -> None:
        server = self.servers[at]
        server.in_a_row, server.cooldown, server.probing = 0, 0.0, False

    def mark_down(self, at: int, begun: float, now: float, cooldown: float | None = None) -> None:
        """Starts a cooldown. `begun`: when the request was sent; one that was sent before a cooldown began, or ends
        within it, says nothing new. `cooldown`: seconds, if the server asks for so many; if that was too few, the next
        one is longer all the same, or rows would try a server again and again that asks for a moment each time."""
        server = self.servers[at]
        if server.cooldown and begun < server.cooldown_since:
            return
        server.probing = False
        if now >= server.cooldown_since + server.cooldown:
            longer = max(FIRST_COOLDOWN, 2 * server.cooldown) if server.cooldown else 0.0
            server.cooldown = min(MAX_COOLDOWN, max(cooldown or FIRST_COOLDOWN, longer))
            server.cooldown_since = now

    def refuses(self, at: int, begun: float, now: float, cooldown: float | None = None) -> None:
        """Starts a cooldown, as `mark_down` does, after a refusal that is not about the row: it would refuse all."""
        self.servers[at].has_answered = False
        self.mark_down(at, begun, now, cooldown)

    def failed(self, at: int, begun: float, now: float, *, at_once: bool) -> None:
        """Counts a failure that may be the request's fault, unless it happens several times in a row."""
        server = self.servers[at]
        server.in_a_row += 1
        if at_once or server.cooldown or server.in_a_row >= FAILURES_IN_A_ROW:
            self.mark_down(at, begun, now)

    def others_serve(self, at: int) -> bool:
        """Returns whether another server is up."""
        return any(not server.cooldown for number, server in enumerate(self.servers) if number != at)

    def others_may_serve(self, at: int) -> bool:
        """Returns whether another server is up, or has answered and does not refuse: it may come back."""
        return self.others_serve(at) or any(
            server.has_answered for number, server in enumerate(self.servers) if number != at
        )
