"""SIGINT, SIGTERM and SIGHUP, turned into an orderly end of a run. Knows the pump; records nothing itself."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from batchgen.errors import Stopped
from batchgen.ui.humanize import duration

if TYPE_CHECKING:
    import asyncio

    from batchgen.send.dispatcher import Dispatcher

DRAIN = 60.0
"""Seconds that requests in flight get to end after the first signal."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

log = logging.getLogger("batchgen")


class Signals:
    """SIGINT, SIGTERM and SIGHUP end a run in order, whatever it is doing; as a context, in the main thread.

    While it plans they end it at once; while it sends, the first drains and the second gives up what is in
    flight; while it publishes they wait. The loop that sends may be another thread's (`loop.py`).
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._holding = False
        self._received: list[str] = []
        self._wake: Callable[[], object] = _nobody

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup's is not
            self._before = {number: signal.signal(number, self._on_signal) for number in heeded}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raises Stopped where a signal came before anything was sent, whatever became of it on the way."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is not None and self._received and not self._holding:
            raise Stopped(f"stopped by {self._received[-1]} before anything was sent") from None

    def hold(self) -> None:
        """From here on a signal is noted, and acted on when the pump runs. One that was swallowed counts still."""
        if self._received:
            raise KeyboardInterrupt
        self._holding = True

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._received.append(signal.Signals(number).name)
        if not self._holding:
            raise KeyboardInterrupt
        with suppress(RuntimeError):  # the loop has just been closed
            self._wake()

    @contextmanager
    def to(self, pump: Dispatcher) -> Iterator[None]:
        """Inside the event loop, while the pump runs. Each signal is heeded once, also one that came before."""
        from asyncio import get_running_loop  # noqa: PLC0415  many a run sends nothing

        running = get_running_loop()
        heeded: list[str] = []
        deadlines: list[asyncio.TimerHandle] = []

        def heed() -> None:
            while len(heeded) < len(self._received):
                heeded.append(self._received[len(heeded)])
                act(heeded[-1])

        def act(name: str) -> None:
            if deadlines:
                log.warning("%s again: what is in flight is given up; what has arrived is saved", name)
                pump.abort()
                return
            deadlines.append(running.call_later(DRAIN, pump.abort))
            pump.stop(f"stopped by {name}")
            log.warning(
                "%s: no new requests; %s in flight get %s to end (once more: stop at once)",
                name,
                f"{pump.stats.in_flight:,}",
                duration(DRAIN),
            )

        self._wake = lambda: running.call_soon_threadsafe(heed)
        heed()
        try:
            yield
        finally:
            self._wake = _nobody
            for deadline in deadlines:
                deadline.cancel()


def _nobody() -> None:
    """Who is told of a signal while nothing is sent."""
