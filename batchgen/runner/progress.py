"""What a run looks like while it goes: a bar on a terminal, a line every thirty seconds elsewhere. Renders
`Stats` on stderr and decides nothing; a closed stderr does not concern the run."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from batchgen import logs
from batchgen.runner.pump import Stats

LINE_EVERY = 30.0
BAR_EVERY = 0.2

log = logging.getLogger("batchgen")


class Progress(Protocol):
    every: float

    def show(self, stats: Stats) -> None: ...

    def close(self, stats: Stats) -> None: ...


def progress(name: str, stats: Stats, least_seconds: float, *, quiet: bool) -> Progress:
    """`least_seconds`: what the limits ask for the whole run, so that a first guess of the time left is no lie."""
    if quiet:
        return Silence()
    if sys.stderr.isatty() and not logs.are_objects():
        return Bar(name, stats)
    return Lines(name, stats, least_seconds, time.monotonic)


class Silence:
    every = LINE_EVERY

    def show(self, stats: Stats) -> None:
        pass

    def close(self, stats: Stats) -> None:
        pass


class Bar:
    every = BAR_EVERY

    def __init__(self, name: str, stats: Stats) -> None:
        self._bar = tqdm(total=stats.todo, desc=name, unit="row", smoothing=0.1, dynamic_ncols=True, file=sys.stderr)
        self._messages = logging_redirect_tqdm(loggers=[log])  # above the bar, not through it
        self._messages.__enter__()

    def show(self, stats: Stats) -> None:
        with suppress(OSError, ValueError):
            self._bar.set_postfix_str(_troubles(stats), refresh=False)
            self._bar.update(stats.ok + stats.failed - self._bar.n)

    def close(self, stats: Stats) -> None:
        self.show(stats)
        with suppress(OSError, ValueError):
            self._bar.close()
        self._messages.__exit__(None, None, None)


class Lines:
    every = LINE_EVERY

    def __init__(self, name: str, stats: Stats, least_seconds: float, clock: Callable[[], float]) -> None:
        self._name, self._least, self._clock = name, least_seconds, clock
        self._started = clock()
        about = f", at least {duration(least_seconds)} under the limits" if least_seconds else ""
        numbers = _numbers(stats, 0.0, None)
        log.info("%s: %s to send%s", name, counted(stats.todo, "row"), about, extra={logs.NUMBERS: numbers})

    def show(self, stats: Stats) -> None:
        done, elapsed = stats.todo - stats.left, self._clock() - self._started
        rate = done / elapsed if elapsed else 0.0
        left = max(stats.left / rate if rate else 0.0, self._least - elapsed if stats.left else 0.0)
        log.info(
            "%s: %s of %s rows (%d %%), %.1f rows/s, %s%s",
            self._name,
            f"{done:,}",
            f"{stats.todo:,}",
            100 * done // max(stats.todo, 1),
            rate,
            "done" if not stats.left else f"about {duration(left)} left" if done else "no answer yet",
            f"; {troubles}" if (troubles := _troubles(stats)) else "",
            extra={logs.NUMBERS: _numbers(stats, rate, left if done else None)},
        )

    def close(self, stats: Stats) -> None:
        self.show(stats)


def _numbers(stats: Stats, rate: float, left: float | None) -> dict[str, float | None]:
    """Of a line, for machines: rows, requests, rows a second, and seconds left where they are known."""
    counts = {"todo": stats.todo, "done": stats.ok + stats.failed, "ok": stats.ok, "failed": stats.failed}
    counts |= {"sent": stats.sent, "in_flight": stats.in_flight, "retries": stats.retries.total()}
    return {**counts, "rows_per_second": round(rate, 3), "seconds_left": None if left is None else round(left, 1)}


def _troubles(stats: Stats) -> str:
    counts = {"failed": stats.failed, "retries": stats.retries.total()}
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def duration(seconds: float) -> str:
    """As people say it: `45 s`, `12 min`, `8 h 5 min`, `3 d 4 h`."""
    if seconds < 1:
        return "less than a second"
    if seconds < 120:  # noqa: PLR2004  two minutes
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:  # noqa: PLR2004  two days
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days:,} d {hours} h" if hours else f"{days:,} d"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
