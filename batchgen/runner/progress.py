"""What a run looks like while it goes: a bar on a terminal and in a notebook, a line every thirty seconds elsewhere.
Renders `Stats` on stderr and decides nothing; a closed stderr does not concern the run."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, NoReturn, Protocol

from tqdm import TqdmWarning, tqdm

from batchgen.runner.pump import Stats

LINE_EVERY = 30.0
BAR_EVERY = 0.2
WIDGET_EVERY = 1.0
BAR = "{desc} {percentage:3.0f} % |{bar}| {n:,} of {total:,} rows{postfix}"

log = logging.getLogger("batchgen")


class Progress(Protocol):
    every: float

    def show(self, stats: Stats) -> None: ...

    def close(self, stats: Stats) -> None: ...


def progress(name: str, stats: Stats, least_seconds: float, *, quiet: bool) -> Progress:
    """`least_seconds`: what the limits ask for the whole run, so that a first guess of the time left is no lie."""
    if quiet:
        return Silence()
    if sys.stderr.isatty():
        return Bar(name, stats)
    if _in_notebook():
        return Widget(name, stats)
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
        self._bar = self._new(total=stats.todo, desc=name, smoothing=0.1, dynamic_ncols=True, bar_format=BAR)
        self._messages = self._around()
        self._messages.__enter__()

    def _new(self, **how: Any) -> tqdm[NoReturn]:
        return tqdm(file=sys.stderr, **how)

    def _around(self) -> AbstractContextManager[None]:
        from tqdm.contrib.logging import logging_redirect_tqdm  # noqa: PLC0415  it imports tqdm.auto, see there

        return logging_redirect_tqdm(loggers=[log])  # above the bar, not through it

    def show(self, stats: Stats) -> None:
        with suppress(OSError, ValueError):
            rate = self._bar.format_dict["rate"]
            parts = [f"{rate:,.1f} rows/s"] if rate else []
            parts += [f"{duration(stats.left / rate)} left"] if rate and stats.left else []
            parts += [troubles] if (troubles := _troubles(stats)) else []
            self._bar.set_postfix_str(", ".join(parts), refresh=False)
            self._bar.update(stats.ok + stats.failed - self._bar.n)

    def close(self, stats: Stats) -> None:
        self.show(stats)
        with suppress(OSError, ValueError):
            self._bar.close()
        self._messages.__exit__(None, None, None)


class Widget(Bar):
    """A notebook's, where ipywidgets is there to draw it; else a bar of text, and no advice to install it."""

    every = WIDGET_EVERY

    def _new(self, **how: Any) -> tqdm[NoReturn]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TqdmWarning)
            from tqdm.auto import tqdm as automatic  # noqa: PLC0415  it looks for ipywidgets, and warns, when imported
        return automatic(**how)

    def _around(self) -> AbstractContextManager[None]:
        return nullcontext()  # messages stand below


def _in_notebook() -> bool:
    """Whether a kernel runs this: its stderr is no terminal, and yet somebody looks."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class Lines:
    every = LINE_EVERY

    def __init__(self, name: str, stats: Stats, least_seconds: float, clock: Callable[[], float]) -> None:
        self._name, self._least, self._clock = name, least_seconds, clock
        self._started = clock()
        about = f", at least {duration(least_seconds)} under the limits" if least_seconds else ""
        log.info("%s: %s to send%s", name, counted(stats.todo, "row"), about)

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
        )

    def close(self, stats: Stats) -> None:
        self.show(stats)


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
