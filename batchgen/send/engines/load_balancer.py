"""A load balancer: several servers behind one `attempt`. The next request goes to the server with the fewest in flight.

A server that is down cools down, and is then probed with one request; each cooldown is twice as long as the last. A
request that was not sent goes to another server at once. A request that none can serve is the dispatcher's to handle,
as with one server.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Self

from batchgen.api.connection import Connection
from batchgen.api.outcome import Answer, Failure, Kind, status_policy

FIRST_COOLDOWN, MAX_COOLDOWN = 1.0, 60.0
"""Seconds."""
FAILURES_IN_A_ROW = 3
"""A reachable server is down after this many failures without an answer between them."""


@dataclass
class Server:
    """The state of one server. Times are the clock's, in seconds; `cooldown` is its length, 0 for a server that is
    up."""

    in_flight: int = 0
    asked: int = 0
    in_a_row: int = 0
    cooldown: float = 0.0
    cooldown_since: float = -math.inf
    probing: bool = False
    has_answered: bool = False

    def is_free(self, now: float) -> bool:
        """Returns whether it may get a request: it is up, or its cooldown is over and it is not being probed."""
        return not self.cooldown or (not self.probing and now >= self.cooldown_since + self.cooldown)


@dataclass
class ServerPool:
    """Chooses the server for the next request. Pure: the caller passes the time."""

    servers: Sequence[Server]

    def choose(self, now: float, tried: set[int]) -> int | None:
        """Returns an untried server: first one whose cooldown is over, then the one with the fewest in flight. If all
        are cooling down and none was tried, it is the one asked longest ago: the dispatcher decides whether to send at
        all."""
        untried = [at for at in range(len(self.servers)) if at not in tried]
        free = [at for at in untried if self.servers[at].is_free(now)]
        if not free and tried:
            return None
        return min(free or untried, key=self._rank)

    def _rank(self, at: int) -> tuple[bool, int, int]:
        server = self.servers[at]
        return not server.cooldown, 0 if server.cooldown else server.in_flight, server.asked

    def begin(self, at: int) -> None:
        server = self.servers[at]
        server.in_flight += 1
        server.asked = 1 + max(other.asked for other in self.servers)
        server.probing = server.cooldown > 0

    def end(self, at: int) -> None:
        self.servers[at].in_flight -= 1

    def mark_up(self, at: int) -> None:
        server = self.servers[at]
        server.in_a_row, server.cooldown, server.probing, server.has_answered = 0, 0.0, False, True

    def mark_down(self, at: int, begun: float, now: float, cooldown: float | None = None) -> None:
        """Starts a cooldown. `begun`: when the request was sent; one that was sent before a cooldown began, or ends
        within it, says nothing new. `cooldown`: seconds, if the server asks for so many."""
        server = self.servers[at]
        if server.cooldown and begun < server.cooldown_since:
            return
        server.probing = False
        if now >= server.cooldown_since + server.cooldown:
            server.cooldown = min(MAX_COOLDOWN, cooldown or max(FIRST_COOLDOWN, 2 * server.cooldown))
            server.cooldown_since = now

    def failed(self, at: int, begun: float, now: float, *, at_once: bool) -> None:
        """Counts a failure that may be the request's fault, unless it happens several times in a row."""
        server = self.servers[at]
        server.in_a_row += 1
        if at_once or server.cooldown or server.in_a_row >= FAILURES_IN_A_ROW:
            self.mark_down(at, begun, now)

    def others_serve(self, at: int) -> bool:
        """Returns whether another server is up."""
        return any(not server.cooldown for number, server in enumerate(self.servers) if number != at)


@dataclass
class LoadBalancer:
    """Several clients as one: like a Client, an asynchronous context with `attempt`. A failure among the connection's
    `refusals` ends the run if no other server is up."""

    connection: Connection
    clock: Callable[[], float] = time.monotonic
    pool: ServerPool = field(init=False)

    def __post_init__(self) -> None:
        from batchgen.api.client import Client  # noqa: PLC0415  aiohttp takes long to import

        self._clients = [Client(one) for one in self.connection.each()]
        self.pool = ServerPool([Server() for _ in self._clients])

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        for client in self._clients:
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def attempt(self, body: bytes, model: str) -> Answer | Failure:
        """Returns the outcome: every way an attempt can end is a value. A failure names its server."""
        tried: set[int] = set()
        resent = lost = 0  # by servers tried before
        at = self.pool.choose(self.clock(), tried)
        while at is not None:
            tried.add(at)
            outcome = await self._ask(at, body, model)
            resent, lost = resent + outcome.resent, lost + outcome.lost
            if isinstance(outcome, Answer) or outcome.kind is not Kind.UNSENT:
                break
            at = self.pool.choose(self.clock(), tried)
        return outcome.after(resent, lost) if resent else outcome

    async def _ask(self, at: int, body: bytes, model: str) -> Answer | Failure:
        begun = self.clock()
        self.pool.begin(at)
        try:
            outcome = await self._clients[at].attempt(body, model)
        finally:
            self.pool.end(at)
        if isinstance(outcome, Answer):
            self.pool.mark_up(at)
            return outcome
        return self._judge(at, outcome, begun)

    def _may_be_the_row(self, at: int, failure: Failure) -> bool:
        """Returns whether this server has answered others: then it may reject one prompt only."""
        return failure.may_be_the_rows and self.pool.servers[at].has_answered

    def _judge(self, at: int, failure: Failure, begun: float) -> Failure:
        """Updates the server's state after a failure. Returns the failure as the run should see it while others
        serve."""
        now, others = self.clock(), self.pool.others_serve(at)
        refused = failure.kind in self.connection.refusals and not self._may_be_the_row(at, failure)
        if refused or status_policy(failure.status).slows:
            self.pool.mark_down(at, begun, now, failure.retry_after)
        elif failure.kind.policy.is_the_servers:
            self.pool.failed(at, begun, now, at_once=failure.kind is Kind.UNSENT)
        else:
            self.pool.mark_up(at)
        return replace(
            failure,
            kind=Kind.TRANSIENT if refused and others else failure.kind,
            message=f"{self.connection.urls[at]}: {failure.message}",
            retry_after=None if others else failure.retry_after,  # the row need not wait for this one
            others_serve=others,
        )
