"""Finds how many requests to keep in flight, if the job leaves that open: as many as the server turns into throughput.

It works by rounds. Each round keeps one number until all requests in flight were sent at it, then takes the mean
latency of as many more answers; `hill_climb` decides what follows. Where other runs are at the same server, all numbers
are those of all runs together, and this run takes its part. Arithmetic only: the caller passes the time, in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from batchgen.checkpoint.schema import ConcurrencyChange
from batchgen.send.hill_climb import HillClimb
from batchgen.send.measurement import FIRST_DEVIATION, Level, Round, Turnover, Weights
from batchgen.send.other_runs import Others
from batchgen.send.phase import Phase

START = 4
FEW, FEWEST = 16, 8
"""The least answers of a round, and of a round just after the number was raised."""
FEW_LATE = 2
"""So many time-outs in a round are a sign of overload."""
BELOW_LATE, AVOIDED, MOST_AVOIDED = 0.75, 4, 32
"""After time-outs the number stays below this share of what it was: for so many times the seconds of one, twice as long
after each, and at most for so many."""
ANSWERED = 0.3
"""The least share of the requests in flight that have to be answered before more are sent. Latency does not show those
that a server has taken, and never works at: it is that of the others."""
SETTLING = 3.0
"""Seconds after a change until all runs know it."""
MUCH, OFTEN = 0.2, 20.0
"""The change in others' requests that spoils a measurement, as a share of all; and between two that count, so many
seconds, or so many times an answer's."""
LEAST_TOLD, MORE_TOLD = 0.6, 0.1
"""A server counts the requests in flight, if it counts this share of them at least (others are on their way), and this
share more at most."""
TOLD_LATELY = 2.0
"""Seconds since a server last told its queue: so long, a round lasts until it does again."""
NOTED = 0.1  # the least relative change by what other runs do that is noted


@dataclass
class AdaptiveConcurrency:
    """The number of requests that may be in flight, `most`. `ceiling`: its upper limit. `start`: the number that an
    earlier run found. `total`: the time-out of a request in seconds. `full`: the share of the number that has to be in
    flight, or something else holds the requests back. `in_flight`: this run's requests in flight when the last answered
    one was sent, or meanwhile."""

    is_per_server: ClassVar[bool] = False
    ceiling: int
    start: int | None = None
    total: float = math.inf
    full: float = 1.0
    in_flight: int = field(default=0, init=False)
    moves: list[ConcurrencyChange] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._climb = HillClimb(min(self.start or START, self.ceiling), self.ceiling, self.total)
        self._weights = Weights()
        self._changed_at, self._cut_at, self._took, self._late = -math.inf, -math.inf, 0.0, 0
        self._is_held_back, self._deviation, self._told_at = False, FIRST_DEVIATION, -math.inf
        self._avoids_until, self._avoided = math.inf, AVOIDED
        self._round: Round | None = None
        self._begin()

    @property
    def most(self) -> int:
        """Returns this run's part: an equal share, or, while others still look for theirs, what they leave."""
        others, number = self._climb.others, self._climb.number
        left = number - others.in_flight if self.moves and len(others.settled) < others.runs - 1 else 0
        return max(1, left, round(number / others.runs))

    def has_room(self, in_flight: int) -> bool:
        """Returns whether one more may be in flight."""
        return in_flight < self.most

    def each(self, *urls: str) -> dict[str, AdaptiveConcurrency]:
        """Returns the number for each address, or for several that share one."""
        return {" ".join(urls): self}

    @property
    def settled(self) -> int:
        """Returns the number of all runs together, as far as this run has settled on one; 0 while it looks for it."""
        return self._climb.number if self._climb.has_settled else 0

    @property
    def is_looking(self) -> bool:
        """Returns whether it looks for the number, or tries a few more, and nothing else holds the requests back."""
        return self._climb.is_looking and not self._is_held_back

    def share(self, now: float, others: Others) -> None:
        """Shares the server with these runs from now on. One run at a time looks for the number, the earliest first; a
        later one takes what that finds."""
        climb, most, before = self._climb, self.most, self._climb.others
        climb.others = others
        if not self.moves:  # nothing is known yet: as many as it would have alone
            climb.number = min(climb.number // before.runs * others.runs, self.ceiling)
        gone = abs(others.in_flight - before.in_flight) > MUCH * (most + before.in_flight)
        is_other = others.runs != before.runs and gone and now - self._changed_at > OFTEN * max(1.0, self._took)
        if is_other or (climb.base == math.inf and before.is_looking and not others.is_looking):
            self._changed_at = now  # what was measured meanwhile is of many numbers
            self._begin()
        elif climb.phase is Phase.HOLDING:  # the mean of what all have settled on: an equal part for each
            climb.number = round((climb.number + sum(others.settled)) / (1 + len(others.settled)))
        if self.moves and abs(self.most - most) > NOTED * most:
            why = f"{others.runs} runs share the server" if others.runs > 1 else "the other runs have ended"
            self.moves.append(ConcurrencyChange(now, self.most, 0.0, 0.0, why))

    def answered(self, now: float, sent_at: float, tokens: float, beside: float, allowed: float = math.inf) -> None:
        """Counts an answer. `beside`: requests in flight when it was sent, or meanwhile, itself included. `allowed`:
        how many other limits allow."""
        self.in_flight, self._took = round(beside), now - sent_at
        self._turnover.add(now, sent_at)
        if now >= self._avoids_until:
            self._climb.ceiling = self.ceiling
        if not self.moves:
            self.moves.append(ConcurrencyChange(now, self.most, 0.0, 0.0, "the start"))
        if allowed < self.most:
            self._cut(now, max(1, int(allowed)) * self._climb.others.runs, Phase.LIMITED, None, "refusals or time-outs")
        if self._round is None:
            self._passed += 1
            if self._passed >= self._stale and now - self._changed_at >= SETTLING:
                self._round = Round(now, self._deviation)
            return
        self._round.add(max(now - sent_at, 1e-6), tokens, self._weights.of(tokens))
        self._round.beside += beside + self._climb.others.in_flight
        self._round.full += beside >= self.full * self.most
        least = max(FEWEST, self.most / 4) if self._climb.is_stepping else max(FEW, self.most)
        is_told = bool(self._round.waiting) or now - self._told_at >= TOLD_LATELY
        if self._round.count < least or not is_told:
            return
        if self._round.is_enough(now, self._climb.wanted_error(self._round.mean), self._climb.pace):
            self._end(self._round, now)

    def told(self, now: float, at_work: float, waiting: float) -> None:
        """Counts what the server says: how many requests it works at, and how many wait in its queue. If these cannot
        be those in flight, it tells nothing: others' may be among them."""
        in_flight = self.in_flight + self._climb.others.in_flight
        if at_work and LEAST_TOLD * in_flight <= at_work + waiting <= in_flight + max(2.0, MORE_TOLD * in_flight):
            self._told_at = now
            if self._round is not None:
                self._round.waiting.append(waiting / max(in_flight, at_work + waiting))

    def unanswered(self, now: float, sent_at: float) -> None:
        """Counts a time-out: a sign of overload, whose latency counts."""
        if sent_at < self._cut_at:
            return  # it says nothing new
        self._late += 1
        if self._late >= FEW_LATE and self._climb.phase is not Phase.LIMITED:
            self._late, self._cut_at = 0, now
            self._avoid(now, now - sent_at)
            fewer, late = max(1, self._climb.number // 2), Level(0.0, now - sent_at, 0.0)
            self._cut(now, fewer, Phase.HOLDING, late, "no answers in time")

    def _avoid(self, now: float, seconds: float) -> None:
        """Stays below the present number for a while: to try it again may cost all requests in flight so many seconds,
        and their answers may be paid for."""
        self._climb.ceiling = max(1, int(BELOW_LATE * self._climb.number))
        self._avoids_until = now + self._avoided * seconds
        self._avoided = min(2 * self._avoided, MOST_AVOIDED)

    def _cut(self, now: float, number: int, phase: Phase, level: Level | None, why: str) -> None:
        before = self.most
        self._climb.move(number, phase, level, why)
        self._follow(now, before)

    def _end(self, measured: Round, now: float) -> None:
        """Ends a round: takes its measure, and follows what is decided. Another round comes first where too few are
        answered, unless the server or other runs tell of them."""
        before, level = self.most, measured.level()
        self._weights.learn(measured.latencies, measured.tokens)
        self._late, self._deviation = 0, measured.deviation()
        self._is_held_back = 2 * measured.full < measured.count
        if self._is_held_back:  # by something else: nothing was tried
            self._begin()
            return
        is_untold = self._climb.others.runs == 1 and level.waiting is None
        if is_untold and self._turnover.share(now, level.number) < ANSWERED:
            self._round = Round(now, self._deviation)
            return
        self._climb.end_round(now, level)
        self._follow(now, before)

    def _follow(self, now: float, before: int) -> None:
        """Notes a change of the number, and begins a round. What is in flight was sent at the number before."""
        climb = self._climb
        if self.most != before:
            level, runs = climb.level, climb.others.runs
            throughput, latency = (level.throughput / runs, level.latency) if level else (0.0, 0.0)
            self.moves.append(ConcurrencyChange(now, self.most, throughput, latency, climb.why))
        self._begin()
        self._stale = max(before, self.most)

    def _begin(self) -> None:
        self._passed, self._stale, self._round, self._turnover = 0, self.most, None, Turnover()
