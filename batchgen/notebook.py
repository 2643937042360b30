"""The commands for notebooks: also where an event loop is running already, as in Jupyter."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from batchgen import commands
from batchgen.commands import Forecast
from batchgen.night import Summary

plan = commands.plan
"""What a run of a job would do; sends nothing: see `commands.plan`."""


def run(path: str | Path, **options: Any) -> Summary:
    """Runs or resumes a job; options as those of `commands.run`: `local`, `fresh`, `limit`, `retry_failed`, `quiet`."""
    if not _in_a_loop():
        return commands.run(path, **options)
    with ThreadPoolExecutor(1, "batchgen") as thread:
        return thread.submit(commands.run, path, **options).result()


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


__all__ = ["Forecast", "Summary", "plan", "run"]
