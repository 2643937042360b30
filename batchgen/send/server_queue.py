"""Judges the queue of a server that says itself how many requests wait in it. Arithmetic only."""

from __future__ import annotations

from collections.abc import Iterable

from batchgen.send.measurement import Level

SHORT_QUEUE = 1.12
"""Requests in flight for each one at work: a short queue, so that the server is never idle, and a change is seen."""
SOME, HARDLY_ANY = 0.03, 0.015
"""Shares of the requests in flight: where more than the first wait, there is a queue; where fewer than the second do,
there is none."""
NOT_MUCH = 1.07
"""The factor by which a number that was found may exceed the one that is needed: what waits differs from moment to
moment."""


def with_short_queue(at_work: float) -> int:
    """Returns how many requests in flight keep so many at work."""
    return max(1, int(SHORT_QUEUE * at_work + 0.05))


def is_queue(level: Level) -> bool:
    """Returns whether the server says that some requests wait."""
    return level.waiting is not None and level.waiting > SOME


def is_queue_too_long(level: Level, number: int, *, is_found: bool) -> bool:
    """Returns whether the server says that more requests wait than are needed to keep it busy. `is_found`: the number
    is not being looked for."""
    return bool(level.waiting) and with_short_queue(level.at_work) < number / (NOT_MUCH if is_found else 1)


def is_queue_gone(levels: Iterable[Level]) -> bool:
    """Returns whether none wait at last, where some did: with as many in flight, the server works at more of them."""
    waiting = [level.waiting for level in levels if level.waiting is not None]
    return bool(waiting) and max(waiting) > SOME and waiting[-1] < HARDLY_ANY
