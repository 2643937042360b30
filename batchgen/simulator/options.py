"""Reads and checks the options of `batchgen serve`.

It must never keep state: the same options may start many servers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batchgen.errors import UsageError
from batchgen.simulator.faults import REFUSAL, SPOILED, STATUSES, Faults, FaultSource, Latency
from batchgen.simulator.limits import Admission
from batchgen.simulator.shapes import Batching, Capacity, Free, Shape, Slots

ROUNDING = 1e-9
"""Tolerance for sums of shares: ten tenths are a little more than one."""
AT_ONCE = Latency()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Holds the server's options. By default it answers everything at once."""

    latency: Latency = AT_ONCE
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    burst: int = 4
    concurrency: int | None = None
    shares: tuple[tuple[str, float], ...] = ()
    outages: tuple[tuple[float, float], ...] = ()
    seed: int = 0
    slots: int | None = None
    batching: tuple[int, float] | None = None
    capacity: Capacity = ()

    def shape(self) -> Shape:
        """Returns how answers slow each other down."""
        if self.batching is not None:
            number, per_second = self.batching
            return Batching(self.capacity or ((0.0, number),), per_second)
        if self.slots is not None or self.capacity:
            return Slots(self.capacity or ((0.0, self.slots or 1),))
        return Free()

    def admission(self) -> Admission:
        return Admission(self.requests_per_minute, self.tokens_per_minute, self.burst, self.concurrency)

    def fault_source(self) -> FaultSource:
        return FaultSource(self.seed, Faults(dict(self.shares)), self.latency)


def read(
    *,
    latency: str,
    fault: Sequence[str],
    outage: Sequence[str],
    slots: int | None = None,
    batching: str | None = None,
    capacity: str | None = None,
    **counts: Any,
) -> ServerOptions:
    """Reads the command line's options, by name. Raises UsageError, which says what to write."""
    outages = tuple(map(read_outage, outage))
    if slots is not None and batching is not None:
        raise UsageError("--slots and --batching are two kinds of servers: give one of them")
    return ServerOptions(
        latency=read_latency(latency),
        shares=read_shares(fault),
        outages=outages,
        slots=slots,
        batching=None if batching is None else read_batching(batching),
        capacity=() if capacity is None else read_capacity(capacity),
        **counts,
    )


def read_batching(text: str) -> tuple[int, float]:
    """Reads `N,TOKENS`. Raises UsageError."""
    found = _numbers(text, ",")
    if len(found) == 2 and found[0] >= 1 and found[0] == int(found[0]) and found[1] > 0:  # noqa: PLR2004  the pair
        return int(found[0]), found[1]
    raise UsageError(
        f"--batching {text}: write how many it serves at full speed, and the tokens a second of each, such as 32,50"
    )


def read_capacity(text: str) -> Capacity:
    """Reads `FROM:N,FROM:N`. Raises UsageError."""
    pairs = [_numbers(part, ":") for part in text.split(",")]
    is_sound = all(len(pair) == 2 and pair[1] >= 1 and pair[1] == int(pair[1]) for pair in pairs)  # noqa: PLR2004
    times = [pair[0] for pair in pairs] if is_sound else []
    if times and times[0] == 0 and times == sorted(set(times)):
        return tuple((at, int(number)) for at, number in pairs)
    raise UsageError(
        f"--capacity {text}: write seconds since the first request, from 0 on, and how many from then, such as 0:8,60:4"
    )


def read_latency(text: str) -> Latency:
    """Reads `SECONDS` or `P50,P99`. Raises UsageError."""
    found = _numbers(text, ",")
    if len(found) == 1 and found[0] >= 0:
        return Latency(found[0])
    if len(found) == 2 and 0 < found[0] <= found[1]:  # noqa: PLR2004  the pair of them
        return Latency(*found)
    raise UsageError(
        f"--latency {text}: write seconds, such as 0.5, or the median and the 99th percentile, such as 0.8,6"
    )


def read_shares(texts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Reads `KIND=SHARE`, each kind once. Raises UsageError."""
    shares = dict(map(_read_share, texts))
    if len(shares) < len(texts):
        raise UsageError("--fault: a kind is given twice; give each one share")
    if (total := math.fsum(shares.values())) > 1 + ROUNDING:
        raise UsageError(f"--fault: the shares sum to {total:g}; more than 1, which is every request, cannot be met")
    return tuple(shares.items())


def _read_share(text: str) -> tuple[str, float]:
    kind, _, share = text.partition("=")
    found = _numbers(share, "=")
    if kind not in (*SPOILED, REFUSAL, *STATUSES):
        kinds = f"a status from {STATUSES[0]} to {STATUSES[-1]}, {', '.join(SPOILED)} or {REFUSAL}"
        raise UsageError(f"--fault {text}: there is no such fault; write {kinds}, and its share, such as 503=0.02")
    if len(found) != 1 or not 0 <= found[0] <= 1:
        raise UsageError(f"--fault {text}: write the share of the requests, from 0 to 1, such as {kind}=0.02")
    return kind, found[0]


def read_outage(text: str) -> tuple[float, float]:
    """Reads `FROM:TO`. Raises UsageError."""
    found = _numbers(text, ":")
    if len(found) == 2 and 0 <= found[0] < found[1]:  # noqa: PLR2004  the pair of them
        return found[0], found[1]
    raise UsageError(f"--outage {text}: write two times in seconds since the first request, such as 60:120")


def _numbers(text: str, separator: str) -> list[float]:
    """Returns the finite numbers in a text; none if it holds anything else."""
    try:
        found = [float(part) for part in text.split(separator)]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []
