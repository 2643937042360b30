"""How many requests are in flight where the job leaves that to us: as many as the server turns into throughput.

By rounds: each holds a number until so many answers have come that all in flight were sent at it, then takes the mean
latency of as many more. By Little's law the throughput is the number in flight by the mean latency, so one measure
tells all. Arithmetic only: the caller passes the time, in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

START = 4
QUEUE = 1.12
"""Times as many as are at work: a short queue, so that the server is never idle, and a change is seen."""
FREE, LONG = 1.05, 1.25
"""Times the latency without a queue: below it there is none, above it the queue is too long."""
WORTH = 0.7
"""Of what more in flight would bring if it cost no latency: so much of it, and there is room for still more."""
MORE_WORTH, WELL_WORTH = 0.85, 0.9
"""So much of it proves that what was taken for a queue was none; and so much, that there was none at all."""
FLAT = 0.03
"""Of the throughput: less is not worth a queue."""
FEW, FEWEST = 16, 8
"""Answers of a round at least, and of one in which the number is twice the last."""
PRIOR = 8, 0.3
"""What so many latencies would tell that differ by so much of their mean, beside those that were measured: a few that
happen to be alike are no proof."""
LONGEST = 5.0
"""Seconds that are measured at most where latencies differ so much that few tell little; four times as long as answers
take where that is more."""
STEP = 1.12
"""Times as many in flight, to see whether there is room for more."""
LITTLE, OTHERWISE = 0.5, 0.3
"""The sum of squares of relative token counts that tells something; and a change of the share of tokens in latency
after which older measures are of no use."""
FEW_LATE = 2
"""Requests of a round that are not answered in time: pressure."""
PATIENCE = 6.0
"""Seconds at most between two tries whether there is room for more."""


class Moved(NamedTuple):
    """A number of requests in flight, from when on, and why."""

    at: float
    most: int
    throughput: float
    latency: float
    why: str


class Level(NamedTuple):
    """What was measured with so many in flight. `error`: of the latency's mean, as a share of it."""

    number: float
    latency: float
    error: float

    @property
    def throughput(self) -> float:
        return self.number / self.latency

    def worth(self, before: Level) -> float:
        """Of what the larger number would bring if latency stayed as it was: 1 all, 0 nothing."""
        return 1 - math.log(self.latency / before.latency) / math.log(self.number / before.number)


@dataclass
class Weights:
    """How an answer's latency goes by its tokens: the share of the mean that does, by regression within rounds."""

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


