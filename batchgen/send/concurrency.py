"""Finds how many requests to keep in flight, if the job leaves that open: as many as the server turns into throughput.

It works by rounds. Each round keeps one number until all requests in flight were sent at it, then takes the mean
latency of as many more answers. By Little's law the throughput is the number in flight divided by the mean latency, so
one measure is enough. Where other runs are at the same server, all numbers are those of all runs together, and this run
takes its part. Arithmetic only: the caller passes the time, in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from batchgen.send.measurement import Level, Moved, Weights
from batchgen.send.other_runs import Others

START = 4
QUEUE = 1.12
"""Requests in flight for each one at work: a short queue, so that the server is never idle, and a change is seen."""
FREE, LONG = 1.05, 1.25
"""Multiples of the latency without a queue: below the first there is no queue, above the second it is too long."""
WORTH = 0.7
"""The share of the ideal gain (at no cost in latency) that more must bring, so that there is room for still more."""
SURELY_WORTH, WELL_WORTH = 0.5, 0.9
"""The share that a small step must surely bring; and the share that shows that there was no queue at all."""
FLAT = 0.03
"""The share of the throughput below which a gain is not worth a queue."""
FEW, FEWEST = 16, 8
"""The least answers of a round, and of a round with twice the number of the last."""
PRIOR = 8, 0.3
"""So many latencies of this relative deviation are added to the measured ones: a few alike prove nothing."""
LONGEST = 5.0
"""The longest measurement in seconds, or four latencies, where these differ so much that few show little."""
STEP = 1.12
"""The factor by which the number is raised to find out whether there is room for more."""
OTHERWISE = 0.3
"""The change of the tokens' share in latency after which older measures are discarded."""
FEW_LATE = 2
"""So many time-outs in a round are a sign of overload."""
SETTLING = 3.0
"""Seconds after a change until all runs know it."""
MUCH, OFTEN = 0.2, 20.0
"""The change in others' requests that spoils a measurement, as a share of all; and between two that count, so many
seconds, or so many times an answer's."""
NOTED = 0.1  # the least relative change by what other runs do that is noted
PATIENCE = 6.0
"""The most seconds between two attempts to find room for more."""


