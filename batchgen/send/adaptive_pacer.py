"""Paces requests at a rate that only the server knows, learned from its refusals.

Arithmetic only: the caller passes the time, in seconds of any steady clock; nothing here sleeps. Rates are requests a
second, but for what an earlier run passes on: requests a minute.
"""

from __future__ import annotations

import math
from collections import Counter, deque

from batchgen.send.pacing import GcraPacer
from batchgen.send.random_refusals import RandomRefusals

START_IN_FLIGHT, START_DOUBLING = 16, 0.05
"""Requests in flight at the start, and the seconds in which they double."""
MIN_RATE, MIN_FIRST_RATE = 0.1, 8.0
"""The least rate, and the least one of the first trial."""
RECENT_SECONDS, LONG_SECONDS = 3.0, 20.0
"""What was granted is counted over the first, and averaged over the second."""
TRIAL_SECONDS, TRIAL_REQUESTS, CHECK_REQUESTS = 0.5, 6, 24
"""The least length of a trial; and the requests of one that checks whether refusals are random."""
BINDING = 0.8
"""A trial in which less than this share of the rate was sent shows nothing: something else held back."""
FEW, FEW_AMID_RANDOM, FEW_SHARE = 3, 6, 0.05
"""A trial may be refused so many requests, and this share of all."""
CLEAR, CLEAR_SHARE = 3, 0.25
"""So many are enough if they are a clear share, and others were granted between them."""
CLOSE, SMALL_STEP, FIRST_STEP = 0.05, 0.03, 2.0
"""A good and a bad rate so close are not bisected further; the first step beyond a good rate, or below it;
and the factor while no rate was bad yet."""
CLEAN = 30
"""After so many requests without a refusal, the next cut is a small one again."""
PATIENCE, PATIENT_REQUESTS, MAX_PATIENCE = 5.0, 30, 8
"""Seconds and requests until more is tried; and the most multiples of them, where that failed again and again."""
CLOSED, IMPROBABLE = 3, 1e-3
"""After so many refusals in a row the server is closed for now: if it refuses at random, after so many as come in a row
with this probability at most."""
MAX_HOLD, HOLD_SHARE = 1.0, 0.15
"""The longest time without a request, in seconds and as a share of the time for which the server was closed."""
LAG, MAX_LAG, QUEUED = 0.05, 1.0, 0.4
"""Seconds that a refusal takes to arrive: assumed, at most, and of those that waited in a queue."""


