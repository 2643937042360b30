"""Finds out whether a server refuses at random: then a lower rate is refused as often. Arithmetic only."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

BAND = 0.25
"""The natural logarithm of the factor between two bands of rates; those two bands apart are compared."""
ENOUGH, CLEAN = 16, 60
"""Requests that a comparison needs on each side; and so many in a row without a refusal show that none is random."""
MAX_SHARE = 0.35
"""A larger refused share is not random."""


class RandomRefusals:
    """Counts what was refused at each rate. `share`: of the requests that are refused at random, as far as is known."""

    def __init__(self) -> None:
        self.share = 0.0
        self._seen: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._clean = 0

    def count(self, rate: float, sent: int, refused: int) -> None:
        """Counts the requests of one trial."""
        self._seen[_band(rate)].update(sent=sent, refused=refused)
        self._clean = 0 if refused else self._clean + sent
        if self._clean >= CLEAN:
            self._seen.clear()
            self.share = 0.0

    def suspected(self, rate: float) -> float:
        """Returns the share that was refused at this rate and at much higher ones alike; 0 if it was not. A bucket that
        was full at first looks so, too: a lower rate must prove it."""
        here = _band(rate)
        high = self._total(here + 2, math.inf)
        low = self._total(here, here + 2)
        if self.share or min(high["sent"], low["sent"]) < ENOUGH:
            return 0.0
        before, share = high["refused"] / high["sent"], low["refused"] / low["sent"]
        return share if before / 2 <= share <= min(2 * before, MAX_SHARE) else 0.0

    def prove(self, suspected: float, share: float) -> float | None:
        """Takes the refused share of a much lower rate. Returns the highest rate that was tried if refusals are random,
        else None: fewer are refused, or far more, as where a window is used up."""
        highest = math.exp(max(self._seen) * BAND) if self._seen else 1.0
        self._seen.clear()
        if not suspected / 2 <= share <= max(2 * suspected, MAX_SHARE):
            return None
        self.share = min(max(share, suspected), MAX_SHARE)
        return highest

    def _total(self, begin: float, end: float) -> Counter[str]:
        total: Counter[str] = Counter(sent=0, refused=0)
        for band, seen in self._seen.items():
            if begin <= band < end:
                total.update(seen)
        return total


def _band(rate: float) -> int:
    return round(math.log(rate) / BAND)
