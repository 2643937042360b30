"""A cancelled attempt that cost nothing. Apart from `outcome`, which a plan reads without asyncio."""

from __future__ import annotations

import asyncio

from batchgen.api.outcome import Failure, Kind


class NeverSent(asyncio.CancelledError):
    """The attempt was cancelled before any of its request left."""

    failure = Failure(Kind.UNSENT, "cancelled before it was sent")