class AdaptivePacer:
    """A rate that follows the server's refusals.

    Before the first refusals only the start is held back: the requests in flight double every 50 ms from 16, so that a
    refusing server gets a handful and not all. After many refusals it keeps one rate at a time, as a trial, and spaces
    the requests evenly. A trial that is refused little shows a good rate, one that is refused much a bad one. The next
    rate is halfway between the two, until they are close. Then it waits, and tries a little more: 3 % first, twice as
    much after each success. If that is refused, it waits twice as long until the next attempt. A good rate that is
    refused falls by 3 %, then by twice as much each time.

    Some servers count what they refuse, too, and refuse all until less is sent. So after the second refusal in a row it
    sends nothing for one gap, then for three, and so on; after the third, one request at a time, until one is granted.
    """

    def __init__(self, per_minute: float | None = None, now: float = 0.0) -> None:
        """`per_minute`: the rate that an earlier run learned."""
        self._began: float | None = None
        self._sent: deque[float] = deque()  # of this trial; before the first refusals, lately
        self._refused: deque[float] = deque()
        self._granted_in: Counter[int] = Counter()  # by second
        self._pace: GcraPacer | None = None
        self._rate, self._trial_at = 0.0, -math.inf
        self._good, self._bad, self._bad_at = 0.0, math.inf, now
        self._step, self._cut_by, self._clean = 1.0, 0.5, 0
        self._patience, self._is_probe = 1, False
        self._row = _RefusedInARow()
        self._closed_at, self._was_closed_at = math.inf, -math.inf
        self._random, self._suspected = RandomRefusals(), 0.0
        if per_minute is not None:
            self._good = self._bad = per_minute / 60
            self._begin(now, (1 - SMALL_STEP) * self._good)

    def restart(self, now: float) -> None:
        """Starts over after an outage, in which refusals said nothing about the rate."""
        self._began = now
        self._bad, self._step, self._closed_at = math.inf, 2.0, math.inf
        self._sent.clear()
        self._refused.clear()
        if self._pace is not None:
            self._begin(now, max(self._rate, MIN_FIRST_RATE))

    def learned_rate(self) -> float | None:
        """Returns the requests a minute to remember; None if no limit was met."""
        if self._pace is None:
            return None
        return 60 * (self._bad if self._bad < 1.1 * self._good else self._good or self._rate)

    @property
    def is_met(self) -> bool:
        """Returns whether a limit was met, which the rate now follows."""
        return self._pace is not None

    @property
    def is_refused_in_a_row(self) -> bool:
        """Returns whether requests of this trial were refused one after the other, or all are for now."""
        return self._row.number > 1 or self._is_closed

    @property
    def _is_closed(self) -> bool:
        return self._closed_at < math.inf

    def wait(self, now: float, in_flight: int) -> float:
        """Returns the seconds until the next request may be sent; 0 or less: now."""
        if self._began is None:
            self._began = now
        if self._pace is not None:
            self._judge(now)
            return max(self._pace.wait(now), self._row.hold_until - now)
        doublings = (now - self._began) / START_DOUBLING
        held = doublings < 20 and in_flight >= START_IN_FLIGHT * 2**doublings  # noqa: PLR2004  a million in flight: all
        return START_DOUBLING / 4 if held else 0.0

    def take(self, now: float) -> None:
        self._granted_in[int(now)] += 1
        if now >= self._trial_at:
            self._sent.append(now)
        if self._pace is None:
            _drop_before(self._sent, now - RECENT_SECONDS)
            return
        self._pace.take(now, 1)
        if self._is_closed:
            self._row.hold(now + 2.1 * self._row.lag)  # a little longer than `_judge` takes it for granted after

    def refused(self, now: float, sent_at: float, resume_at: float) -> None:
        """Counts a refusal. `resume_at`: when all slots resume."""
        self._granted_in[int(sent_at)] -= 1
        self._row.saw(now - sent_at)
        if sent_at < self._trial_at:
            return  # says nothing about this rate
        self._refused.append(sent_at)
        if self._pace is None:
            _drop_before(self._refused, now - RECENT_SECONDS)
            self._began = max(self._began or now, resume_at)  # and from there as gently as at the start
            if self._is_refused_much():
                self._step = FIRST_STEP
                self._begin(max(now, resume_at), max(self._granted(now), MIN_FIRST_RATE))
            return
        self._row.refused(now, sent_at, self._sent, self._rate, self._closed_at)
        if self._row.number >= CLOSED and not self._is_chance():
            self._random, self._suspected = RandomRefusals(), 0.0
            self._closed_at = min(self._closed_at, now)
        if not self._is_closed and not self._suspected and self._is_refused_much():
            self._refuse_trial(now, resume_at)

    def _is_chance(self) -> bool:
        """Returns whether a server that refuses at random may have refused so many in a row."""
        return (self._random.share or self._suspected) ** self._row.in_all > IMPROBABLE

    def _is_refused_much(self) -> bool:
        refused, sent, random = len(self._refused), len(self._sent), self._random.share
        if self._row.number == 1 and not random and refused >= CLEAR and refused > CLEAR_SHARE * sent:
            return True
        return refused > (FEW_AMID_RANDOM if random else FEW) + (FEW_SHARE + 1.5 * random) * sent

    def _share(self) -> float:
        return len(self._refused) / max(len(self._sent), 1)

    def _begin(self, now: float, rate: float) -> None:
        """Begins a trial of a rate."""
        self._rate, self._trial_at, self._row.number = max(rate, MIN_RATE), now, 0
        self._pace = self._pace or GcraPacer(60 * self._rate, now)
        self._pace.change(60 * self._rate)
        self._sent.clear()
        self._refused.clear()

    def _judge(self, now: float) -> None:
        """Ends what was tried, if it is clear how it went."""
        if self._is_closed:
            if now - self._row.first_after(self._sent) > 2 * self._row.lag:
                self._reopen(now)
        elif self._suspected:
            if len(self._sent) >= CHECK_REQUESTS:
                self._end_check(now)
        elif now - self._trial_at >= max(TRIAL_SECONDS, 2 * self._row.lag) and len(self._sent) >= TRIAL_REQUESTS:
            if len(self._sent) < BINDING * (now - self._trial_at) * self._rate:
                self._begin(now, self._rate)
            elif self._share() <= FEW_SHARE + self._random.share:
                self._accept_trial(now)

    def _accept_trial(self, now: float) -> None:
        """Ends a trial that was refused little, and begins the next one."""
        self._good = self._rate
        self._random.count(self._rate, len(self._sent), len(self._refused))
        self._clean = 0 if self._refused else self._clean + len(self._sent)
        self._cut_by = SMALL_STEP if self._clean >= CLEAN else max(self._cut_by / 2, SMALL_STEP)
        if self._rate < (1 - CLOSE) * self._bad < math.inf:
            was_closed = now - self._was_closed_at < LONG_SECONDS  # and may soon be again
            self._begin(now, min((self._rate + self._bad) / 2, (1.25 if was_closed else 2) * self._rate))
        elif self._bad == math.inf or now - self._bad_at >= self._patience * max(
            PATIENCE, PATIENT_REQUESTS / self._rate
        ):
            self._bad, self._is_probe = math.inf, True
            self._begin(now, self._rate * self._step)
            self._step = min(2.0, 2 * self._step - 1)
        else:
            self._begin(now, self._rate)

    def _refuse_trial(self, now: float, resume_at: float) -> None:
        """Ends a trial that was refused much."""
        self._random.count(self._rate, len(self._sent), len(self._refused))
        self._suspected = 0.0 if self._row.lag > QUEUED else self._random.suspected(self._rate)
        if self._suspected:
            self._begin(now + 2 * self._row.lag, self._rate / 2)
        else:
            self._cut()
            self._begin(max(now, resume_at), self._good)

    def _reopen(self, now: float) -> None:
        """Resumes when a request was granted after all were refused: with what was granted on average, closed or not,
        if that is more than the cut leaves, or nothing else is known."""
        rate, is_new = self._rate, not self._good
        average = self._average(now, self._closed_at)
        self._was_closed_at, self._closed_at = self._closed_at, math.inf
        self._cut()
        lower = min(average, self._good) if is_new else self._good
        self._good = max(lower, min(average, (1 - SMALL_STEP) * rate))
        self._begin(now, self._good)

    def _cut(self) -> None:
        """Lowers what counts as good after this rate was bad: to what was good before, if that is less."""
        if self._is_probe:
            self._patience = min(2 * self._patience, MAX_PATIENCE) if self._step < 1.2 else 1  # noqa: PLR2004
        self._is_probe, self._clean = False, 0
        self._bad, self._bad_at, self._step = self._rate, self._trial_at, 1 + SMALL_STEP
        if 0 < self._good < 0.99 * self._rate:
            self._good = max(self._good, self._rate / 2)
        else:
            self._good = self._rate * (1 - self._cut_by)
            self._cut_by = min(2 * self._cut_by, 0.5)

    def _end_check(self, now: float) -> None:
        """Decides, at half the rate, whether the server refuses at random: then it refuses as many as before."""
        highest = self._random.prove(self._suspected, self._share())
        self._suspected = 0.0
        if highest is None:
            self._good, self._bad = self._rate, 2 * self._rate
            self._begin(now, 1.5 * self._rate)
        else:
            self._bad, self._step = math.inf, 2.0
            self._begin(now, 2 * highest)

    def _granted(self, now: float) -> float:
        """Returns what was sent and not refused a second, recently or on average, whichever is more."""
        span = max(min(now - (self._began or 0.0), RECENT_SECONDS), 1.0)
        return max((len(self._sent) - len(self._refused)) / span, self._average(now, now))

    def _average(self, now: float, moment: float) -> float:
        """Returns what was granted a second, from LONG_SECONDS before the moment on."""
        for second in [second for second in self._granted_in if second < moment - LONG_SECONDS]:
            del self._granted_in[second]
        first = min(self._granted_in, default=now)
        return self._granted_in.total() / max(now - first, 1.0)


