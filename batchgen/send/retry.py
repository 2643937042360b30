"""Whether a failed attempt is made again, and after how long: by kind, with full jitter.

tenacity's strategies are asked only for what failed; the waiting is the pump's. Pure but for the jitter.
"""

from __future__ import annotations

from collections.abc import Mapping

from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from batchgen.api.outcome import Billed, Failure, Kind, Tries

BILLED_TRIES = 5
"""Most attempts at a row that end possibly billed: a retry of these may buy the answer again."""
BUSY_FACTOR = 5
"""A refusal by rate says nothing about the row: it is tried this many times as often as other failures."""
CAUSES = 3
"""A row may meet this many passing causes in full: at a service where each of seven statuses comes to three in a
hundred, one of thousands of rows would else meet six of them in a row."""

LONGEST_PAUSE = 1.0
"""Seconds: limits go by windows of seconds, and one request asks whether it has passed."""
ASK_AGAIN = 2.0
"""Seconds until a refusal that asks for a wait beyond all patience is put to the test."""
LEAST_PATIENCE = 30.0
"""Seconds of an outage that a run sits out at least; at most what a row's attempts and waits would take."""


class Retries:
    """`attempts` at a row for each class of failure, waits of up to `max_wait` seconds. `unfit`: how often an unfit
    text is asked for again."""

    def __init__(self, attempts: int, max_wait: float, unfit: int = 0) -> None:
        self._max_wait = max_wait
        self.patience = max(LEAST_PATIENCE, attempts * max_wait)
        self._wait = wait_random_exponential(multiplier=0.5, max=max_wait)
        self._most = {
            Tries.ONCE: 1,
            Tries.AS_SET: attempts,
            Tries.FEW: min(attempts, BILLED_TRIES),
            Tries.MANY: attempts * BUSY_FACTOR,
            Tries.CHECKED: unfit + 1,
        }

    def delay(self, failure: Failure, tries: Mapping[str, int]) -> float | None:
        """Seconds until the next attempt at a row; None: it is done with.

        `tries` are the row's attempts in this run by the cause of their failure, this failure included. What the
        server asks for is honoured up to `max_wait`, and is everyone's to wait (`Limits.refused`).
        """
        most = self._most[failure.kind.policy.tries]
        alike = _POSSIBLY_BILLED if failure.kind in _POSSIBLY_BILLED else {failure.cause}
        if sum(tries.get(cause, 0) for cause in alike) >= most:
            return None
        if failure.kind is Kind.TRANSIENT and _passing(tries) >= CAUSES * most:
            return None
        if failure.kind is Kind.UNFIT:
            return 0.0  # the service is well
        return max(self.back_off(sum(tries.values()) - tries.get(Kind.UNFIT, 0)), self.capped(failure.retry_after or 0))

    def back_off(self, failures: int) -> float:
        """Uniform between 0 and half a second doubled for each failure: full jitter."""
        state = RetryCallState(_POLICY, None, (), {})
        state.attempt_number = max(failures, 1)
        return self._wait(state)

    def pause(self, refusals: int, *, by_rate: bool) -> float:
        """Seconds that everyone waits after so many bursts of refusals that do not say for how long."""
        return min(self.back_off(refusals) if refusals else 0.0, LONGEST_PAUSE if by_rate else self._max_wait)

    def capped(self, seconds: float) -> float:
        return min(seconds, self._max_wait)

    def asked(self, seconds: float) -> float:
        """What is waited where the server asks for so much. Beyond all patience nobody waits for long: whether it is
        meant is soon known, and ends the run (`stops`)."""
        return self.capped(seconds if seconds <= self.patience else ASK_AGAIN)


def _passing(tries: Mapping[str, int]) -> int:
    return sum(count for cause, count in tries.items() if cause.startswith(Kind.TRANSIENT))


_POLICY = AsyncRetrying()
_POSSIBLY_BILLED = {kind for kind in Kind if kind.policy.billed is Billed.MAYBE}
