"""Attempts made in this process."""

from __future__ import annotations

from batchgen.api.client import Client
from batchgen.job import Job


def engine(job: Job, base_url: str, key: str) -> Client:
    """An asynchronous context whose `attempt` the pump calls."""
    return Client(
        base_url,
        key,
        connect=job.timeout.connect,
        total=job.timeout.total,
        slots=job.limits.concurrency,
        ca_file=job.endpoint.ca_file,
        proxy=job.endpoint.proxy,
        dialect=job.endpoint.dialect,
    )
