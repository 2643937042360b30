"""The local engine: attempts made in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from batchgen.api.outcome import Answer, Failure, Kind, Scope, kinds_of
from batchgen.api.proxy import proxy_of
from batchgen.job.job import Job
from batchgen.send.engines.load_balancer import LoadBalancer

if TYPE_CHECKING:
    from batchgen.api.client import Client


class Engine(Protocol):
    """The engine's part that the dispatcher calls."""

    async def attempt(self, body: bytes, model: str) -> Answer | Failure: ...


EngineFactory = Callable[[Job, str, str], AbstractAsyncContextManager[Engine]]
"""Makes an engine from a job, its service's address and the key."""


def engine(job: Job, base_url: str, key: str) -> Client | LoadBalancer:
    """Returns an asynchronous context with `attempt`. `base_url`: one address, or several separated by spaces."""
    clients = {url: _client(job, url, key) for url in base_url.split()}
    return clients[base_url] if base_url in clients else LoadBalancer(clients, stops(job))


def stops(job: Job) -> frozenset[Kind]:
    """Returns the failures that end the run. An unknown model is the row's mistake if each row names its own."""
    return kinds_of(Scope.RUN) - ({Kind.MODEL} if "model" in job.columns else set())


def _client(job: Job, url: str, key: str) -> Client:
    from batchgen.api.client import Client  # noqa: PLC0415  aiohttp takes long to import, and many a run sends nothing

    return Client(
        url,
        key,
        connect=job.timeout.connect,
        total=job.timeout.total,
        slots=job.limits.most_in_flight,
        ca_file=job.endpoint.ca_file,
        proxy=proxy_of(job.endpoint.proxy, job.endpoint.proxy_env, os.environ),
        dialect=job.dialect,
    )
