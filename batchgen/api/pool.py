"""Kept connections to one endpoint, and a POST over one of them: aiohttp's connector and parser, without its session.

A session makes a request, a response and a dozen tables for each attempt, for cookies, redirects and middlewares that
one fixed POST has no use for: three fifths of an attempt's CPU, against a constant answer. What stays of aiohttp is
what is hard: names, TLS and its certificates, proxies, HTTP's grammar. Its `connect`, `set_response_params` and `read`
are not promised to stay, so pyproject.toml bounds its version; the tests of the hostile endpoints hold what they do.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Self, TypeVar, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from yarl import URL

T = TypeVar("T")
KEPT_SECONDS = 15.0
"""How long an idle connection is trusted to be there still, as aiohttp's own pool has it."""

Read = Callable[[RawResponseMessage, aiohttp.StreamReader], Awaitable[T]]


class Pool:
    """As many connections as are used at once, as an asynchronous context. `connect` is in seconds."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, connect: float, trust: ssl.SSLContext | bool, proxy: str | None
    ) -> None:
        self._url = URL(url)
        self._headers = headers
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect)
        self._trust = trust
        self._proxy = URL(proxy) if proxy is not None else None
        self._idle: list[tuple[Connection, float]] = []  # the last used is taken first: the server kept it for sure

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._connector = aiohttp.TCPConnector(limit=0, ssl=self._trust)  # the pump's slots are the limit
        self._target = aiohttp.ClientRequest("POST", self._url, loop=self._loop, proxy=self._proxy)
        headers = {"Host": self._target.headers["Host"], **self._headers}
        lines = [f"POST {self._url.raw_path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self._head = "\r\n".join([*lines, "Content-Length: "]).encode("ascii")
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection, _since in self._idle:
            connection.close()
        await self._connector.close()

    async def post(self, body: bytes, read: Read[T]) -> T:
        """What `read` makes of the answer; the connection is kept if it was read to its end. Raises what aiohttp's
        session would, but for what is no HTTP: that is an HttpProcessingError."""
        connection = self._kept() or await self._connected()
        try:
            protocol = cast(ResponseHandler, connection.protocol)  # it was open a moment ago
            transport = cast(asyncio.Transport, connection.transport)
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            transport.writelines((self._head, b"%d\r\n\r\n" % len(body), body))
            message, payload = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:  # noqa: PLR2004  provisional: the answer comes yet
                message, payload = await protocol.read()
            answer = await read(message, payload)
        except BaseException:
            connection.close()
            raise
        self._keep(connection)
        return answer

    def _keep(self, connection: Connection) -> None:
        if _is_clean(connection):
            self._idle.append((connection, self._loop.time()))
        else:
            connection.close()

    def _kept(self) -> Connection | None:
        while self._idle:
            connection, since = self._idle.pop()
            if self._loop.time() - since <= KEPT_SECONDS and _is_clean(connection):
                return connection
            connection.close()
        return None

    async def _connected(self) -> Connection:
        try:
            connection = await self._connector.connect(self._target, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection within {self._timeout.sock_connect:g} s") from error
        if connection.closed:
            connection.close()
            raise aiohttp.ClientConnectorError(self._target.connection_key, ConnectionResetError("closed at once"))
        return connection


def _is_clean(connection: Connection) -> bool:
    """Open, and nothing lies in it: a late second answer to one request is none to the next."""
    protocol = connection.protocol
    return protocol is not None and protocol.is_connected() and not protocol.should_close
