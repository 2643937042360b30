"""saturate's `Auto` on the simulated shapes: its controller decides every two seconds, by what its client would tell it.

`pip install saturate==0.2.0` beside, for any of its versions whose `saturate.controller` has `Auto` and `Obs`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import math
import statistics
from collections import deque
from collections.abc import Callable
from typing import Any

from support.shapes import Played, Simulated, _dispatch

from batchgen.job.sections import AUTO_MOST
from batchgen.send.limits import RateLimiter
from batchgen.simulator.clock import SimulatedLoop
from batchgen.simulator.shapes import Shape

IS_INSTALLED = importlib.util.find_spec("saturate") is not None
TICK = 2.0


class PeerAuto:
    """What `RateLimiter` asks of a found concurrency, decided by saturate. `waiting`: the server's own queue, as its
    gauges say; None where it has none."""

    moves = ()

    def __init__(self, waiting: Callable[[], int] | None) -> None:
        from saturate.controller import Auto, Obs  # noqa: PLC0415  may not be installed

        self._auto: Any = Auto()
        self._obs: Any = Obs
        self._waiting = waiting
        self.most = self._auto.initial
        self._latencies: deque[float] = deque(maxlen=64)
        self._tokens, self._successes, self._late = 0.0, 0, 0

    def answered(self, now: float, sent_at: float, tokens: float, beside: int, allowed: float = math.inf) -> None:  # noqa: ARG002  as the limiter calls it
        self._latencies.append(now - sent_at)
        self._tokens += tokens
        self._successes += 1

    def unanswered(self, now: float, sent_at: float) -> None:  # noqa: ARG002  likewise
        self._late += 1

    def tick(self, in_flight: int) -> None:
        seen = self._obs(
            waiting=self._waiting() if self._waiting else None,
            inflight=in_flight,
            backpressure=self._late,
            successes=self._successes,
            tok_s=self._tokens / TICK,
            latency_s=statistics.median(self._latencies) if self._latencies else None,
            tick_s=TICK,
        )
        self._tokens, self._successes, self._late = 0.0, 0, 0
        self.most = self._auto.decide(seen, self.most)


def play(shape: Shape, draw: Callable[[], tuple[float, int]], seconds: float, *, gauges: bool) -> Played:
    """A run on a shape; with `gauges`, the server tells how many requests wait."""
    played = Played()
    client = Simulated(shape, draw, 300.0, played)
    auto = PeerAuto((lambda: (shape.load() or (0, 0))[1]) if gauges else None)

    async def tick() -> None:
        while True:
            await asyncio.sleep(TICK)
            auto.tick(client.in_flight)

    async def run() -> None:
        limits = RateLimiter(None, None, 0.0)
        limits.auto = auto  # type: ignore[assignment]
        ticking = asyncio.create_task(tick())
        await _dispatch(client.attempt, limits, AUTO_MOST, seconds, played, lambda: None)
        ticking.cancel()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(run())
    return played
