"""Finds how many requests to keep in flight at each of several servers, if the job leaves that open."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from batchgen.checkpoint.schema import ConcurrencyChange
from batchgen.send.concurrency import AdaptiveConcurrency
from batchgen.send.engines.server_pool import Server


class ConcurrencyPerServer:
    """The servers' numbers as one, for `RateLimiter`. `names`: the servers' addresses."""

    is_per_server = True

    def __init__(self, servers: Sequence[Server], names: Sequence[str]) -> None:
        self._servers, self._names = servers, names
        self._moves: list[ConcurrencyChange] = []
        self._last: dict[int, ConcurrencyChange] = {}  # each server's last move
        self._seen = [0] * len(servers)  # how many moves of each are among `_moves`

    def each(self, *urls: str) -> dict[str, AdaptiveConcurrency]:
        """Returns the number of each server, by its address."""
        return {url: one.concurrency for url, one in zip(urls, self._servers, strict=True) if one.concurrency}

    def has_room(self, in_flight: int) -> bool:
        """Returns whether a server that is up may get one more. A request whose outcome is being stored is in flight,
        but no longer at its server. Where none is in flight, one more may always be."""
        return not in_flight or any(one.in_flight < int(one.most) for one in self._servers if not one.cooldown)

    @property
    def most(self) -> int:
        """Returns how many requests may be in flight: those that are, and as many as servers that are up may get."""
        free = sum(max(0, int(one.most) - one.in_flight) for one in self._servers if not one.cooldown)
        return max(1, sum(one.in_flight for one in self._servers) + free)

    @property
    def moves(self) -> Sequence[ConcurrencyChange]:
        """Returns every server's moves in their order. Each says what all servers together have since, and why."""
        new = []
        for at, one in enumerate(self._servers):
            own = one.concurrency.moves if one.concurrency else []
            new += [(move.at, at, move) for move in own[self._seen[at] :]]
            self._seen[at] = len(own)
        for _, at, move in sorted(new, key=itemgetter(0)):
            self._last[at] = move
            most = sum(one.most for one in self._last.values())
            throughput = sum(one.throughput for one in self._last.values())
            self._moves.append(move._replace(most=most, throughput=throughput, why=f"{self._names[at]}: {move.why}"))
        return self._moves

    def answered(self, *_: float) -> None:
        """Does nothing: an answer counts for the server that gave it (`ServerPool.answered`)."""

    def unanswered(self, *_: float) -> None:
        """Does nothing: a time-out counts for the server that was asked (`ServerPool.unanswered`)."""