@dataclass
class AdaptiveConcurrency:
    """The number of requests that may be in flight, `most`. `ceiling`: its upper limit. `start`: the number that an
    earlier run found. `total`: the time-out of a request in seconds. `of_all`: the number of all runs together.
    `in_flight`: this run's requests in flight when the last answered one was sent."""

    is_per_server: ClassVar[bool] = False
    ceiling: int
    start: int | None = None
    total: float = math.inf
    of_all: int = field(init=False)
    in_flight: int = field(default=0, init=False)
    moves: list[Moved] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.of_all = min(self.start or START, self.ceiling)
        self._others, self._is_held_back = Others(), False
        self._changed_at, self._cut_at, self._took = -math.inf, -math.inf, 0.0
        self._weights = Weights()
        self._state = "climbing"
        self._factor = 2.0
        self._before: Level | None = None  # where more in flight was worth it
        self._high: Level | None = None  # where it was not
        self._base = math.inf  # the latency without a queue
        self._tries, self._tried_at, self._late = 0, 0.0, 0
        self._begin()

    @property
    def most(self) -> int:
        """Returns this run's part: an equal share, or, while others still look for theirs, what they leave."""
        others = self._others
        left = self.of_all - others.in_flight if self.moves and len(others.settled) < others.runs - 1 else 0
        return max(1, left, round(self.of_all / others.runs))

    def each(self, *urls: str) -> dict[str, AdaptiveConcurrency]:
        """Returns the number for each address, or for several that share one."""
        return {" ".join(urls): self}

    @property
    def settled(self) -> int:
        """Returns the number of all runs together, as far as this run has settled on one; 0 while it looks for it."""
        return 0 if self._state in {"climbing", "lowered"} else self.of_all

    @property
    def is_looking(self) -> bool:
        """Returns whether it looks for the number, and nothing else holds the requests back."""
        return not self.settled and not self._is_held_back

    def share(self, now: float, others: Others) -> None:
        """Shares the server with these runs from now on. One run at a time looks for the number, the earliest first; a
        later one takes what that finds."""
        before, most, self._others = self._others, self.most, others
        if not self.moves:  # nothing is known yet: as many as it would have alone
            self.of_all = min(self.of_all // before.runs * others.runs, self.ceiling)
        gone = abs(others.in_flight - before.in_flight) > MUCH * (most + before.in_flight)
        is_other = others.runs != before.runs and gone and now - self._changed_at > OFTEN * max(1.0, self._took)
        if is_other or (self._base == math.inf and before.is_looking and not others.is_looking):
            self._changed_at = now  # what was measured meanwhile is of many numbers
            self._begin()
        elif self._state == "holding":  # the mean of what all have settled on: an equal part for each
            self.of_all = round((self.of_all + sum(others.settled)) / (1 + len(others.settled)))
        if self.moves and abs(self.most - most) > NOTED * most:
            why = f"{others.runs} runs share the server" if others.runs > 1 else "the other runs have ended"
            self.moves.append(Moved(now, self.most, 0.0, 0.0, why))

    def _begin(self) -> None:
        self._passed, self._measuring, self._since = 0, False, 0.0
        self._sums = [0.0, 0.0, 0]
        self._latencies: list[float] = []
        self._tokens: list[float] = []
        self._beside = self._full = 0

    def answered(self, now: float, sent_at: float, tokens: float, beside: int, allowed: float = math.inf) -> None:
        """Counts an answer. `beside`: requests in flight when it was sent, itself included. `allowed`: how many other
        limits allow."""
        self.in_flight, self._took = beside, now - sent_at
        if not self.moves:
            self.moves.append(Moved(now, self.most, 0.0, 0.0, "the start"))
        if allowed < self.most:
            self._move(now, max(1, int(allowed)) * self._others.runs, "held", 0.0, 0.0, "refusals or time-outs")
        if not self._measuring:
            self._passed += 1
            self._measuring = self._passed >= self.most and now - self._changed_at >= SETTLING
            self._since = now
            return
        self._latencies.append(max(now - sent_at, 1e-6))
        self._tokens.append(tokens)
        self._beside += beside + self._others.in_flight
        self._full += beside >= self.most
        weighed = self._latencies[-1] / self._weights.of(tokens)
        self._sums = [self._sums[0] + weighed, self._sums[1] + weighed * weighed, self._sums[2] + 1]
        if self._is_enough(now):
            self._end(now)

    def _is_enough(self, now: float) -> bool:
        """Returns whether the measurement is precise enough."""
        total, squares, count = self._sums
        if count < (max(FEWEST, self.most / 4) if self._state == "climbing" else max(FEW, self.most)):
            return False
        mean = total / count
        variance = (squares - count * mean * mean) / (mean * mean) + PRIOR[0] * PRIOR[1] ** 2
        error = math.sqrt(max(variance, 0.0) / (count + PRIOR[0]) / count)
        wanted = math.log(self._factor) / (8 if self._factor == STEP else 4) if self._state == "climbing" else 0.02
        return error <= wanted or now - self._since > max(LONGEST, 4 * mean)

    def unanswered(self, now: float, sent_at: float) -> None:
        """Counts a time-out: a sign of overload, whose latency counts."""
        if sent_at < self._cut_at:
            return  # it says nothing new
        self._late += 1
        if self._late >= FEW_LATE and self._state != "held":
            self._late, self._cut_at = 0, now
            self._move(now, max(1, self.of_all // 2), "holding", 0.0, now - sent_at, "no answers in time")

    def _end(self, now: float) -> None:
        """Ends a round: takes its measure and decides what follows."""
        level, is_full = self._level()
        self._begin()
        self._late = 0
        self._is_held_back = not is_full
        if not is_full or (self._others.is_looking and self._base == math.inf):
            return  # something else holds back, and nothing was tried; or another run is trying
        if self._base == math.inf and self._others.settled:
            self._adopt(now, level)
            return
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
            self._base, self._before, self._high = math.inf, None, None  # they were computed with another share
        number = self._beside / count
        return Level(number, latency, math.sqrt(spread) / count), 2 * self._full >= count

    def _adopt(self, now: float, level: Level) -> None:
        """Takes the number that other runs have found. What was measured beside them tells the latency without a
        queue."""
        number = round(sum(self._others.settled) / len(self._others.settled))
        self._base = level.latency / max(1.0, QUEUE * level.number / number)
        self._tried_at = now
        self._move(now, number, "holding", level.throughput, level.latency, "as other runs have found")

    def _climbed(self, now: float, level: Level) -> None:
        before = self._before
        if before is None or level.number <= before.number:
            self._before = level
            self._climb(now, level, self._factor)
        elif self._is_worth(level, before):
            self._tries = 0
            is_free = level.worth(before) >= WELL_WORTH
            self._base = (before.latency + level.latency) / 2 if is_free else before.latency
            self._climb(now, level, 2.0 if self._factor > STEP else 1.5)
        elif self._base == math.inf:
            self._lower(now, level, self.of_all // 4)
        else:
            self._high = level
            self._settle(now, level, "more in flight only waits longer")

    def _is_worth(self, level: Level, before: Level) -> bool:
        """Returns whether the step brought enough. A large step that leaves doubt did: a queue shows clearly at the
        next one. A small step must prove it: above a queue it may look worth it by chance."""
        if self._factor == STEP:
            return level.surely_worth(before) >= SURELY_WORTH
        return level.worth(before) + level.doubt(before) >= WORTH

    def _lower(self, now: float, level: Level, most: int) -> None:
        self._high, self._before = level, None
        self._move(now, max(1, most), "lowered", level.throughput, level.latency, "answers wait")

    def _climb(self, now: float, level: Level, factor: float) -> None:
        self._before, self._factor = level, factor
        most = max(self.of_all + self._others.runs, round(self.of_all * factor))
        if most > self.ceiling or 3 * factor * level.latency > self.total:
            self._move(now, self.of_all, "holding", level.throughput, level.latency, "as many as there may be")
            return
        self._move(now, most, "climbing", level.throughput, level.latency, "the server has room for more")

    def _settle(self, now: float, level: Level, why: str) -> None:
        """Settles at the number that the throughput needs at the latency without a queue, by Little's law, and a short
        queue."""
        at_work = level.throughput * self._base
        lowest = int(self._before.number + 0.5) if self._before else 1
        most = min(max(1, lowest, int(QUEUE * at_work + 0.05)), self.of_all)
        self._move(now, most, "verifying", level.throughput, level.latency, why)

    def _verified(self, now: float, level: Level) -> None:
        """Checks whether fewer in flight bring as much as more did. If not, the latency grew without a queue."""
        high = self._high
        self._tried_at = now
        doubt = FLAT + 2 * math.hypot(level.error, high.error if high else 0.0)
        is_less = high is not None and level.throughput < (1 - doubt) * high.throughput
        if high is not None and is_less and high.number > level.number and high.latency > level.latency:
            self.of_all, self._base = max(self.of_all, round(high.number)), high.latency
            self._climb(now, high, 2.0)
            return
        self._state = "holding"
        self._held(now, level)

    def _held(self, now: float, level: Level) -> None:
        if level.latency < (1 - 2 * level.error) * self._base < math.inf:
            self._base = level.latency  # it was measured beside a queue, or the server is faster now
        queue = level.latency / self._base if self._base < math.inf else 1.0
        if queue > LONG + 2 * level.error and self._state != "doubting":
            self._move(now, self.of_all, "doubting", level.throughput, level.latency, "")  # it may have changed since
        elif queue > LONG + 2 * level.error:
            self._lower(now, level, int(QUEUE * level.throughput * self._base + 0.05))
        elif now - self._tried_at >= self._patience(level) * (1 if queue < FREE else 2) and not self._others.is_looking:
            self._tries = min(self._tries + 1, 10)
            self._before, self._factor = level, STEP
            most = max(self.of_all + self._others.runs, round(self.of_all * self._factor))
            self._move(
                now, min(most, self.ceiling), "climbing", level.throughput, level.latency, "is there room for more?"
            )
        else:
            self._move(now, self.of_all, "holding", level.throughput, level.latency, "")

    def _patience(self, level: Level) -> float:
        """Returns the seconds until the next attempt to find room: longer after each one in vain."""
        return min(PATIENCE, 0.5 * 2.0**self._tries * level.latency)

    def _was_lowered(self, now: float, level: Level) -> None:
        """Checks whether fewer wait less. If not, answers simply take longer, and there is room again."""
        high = self._high
        is_worth = high is not None and high.number > level.number and high.surely_worth(level) >= WORTH
        if is_worth or (self._base == math.inf and self.of_all == 1):
            self._base = level.latency
            self._climb(now, level, 1.5)
        elif self._base == math.inf:
            self._lower(now, level, self.of_all // 2)
        else:
            self._state = "holding"
            self._held(now, level)

    def _move(self, now: float, most: int, state: str, throughput: float, latency: float, why: str) -> None:
        before, self.of_all, self._state = self.most, most, state
        if self.most != before or not self.moves:
            self.moves.append(Moved(now, self.most, throughput / self._others.runs, latency, why))
        self._begin()
