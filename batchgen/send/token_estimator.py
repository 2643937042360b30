"""Estimates how long answers will be, by those that came."""

from __future__ import annotations


class TokenEstimator:
    """Estimates which share of its longest length an answer takes: by the answers seen, and cautiously all of it at the
    start."""

    INITIAL_WEIGHT, MAX_WEIGHT = 5, 200

    def __init__(self) -> None:
        self._weight = float(self.INITIAL_WEIGHT)
        self._weighted_share = float(self.INITIAL_WEIGHT)

    def observe(self, longest: int, used: float) -> None:
        """Adds an answer. Once there are many, old answers count less and less."""
        keep = 1 - 1 / self.MAX_WEIGHT if self._weight > self.MAX_WEIGHT else 1.0
        self._weight = self._weight * keep + 1
        self._weighted_share = self._weighted_share * keep + min(used / longest, 1.0)

    def tokens(self, longest: int) -> float:
        return longest * self._weighted_share / self._weight
