"""Climbs to the number of requests in flight that the server turns into throughput: decides, after each round, how many
there are in the next one.

By Little's law the throughput is the number in flight divided by the mean latency. The number is doubled while that
brings more; then it goes back to as many as are at work, and a short queue. From then on it is tried from time to time
whether a few more bring more, and whether fewer wait less. A server's own pace may change: what a single round seems to
show is looked at again before the number follows it, unless the pace is known to be steady. Where the server says how
many requests wait, its word is taken. Arithmetic only.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import assert_never

from batchgen.send.comparison import (
    are_alike,
    brings_less,
    is_faster,
    is_free,
    is_surely_worth,
    is_worth,
    waits_less,
)
from batchgen.send.measurement import Level, Pace, mean_level
from batchgen.send.other_runs import Others
from batchgen.send.phase import Phase
from batchgen.send.server_queue import SHORT_QUEUE, is_queue, is_queue_gone, is_queue_too_long, with_short_queue

FREE, LONG, SURELY_LONG, LONG_UNQUEUED = 1.05, 1.15, 1.2, 2.5
"""Multiples of the latency without a queue: below the first there is no queue, above the second it is too long; above
the third also where the pace changes, or other runs do; above the fourth though the server says that none wait."""
STEP, MAX_STEP = 1.12, 2.0
"""The factor by which the number is raised to find out whether there is room for more; and the largest one, at servers
whose pace changes by itself."""
MAX_LOWERED = 3
"""The divisor by which the number is lowered at most at once."""
STEADY = 8
"""Rounds at one number whose mean is what more is compared with."""
PATIENCE, MAX_PATIENT = 6.0, 3.0
"""The most seconds between two attempts to find room for more; and so many times as many where few are in flight."""
CHECK_STEP, UNCHECKED = 1.5, 12
"""The divisor by which the number is lowered to see how long answers take without a queue; and after how many attempts
in vain that is done again, or at once where the server has changed, or seemed to."""
HELD_ERROR = 0.02
"""The error that is wanted of a round's mean latency, unless the number has just been raised."""