class _RefusedInARow:
    """How many requests were refused one after the other, in this trial and `in_all`, and how long nothing is sent for
    it. `lag`: seconds that a refusal takes to arrive."""

    def __init__(self) -> None:
        self.number, self.in_all, self.lag = 0, 0, LAG
        self.hold_until = self._known_at = self._last = -math.inf

    def saw(self, seconds: float) -> None:
        self.lag = max(min(seconds, MAX_LAG), 0.9 * self.lag)

    def hold(self, until: float) -> None:
        self.hold_until = max(self.hold_until, until)

    def refused(self, now: float, sent_at: float, sent: deque[float], rate: float, closed_at: float) -> None:
        """Counts a refusal. What was sent before the last one was known says nothing new."""
        if sent_at < self._known_at:
            return
        between = sum(self._last < at <= sent_at for at in sent) > 1  # itself, which was taken just before
        self.number = 1 if between else self.number + 1
        self.in_all = 1 if between else self.in_all + 1
        self._last, self._known_at = sent_at, now
        gaps = 2 ** min(self.number - 1, 20) - 1
        self.hold_until = now + min(gaps / rate, max(MAX_HOLD, HOLD_SHARE * (now - closed_at)))

    def first_after(self, sent: deque[float]) -> float:
        """Returns when the first request was sent after the last refusal was known; infinity if none was."""
        return next((at for at in sent if at > self._known_at), math.inf)


def _drop_before(times: deque[float], before: float) -> None:
    while times and times[0] < before:
        times.popleft()
