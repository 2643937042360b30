"""Thousands or millions of prompts through a paid text-generation API, into one complete Parquet file.

From Python, also in a notebook:

- `generate(frame, prompt=..., model=..., name=...)`: a table in, the table with its answers out
- `run(path)`, `plan(path)`, `status(path)`, `export(path)`, `report(path)`: what the commands do; `path` is a job
  file's path, a `Job`, or a dict of its settings
- `read_job(path)`: a job file, checked
- `load(path)`, `tokens(frame)`, `confidence(frame)`: results as polars frames

Errors: `BatchgenError` and its kinds, each with the exit code that the command would have.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from batchgen._version import __version__

if TYPE_CHECKING:
    from batchgen.commands import export, plan, report, run, status
    from batchgen.errors import (
        AlreadyRunning,
        BatchgenError,
        InputChanged,
        MachineRefused,
        NotRunYet,
        ServiceRefused,
        Stopped,
        UsageError,
    )
    from batchgen.job.job import Job
    from batchgen.job.load import read_job
    from batchgen.output.frames import confidence, load, tokens
    from batchgen.tables import generate

__all__ = [
    "AlreadyRunning",
    "BatchgenError",
    "InputChanged",
    "Job",
    "MachineRefused",
    "NotRunYet",
    "ServiceRefused",
    "Stopped",
    "UsageError",
    "__version__",
    "confidence",
    "export",
    "generate",
    "load",
    "plan",
    "read_job",
    "report",
    "run",
    "status",
    "tokens",
]

_HOMES = {
    **dict.fromkeys(("export", "plan", "report", "run", "status"), "commands"),
    **dict.fromkeys(("confidence", "load", "tokens"), "output.frames"),
    "Job": "job.job",
    "generate": "tables",
    "read_job": "job.load",
}
"""The modules of the public names; errors are the others."""


def __getattr__(name: str) -> Any:
    """Imports what is asked for, when it is asked for: the command line starts without polars."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
