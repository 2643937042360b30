"""Defines how an attempt ends: with an answer, or with a failure of some kind."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
from msgspec import structs

from batchgen.api.body import Body
from batchgen.api.failure_kinds import Kind, Scope, status_policy


@dataclass(frozen=True, slots=True)
class Failure:
    """Holds an attempt without a usable text. `retry_after`: seconds, as the server asked. `body`: as it came.
    `answer`: the one whose text failed the check. `others_serve`: it concerns one of several servers, so no other row
    need wait. `is_late`: no answer came in time. `is_systematic`: every request of the job will fail so, and the
    message says what to do. `is_page`: a 200 with a page for people, or with nothing at all. `resent`: how often the
    request had left before, over connections that were closed; `lost`: how many of these may have been read."""

    kind: Kind
    message: str
    status: int | None = None
    retry_after: float | None = None
    body: bytes = b""
    answer: Answer | None = None
    others_serve: bool = False
    is_late: bool = False
    is_systematic: bool = False
    is_page: bool = False
    resent: int = 0
    lost: int = 0

    @property
    def slows_everyone(self) -> bool:
        """Returns whether all rows wait after it."""
        return self.kind.policy.slows or status_policy(self.status).slows

    @property
    def may_be_the_rows(self) -> bool:
        """Returns whether a failure that ends a run may concern one row only."""
        policy = self.kind.policy
        return policy.scope is Scope.RUN and policy.is_doubtful and not status_policy(self.status).whoever_asks

    def after(self, resent: int, lost: int) -> Failure:
        """Returns the same outcome, with the counts of what had left before."""
        return replace(self, resent=resent, lost=lost)

    @property
    def cause(self) -> str:
        """Returns what a row's failures are counted by: the kind; for transient ones, kind and status."""
        return f"{self.kind} {self.status}" if self.kind is Kind.TRANSIENT else str(self.kind)

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Holds an attempt with a text. `body`: as it came, or compressed. `choices`: how many. `tokens`: as the service
    counts them, or else estimated; then `prompt_tokens` is None. `is_cut_off`: the first choice reached its maximum
    length. `resent`, `lost`: as in a Failure."""

    body: Body
    choices: int
    tokens: int
    prompt_tokens: int | None = None
    has_log_probs: bool = True
    is_cut_off: bool = False
    resent: int = 0
    lost: int = 0

    def after(self, resent: int, lost: int) -> Answer:
        """Returns the same outcome, with the counts of what had left before."""
        return structs.replace(self, resent=resent, lost=lost)
