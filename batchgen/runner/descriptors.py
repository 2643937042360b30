"""The limit of open files: one file for each request in flight, and some more. The soft limit is raised to that."""

from __future__ import annotations

from contextlib import suppress

from batchgen.errors import UsageError

OTHER_FILES = 128
"""Files of the input, the checkpoint, results, libraries."""


def raise_limit(concurrency: int) -> None:
    """Raises the soft limit of open files. Raises UsageError if the hard limit is too low, before anything is spent."""
    try:
        import resource  # noqa: PLC0415  not on Windows
    except ImportError:
        return
    needed = concurrency + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if hard not in (unlimited, -1) and hard < needed:
        fewer = f"set it to {hard - OTHER_FILES:,} at most, or " if hard > OTHER_FILES else ""
        raise UsageError(
            f"limits.concurrency: {concurrency:,} requests in flight need {needed:,} open files, and this process may "
            f"have {hard:,} (ulimit -Hn): {fewer}raise that limit"
        )
    if soft not in (unlimited, -1) and soft < needed:
        with suppress(OSError, ValueError):  # macOS has another bound besides: then the run meets it, or does not
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
