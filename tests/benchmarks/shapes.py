"""`limits.concurrency: auto` beside the best fixed number, on a simulated clock: no machine's speed is in it."""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from made import Bench
from table import Line

from batchgen.simulator.shapes import Batching, Shape, Slots

sys.path.append(str(Path(__file__).parent.parent))

import peer_auto
from support.shapes import Unsteady, play

Draw = Callable[[random.Random], float]
SHAPES: dict[str, tuple[Callable[[], Shape], Draw, Callable[[random.Random], int], int]] = {
    "1 slot": (lambda: Slots(((0, 1),)), lambda dice: 0.3 * dice.uniform(0.5, 1.5), lambda _: 50, 1),
    "4 slots": (lambda: Slots(((0, 4),)), lambda dice: dice.uniform(0.5, 1.5), lambda _: 50, 4),
    "8 slots": (lambda: Slots(((0, 8),)), lambda dice: 0.4 * dice.uniform(0.5, 1.5), lambda _: 50, 8),
    "100 slots": (lambda: Slots(((0, 100),)), lambda dice: 2 * dice.uniform(0.5, 1.5), lambda _: 50, 100),
    "30 slots, long tails": (lambda: Slots(((0, 30),)), lambda dice: dice.lognormvariate(0, 0.6), lambda _: 50, 30),
    "8 slots, pace changes": (lambda: Unsteady(8, 1.0, 0.3), lambda dice: dice.uniform(0.2, 0.6), lambda _: 50, 8),
    "a batch of 32": (lambda: Batching(((0, 32),), 50), lambda _: 0.02, lambda dice: dice.randint(10, 100), 32),
    "a batch of 100": (lambda: Batching(((0, 100),), 50), lambda _: 0.1, lambda dice: dice.randint(20, 200), 100),
}


def lines(bench: Bench) -> Iterator[Line]:
    """From the second minute on. The best fixed number is the smallest that brings 99 % of the most that any does."""
    for name, (shape, latency, tokens, knee) in SHAPES.items():
        numbers = sorted({max(1, round(knee * part)) for part in (0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2)})
        fixed = {number: play(shape(), latency, tokens, number, 90) for number in numbers}
        rates = {number: played.throughput(20, 80) for number, played in fixed.items()}
        best = next(number for number in numbers if rates[number] >= 0.99 * max(rates.values()))
        end = 120 if bench.quick else 240
        for others, how in ((None, ""), (0, ", told of its queue")):
            auto = play(shape(), latency, tokens, None, end + 10, others=others)
            most = statistics.mean(auto.numbers(60, end))
            yield Line(
                f"{name}{how}: {most:.0f} in flight; best {best}: throughput",
                f"{auto.throughput(60, end):.1f} rows/s",
                "0.97 of the best",
                auto.throughput(60, end) / rates[best],
            )
            slower = auto.latency(60, end) / fixed[best].latency(20, 80)
            yield Line("  median latency", f"{auto.latency(60, end):.2f} s", "at most 1.3 x", slower)
        if peer_auto.IS_INSTALLED:
            yield from _peer(shape, latency, tokens, rates[best], fixed[best].latency(20, 80))


def _peer(
    shape: Callable[[], Shape], latency: Draw, tokens: Callable[[random.Random], int], rate: float, shortest: float
) -> Iterator[Line]:
    """saturate's `Auto`, without a queue's gauge and with one, over the same time."""
    dice = random.Random(1)

    def draw() -> tuple[float, int]:
        return latency(dice), tokens(dice)

    has_queue = isinstance(shape(), Slots)  # a batch takes what comes, and has none
    for gauges, how in ((False, "alone"), *([(True, "that reads the queue")] if has_queue else [])):
        played = peer_auto.play(shape(), draw, 130, gauges=gauges)
        most = statistics.mean(played.numbers(60, 120))
        throughput, took = played.throughput(60, 120), played.latency(60, 120)
        yield Line(f"  saturate {how}: {most:.0f} in flight", f"{throughput:.1f} rows/s", "", throughput / rate)
        yield Line("    median latency", f"{took:.2f} s", "", took / shortest)
