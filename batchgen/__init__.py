"""Thousands or millions of prompts through a paid text-generation API, into one complete Parquet file.

In a notebook: `batchgen.run("jobs/seo.yaml")`, `batchgen.plan(...)`, `batchgen.read_job(...)`,
`batchgen.load("out/seo.parquet")`, `batchgen.tokens(frame)`, `batchgen.confidence(frame)`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from batchgen._version import __version__

if TYPE_CHECKING:
    from batchgen.notebook import plan, read_job, run
    from batchgen.output.frames import confidence, load, tokens

__all__ = ["__version__", "confidence", "load", "plan", "read_job", "run", "tokens"]

_HOMES = {
    "run": "notebook",
    "plan": "notebook",
    "read_job": "notebook",
    "load": "output.frames",
    "tokens": "output.frames",
    "confidence": "output.frames",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for, when it is asked for: the command line starts without polars."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
