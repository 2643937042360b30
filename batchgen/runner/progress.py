"""Progress on stderr: a bar on a terminal and in a notebook, a line every thirty seconds elsewhere. Renders `Stats` and
decides nothing. A closed stderr does not affect the run."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from batchgen.api.usage import Usage, spent
from batchgen.runner.remaining_time import RemainingTime
from batchgen.send.stats import Stats
from batchgen.ui import logs
from batchgen.ui.humanize import approximately, dollars, duration, inflect, pluralize
from batchgen.ui.terminal import DEFAULT_COLUMNS, screen

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_SECONDS = 30.0
BAR_SECONDS = 0.2
WIDGET_SECONDS = 1.0
BAR_FORMAT = "{desc} |{bar}| {n:,} of {total:,} {unit}{postfix}"

log = logging.getLogger("batchgen")


class Progress(Protocol):
    every: float

    def show(self, stats: Stats) -> None: ...

    def close(self, stats: Stats) -> None: ...


Spending = Callable[[], tuple[Usage, Usage]]
"""Returns what the run has used so far, and what all runs of its job have."""


def progress(
    name: str, stats: Stats, outlook: RemainingTime, max_seconds: float, spending: Spending, *, quiet: bool
) -> Progress:
    """Returns the progress display for this stderr. `max_seconds`: the time that the limits would ask if every answer
    had its longest length."""
    if quiet:
        return NoProgress()
    if sys.stderr.isatty() and not logs.are_json():
        return ProgressBar(name, stats, outlook, spending)
    if _in_notebook():
        return NotebookWidget(name, stats, outlook, spending)
    return LogLines(name, stats, outlook, max_seconds, spending, time.monotonic)


class NoProgress:
    every = LINE_SECONDS

    def show(self, stats: Stats) -> None:
        pass

    def close(self, stats: Stats) -> None:
        pass


class ProgressBar:
    every = BAR_SECONDS

    def __init__(self, name: str, stats: Stats, outlook: RemainingTime, spending: Spending) -> None:
        self._name, self._outlook, self._spending = name, outlook, spending
        self._bar = self._new(
            total=stats.todo, desc=self._title(stats), unit=inflect(stats.todo, "row", "rows"), bar_format=BAR_FORMAT
        )
        self._messages = self._redirected_log()
        self._messages.__enter__()

    def _new(self, **how: Any) -> tqdm[NoReturn]:
        from tqdm import tqdm  # noqa: PLC0415  most runs are nobody's to watch

        bar: tqdm[NoReturn] = tqdm(file=sys.stderr, **how)
        bar.dynamic_ncols = _columns  # type: ignore[assignment]  # as tqdm itself does
        return bar

    def _redirected_log(self) -> AbstractContextManager[None]:
        from tqdm.contrib.logging import logging_redirect_tqdm  # noqa: PLC0415  it imports tqdm.auto, see there

        return logging_redirect_tqdm(loggers=[log])  # messages are printed above the bar

    def _title(self, stats: Stats) -> str:
        """Returns the name and the percentage that is done. tqdm's own would be rounded up to 100."""
        return f"{self._name} {_percentage(stats):3d} %"

    def show(self, stats: Stats) -> None:
        with suppress(OSError, ValueError):
            now = time.monotonic()
            rate, left = self._outlook.rate(stats, now), self._outlook.seconds(stats, now)
            parts = [f"{rate:,.1f} rows/s" if rate else "", f"{duration(left)} left" if rate and left else ""]
            cost = self._spending()[0].cost
            parts += [dollars(cost) if cost else "", _troubles(stats)]
            self._bar.set_description_str(self._title(stats), refresh=False)
            self._bar.set_postfix_str(", ".join(filter(None, parts)), refresh=False)
            self._bar.update(stats.done - self._bar.n)

    def close(self, stats: Stats) -> None:
        self.show(stats)
        with suppress(OSError, ValueError):
            self._bar.close()
        self._messages.__exit__(None, None, None)