@dataclass
class AdaptiveConcurrency:
    """`most` requests may be in flight. `ceiling`: the most that there may ever be;
    `start`: what an earlier run found; `total`: seconds that one may take."""

    ceiling: int
    start: int | None = None
    total: float = math.inf
    most: int = field(init=False)
    moves: list[Moved] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.most = min(self.start or START, self.ceiling)
        self._weights = Weights()
        self._state = "climbing"
        self._factor = 2.0
        self._before: Level | None = None  # where more in flight was worth it
        self._high: Level | None = None  # where it was not
        self._base = math.inf  # the latency without a queue
        self._tries, self._tried_at = 0, 0.0
        self._late = 0
        self._begin()

    def _begin(self) -> None:
        self._passed = 0
        self._measuring = False
        self._since = 0.0
        self._sums = [0.0, 0.0, 0]
        self._latencies: list[float] = []
        self._tokens: list[float] = []
        self._beside = self._full = 0

    def answered(self, now: float, sent_at: float, tokens: float, beside: int, allowed: float = math.inf) -> None:
        """`beside`: how many were in flight when it was sent, itself included; `allowed`: by other limits."""
        if allowed < self.most:
            self._move(now, max(1, int(allowed)), "held", 0.0, 0.0, "refusals or time-outs")
        if not self._measuring:
            self._passed += 1
            self._measuring, self._since = self._passed >= self.most, now
            return
        self._latencies.append(max(now - sent_at, 1e-6))
        self._tokens.append(tokens)
        self._beside += beside
        self._full += beside >= self.most
        weighed = self._latencies[-1] / self._weights.of(tokens)
        self._sums = [self._sums[0] + weighed, self._sums[1] + weighed * weighed, self._sums[2] + 1]
        if self._is_enough(now):
            self._end(now)

    def _is_enough(self, now: float) -> bool:
        """Whether what was measured tells what is asked."""
        total, squares, count = self._sums
        if count < (max(FEWEST, self.most / 4) if self._state == "climbing" else max(FEW, self.most)):
            return False
        mean = total / count
        variance = (squares - count * mean * mean) / (mean * mean) + PRIOR[0] * PRIOR[1] ** 2
        error = math.sqrt(max(variance, 0.0) / (count + PRIOR[0]) / count)
        wanted = math.log(self._factor) / 4 if self._state == "climbing" else 0.03
        return error <= wanted or now - self._since > max(LONGEST, 4 * mean)

    def unanswered(self, now: float, sent_at: float) -> None:
        """No answer came in time: that is pressure, and its latency counts."""
        self._late += 1
        if self._late >= FEW_LATE and self._state != "held":
            self._late = 0
            self._move(now, max(1, self.most // 2), "holding", 0.0, now - sent_at, "no answers in time")

    def _end(self, now: float) -> None:
        """Of a round: what it measured, and what follows."""
        level, is_full = self._level()
        self._begin()
        self._late = 0
        if not is_full:
            return  # something else holds back, and nothing was tried
        {
            "climbing": self._climbed,
            "verifying": self._verified,
            "lowered": self._was_lowered,
            "holding": self._held,
            "held": self._held,
            "doubting": self._held,
        }[self._state](now, level)

    def _level(self) -> tuple[Level, bool]:
        weights = [self._weights.of(tokens) for tokens in self._tokens]
        latency = sum(self._latencies) / sum(weights)
        count = len(weights)
        spread = sum((one / weight / latency - 1) ** 2 for one, weight in zip(self._latencies, weights, strict=True))
        share = self._weights.share
        self._weights.learn(self._latencies, self._tokens)
        if abs(self._weights.share - share) > OTHERWISE:
            self._base, self._before, self._high = math.inf, None, None  # they were reckoned otherwise
        number = self._beside / count
        return Level(number, latency, math.sqrt(spread) / count), 2 * self._full >= count

    def _climbed(self, now: float, level: Level) -> None:
        before = self._before
        if before is None or level.number <= before.number:
            self._before = level
            self._climb(now, level, self._factor)
        elif level.worth(before) >= self._wanted(before):
            self._tries = 0
            is_free = level.worth(before) >= WELL_WORTH
            self._base = (before.latency + level.latency) / 2 if is_free else before.latency
            self._climb(now, level, 2.0 if self._factor > STEP else 1.5)
        elif self._base == math.inf:
            self._lower(now, level, self.most // 4)
        else:
            self._high = level
            self._settle(now, level, "more in flight only waits longer")

    def _wanted(self, before: Level) -> float:
        """What a step must be worth. A small one above what seemed a queue may seem so by chance."""
        return MORE_WORTH if self._factor == STEP and before.latency >= FREE * self._base else WORTH

    def _lower(self, now: float, level: Level, most: int) -> None:
        self._high, self._before = level, None
        self._move(now, max(1, most), "lowered", level.throughput, level.latency, "answers wait")

    def _climb(self, now: float, level: Level, factor: float) -> None:
        self._before, self._factor = level, factor
        most = max(self.most + 1, round(self.most * factor))
        if most > self.ceiling or 3 * factor * level.latency > self.total:
            self._move(now, self.most, "holding", level.throughput, level.latency, "as many as there may be")
            return
        self._move(now, most, "climbing", level.throughput, level.latency, "the server has room for more")

    def _settle(self, now: float, level: Level, why: str) -> None:
        """By Little's law so many are at work as the throughput needs at the latency without a queue."""
        at_work = level.throughput * self._base
        most = max(1, int(QUEUE * at_work + 0.05))
        lowest = int(self._before.number + 0.5) if self._before else 1
        most = min(max(most, lowest), self.most)
        self._move(now, most, "verifying", level.throughput, level.latency, why)

    def _verified(self, now: float, level: Level) -> None:
        """Whether fewer in flight bring as much as more did. Where not, latency grew without a queue."""
        high = self._high
        self._tried_at = now
        doubt = FLAT + 2 * math.hypot(level.error, high.error if high else 0.0)
        is_less = high is not None and level.throughput < (1 - doubt) * high.throughput
        if high is not None and is_less and high.number > level.number and high.latency > level.latency:
            self.most, self._base = max(self.most, round(high.number)), high.latency
            self._climb(now, high, 2.0)
            return
        self._state = "holding"
        self._held(now, level)

    def _held(self, now: float, level: Level) -> None:
        queue = level.latency / self._base if self._base < math.inf else 1.0
        if queue > LONG + 2 * level.error and self._state != "doubting":
            self._move(
                now, self.most, "doubting", level.throughput, level.latency, ""
            )  # it may have changed amid the round
        elif queue > LONG + 2 * level.error:
            self._lower(now, level, int(QUEUE * level.throughput * self._base + 0.05))
        elif now - self._tried_at >= self._patience(level) * (1 if queue < FREE else 2):
            self._tries = min(self._tries + 1, 10)
            self._before, self._factor = level, STEP
            most = min(max(self.most + 1, round(self.most * self._factor)), self.ceiling)
            self._move(now, most, "climbing", level.throughput, level.latency, "is there room for more?")
        else:
            self._move(now, self.most, "holding", level.throughput, level.latency, "")

    def _patience(self, level: Level) -> float:
        """Seconds until it is tried again whether there is room: longer after each time that there was none."""
        return min(PATIENCE, 0.5 * 2.0**self._tries * level.latency)

    def _was_lowered(self, now: float, level: Level) -> None:
        """Whether fewer wait less. Where not, answers take longer as such, and there is room again."""
        high = self._high
        is_worth = high is not None and high.number > level.number and high.worth(level) >= WORTH
        if is_worth or (self._base == math.inf and self.most == 1):
            self._base = level.latency
            self._climb(now, level, 1.5)
        elif self._base == math.inf:
            self._lower(now, level, self.most // 2)
        else:
            self._state = "holding"
            self._held(now, level)

    def _move(self, now: float, most: int, state: str, throughput: float, latency: float, why: str) -> None:
        if most != self.most or not self.moves:
            self.moves.append(Moved(now, most, throughput, latency, why))
        self.most, self._state = most, state
        self._begin()
