"""Reads what an inference server says of its load: gauges at `/metrics`, in Prometheus' text format.

The request has no key: the page is open where the API is not. A server that refuses it is asked once. One that has no
such gauges yet, as SGLang before its first request, or that cannot be reached, is asked again, less and less often.
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
from batchgen.api.resolver import Resolver
from batchgen.api.tls import trust

GAUGES = {
    "vllm": ("num_requests_running", "num_requests_waiting"),
    "sglang": ("num_running_reqs", "num_queue_reqs"),
    "llamacpp": ("requests_processing", "requests_deferred"),
}
"""The names of the two gauges, for each server: the requests that it works at, and those that wait. vLLM 0.32 has them
at once, llama.cpp's server with `--metrics`, SGLang, by its documentation, with `--enable-metrics`."""
PATH = "/metrics"
SECONDS, MAX_SECONDS = 0.5, 30.0
"""Between two readings; and the most between two that tell nothing, each of which doubles them."""
TIMEOUT = aiohttp.ClientTimeout(total=2.0)
MAX_BYTES = 8 << 20
PASSING = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
"""Statuses of servers, and of gateways to them, that are not up yet."""


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
    """Returns the values of a gauge. The line feed before its name, in place of `^`, spares most of the search's time,
    for which the run waits."""
    line = rf"\n{name}(?:\{{.*\}})?[ \t]+([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)"
    return [float(value) for value in re.findall(line, "\n" + page)]


async def loads(connection: Connection) -> AsyncIterator[Load]:
    """Yields the load of a connection's one server, twice a second, for as long as it tells. Through a proxy it is not
    asked: servers of one's own have none in between."""
    if connection.proxy is not None:
        return
    (url,) = connection.urls
    async with _session(connection) as session:
        has_told, pause = False, SECONDS
        while True:
            page = await _page(session, url + PATH)
            load = page and load_of(page)
            if load:
                has_told, pause = True, SECONDS
                yield load
            elif page is None and not has_told:
                return
            else:
                pause = min(2 * pause, MAX_SECONDS)
            await asyncio.sleep(pause)


def _session(connection: Connection) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            ssl=trust(connection.ca_file),
            force_close=True,
            resolver=Resolver(connection.connect),  # aiohttp's own would take the threads in which rows are read
        ),
        timeout=TIMEOUT,
        headers={"User-Agent": f"batchgen/{__version__}", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def _page(session: aiohttp.ClientSession, url: str) -> str | None:
    """Returns the page; an empty one if the server cannot be reached now, and None if it has no such page for us."""
    try:
        async with session.get(url, allow_redirects=False) as response:
            if response.status != HTTPStatus.OK:
                return "" if response.status in PASSING else None
            parts, size = [], 0
            async for part in response.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > MAX_BYTES:
                    return None
            return b"".join(parts).decode(errors="replace")
    except (aiohttp.ClientError, TimeoutError, OSError):
        return ""
