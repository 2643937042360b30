"""Compares what two numbers of requests in flight brought, beyond chance and beyond a server's own pace. Arithmetic
only."""

from __future__ import annotations

import math

from batchgen.send.measurement import Level, Pace

WORTH = 0.7
"""The share of the ideal gain (at no cost in latency) that more must bring, so that there is room for still more."""
SURELY_WORTH, WELL_WORTH = 0.5, 0.9
"""The share that a small step must surely bring; and the share that shows that there was no queue at all."""
IN_VAIN = 0.25
"""The share below which more only wait longer."""
UNKNOWN_PACE = 0.14
"""How much the pace may have changed between two numbers, while nothing tells it."""
MUCH_FASTER = 0.15
"""The share by which latency must fall, so that the server has become faster. Less may be a queue that is gone."""
FLAT = 0.03
"""The share of the throughput below which a gain is not worth a queue."""
ALIKE = 1.12
"""Numbers that differ by a smaller factor are alike."""


def is_worth(level: Level, before: Level, pace: Pace) -> bool:
    """Returns whether a large step brought enough: most of the ideal gain, perhaps, since a queue shows clearly at the
    next step; or surely some of it, as where a larger batch takes longer."""
    if level.waiting is not None:
        return level.worth(before) >= IN_VAIN  # the server would say if they waited
    perhaps = level.worth(before) + level.doubt(before)
    surely = level.with_error(max(pace.deviation, UNKNOWN_PACE)).surely_worth(before)
    return perhaps >= WORTH or surely >= IN_VAIN


def is_surely_worth(level: Level, before: Level, pace: Pace) -> bool:
    """Returns whether a small step has proved that it brings enough: above a queue it may look so by chance."""
    return level.with_error(pace.deviation).surely_worth(before) >= SURELY_WORTH


def is_free(level: Level, before: Level) -> bool:
    """Returns whether more did not wait longer."""
    return level.worth(before) >= WELL_WORTH


def is_faster(level: Level, base: float, pace: Pace) -> bool:
    """Returns whether answers surely come much sooner than without a queue: then the server has become faster."""
    less = max(2 * level.with_error(pace.deviation).error, MUCH_FASTER)
    return level.latency < (1 - less) * base < math.inf


def waits_less(low: Level, high: Level, pace: Pace) -> bool:
    """Returns whether fewer requests wait less than more did, and bring as much. Where the pace changes by itself, it
    must be sure. If they are not fewer, since other runs have more, nothing was tried, and they do."""
    if are_alike(low, high):
        return True
    doubt = high.doubt(low.with_error(pace.deviation))
    return high.worth(low) < IN_VAIN - (0 if pace.is_steady else doubt)


def are_alike(low: Level, high: Level) -> bool:
    """Returns whether the numbers hardly differ."""
    return high.number < ALIKE * low.number


def brings_less(low: Level, high: Level) -> bool:
    """Returns whether fewer requests bring less than more did, which waited longer."""
    doubt = FLAT + 2 * math.hypot(low.error, high.error)
    is_fewer = high.number > low.number and high.latency > low.latency
    return is_fewer and low.throughput < (1 - doubt) * high.throughput
