"""A load balancer: several servers behind one `attempt`. The next request goes to the server with the fewest in flight;
where the run finds how many each may have, to the one with the smallest share of them.

A server that is down cools down, and is then probed with one request; each cooldown is twice as long as the last. A
request that was not sent goes to another server at once, and so does one whose refusal may be the row's fault or the
server's. A request that none can serve is the dispatcher's to handle, as with one server.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Self

from batchgen.api.connection import Connection
from batchgen.api.failure_kinds import Billed, Kind, Scope, status_policy
from batchgen.api.never_sent import NeverSent
from batchgen.api.outcome import Answer, Failure
from batchgen.send.concurrency import AdaptiveConcurrency
from batchgen.send.engines.per_server import ConcurrencyPerServer
from batchgen.send.engines.server_pool import Server, ServerPool

FULL = 0.8
"""The share of its number that a server has in flight in the mean, if nothing but that number holds requests back: the
next one leaves a moment after an answer."""
MISSED = 4.0
"""The cooldown in seconds from which the log says that a server is down: it has been away for some seconds."""

log = logging.getLogger(__name__)


@dataclass
class LoadBalancer:
    """Several clients as one: like a Client, an asynchronous context with `attempt`. A failure among the connection's
    `fatal_kinds` ends the run if no other server is up."""

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
            server.concurrency = AdaptiveConcurrency(ceiling, first, self.connection.total, FULL)
        return ConcurrencyPerServer(servers, self.connection.urls)

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        for client in self._clients:
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def attempt(self, body: bytes, model: str, *, new_connection: bool = False) -> Answer | Failure:
        """Returns the outcome: every way an attempt can end is a value. A failure names its server. `new_connection`:
        over a connection of its own, as it is once it has left. Raises NeverSent if it is cancelled before a server
        could bill it."""
        asked: dict[int, float] = {}
        outcome = await self._reach(body, model, asked, new_connection=new_connection)
        if isinstance(outcome, Answer) or not _is_in_doubt(outcome):
            return outcome
        if not new_connection and not outcome.resent:
            return await self._ask_another(outcome, body, model, asked)
        is_the_runs = outcome.kind.policy.scope is Scope.RUN  # it may leave no more now, but again later
        return replace(outcome, kind=Kind.TRANSIENT) if is_the_runs else outcome

    async def _reach(
        self, body: bytes, model: str, asked: dict[int, float], *, new_connection: bool
    ) -> Answer | Failure:
        """Asks one untried server after the other until the request has left. Adds to `asked` when each was asked."""
        outcome: Answer | Failure = Failure(Kind.UNSENT, "no other server is free")
        resent = lost = 0  # by servers tried before
        while (at := self.pool.choose(self.clock(), asked.keys())) is not None:
            asked[at] = self.clock()
            try:
                outcome = await self._ask(at, body, model, new_connection=new_connection or resent > 0)
            except NeverSent:
                if lost:  # a server tried before may have read it
                    raise asyncio.CancelledError from None
                raise NeverSent(resent) from None
            resent, lost = resent + outcome.resent, lost + outcome.lost
            if isinstance(outcome, Answer) or outcome.kind is not Kind.UNSENT:
                break
        return outcome.after(resent, lost) if resent else outcome

    async def _ask_another(
        self, refused: Failure, body: bytes, model: str, asked: dict[int, float]
    ) -> Answer | Failure:
        """Sends a request that one server has refused to another one, whose answer shows whose fault it is. If both
        say the same, it is the row's."""
        at, begun = next(reversed(asked.items()))
        try:
            second = await self._reach(body, model, asked, new_connection=True)
        except NeverSent as never:
            raise NeverSent(never.failure.resent + 1) from None
        if isinstance(second, Answer):
            if refused.kind.policy.scope is Scope.RUN:
                self.pool.refuses(at, begun, self.clock())
        elif second.kind is refused.kind:
            self.pool.mark_up(at)
            self.pool.mark_up(next(reversed(asked)))
        return second.after(second.resent + 1, second.lost)

    async def _ask(self, at: int, body: bytes, model: str, *, new_connection: bool) -> Answer | Failure:
        begun, server = self.clock(), self.pool.servers[at]
        self.pool.begin(at, begun)
        beside, before = server.in_flight, server.seconds
        try:
            outcome = await self._clients[at].attempt(body, model, new_connection=new_connection)
        finally:
            self.pool.end(at, self.clock())
        if isinstance(outcome, Answer):
            took = self.clock() - begun  # answers come together, and what follows leaves one by one: it is no measure
            mean = (server.seconds - before) / took if took else beside
            self.pool.answered(at, begun, begun + took, outcome.tokens, mean)
            if server.is_missed:
                server.is_missed = False
                log.info("%s answers again", self.connection.urls[at])
            return outcome
        return self._judge(at, outcome, begun, beside)

    def _may_be_the_row(self, at: int, failure: Failure) -> bool:
        """Returns whether this server answers others: then it may reject one prompt only."""
        return failure.may_be_the_rows and self.pool.servers[at].has_answered

    def _judge(self, at: int, failure: Failure, begun: float, beside: int) -> Failure:
        """Updates the server's state after a failure. Returns the failure as the run should see it while others
        serve."""
        now, others = self.clock(), self.pool.others_serve(at)
        if failure.is_late:
            self.pool.unanswered(at, begun, now)
        elif failure.kind is Kind.BUSY:
            self.pool.refused(at, begun, now, beside)
        refused = failure.kind in self.connection.fatal_kinds and not self._may_be_the_row(at, failure)
        told = replace(
            failure,
            kind=Kind.TRANSIENT if refused and self.pool.others_may_serve(at) else failure.kind,
            message=f"{self.connection.urls[at]}: {failure.message}",
            retry_after=None if others else failure.retry_after,  # the row need not wait for this one
            others_serve=others,
        )
        if refused:
            self.pool.refuses(at, begun, now, failure.retry_after)
        elif failure.slows_everyone:
            self.pool.mark_down(at, begun, now, failure.retry_after)
        elif failure.kind.policy.is_the_servers or _is_in_doubt(told):
            self.pool.failed(at, begun, now, at_once=failure.kind is Kind.UNSENT)
        else:
            self.pool.mark_up(at)
        self._miss(at, told)
        return told

    def _miss(self, at: int, failure: Failure) -> None:
        """Says once of a server that is down what its requests end with, unless it only refuses more at a time. Where
        all are down, the dispatcher says so."""
        server = self.pool.servers[at]
        is_down = server.cooldown >= MISSED and failure.kind is not Kind.BUSY
        if is_down and not server.is_missed and self.pool.others_serve(at):
            server.is_missed = True
            log.warning("warning: %s; the other servers get its requests", failure.message)


def _is_in_doubt(failure: Failure) -> bool:
    """Returns whether a refusal that cost nothing may be this row's fault or its server's, and another server can show
    which."""
    policy = failure.kind.policy
    is_free = policy.billed is Billed.NO and not status_policy(failure.status).whoever_asks
    return failure.others_serve and policy.is_doubtful and is_free
