"""What a number of requests in flight brings: latency and throughput, with their errors; how much of a latency is
due to an answer's length; and how much a server's pace changes by itself. Arithmetic only."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

LITTLE = 0.5
"""The least sum of squares of relative token counts that is informative."""
PRIOR, FIRST_DEVIATION = 8, 0.3
"""So many latencies of the last round's relative deviation are added to the measured ones: a few alike prove nothing;
and the deviation before the first round."""
FEW_CHANGES, LAST_CHANGES, CAPACITY_CHANGES = 4, 12, 2
"""Changes from round to round by which a pace is judged; and how many of them may be changes of the capacity."""
NEAR = 1.2
"""The factor up to which a pace is judged by rounds of different numbers."""
STEADY_PACE = 0.05
"""The deviation up to which a pace is steady."""
LONGEST = 5.0
"""The longest round in seconds, or four latencies, where these differ so much that few show little."""


class Level(NamedTuple):
    """The measurement at one number in flight. `error`: the standard error of the mean latency, as a share of it.
    `waiting`: the share of the requests that waited in the server's queue, as it says itself; None if it does not."""

    number: float
    latency: float
    error: float
    waiting: float | None = None

    @property
    def throughput(self) -> float:
        return self.number / self.latency

    @property
    def at_work(self) -> float:
        """Returns how many requests the server works at, as far as it says."""
        return (1 - (self.waiting or 0.0)) * self.number

    def with_error(self, another: float) -> Level:
        """Returns the level with another error, which has nothing to do with the known one, added to it."""
        return self._replace(error=math.hypot(self.error, another))

    def worth(self, before: Level) -> float:
        """Returns the share of the ideal gain that the larger number brings: 1 if latency stayed the same, 0 if
        throughput did."""
        return 1 - math.log(self.latency / before.latency) / math.log(self.number / before.number)

    def doubt(self, before: Level) -> float:
        """Returns the standard error of `worth`."""
        return math.hypot(self.error, before.error) / math.log(self.number / before.number)

    def surely_worth(self, before: Level) -> float:
        """Returns the share that it brings at least, but for chance."""
        return self.worth(before) - self.doubt(before)


def mean_level(levels: Iterable[Level]) -> Level:
    """Returns the mean of several measurements at one number."""
    numbers, latencies, errors, waiting = zip(*levels, strict=True)
    count = len(numbers)
    return Level(sum(numbers) / count, sum(latencies) / count, math.hypot(*errors) / count, waiting[-1])


@dataclass
class Round:
    """The answers of one round. `since`: when it began. `last_deviation`: the relative deviation of latencies in the
    last round. `beside`: the sum of the requests in flight beside each; `full`: how many had nearly as many beside them
    as there might be. `waiting`: shares of the requests that waited in the server's queue."""

    since: float = 0.0
    last_deviation: float = FIRST_DEVIATION
    beside: float = 0.0
    full: int = 0
    latencies: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    _sum: float = 0.0  # of latencies, and of weights; then of their squares and products
    _weight: float = 0.0
    _squares: float = 0.0
    _weight_squares: float = 0.0
    _products: float = 0.0

    def add(self, latency: float, tokens: float, weight: float) -> None:
        """Adds an answer. `weight`: its latency's share of the mean, by its tokens."""
        self.latencies.append(latency)
        self.tokens.append(tokens)
        self._sum += latency
        self._weight += weight
        self._squares += latency * latency
        self._weight_squares += weight * weight
        self._products += latency * weight

    @property
    def count(self) -> int:
        return len(self.latencies)

    @property
    def mean(self) -> float:
        """Returns the mean latency, weighed by tokens."""
        return self._sum / self._weight

    @property
    def spread(self) -> float:
        """Returns the sum of the squares by which latencies differ from what their tokens explain, in means."""
        squares = self._squares / self.mean**2 - 2 * self._products / self.mean + self._weight_squares
        return max(squares, 0.0)

    def error(self) -> float:
        """Returns the standard error of the mean latency, as a share of it."""
        return self.deviation() * math.sqrt(self.count) / self._weight

    def deviation(self) -> float:
        """Returns the relative deviation of the latencies."""
        return math.sqrt((self.spread + PRIOR * self.last_deviation**2) / (self.count + PRIOR))

    def is_enough(self, now: float, error: float, pace: Pace) -> bool:
        """Returns whether it has at most that error, or has lasted as long as it may. Where the pace changes, the error
        says little."""
        is_precise = self.error() <= error and pace.deviation <= STEADY_PACE
        return is_precise or now - self.since > max(LONGEST, 4 * self.mean)

    def level(self) -> Level:
        """Returns what was measured."""
        waiting = sum(self.waiting) / len(self.waiting) if self.waiting else None
        return Level(self.beside / self.count, self.mean, self.error(), waiting)


