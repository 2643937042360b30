"""Ends a run before all rows are done: an error that the service gives to every row is the run's, not a row's.

Pure: callers report how attempts end, and pass the time in seconds.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import NamedTuple

from batchgen.api.failure_kinds import Billed, Kind, Scope
from batchgen.api.outcome import Failure
from batchgen.ui.humanize import duration

REJECTED_ROWS = 12
"""After this many rows in a row with an error that could be one row's own, the error concerns all rows."""
IDENTICAL_ANSWERS = 24
"""A run that had no other answer ends after this many identical answers without a text; one that had others, after so
many rows in a row that get the same page."""
SYSTEMATIC = 3
"""The same, of failures by what is the same for all requests: what each asks for, the proxy, the certificate."""
LONG_WAITS = 3
"""After this many bursts of refusals that ask for a wait beyond `patience`, a quota is used up, not a rate exceeded."""


class Stop(NamedTuple):
    """The reason for ending a run. `fatal`: the service's answer, if it refuses the whole run."""

    reason: str
    fatal: Failure | None = None


@dataclass
class Stops:
    """The rules for ending a run. `kinds`: failures that end it. `patience`: seconds to wait for a service that is away
    or refuses. `is_proven`: key, address and model have answered in an earlier run. `undecided`: a refusal that came
    before any answer."""

    kinds: frozenset[Kind]
    patience: float
    is_proven: bool = False

    def __post_init__(self) -> None:
        self.undecided: Failure | None = None
        self._answers = 0
        self._in_flight = 1  # at most, so far: refusals may precede the answers to as many requests sent with them
        self._rejected: set[bytes] = set()
        self._rejected_at = -math.inf
        self._useless = self._systematic = 0
        self._identical: defaultdict[str, set[bytes]] = defaultdict(set)
        self._identical_at = -math.inf
        self._refused_since = math.inf
        self._long_waits = 0

    def answered(self, sent_at: float) -> None:
        self._answers += 1
        self.undecided = None
        self._refused_since, self._long_waits = math.inf, 0
        if sent_at >= self._rejected_at:  # what was sent before says nothing of the service as it is now
            self._rejected.clear()
        if sent_at >= self._identical_at:
            self._identical.clear()

    def failed(
        self,
        key: bytes,
        failure: Failure,
        now: float,
        *,
        in_flight: int,
        outage: float,
        is_burst: bool,
        failed_before: bool = False,
    ) -> Stop | None:
        """Counts a row's failure. Returns a Stop if it ends the run, else None. `in_flight`: how many requests may be.
        `outage`: seconds since the outage began. `is_burst`: it is the first refusal since this request was sent.
        `failed_before`: the row has failed while others were answered, in an earlier run or again and again in this
        one: that it fails once more says little of the service."""
        self._in_flight = max(self._in_flight, in_flight)
        is_its_own = failed_before and self.is_known
        if failure.kind in self.kinds and not self._may_be_the_row(key, failure, now, is_its_own=is_its_own):
            return Stop(str(failure), failure)
        if failure.kind is Kind.BUSY and not is_its_own and (stop := self._by_rate(failure, now, is_burst=is_burst)):
            return stop
        if outage > self.patience:
            return Stop(f"no answer for {outage:,.0f} s: {failure}")
        if self._answers or (is_its_own and not failure.is_systematic):
            return self._page_amid_answers(key, failure, now) if failure.is_page else None
        self._systematic += failure.is_systematic
        if self._systematic >= SYSTEMATIC:
            return Stop(failure.message, failure)
        is_of_a_row = failure.kind.policy.scope is Scope.ROW
        return self._identical_answer(key, failure) if is_of_a_row and self._is_doubtful(failure) else None

    def _may_be_the_row(self, key: bytes, failure: Failure, now: float, *, is_its_own: bool) -> bool:
        """Returns whether the failure may be the row's own: a firewall may block a prompt's words, a router may not
        know a model's path. It is not if many rows get it and none of them is answered."""
        if is_its_own and failure.may_be_the_rows:
            return True
        if not self._rejected:
            self._rejected_at = now
        self._rejected.add(key)
        if not self.is_known and failure.may_be_the_rows:
            self.undecided = self.undecided or failure
            return True
        return failure.may_be_the_rows and len(self._rejected) < max(REJECTED_ROWS, self._in_flight)

    def refused(self, *, is_last: bool) -> Stop | None:
        """Returns a Stop if a refusal before any answer is meant for every row: nothing that was in flight with it is
        answered, which the caller has waited for, and another row is refused, too. `is_last`: there is none."""
        is_for_all = self.undecided is not None and (is_last or len(self._rejected) > 1)
        return Stop(str(self.undecided), self.undecided) if is_for_all else None

    def _by_rate(self, failure: Failure, now: float, *, is_burst: bool) -> Stop | None:
        self._refused_since = min(self._refused_since, now)
        asked = failure.retry_after or 0.0
        self._long_waits += is_burst and asked > self.patience
        if self._long_waits >= LONG_WAITS:
            return Stop(f"the service asks to come back in {duration(asked)}: {failure}")
        if (waited := now - self._refused_since) > self.patience:
            return Stop(f"refused for {waited:,.0f} s: {failure}")
        return None

    def may_concern_all(self, failure: Failure) -> bool:
        """Returns whether other rows' outcomes must show whose fault this failure is, which costs nothing."""
        return self._is_doubtful(failure) and failure.kind.policy.billed is Billed.NO

    def _is_doubtful(self, failure: Failure) -> bool:
        """Returns whether the failure may be the row's or every row's. What a service that has answered calls invalid
        is the row's."""
        return failure.kind.policy.is_doubtful and not (failure.kind is Kind.INVALID and self.is_known)

    @property
    def is_known(self) -> bool:
        """Returns whether the service has ever answered, now or in an earlier run."""
        return bool(self._answers) or self.is_proven

    def _identical_answer(self, key: bytes, failure: Failure) -> Stop | None:
        """Counts identical answers, and returns a Stop if there are too many. Billed ones count by answer, the others
        by row: they may be about the row's words."""
        if failure.kind is Kind.UNUSABLE:
            self._useless += 1
            count, what = self._useless, "answers, and nothing in any of them can be used"
        else:
            count, what = self._rows_alike(key, failure), "requests, and each is answered so"
        return _alike(count, what, failure) if count >= max(IDENTICAL_ANSWERS, self._in_flight // 4) else None

    def _page_amid_answers(self, key: bytes, failure: Failure, now: float) -> Stop | None:
        """Returns a Stop if as many rows in a row as are in flight get the same page in place of an answer, such as one
        about maintenance: they would all be bought again and again. Other unusable answers may be the rows' own."""
        if not self._identical:
            self._identical_at = now
        count, what = self._rows_alike(key, failure), "rows in a row, each with no answer in its 200"
        return _alike(count, what, failure) if count >= max(IDENTICAL_ANSWERS, self._in_flight) else None

    def _rows_alike(self, key: bytes, failure: Failure) -> int:
        """Counts the row. Returns how many rows got the same failure, but for numbers."""
        rows = self._identical[re.sub(r"[0-9]+", "#", f"{failure.status} {failure.message}")[:60]]
        rows.add(key)
        return len(rows)


def _alike(count: int, what: str, failure: Failure) -> Stop:
    reason = f"{count} {what}: {failure.message}"
    return Stop(reason, replace(failure, message=reason))
