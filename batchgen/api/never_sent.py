"""Marks a cancelled attempt that cost nothing. Apart from `outcome`, which a plan imports without asyncio."""

from __future__ import annotations

import asyncio

from batchgen.api.outcome import Failure, Kind


class NeverSent(asyncio.CancelledError):
    """Says that an attempt was cancelled before any of its request left."""

    failure = Failure(Kind.UNSENT, "cancelled before it was sent")
