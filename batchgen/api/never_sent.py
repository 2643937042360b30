"""Marks a cancelled attempt that cost nothing. Apart from `outcome`, which a plan imports without asyncio."""

from __future__ import annotations

import asyncio

from batchgen.api.failure_kinds import Kind
from batchgen.api.outcome import Failure


class NeverSent(asyncio.CancelledError):
    """Says that an attempt was cancelled before any of its request left; but for `resent` times, at other servers, none
    of which can bill it."""

    def __init__(self, resent: int = 0) -> None:
        super().__init__()
        self.failure = Failure(Kind.UNSENT, "cancelled before it was sent", resent=resent)
