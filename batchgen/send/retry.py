"""Decides whether a failed attempt is repeated, and after how long: by kind of failure, with full jitter.

tenacity's conditions say when a row is given up and how long it waits. Its loop is not used: rows that wait are the
dispatcher's, which sends others meanwhile and pauses all at once. Pure but for the jitter.
"""

from __future__ import annotations

from collections.abc import Mapping

from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt, wait_random_exponential

from batchgen.api.failure_kinds import Billed, Kind, Tries
from batchgen.api.outcome import Failure

MAX_BILLED_TRIES = 5
"""The most attempts at a row that end possibly billed: repeating such a request may buy the answer again."""
BUSY_FACTOR = 5
"""A refusal by rate says nothing about the row: it is tried this many times as often as after other failures."""
MAX_CAUSES = 3
"""A row may use up its tries for this many transient causes; otherwise one row in a few thousand would fail by chance.
(Seven statuses at three in a hundred each: one row of thousands meets six of them in a row.)"""

MAX_PAUSE = 1.0
"""Seconds of the longest pause: limits count by windows of seconds, and one request finds out whether it has passed."""
LONG_WAIT_PROBE_SECONDS = 2.0
"""Seconds until the service is tried again after it asked for a wait beyond `patience`."""
MIN_PATIENCE = 30.0
"""Seconds of an outage that a run always sits out. It sits out more if a row's attempts and waits would take longer."""


class Retries:
    """The retries of a run: `attempts` at a row for each class of failure, waits of up to `max_wait` seconds. `unfit`:
    how often a text that fails the check is asked for again."""

    def __init__(self, attempts: int, max_wait: float, unfit: int = 0) -> None:
        self._max_wait = max_wait
        self.patience = max(MIN_PATIENCE, attempts * max_wait)
        self._wait = wait_random_exponential(multiplier=0.5, max=max_wait)
        self._stop = {
            Tries.ONCE: stop_after_attempt(1),
            Tries.AS_SET: stop_after_attempt(attempts),
            Tries.FEW: stop_after_attempt(min(attempts, MAX_BILLED_TRIES)),
            Tries.MANY: stop_after_attempt(attempts * BUSY_FACTOR),
            Tries.CHECKED: stop_after_attempt(unfit + 1),
        }
        self._stop_passing = stop_after_attempt(attempts * MAX_CAUSES)

    def delay(self, failure: Failure, tries: Mapping[str, int]) -> float | None:
        """Returns the seconds until the next attempt at a row; None if the row is done.

        `tries`: the row's failed attempts in this run by cause, this failure included. A wait that the server asks for
        is kept as `wait_for` has it, and pauses every slot (`RateLimiter.refused`).
        """
        alike = _POSSIBLY_BILLED if failure.kind in _POSSIBLY_BILLED else {failure.cause}
        if self._stop[failure.kind.policy.tries](_after(sum(tries.get(cause, 0) for cause in alike))):
            return None
        if failure.kind is Kind.TRANSIENT and self._stop_passing(_after(_passing(tries))):
            return None
        if failure.kind is Kind.UNFIT:
            return 0.0  # the service is well
        asked = failure.retry_after or 0.0
        if asked > self.patience:
            return self.wait_for(asked)
        return max(self.back_off(sum(tries.values()) - tries.get(Kind.UNFIT, 0)), self.wait_for(asked))

    def back_off(self, failures: int) -> float:
        """Returns a uniform wait between 0 and half a second doubled for each failure: full jitter."""
        return self._wait(_after(max(failures, 1)))

    def pause(self, refusals: int, *, by_rate: bool) -> float:
        """Returns the seconds that all slots wait after so many bursts of refusals which name no wait."""
        return min(self.back_off(refusals) if refusals else 0.0, MAX_PAUSE if by_rate else self._max_wait)

    def wait_for(self, seconds: float) -> float:
        """Returns the wait after a server asks for so many seconds: `max_wait` at most. Beyond `patience` it is short:
        a few more such answers end the run (`stops`)."""
        return min(seconds if seconds <= self.patience else LONG_WAIT_PROBE_SECONDS, self._max_wait)


def _passing(tries: Mapping[str, int]) -> int:
    return sum(count for cause, count in tries.items() if cause.startswith(Kind.TRANSIENT))


def _after(failures: int) -> RetryCallState:
    """Returns the state that tenacity's conditions look at: so many attempts have failed."""
    state = RetryCallState(_LOOP, None, (), {})
    state.attempt_number = failures
    return state


_LOOP = AsyncRetrying()
_POSSIBLY_BILLED = {kind for kind in Kind if kind.policy.billed is Billed.MAYBE}