def _columns(_: object) -> tuple[int, int | None]:
    """Returns the bar's width, which tqdm asks for repeatedly. It leaves room for the `^C` that the terminal
    appends."""
    return (screen(sys.stderr).width or DEFAULT_COLUMNS) - 2, None


class NotebookWidget(ProgressBar):
    """A notebook's bar, drawn by ipywidgets if installed; otherwise a bar of text, without advice to install it."""

    every = WIDGET_SECONDS

    def _new(self, **how: Any) -> tqdm[NoReturn]:
        from tqdm import TqdmWarning  # noqa: PLC0415  see above

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TqdmWarning)
            from tqdm.auto import tqdm as automatic  # noqa: PLC0415  it looks for ipywidgets, and warns, when imported
        return automatic(dynamic_ncols=True, **how)

    def _redirected_log(self) -> AbstractContextManager[None]:
        return nullcontext()  # messages are shown below the bar


def _in_notebook() -> bool:
    """Returns whether a notebook's kernel runs this: its stderr is not a terminal, and still somebody watches."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class LogLines:
    every = LINE_SECONDS

    def __init__(
        self,
        name: str,
        stats: Stats,
        outlook: RemainingTime,
        max_seconds: float,
        spending: Spending,
        clock: Callable[[], float],
    ) -> None:
        self._name, self._outlook, self._spending, self._clock = name, outlook, spending, clock
        most = f", {duration(max_seconds)} at most under the limits" if max_seconds >= LINE_SECONDS else ""
        numbers = _numbers(stats, 0.0, None, spending()[0])
        log.info("%s: %s to send%s", name, pluralize(stats.todo, "row"), most, extra={logs.FIELDS: numbers})

    def show(self, stats: Stats) -> None:
        now = self._clock()
        rate, left = self._outlook.rate(stats, now), self._outlook.seconds(stats, now)
        run, in_all = self._spending()
        further = filter(None, [_troubles(stats), spent(run, in_all)])
        log.info(
            "%s: %s of %s (%d %%), %.1f rows/s, %s%s",
            self._name,
            f"{stats.done:,}",
            pluralize(stats.todo, "row"),
            _percentage(stats),
            rate,
            _rest(stats, left),
            "".join(f"; {part}" for part in further),
            extra={logs.FIELDS: _numbers(stats, rate, left, run)},
        )

    def close(self, stats: Stats) -> None:
        self.show(stats)


def _rest(stats: Stats, left: float | None) -> str:
    """Returns how long the rest takes: `left` in seconds, None where that is not known."""
    if left is None:
        return "no answer lately" if stats.ok else "no answer yet"
    return f"{approximately(left)} left" if stats.left else "done"


def _percentage(stats: Stats) -> int:
    """Returns how much is done, rounded down: 100 says that nothing is left."""
    return 100 * stats.done // max(stats.todo, 1)


def _numbers(stats: Stats, rate: float, left: float | None, used: Usage) -> dict[str, float | None]:
    """Returns a line's numbers for machines: rows, requests, what the run has used, rows a second, and the seconds left
    if known."""
    counts = {"todo": stats.todo, "done": stats.done, "ok": stats.ok, "failed": stats.failed}
    counts |= {"sent": stats.sent, "in_flight": stats.in_flight, "retries": stats.repeated}
    usage = {"prompt_tokens": used.prompt_tokens, "answer_tokens": used.answer_tokens, "cost": used.cost}
    pace = {"rows_per_second": round(rate, 3), "seconds_left": None if left is None else round(left, 1)}
    return {**counts, **usage, **pace}


def _troubles(stats: Stats) -> str:
    found = [f"{stats.most:,} in flight at most"] if stats.most else []
    counts = {"failed": stats.failed, inflect(stats.repeated, "retry", "retries"): stats.repeated}
    parts = [f"{count:,} {what}" for what, count in counts.items() if count]
    return ", ".join([*found, *parts, *([stats.trouble[:200]] if stats.trouble else [])])
