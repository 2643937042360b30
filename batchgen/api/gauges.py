"""Reads what an inference server says of its load: gauges at `/metrics`, in Prometheus' text format.

The request has no key: the page is open where the API is not. A server that has no such gauges is asked once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import NamedTuple

import aiohttp

from batchgen import __version__
from batchgen.api.connection import Connection
from batchgen.api.tls import trust

GAUGES = {
    "vllm": ("num_requests_running", "num_requests_waiting"),
    "sglang": ("num_running_reqs", "num_queue_reqs"),
    "llamacpp": ("requests_processing", "requests_deferred"),
}
"""The names of the two gauges, for each server: the requests that it works at, and those that wait. vLLM 0.32 has them
at once, llama.cpp's server with `--metrics`, SGLang, by its documentation, with `--enable-metrics`."""
PATH = "/metrics"
SECONDS = 0.5
"""Between two readings."""
TIMEOUT = aiohttp.ClientTimeout(total=2.0)
MAX_BYTES = 8 << 20


class Load(NamedTuple):
    """The requests that a server works at, and those that wait in its queue."""

    at_work: float
    waiting: float


def load_of(page: str) -> Load | None:
    """Returns what the page says; None if it has no such gauges. Those of several engines are added up."""
    for server, names in GAUGES.items():
        at_work, waiting = (_values(page, f"{server}[:_]{name}") for name in names)
        if at_work and waiting:
            return Load(sum(at_work), sum(waiting))
    return None


def _values(page: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})?[ \t]+([0-9.e+]+)", page, re.MULTILINE)]


async def loads(connection: Connection) -> AsyncIterator[Load]:
    """Yields the load of a connection's one server, twice a second, for as long as it tells. Through a proxy it is not
    asked: servers of one's own have none in between."""
    if connection.proxy is not None:
        return
    (url,) = connection.urls
    connector = aiohttp.TCPConnector(ssl=trust(connection.ca_file), force_close=True)
    headers = {"User-Agent": f"batchgen/{__version__}"}
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT, headers=headers) as session:
        has_told = False
        while True:
            page = await _page(session, url + PATH)
            load = page and load_of(page)
            if load:
                has_told = True
                yield load
            elif page is not None and not has_told:
                return
            await asyncio.sleep(SECONDS)


async def _page(session: aiohttp.ClientSession, url: str) -> str | None:
    """Returns the page; an empty one if there is none, and None if the server cannot be reached now."""
    try:
        async with session.get(url, allow_redirects=False) as response:
            parts, size = [], 0
            async for part in response.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > MAX_BYTES:
                    return ""
            return b"".join(parts).decode(errors="replace") if response.status == HTTPStatus.OK else ""
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None
