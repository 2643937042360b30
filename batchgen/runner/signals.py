"""Turns SIGINT, SIGTERM and SIGHUP into an orderly end of a run. Records nothing itself."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from batchgen.errors import Stopped
from batchgen.ui.humanize import duration, inflect

if TYPE_CHECKING:
    import asyncio

    from batchgen.send.dispatcher import Dispatcher

DRAIN_SECONDS = 60.0
"""Seconds that requests in flight get to end after the first signal."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

log = logging.getLogger("batchgen")


class Signals:
    """Ends a run in order on SIGINT, SIGTERM and SIGHUP; a context, in the main thread.

    While the run plans, a signal ends it at once. While it sends, the first signal drains and the second cancels what
    is in flight. While it publishes, signals wait. The loop that sends may be another thread's (`event_loop.py`).
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._deferring = False
        self._received: list[str] = []
        self._wake: Callable[[], object] = _ignore

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup's is not
            self._before = {number: signal.signal(number, self._on_signal) for number in handled}
        self._unraisable = sys.unraisablehook
        sys.unraisablehook = self._on_unraisable
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raises Stopped if a signal came before anything was sent, whatever became of it on the way."""
        sys.unraisablehook = self._unraisable
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is not None and self._received and not self._deferring:
            raise Stopped(f"stopped by {self._received[-1]} before anything was sent") from None

    def defer(self) -> None:
        """Defers signals from now on until the dispatcher runs. Raises KeyboardInterrupt if one came before and was
        swallowed."""
        if self._received:
            raise KeyboardInterrupt
        self._deferring = True

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._received.append(signal.Signals(number).name)
        if not self._deferring:
            raise KeyboardInterrupt
        with suppress(RuntimeError):  # the loop has just been closed
            self._wake()

    def _on_unraisable(self, dropped: sys.UnraisableHookArgs) -> None:
        """Says nothing of a signal that came within a library which cannot raise it, such as polars: `defer` does."""
        if not (self._received and dropped.exc_type is KeyboardInterrupt):
            self._unraisable(dropped)

    @contextmanager
    def handling(self, dispatcher: Dispatcher) -> Iterator[None]:
        """Handles signals inside the event loop while the dispatcher runs: each one once, also one that came before."""
        from asyncio import get_running_loop  # noqa: PLC0415  many a run sends nothing

        running = get_running_loop()
        handled: list[str] = []
        deadlines: list[asyncio.TimerHandle] = []

        def handle_new() -> None:
            while len(handled) < len(self._received):
                handled.append(self._received[len(handled)])
                handle(handled[-1])

        def handle(name: str) -> None:
            if deadlines:
                log.warning("%s again: requests in flight are cancelled; answers that have arrived are saved", name)
                dispatcher.abort()
                return
            deadlines.append(running.call_later(DRAIN_SECONDS, dispatcher.abort))
            dispatcher.stop(f"stopped by {name}")
            log.warning(
                "%s: no new requests; %s in flight %s %s to end (a second signal stops at once)",
                name,
                f"{dispatcher.stats.in_flight:,}",
                inflect(dispatcher.stats.in_flight, "gets", "get"),
                duration(DRAIN_SECONDS),
            )

        self._wake = lambda: running.call_soon_threadsafe(handle_new)
        handle_new()
        try:
            yield
        finally:
            self._wake = _ignore
            for deadline in deadlines:
                deadline.cancel()


def _ignore() -> None:
    """Does nothing: a deferred signal waits while nothing is sent."""
