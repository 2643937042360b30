"""Tells each number of requests in flight what its server says of its load, while a run is at work."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from batchgen.api.connection import Connection
from batchgen.send.concurrency import AdaptiveConcurrency

log = logging.getLogger("batchgen")


@asynccontextmanager
async def watching(connection: Connection, numbers: Mapping[str, AdaptiveConcurrency]) -> AsyncIterator[None]:
    """Watches the servers while the block runs. `numbers`: by address. One for several addresses learns nothing."""
    servers = [(one, numbers[url]) for one in connection.each() for url in one.urls if url in numbers]
    watchers = [asyncio.create_task(_watch(*server)) for server in servers]
    try:
        yield
    finally:
        for watcher in watchers:
            watcher.cancel()


async def _watch(connection: Connection, number: AdaptiveConcurrency) -> None:
    from batchgen.api import gauges  # noqa: PLC0415  aiohttp takes long to import

    try:
        async for load in gauges.loads(connection):
            number.told(time.monotonic(), *load)
    except Exception as error:  # noqa: BLE001  it is not worth the run
        log.debug("%s: its load is not watched: %s", connection.urls[0], error)