@dataclass
class Turnover:
    """The seconds for which requests were in flight that were answered, since a number in flight began to hold."""

    since: float = math.inf
    seconds: float = 0.0

    def add(self, now: float, sent_at: float) -> None:
        """Adds an answer."""
        self.since = min(self.since, now)
        self.seconds += now - max(sent_at, self.since)

    def share(self, now: float, in_flight: float) -> float:
        """Returns the share of the requests in flight that are answered, in the long run."""
        return self.seconds / max(in_flight * (now - self.since), 1e-9)


@dataclass
class Pace:
    """How much a server's pace changes by itself, from round to round at one number in flight."""

    _last: Level | None = None
    _changes: deque[float] = field(default_factory=lambda: deque(maxlen=LAST_CHANGES))

    def observe(self, level: Level) -> None:
        """Adds a round. If its number is near the last one's, latency or throughput should be the same."""
        last, self._last = self._last, level
        if last is not None and max(level.number, last.number) <= NEAR * min(level.number, last.number):
            change = min(abs(math.log(level.latency / last.latency)), abs(math.log(level.throughput / last.throughput)))
            self._changes.append(max(0.0, change**2 - level.error**2 - last.error**2))

    @property
    def deviation(self) -> float:
        """Returns the relative standard deviation of rounds beyond what chance explains. The largest changes may be
        those of a capacity, and do not count."""
        own = sorted(self._changes)[:-CAPACITY_CHANGES]
        return math.sqrt(sum(own) / len(own) / 2) if self.is_known else 0.0

    @property
    def is_known(self) -> bool:
        """Returns whether enough rounds tell it."""
        return len(self._changes) >= FEW_CHANGES

    @property
    def is_steady(self) -> bool:
        """Returns whether the pace is known not to change by itself."""
        return self.is_known and self.deviation <= STEADY_PACE


@dataclass
class Weights:
    """The share of the latency that depends on an answer's tokens, by regression within rounds."""

    share: float = 0.0
    mean: float = 1.0
    _covariance: float = 0.0
    _variance: float = 0.0
    _count: float = 0.0
    _tokens: float = 0.0

    def of(self, tokens: float) -> float:
        return max(1 - self.share + self.share * tokens / self.mean, 0.05)

    def learn(self, latencies: list[float], tokens: list[float]) -> None:
        count = len(tokens)
        mean, latency = max(sum(tokens) / count, 1e-9), max(sum(latencies) / count, 1e-9)
        self._count, self._tokens = 0.98 * self._count + count, 0.98 * self._tokens + sum(tokens)
        self.mean = max(self._tokens / self._count, 1e-9)
        pairs = [(t / mean - 1, one / latency - 1) for one, t in zip(latencies, tokens, strict=True)]
        self._covariance = 0.98 * self._covariance + sum(t * one for t, one in pairs)
        self._variance = 0.98 * self._variance + sum(t * t for t, _ in pairs)
        share = self._covariance / (self._variance + LITTLE)  # a few like ones tell little
        self.share = min(max(share * self.mean / mean, 0.0), 1.0) if self._variance > LITTLE else 0.0
