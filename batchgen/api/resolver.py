"""Looks up addresses of hosts, and gives up on name servers that do not answer.

aiohttp's own resolver waits as long as the system does: half a minute with three name servers. By then
`timeout.connect` is over, and nobody knows why. The system's call cannot be cancelled: each runs in a daemon thread,
for which the end of the process does not wait.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

LOOKUP_SECONDS = 6.0
"""Seconds until name servers are taken for silent. The system asks the second one after 5 s, and it may answer."""
SHARE_OF_CONNECT = 0.75
"""A lookup ends before the time to connect is over, so that the cause is known."""
NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

Question = tuple[str, int, socket.AddressFamily]
Found = asyncio.Future[list[ResolveResult]]
Lookup = Callable[..., list[tuple[Any, ...]]]


class Resolver(AbstractResolver):
    """Resolves names by the system's `getaddrinfo` (`lookup`). `connect`: the time-out to connect, in seconds."""

    def __init__(self, connect: float, lookup: Lookup = socket.getaddrinfo) -> None:
        self._seconds = min(LOOKUP_SECONDS, SHARE_OF_CONNECT * connect)
        self._lookup = lookup
        self._loop = asyncio.get_running_loop()
        self._lookups: dict[Question, tuple[float, Found]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Returns the host's addresses. Raises OSError if there are none, or no name server answers. All wait for the
        same lookup, until it is too late; whoever asks after that gets what it found."""
        question = host, port, family
        since, found = self._lookups.get(question) or self._start(question)
        await asyncio.wait([found], timeout=max(0.0, since + self._seconds - self._loop.time()))
        if found.done():
            self._lookups.pop(question, None)
            return found.result()
        raise socket.gaierror(socket.EAI_AGAIN, f"no name server has answered for {self._seconds:g} s")

    async def close(self) -> None:
        pass

    def _start(self, question: Question) -> tuple[float, Found]:
        started = self._lookups[question] = self._loop.time(), self._loop.create_future()
        threading.Thread(target=self._run, args=(question, started[1]), name="name lookup", daemon=True).start()
        return started

    def _run(self, question: Question, found: Found) -> None:
        """Asks the system, in a thread of its own."""
        end: Callable[[], None]
        try:
            end = partial(found.set_result, self._addresses(*question))
        except (OSError, UnicodeError) as error:  # the latter: a name that IDNA does not allow
            end = partial(_fail, found, error if isinstance(error, OSError) else OSError(None, str(error)))
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(end)

    def _addresses(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        infos = self._lookup(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
        return [
            ResolveResult(
                hostname=host,
                host=socket.getnameinfo(address, NUMERIC)[0],  # with the scope of a link-local address
                port=port,
                family=family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for family, _, protocol, _, address in infos
        ]


def _fail(found: Found, error: OSError) -> None:
    found.set_exception(error)
    found.exception()  # nobody may be waiting: then asyncio would log it
