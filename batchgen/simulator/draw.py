"""Represents the probabilities of a next token, and draws one. Pure."""

from __future__ import annotations

import functools
import math
from bisect import bisect_left
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from batchgen.api.types import TokenLogProb, TopLogProb

TOP = 5
"""Alternatives reported with each token by default."""
HEAD = 32
"""The most probable tokens that each distribution caches."""
POWERS = 16
"""The powers whose sums each distribution caches: one for each temperature that is asked for."""
T = TypeVar("T")
COLDEST = 0.02
"""Below this temperature the most probable token is chosen: powers of probabilities would leave a float's range."""


class Distribution:
    """Represents the probabilities of a next token: `explicit` for some tokens, `floor` x those of `lower` for others.

    The model's orders are such layers, and so is the cache on top of them. Each sums to 1 over the vocabulary.
    """

    __slots__ = ("_head", "_is_reused", "_masses", "_ranks", "_rest", "_sorted", "explicit", "floor", "lower")

    def __init__(self, explicit: Mapping[str, float], floor: float = 0.0, lower: Distribution | None = None) -> None:
        self.explicit, self.floor, self.lower = explicit, floor, lower
        self._is_reused = False
        self._masses: dict[float, float] = {}
        self._ranks: dict[float, Ranks] = {}
        self._head: list[tuple[float, str]] = []
        self._rest: Iterator[tuple[float, str]] | None = None
        self._sorted: list[tuple[float, str]] | None = None

    @classmethod
    def mixed(cls, shares: Mapping[str, float], weight: float, lower: Distribution) -> Distribution:
        """Returns `weight` x `shares`, which sum to 1, + (1 - `weight`) x `lower`."""
        floor = 1 - weight
        return cls({t: weight * share + floor * lower.probability(t) for t, share in shares.items()}, floor, lower)

    def probability(self, token: str) -> float:
        """Returns a token's probability; 0 if it is not in the vocabulary."""
        scale, layer = 1.0, self
        while (p := layer.explicit.get(token)) is None:
            if layer.lower is None:
                return 0.0
            scale, layer = scale * layer.floor, layer.lower
        return scale * p

    def ranked(self) -> Iterator[tuple[float, str]]:
        """Yields the whole vocabulary with probabilities, most probable first, lazily; ties are ordered by token.

        From the second call on, the first ones are cached: the corpus's layers are used again, a prompt's are not.
        """
        if self._is_reused:
            return self._cached()
        self._is_reused = True
        return self._over(None if self.lower is None else self.lower.ranked())

    def _cached(self) -> Iterator[tuple[float, str]]:
        if self._rest is None:
            self._rest = self._over(None if self.lower is None else self.lower.ranked())
        at = 0
        while at < HEAD:
            if at == len(self._head):
                if (rank := next(self._rest, None)) is None:
                    return
                self._head.append(rank)
            yield self._head[at]
            at += 1
        yield from islice(self.ranked_uncached(), HEAD, None)

    def ranked_uncached(self) -> Iterator[tuple[float, str]]:
        """Yields as `ranked` does, without the cache."""
        return self._over(None if self.lower is None else self.lower.ranked_uncached())

    def _top(self) -> list[tuple[float, str]]:
        if self._sorted is None:
            self._sorted = sorted([(p, token) for token, p in self.explicit.items() if p > 0], reverse=True)
        return self._sorted

    def _over(self, lower: Iterator[tuple[float, str]] | None) -> Iterator[tuple[float, str]]:
        own = self._top()
        return iter(own) if lower is None else _merged(own, self.explicit, self.floor, lower)

    def mass(self, power: float) -> float:
        """Returns the sum of p ** power over the vocabulary, without iterating over it."""
        if power == 1:
            return 1.0
        if (mass := self._masses.get(power)) is None:
            mass = _kept(self._masses, power, self._sum(power))
        return mass

    def ranks(self, power: float) -> Ranks:
        """Returns the most probable tokens, HEAD at most, with the sums of p ** power. They are cached."""
        if (ranks := self._ranks.get(power)) is None:
            ranks = _kept(self._ranks, power, Ranks(islice(self.ranked(), HEAD), power, self.mass(power)))
        return ranks

    def _sum(self, power: float) -> float:
        own = sum(math.pow(p, power) for p in self.explicit.values())
        if self.lower is None:
            return own
        hidden = sum(math.pow(self.lower.probability(token), power) for token in self.explicit)
        return own + math.pow(self.floor, power) * max(0.0, self.lower.mass(power) - hidden)


