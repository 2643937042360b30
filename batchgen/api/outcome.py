"""How an attempt ended: an answer, or a failure of some kind."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import msgspec
from msgspec import structs

from batchgen.api.body import Body


class Kind(enum.StrEnum):
    """Why an attempt failed, by what can be done about it."""

    INVALID = "invalid"  # this row cannot be served
    REFUSED = "refused"  # this row's content is refused
    KEY = "key"  # no row can be served: bad key, no permission, no payment
    MODEL = "model"  # no row can be served: the model is unknown or removed
    PROXY = "proxy"  # no row can be served: the proxy wants a password
    QUOTA = "quota"  # no row can be served: the month's quota is used up
    MISDIRECTED = "misdirected"  # the address does not answer as this service does
    BUSY = "busy"  # everyone slows down, then this row again
    TRANSIENT = "transient"  # this row again
    UNSENT = "unsent"  # the request never left: this row again
    UNANSWERED = "unanswered"  # sent and not answered: possibly billed
    UNUSABLE = "unusable"  # answered with 200 and nothing usable in it: billed
    UNFIT = "unfit"  # answered, and the text is not what the job wants: billed
    CUT = "cut"  # answered, and cut at its longest, which the job does not want: billed


STOPS_THE_RUN = frozenset({Kind.KEY, Kind.PROXY, Kind.MODEL, Kind.QUOTA, Kind.MISDIRECTED})


MAYBE_THE_ROWS = frozenset({Kind.KEY, Kind.MISDIRECTED})
"""What may be the row's fault or everybody's."""


WHOEVER_ASKS = frozenset({401, 402, 407})
"""Statuses that are about the key, whatever the row says."""


ENDS_THE_ROW = frozenset({Kind.INVALID, Kind.REFUSED, Kind.CUT})


POSSIBLY_BILLED = frozenset({Kind.UNANSWERED, Kind.UNUSABLE})


SLOWS_EVERYONE = frozenset({429, 503, 529})
"""Statuses after which everybody waits, not this row alone."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt without a text that serves. `retry_after` is in seconds, as the server asked; `body` as it came;
    `answer`: the one whose text is unfit. `others_serve`: it is about one of several servers, and nobody else needs
    to wait. `is_late`: no answer came in time. `resent`: how often the request had left before, over connections that
    had been closed, and `lost`: how many of these may have been read all the same."""

    kind: Kind
    message: str
    status: int | None = None
    retry_after: float | None = None
    body: bytes = b""
    answer: Answer | None = None
    others_serve: bool = False
    is_late: bool = False
    resent: int = 0
    lost: int = 0

    def after(self, resent: int, lost: int) -> Failure:
        """The same, with what had left before."""
        return replace(self, resent=resent, lost=lost)

    @property
    def cause(self) -> str:
        """What a row's failures are counted by: its kind; what may heal, by each status on its own."""
        return f"{self.kind} {self.status}" if self.kind is Kind.TRANSIENT else str(self.kind)

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An attempt with a text: the body as it came (or packed by who made the attempt), how many choices it holds, its
    tokens: by estimate, or as the service counts them. `prompt_tokens` is None where it counts none. `is_cut_off`: the
    first choice ended at its longest. `resent` and `lost` are as a Failure's."""

    body: Body
    choices: int
    tokens: int
    prompt_tokens: int | None = None
    has_log_probs: bool = True
    is_cut_off: bool = False
    resent: int = 0
    lost: int = 0

    def after(self, resent: int, lost: int) -> Answer:
        """The same, with what had left before."""
        return structs.replace(self, resent=resent, lost=lost)
