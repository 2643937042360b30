"""When a run ends before its rows do: what the service says to all of them is the run's, and no row is to blame for it.

Pure: it is told how attempts end, and the caller passes the time, in seconds.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import NamedTuple

from batchgen.api.outcome import Failure, Kind, Scope
from batchgen.ui.humanize import duration

ROWS = 12
"""So many rows in a row that are told what one alone might be: then it is everybody's."""
ALIKE = 24
"""Requests that are answered alike, without a text, after which a run ends that had no other answer."""
ASKED_AGAIN = 3
"""Bursts of refusals that ask for a wait beyond all patience: a quota is used up, and no rate exceeded."""


class Stop(NamedTuple):
    """Why a run ends. `refusal`: the answer of the service that refuses all of it."""

    reason: str
    refusal: Failure | None = None


@dataclass
class Stops:
    """`kinds`: failures that end a run; `patience`: seconds that are waited for a service that is away or refuses;
    `concurrency`: refusals come before the answers to as many that were sent with them; `is_proven`: key, address and
    model have answered in an earlier run."""

    kinds: frozenset[Kind]
    patience: float
    concurrency: int = 1
    is_proven: bool = False

    def __post_init__(self) -> None:
        self._answers = 0
        self._told: set[bytes] = set()
        self._told_at = -math.inf
        self._useless = 0
        self._alike: defaultdict[str, set[bytes]] = defaultdict(set)
        self._refused_since: float | None = None
        self._beyond = 0

    def answered(self, sent_at: float) -> None:
        self._answers += 1
        self._refused_since, self._beyond = None, 0
        if sent_at >= self._told_at:  # what was sent before says nothing of the service as it is now
            self._told.clear()

    def failed(self, key: bytes, failure: Failure, now: float, *, outage: float, is_burst: bool) -> Stop | None:
        """What follows of a row's failure. `outage`: seconds since nothing gets through; `is_burst`: no refusal came
        since this request was sent."""
        if failure.kind in self.kinds and not self._may_be_the_rows(key, failure, now):
            return Stop(str(failure), failure)
        if failure.kind is Kind.BUSY and (stop := self._refused(failure, now, is_burst=is_burst)):
            return stop
        if outage > self.patience:
            return Stop(f"no answer for {outage:,.0f} s: {failure}")
        told_once = not self.is_known if failure.kind is Kind.INVALID else not self._answers
        may_be_everybodys = failure.kind.policy.is_doubtful and failure.kind.policy.scope is Scope.ROW
        return self._told_once(key, failure) if may_be_everybodys and told_once else None

    def _may_be_the_rows(self, key: bytes, failure: Failure, now: float) -> bool:
        """A firewall dislikes a prompt's words, a router knows no such path: where others are answered, that row fails.
        What many rows are told, and none of them is answered, is not about them."""
        if not self._told:
            self._told_at = now
        self._told.add(key)
        return self.is_known and failure.may_be_the_rows and len(self._told) < max(ROWS, self.concurrency)

    def _refused(self, failure: Failure, now: float, *, is_burst: bool) -> Stop | None:
        since = self._refused_since = now if self._refused_since is None else self._refused_since
        asked = failure.retry_after or 0.0
        self._beyond += is_burst and asked > self.patience
        if self._beyond >= ASKED_AGAIN:
            return Stop(f"the service asks to come back in {duration(asked)}: {failure}")
        if now - since > self.patience:
            return Stop(f"refused for {now - since:,.0f} s: {failure}")
        return None

    def may_be_everybodys(self, failure: Failure) -> bool:
        """Whether only what others are told will say whose fault it is."""
        policy = failure.kind.policy
        return (policy.is_doubtful and policy.scope is Scope.RUN) or (
            failure.kind is Kind.INVALID and not self.is_known
        )

    @property
    def is_known(self) -> bool:
        """Whether the service has answered at all, now or in an earlier run."""
        return bool(self._answers) or self.is_proven

    def _told_once(self, key: bytes, failure: Failure) -> Stop | None:
        """By answers where each was paid for; by rows where it may be about their words."""
        if failure.kind is Kind.UNUSABLE:
            self._useless += 1
            count, what = self._useless, "answers, and nothing in any of them can be used"
        else:
            alike = self._alike[re.sub(r"[0-9]+", "#", f"{failure.status} {failure.message}")[:60]]
            alike.add(key)
            count, what = len(alike), "requests, and each is answered so"
        if count < max(ALIKE, self.concurrency // 4):
            return None
        reason = f"{count} {what}: {failure.message}"
        return Stop(reason, replace(failure, kind=Kind.MISDIRECTED, message=reason))
