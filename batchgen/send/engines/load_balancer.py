"""Several servers behind one `attempt`: the next request goes to the one with the fewest in flight.

A sick server rests, and is tried with one request when its rest is over; each rest is twice as long as the last. Where
nothing was sent, another server gets the request at once. What none of them can serve is the pump's, as with one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from batchgen.api.outcome import Answer, Failure, Kind, Scope, kinds_of, status_policy

if TYPE_CHECKING:
    from batchgen.api.client import Client

FIRST_REST, LONGEST_REST = 1.0, 60.0
"""Seconds."""
IN_A_ROW = 3
"""So many failures without an answer between make a server sick that can still be reached."""


@dataclass
class Server:
    """What is known of one. Times are the clock's, in seconds; `rest` is how long it rests, 0 for a sound server."""

    in_flight: int = 0
    asked: int = 0
    in_a_row: int = 0
    rest: float = 0.0
    rested_at: float = -math.inf
    probing: bool = False
    has_answered: bool = False

    def is_free(self, now: float) -> bool:
        """Whether it may have a request: it is sound, or its rest is over and nobody is trying it."""
        return not self.rest or (not self.probing and now >= self.rested_at + self.rest)


@dataclass
class ServerPool:
    """Who gets the next request. Pure: the caller passes the time."""

    servers: Sequence[Server]

    def choose(self, now: float, tried: set[int]) -> int | None:
        """Of those not tried: first one whose rest is over, then the one with the fewest in flight. Where all rest and
        none was tried, the one that was asked longest ago: whether that makes sense is the pump's to say."""
        untried = [at for at in range(len(self.servers)) if at not in tried]
        free = [at for at in untried if self.servers[at].is_free(now)]
        if not free and tried:
            return None
        return min(free or untried, key=self._rank)

    def _rank(self, at: int) -> tuple[bool, int, int]:
        server = self.servers[at]
        return not server.rest, 0 if server.rest else server.in_flight, server.asked

    def begin(self, at: int) -> None:
        server = self.servers[at]
        server.in_flight += 1
        server.asked = 1 + max(other.asked for other in self.servers)
        server.probing = server.rest > 0

    def end(self, at: int) -> None:
        self.servers[at].in_flight -= 1

    def well(self, at: int) -> None:
        server = self.servers[at]
        server.in_a_row, server.rest, server.probing, server.has_answered = 0, 0.0, False, True

    def sick(self, at: int, begun: float, now: float, rest: float | None = None) -> None:
        """`begun`: when the request was sent: what was sent before a rest began, or ends within it, says nothing new.
        `rest`: seconds, where the server asks for so many."""
        server = self.servers[at]
        if server.rest and begun < server.rested_at:
            return
        server.probing = False
        if now >= server.rested_at + server.rest:
            server.rest = min(LONGEST_REST, rest or max(FIRST_REST, 2 * server.rest))
            server.rested_at = now

    def failed(self, at: int, begun: float, now: float, *, at_once: bool) -> None:
        """It may be the request's fault, unless it happens again and again."""
        server = self.servers[at]
        server.in_a_row += 1
        if at_once or server.rest or server.in_a_row >= IN_A_ROW:
            self.sick(at, begun, now)

    def others_serve(self, at: int) -> bool:
        """Whether another server is sound."""
        return any(not server.rest for number, server in enumerate(self.servers) if number != at)


@dataclass
class LoadBalancer:
    """As a Client, an asynchronous context with `attempt`. `clients` are by address; `refusals` is what ends the run
    when no other server is sound."""

    clients: Mapping[str, Client]
    refusals: frozenset[Kind] = kinds_of(Scope.RUN)
    clock: Callable[[], float] = time.monotonic
    roster: ServerPool = field(init=False)

    def __post_init__(self) -> None:
        self._urls = list(self.clients)
        self.roster = ServerPool([Server() for _ in self._urls])

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        for client in self.clients.values():
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def attempt(self, body: bytes, model: str) -> Answer | Failure:
        """Every way an attempt can end is a value; a failure names its server."""
        tried: set[int] = set()
        resent = lost = 0  # by servers that were given up
        at = self.roster.choose(self.clock(), tried)
        while at is not None:
            tried.add(at)
            outcome = await self._ask(at, body, model)
            resent, lost = resent + outcome.resent, lost + outcome.lost
            if isinstance(outcome, Answer) or outcome.kind is not Kind.UNSENT:
                break
            at = self.roster.choose(self.clock(), tried)
        return outcome.after(resent, lost) if resent else outcome

    async def _ask(self, at: int, body: bytes, model: str) -> Answer | Failure:
        begun = self.clock()
        self.roster.begin(at)
        try:
            outcome = await self.clients[self._urls[at]].attempt(body, model)
        finally:
            self.roster.end(at)
        if isinstance(outcome, Answer):
            self.roster.well(at)
            return outcome
        return self._weighed(at, outcome, begun)

    def _may_be_the_rows(self, at: int, failure: Failure) -> bool:
        """Where this server has answered others: it is one prompt that it dislikes."""
        return failure.may_be_the_rows and self.roster.servers[at].has_answered

    def _weighed(self, at: int, failure: Failure, begun: float) -> Failure:
        """What the failure says of the server; and of the run, while others serve."""
        now, others = self.clock(), self.roster.others_serve(at)
        refused = failure.kind in self.refusals and not self._may_be_the_rows(at, failure)
        if refused or status_policy(failure.status).slows:
            self.roster.sick(at, begun, now, failure.retry_after)
        elif failure.kind.policy.is_the_servers:
            self.roster.failed(at, begun, now, at_once=failure.kind is Kind.UNSENT)
        else:
            self.roster.well(at)
        return replace(
            failure,
            kind=Kind.TRANSIENT if refused and others else failure.kind,
            message=f"{self._urls[at]}: {failure.message}",
            retry_after=None if others else failure.retry_after,  # the row need not wait for this one
            others_serve=others,
        )
