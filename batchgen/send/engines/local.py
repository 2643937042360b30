"""The local engine: attempts made in this process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from batchgen.api.connection import Connection
from batchgen.api.outcome import Answer, Failure
from batchgen.job.engine import Engine as EngineSettings

if TYPE_CHECKING:
    from batchgen.api.client import Client
    from batchgen.send.engines.built_in import BuiltInModel
    from batchgen.send.engines.load_balancer import LoadBalancer


class Engine(Protocol):
    """The engine's part that the dispatcher calls."""

    async def attempt(self, body: bytes, model: str, *, new_connection: bool = False) -> Answer | Failure: ...


EngineFactory = Callable[[Connection, EngineSettings], AbstractAsyncContextManager[Engine]]
"""Makes an engine that sends to a service."""


def engine(connection: Connection, _: EngineSettings) -> Client | LoadBalancer | BuiltInModel:
    """Returns the local engine, as an asynchronous context. It has no settings of its own."""
    return client_of(connection)


def client_of(connection: Connection) -> Client | LoadBalancer | BuiltInModel:
    """Returns what makes attempts in this process, as an asynchronous context."""
    if connection.is_local:
        from batchgen.send.engines.built_in import BuiltInModel  # noqa: PLC0415  a run at a service needs no model

        return BuiltInModel(connection)
    from batchgen.api.client import Client  # noqa: PLC0415  aiohttp takes long to import, and many a run sends nothing
    from batchgen.send.engines.load_balancer import LoadBalancer  # noqa: PLC0415  so does asyncio

    if len(connection.urls) > 1:
        return LoadBalancer(connection)

    return Client(connection)
