"""The commands for notebooks: also where an event loop is running already, as in Jupyter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from batchgen import commands
from batchgen.commands import Forecast
from batchgen.night import Summary

T = TypeVar("T")


def run(path: str | Path, **options: Any) -> Summary:
    """Runs or resumes a job; options as those of `commands.run`: `local`, `fresh`, `limit`, `retry_failed`, `quiet`."""
    return _apart(commands.run, path, options)


def plan(path: str | Path, **options: Any) -> Forecast:
    """What a run of a job would do; sends nothing. Options as those of `commands.plan`: `local`, `limit`,
    `retry_failed`, `rehearse`."""
    return _apart(commands.plan, path, options)


def _apart(command: Callable[..., T], path: str | Path, options: dict[str, Any]) -> T:
    """In a thread of its own where this one has a loop at work."""
    if not _in_a_loop():
        return command(path, **options)
    with ThreadPoolExecutor(1, "batchgen") as thread:
        return thread.submit(command, path, **options).result()


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


__all__ = ["Forecast", "Summary", "plan", "run"]
