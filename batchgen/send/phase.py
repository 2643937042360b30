"""The questions that a round of answers is to settle, while the number of requests in flight is looked for."""

from __future__ import annotations

import enum


class Phase(enum.Enum):
    """What the next round is to show. `precision`: if the number has just been raised, the divisor of the step's
    logarithm that makes the error which is wanted of the round. `is_found`: the number is the one that was found,
    perhaps with a few more that are tried."""

    CLIMBING = "do many more bring more?", 4, False
    TRYING = "is there room for a few more?", 8, True
    VERIFYING = "do fewer bring as much?", None, True
    LOWERED = "do fewer wait less?", 8, False
    RETURNED = "did fewer wait less by chance?", None, False
    HOLDING = "is the queue still short?", None, True
    DOUBTING = "is the queue still too long?", None, True
    LIMITED = "is the queue short, at as many as another limit has left?", None, True

    def __init__(self, _question: str, precision: int | None, is_found: bool) -> None:  # noqa: FBT001  a row of the table
        self.precision = precision
        self.is_found = is_found