def _merged(
    own: list[tuple[float, str]], explicit: Container[str], floor: float, lower: Iterator[tuple[float, str]]
) -> Iterator[tuple[float, str]]:
    """Yields a layer's own ranks among those of the lower layers. It does not hold the distribution, which may hold it:
    so a prompt's distributions go when their last user goes, and leave the garbage collector nothing to do."""
    mine = iter(own)
    first = next(mine, None)
    for p, token in lower:
        if token in explicit:
            continue
        other = (p * floor, token)
        while first is not None and first > other:
            yield first
            first = next(mine, None)
        yield other
    if first is not None:
        yield first
        yield from mine


def _kept(cache: dict[float, T], power: float, value: T) -> T:
    """Adds a value to a cache of POWERS values, and returns it."""
    cache[power] = value
    if len(cache) > POWERS:
        del cache[next(iter(cache))]
    return value


class Ranks:
    """The most probable tokens of a distribution, as far as they were asked for, with the sums of p ** `power` up to
    each. `mass`: the sum of all."""

    __slots__ = ("_power", "_ranked", "_shown", "mass", "ranks", "sums")

    def __init__(self, ranked: Iterator[tuple[float, str]], power: float, mass: float) -> None:
        self.mass = mass
        self.ranks: list[tuple[float, str]] = []
        self.sums: list[float] = []
        self._ranked, self._power = ranked, power
        self._shown: dict[tuple[int, int], TokenLogProb] = {}

    def reach(self, target: float, least: int) -> bool:
        """Reads on until the sum exceeds `target`, and there are at least so many. Returns whether it got there."""
        sums = self.sums
        total = sums[-1] if sums else 0.0
        while total <= target or len(sums) < least:
            if (rank := next(self._ranked, None)) is None:
                return False
            total += math.pow(rank[0], self._power)
            self.ranks.append(rank)
            sums.append(total)
        return True

    def token(self, at: int, top: int) -> TokenLogProb:
        """Returns the token of a rank as it is reported, with so many alternatives."""
        if (shown := self._shown.get((at, top))) is None:
            drawn = _alternative(self.ranks[at])
            alternatives = [_alternative(rank) for rank in self.ranks[:top]]
            shown = self._shown[at, top] = TokenLogProb(drawn.token, drawn.logprob, drawn.bytes, alternatives)
        return shown


@dataclass(frozen=True, slots=True)
class Draw:
    """Draws tokens from p ** power, and of that from the fewest tokens that hold `top_p` of it. `top`: alternatives
    reported with each."""

    power: float
    top_p: float
    top: int = TOP

    @classmethod
    def for_request(cls, temperature: float | None, top_p: float | None, top: int = TOP) -> Draw:
        """Returns how to draw for a request's fields; None means 1."""
        if temperature is not None and temperature < COLDEST:
            return cls(power=1.0, top_p=0.0, top=top)  # a nucleus of one token: the most probable
        return cls(power=1 / (temperature or 1.0), top_p=1.0 if top_p is None else top_p, top=top)

    def token(self, distribution: Distribution, u: float) -> TokenLogProb:
        """Returns the token on which `u`, in [0, 1), falls. Reads no more ranks than it needs."""
        found, is_nucleus = distribution.ranks(self.power), self.top_p < 1
        target = found.mass * (self.top_p if is_nucleus else u)
        if not found.reach(target, self.top):
            found = Ranks(distribution.ranked_uncached(), self.power, found.mass)
            found.reach(target, self.top)
        sums = found.sums
        if (at := bisect_left(sums, target)) == len(sums):
            at -= 1  # rounding may leave `target` past the end
        return found.token(bisect_left(sums, u * sums[at]) if is_nucleus else at, self.top)


@functools.lru_cache(maxsize=16384)
def _alternative(rank: tuple[float, str]) -> TopLogProb:
    """Caches what is reported with a token: the corpus's layers come back."""
    p, token = rank
    return TopLogProb(token, _log(p), utf8(token))


def _log(p: float) -> float:
    return min(0.0, math.log(p))


@functools.lru_cache(maxsize=16384)
def utf8(token: str) -> list[int]:
    return list(token.encode())
