"""Simulates time for an event loop: hours pass in seconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Runs an event loop whose time starts at 0, and jumps to the next timer as soon as nothing else is left to do."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        self._elapsed += seconds

    def run_in_executor(self, _: Any, call: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Calls the function at once: in simulated time, reading a batch takes none."""
        done = self.create_future()
        try:
            done.set_result(call(*args))
        except Exception as error:  # noqa: BLE001  raised where the result is awaited, as with a thread
            done.set_exception(error)
        return done


class _Jump(selectors.DefaultSelector):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        self._loop.advance(timeout or 0.0)
        return super().select(0)
