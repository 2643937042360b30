"""What a number of requests in flight brings: latency and throughput, with their errors; and how much of a latency
is due to an answer's length. Arithmetic only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

LITTLE = 0.5
"""The least sum of squares of relative token counts that is informative."""


class Moved(NamedTuple):
    """A change of the number of requests in flight: when, and why."""

    at: float
    most: int
    throughput: float
    latency: float
    why: str


class Level(NamedTuple):
    """The measurement at one number in flight. `error`: the standard error of the mean latency, as a share of it."""

    number: float
    latency: float
    error: float

    @property
    def throughput(self) -> float:
        return self.number / self.latency

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


@dataclass
class Weights:
    """The share of the latency that depends on an answer's tokens, by regression within rounds."""

    share: float = 0.0
    mean: float = 1.0
    _covariance: float = 0.0
    _variance: float = 0.0

    def of(self, tokens: float) -> float:
        return max(1 - self.share + self.share * tokens / self.mean, 0.05)

    def learn(self, latencies: list[float], tokens: list[float]) -> None:
        count = len(tokens)
        mean, latency = max(sum(tokens) / count, 1e-9), max(sum(latencies) / count, 1e-9)
        if not self._variance:
            self.mean = mean
        pairs = [(t / mean - 1, one / latency - 1) for one, t in zip(latencies, tokens, strict=True)]
        self._covariance = 0.98 * self._covariance + sum(t * one for t, one in pairs)
        self._variance = 0.98 * self._variance + sum(t * t for t, _ in pairs)
        share = self._covariance / (self._variance + LITTLE)  # a few like ones tell little
        self.share = min(max(share * self.mean / mean, 0.0), 1.0) if self._variance > LITTLE else 0.0
