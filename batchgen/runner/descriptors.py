"""Open files: as many as requests are in flight, and some more. The soft limit is raised to what is needed."""

from __future__ import annotations

from contextlib import suppress

from batchgen.errors import UsageError

BESIDE = 128
"""Of the input, the checkpoint, results, libraries."""


def provide(concurrency: int) -> None:
    """Raises UsageError where this process may not have as many, before anything is spent."""
    try:
        import resource  # noqa: PLC0415  not on Windows
    except ImportError:
        return
    needed = concurrency + BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if hard not in (unlimited, -1) and hard < needed:
        raise UsageError(
            f"limits.concurrency: {concurrency:,} requests in flight need {needed:,} open files, and this process may "
            f"have {hard:,} (ulimit -Hn): set it to {max(hard - BESIDE, 1):,} at most, or raise that limit"
        )
    if soft not in (unlimited, -1) and soft < needed:
        with suppress(OSError, ValueError):  # macOS has another bound besides: then the run meets it, or does not
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
