"""Finds how many requests to keep in flight at each of several servers, if the job leaves that open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchgen.send.concurrency import AdaptiveConcurrency
from batchgen.send.engines.server_pool import Server
from batchgen.send.measurement import Moved


@dataclass(frozen=True)
class ConcurrencyPerServer:
    """The servers' numbers as one, for `RateLimiter`. `names`: the servers' addresses."""

    servers: Sequence[Server]
    names: Sequence[str]

    def each(self, *urls: str) -> dict[str, AdaptiveConcurrency]:
        """Returns the number of each server, by its address."""
        return {url: one.concurrency for url, one in zip(urls, self.servers, strict=True) if one.concurrency}

    @property
    def most(self) -> int:
        """Returns how many requests may be in flight at all servers that are up together; one if none is."""
        numbers = [one.concurrency.most for one in self.servers if one.concurrency and not one.cooldown]
        return max(1, sum(numbers))

    @property
    def moves(self) -> list[Moved]:
        """Returns every server's moves in their order. Each says what all servers together have since, and why."""
        own = [(move, at) for at, one in enumerate(self.servers) if one.concurrency for move in one.concurrency.moves]
        last: dict[int, Moved] = {}
        moves = []
        for move, at in sorted(own, key=lambda pair: pair[0].at):
            last[at] = move
            most, throughput = sum(one.most for one in last.values()), sum(one.throughput for one in last.values())
            moves.append(move._replace(most=most, throughput=throughput, why=f"{self.names[at]}: {move.why}"))
        return moves

    def answered(self, *_: float) -> None:
        """Does nothing: an answer counts for the server that gave it (`ServerPool.answered`)."""

    def unanswered(self, *_: float) -> None:
        """Does nothing: a time-out counts for the server that was asked (`ServerPool.overloaded`)."""