@dataclass
class HillClimb:
    """The number in flight, of all runs together. `ceiling`: its upper limit. `total`: the time-out of a request in
    seconds. `others`: the other runs. `why` and `level`: the reason for the last number, and what was measured."""

    number: int
    ceiling: int
    total: float
    others: Others = field(default_factory=Others)
    phase: Phase = Phase.CLIMBING
    why: str = ""
    level: Level | None = None
    pace: Pace = field(default_factory=Pace)
    base: float = math.inf  # the latency without a queue
    _rounds: deque[Level] = field(default_factory=lambda: deque(maxlen=STEADY))
    _factor: float = 2.0
    _other: Level | None = None  # what the next round is compared with
    _tries: int = 0
    _tried_at: float = 0.0
    _unchecked: int = 0  # attempts since fewer were tried

    @property
    def is_stepping(self) -> bool:
        """Returns whether the number has just been raised: then few answers show enough."""
        return self.phase in {Phase.CLIMBING, Phase.TRYING}

    def wanted_error(self, latency: float) -> float:
        """Returns the error of a round's mean latency that will do, as a share of it: larger beside a queue."""
        precision = self.phase.precision
        least = HELD_ERROR if precision is None else math.log(self._factor) / precision
        return max(least, math.log(latency / self.base) / 16) if self.base < math.inf else least

    @property
    def has_settled(self) -> bool:
        """Returns whether the number is the one that was found, perhaps with a few more that are tried."""
        return self.phase.is_found

    @property
    def is_looking(self) -> bool:
        """Returns whether it looks for the number, or tries a few more."""
        return not self.phase.is_found or self.phase is Phase.TRYING

    def end_round(self, now: float, level: Level) -> None:
        """Decides what follows a round."""
        self.pace.observe(level)
        self._rounds.append(level)
        if self.base == math.inf and self.others.settled:
            self._adopt(now, level)
        elif is_queue_too_long(level, self.number, is_found=self.base < math.inf and not self.is_stepping):
            self._leave_queue(now, level)
        elif self.base < math.inf or not self.others.is_looking:
            self._decide(now, level)

    def _decide(self, now: float, level: Level) -> None:
        match self.phase:
            case Phase.CLIMBING:
                self._climbed(level)
            case Phase.TRYING:
                self._tried(level)
            case Phase.VERIFYING:
                self._verified(now, level)
            case Phase.LOWERED:
                self._was_lowered(now, level)
            case Phase.RETURNED:
                self._returned(now, level)
            case Phase.HOLDING | Phase.DOUBTING | Phase.LIMITED:
                self._held(now, level)
            case other:
                assert_never(other)

    def move(self, number: int, phase: Phase, level: Level | None, why: str) -> None:
        """Changes the number, or what the next round is to show."""
        if number != self.number or phase not in {self.phase, Phase.DOUBTING}:
            self._rounds.clear()
        self.number, self.phase, self.level, self.why = number, phase, level, why

    def _leave_queue(self, now: float, level: Level) -> None:
        """Goes back to as many as are at work, and a short queue."""
        self.base, self._tried_at, self._unchecked = level.at_work / level.throughput, now, 0
        number = max(with_short_queue(level.at_work), round(self.number / MAX_LOWERED))
        self.move(number, Phase.HOLDING, level, "requests wait in the server's queue")

    def _adopt(self, now: float, level: Level) -> None:
        """Takes the number that other runs have found. What was measured beside them tells the latency without a
        queue."""
        number = round(sum(self.others.settled) / len(self.others.settled))
        self.base = level.latency / max(1.0, SHORT_QUEUE * level.number / number)
        self._tried_at = now
        self.move(number, Phase.HOLDING, level, "as other runs have found")

    @property
    def _is_sure(self) -> bool:
        """Returns whether the last rounds tell enough: where the pace changes by itself, one does not."""
        return self.pace.is_steady or len(self._rounds) > 1

    def _climbed(self, level: Level) -> None:
        before, level = self._other, mean_level(self._rounds)
        if before is None or level.number <= before.number:
            self._climb(level, self._factor)
        elif is_faster(level, min(self.base, before.latency), self.pace):
            self.move(self.number, Phase.CLIMBING, level, "")
            self._other, self._unchecked = None, UNCHECKED  # what was measured before is of a slower server
        elif is_worth(level, before, self.pace):
            self._unchecked = UNCHECKED if len(self._rounds) > 1 else self._unchecked  # it has changed meanwhile
            self._found_room(level, before, 2.0)
        elif self._is_sure:
            self._settle(level)

    def _tried(self, level: Level) -> None:
        before = self._other or level
        if is_faster(level, self.base, self.pace):  # nothing was tried
            self.base, self._unchecked = self.base * level.latency / before.latency, UNCHECKED
            self.move(min(self.number, round(before.number)), Phase.HOLDING, level, "the server is faster")
        elif level.number > before.number and is_surely_worth(level, before, self.pace):
            self._found_room(level, before, 1.5)
        else:
            self._settle(level)

    def _found_room(self, level: Level, before: Level, factor: float) -> None:
        self._tries = 0
        self.base = (before.latency + level.latency) / 2 if is_free(level, before) else before.latency
        self._climb(level, factor)

    def _climb(self, level: Level, factor: float) -> None:
        self._other, self._factor = level, min(factor, self.total / level.latency / 3)
        number = max(self.number + self.others.runs, int(self.number * self._factor))
        if number > self.ceiling or self._factor < STEP:
            self.base = min(self.base, level.latency)
            self.move(self.number, Phase.HOLDING, level, "as many as there may be")
        else:
            self.move(number, Phase.CLIMBING, level, "the server has room for more")

    def _settle(self, level: Level) -> None:
        """Settles at the number that the throughput needs at the latency without a queue, by Little's law, and a short
        queue; but not at fewer than were worth it. If that latency is not known, it looks for it."""
        if self.base == math.inf and level.waiting is None:
            self._lower(level, self.number // 4)
            return
        if self.base == math.inf:  # none wait, by the server's word
            self.base, self._unchecked = level.latency, UNCHECKED
        lowest = int(self._other.number + 0.5) if self._other else 1
        self._other = level
        number = min(max(lowest, self._needed(level)), self.number)
        self.move(number, Phase.VERIFYING, level, "more in flight only waits longer")

    def _needed(self, level: Level) -> int:
        """Returns how many keep the server as busy as it is, with a short queue."""
        return with_short_queue(level.throughput * self.base)

    def _lower(self, level: Level, number: int, why: str = "answers wait") -> None:
        number = max(1, number)
        self._other, self._factor = level, max(self.number / number, STEP)
        self.move(number, Phase.LOWERED, level, why)

    def _verified(self, now: float, level: Level) -> None:
        """Checks whether fewer in flight bring as much as more did. If not, the latency grew without a queue."""
        level = mean_level(self._rounds)
        high = self._other or level
        self._tried_at = now
        if not brings_less(level, high):
            self._hold(now, level)
        elif self._is_sure:
            self.base = min(high.latency, SURELY_LONG * self.base)
            self.move(max(self.number, round(high.number)), Phase.HOLDING, level, "more in flight bring more")

    def _hold(self, now: float, level: Level) -> None:
        self.phase = Phase.HOLDING
        self._held(now, level)

    def _held(self, now: float, level: Level) -> None:
        error = level.with_error(self.pace.deviation).error
        if (1 + 2 * error) * level.latency < self.base < math.inf:  # beside a queue, or the server is faster now
            self.base, self._unchecked = (1 + error) * level.latency, UNCHECKED
        queue = level.latency / self.base if self.base < math.inf else 1.0
        if is_queue_gone(self._rounds) and not self.others.is_looking:
            self._climb(level, 1.5)
        elif is_queue(level):
            self.move(self.number, Phase.HOLDING, level, "")  # more would only wait longer
        elif self._is_long(level) and self.phase is not Phase.DOUBTING:
            self.move(self.number, Phase.DOUBTING, level, "")  # it may have changed since
        elif self._is_long(level):
            number = max(self._needed(level), round(self.number / MAX_LOWERED))
            self._lower(level, min(number, int(self.number / STEP)))  # by enough that it shows
        elif self._is_check_due:
            self._lower(level, round(self.number / CHECK_STEP), "is this the shortest latency?")
        elif now - self._tried_at >= self._patience(level) * (1 if queue < FREE else 2) and not self.others.is_looking:
            self._try_more(level)
        else:
            self.move(self.number, Phase.HOLDING, level, "")

    @property
    def _is_check_due(self) -> bool:
        """Returns whether to see again how long answers take without a queue: only a steady pace shows it."""
        is_due = self._unchecked >= UNCHECKED and self.pace.is_steady
        return is_due and self.number > 1 and self.others.runs == 1

    def _is_long(self, level: Level) -> bool:
        """Returns whether the queue is too long."""
        is_plain = self.pace.is_steady and self.others.runs == 1
        long = LONG_UNQUEUED if level.waiting is not None else LONG if is_plain else SURELY_LONG
        return level.latency > (long + 2 * level.error) * self.base

    def _patience(self, level: Level) -> float:
        """Returns the seconds until the next attempt to find room: longer after each one in vain, and where one more is
        a large step."""
        large = min(max(1.0, 1 / self.number / (STEP - 1)), MAX_PATIENT)
        return large * min(PATIENCE, 0.5 * 2.0**self._tries * level.latency)

    def _try_more(self, level: Level) -> None:
        self._tries, self._unchecked = min(self._tries + 1, 10), self._unchecked + 1
        self._other = mean_level(self._rounds)
        self._factor = min(max(STEP, math.exp(4 * self.pace.deviation)), MAX_STEP)
        number = max(self.number + self.others.runs, round(self.number * self._factor))
        self.move(min(number, self.ceiling), Phase.TRYING, level, "is there room for more?")

    def _was_lowered(self, now: float, level: Level) -> None:
        """Checks whether fewer wait less. If not, answers simply take longer."""
        level = mean_level(self._rounds)
        high = self._other or level
        if self.base == math.inf:
            self._look_for_base(level, high)
        elif waits_less(level, high, self.pace):
            if self.pace.is_steady or are_alike(level, high):
                self._hold(now, level)
            else:
                self._other = level
                self.move(round(high.number), Phase.RETURNED, level, "was it by chance?")
        elif self._is_sure:
            self.base = (max if self._is_long(high) else min)(self.base, level.latency)
            self._unchecked = 0
            self.move(max(self.number, round(high.number)), Phase.HOLDING, level, "fewer in flight bring less")

    def _look_for_base(self, level: Level, high: Level) -> None:
        """Lowers the number until fewer bring less: then there is no queue."""
        if self.number > 1 and not brings_less(level, high):
            self._lower(level, self.number // 2)
        else:
            self.base = level.latency
            self._climb(level, 1.5)

    def _returned(self, now: float, level: Level) -> None:
        """Checks again, at the larger number, whether fewer wait less: the server may just have been slow."""
        low = self._other or level
        if waits_less(low, level, self.pace):
            self.move(max(1, round(low.number)), Phase.HOLDING, level, "answers wait")
        else:
            self.base, self._unchecked = max(self.base, low.latency), UNCHECKED
            self._hold(now, level)
