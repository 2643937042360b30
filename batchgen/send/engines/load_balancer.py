"""A load balancer: several servers behind one `attempt`. The next request goes to the server with the fewest in flight;
where the run finds how many each may have, to the one with the smallest share of them.

A server that is down cools down, and is then probed with one request; each cooldown is twice as long as the last. A
request that was not sent goes to another server at once. A request that none can serve is the dispatcher's to handle,
as with one server.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Self

from batchgen.api.connection import Connection
from batchgen.api.outcome import Answer, Failure, Kind, status_policy
from batchgen.send.concurrency import AdaptiveConcurrency
from batchgen.send.engines.per_server import ConcurrencyPerServer
from batchgen.send.engines.server_pool import Server, ServerPool


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

    def find_concurrency(self, ceiling: int, start: int | None) -> ConcurrencyPerServer:
        """Finds how many requests each server may have in flight, from now on. `ceiling`: of each. `start`: how many an
        earlier run found for all of them."""
        servers = self.pool.servers
        for server in servers:
            first = start and max(1, start // len(servers))
            server.concurrency = AdaptiveConcurrency(ceiling, first, self.connection.total)
        return ConcurrencyPerServer(servers, self.connection.urls)

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        for client in self._clients:
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def attempt(self, body: bytes, model: str, *, fresh: bool = False) -> Answer | Failure:
        """Returns the outcome: every way an attempt can end is a value. A failure names its server. `fresh`: over a
        connection of its own, as it is once it has left."""
        tried: set[int] = set()
        resent = lost = 0  # by servers tried before
        at = self.pool.choose(self.clock(), tried)
        while at is not None:
            tried.add(at)
            outcome = await self._ask(at, body, model, fresh=fresh or resent > 0)
            resent, lost = resent + outcome.resent, lost + outcome.lost
            if isinstance(outcome, Answer) or outcome.kind is not Kind.UNSENT:
                break
            at = self.pool.choose(self.clock(), tried)
        return outcome.after(resent, lost) if resent else outcome

    async def _ask(self, at: int, body: bytes, model: str, *, fresh: bool) -> Answer | Failure:
        begun = self.clock()
        self.pool.begin(at)
        beside = self.pool.servers[at].in_flight
        try:
            outcome = await self._clients[at].attempt(body, model, fresh=fresh)
        finally:
            self.pool.end(at)
        if isinstance(outcome, Answer):
            self.pool.answered(at, begun, self.clock(), outcome.tokens, beside)
            return outcome
        return self._judge(at, outcome, begun, beside)

    def _may_be_the_row(self, at: int, failure: Failure) -> bool:
        """Returns whether this server has answered others: then it may reject one prompt only."""
        return failure.may_be_the_rows and self.pool.servers[at].has_answered

    def _judge(self, at: int, failure: Failure, begun: float, beside: int) -> Failure:
        """Updates the server's state after a failure. Returns the failure as the run should see it while others
        serve."""
        now, others = self.clock(), self.pool.others_serve(at)
        if failure.is_late:
            self.pool.unanswered(at, begun, now)
        elif failure.kind is Kind.BUSY:
            self.pool.refused(at, begun, now, beside)
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
