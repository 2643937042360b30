"""Kept connections to one endpoint, and a POST over one of them: aiohttp's connector and parser, without its session.

A session makes a request, a response and a dozen tables for each attempt, for cookies, redirects and middlewares that
one fixed POST has no use for: three fifths of an attempt's CPU, against a constant answer. What stays of aiohttp is
what is hard: names, TLS and its certificates, proxies, HTTP's grammar. Its `connect`, `set_response_params` and `read`
are not promised to stay, so pyproject.toml bounds its version; the tests of the hostile endpoints hold what they do.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar, cast

import aiohttp
from aiohappyeyeballs import AddrInfoType
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from yarl import URL

from batchgen.api.proxy import Proxy

T = TypeVar("T")
KEPT_SECONDS = 15.0
"""How long an idle connection is trusted to be there still, as aiohttp's own pool has it."""

LINE, LINES = 64 << 10, 1000
"""Bytes of a header's line that are read, and lines: gateways add to them, and aiohttp's own bounds, 8,190 and 128,
lose an answer that was paid for."""
IDLE, AGAIN, PROBES = 30, 15, 4
"""Seconds until the kernel asks an idle peer whether it is there, and how it asks on: middleboxes forget a connection
that is silent, as while a long answer is made, and tell nobody."""
FEW_LOST = 3
"""Kept connections that end on a request by chance; where more than a fifth do, the server closes them."""
TRIED_ANEW = 200
"""Requests over fresh connections, after which one is kept again."""
HANGS_UP = getattr(select, "POLLRDHUP", 0)

Read = Callable[[RawResponseMessage, aiohttp.StreamReader], Awaitable[T]]


@dataclass(slots=True)
class Sendings:
    """How often a request left, and how many of these ended before a byte came and may yet have been read."""

    left: int = 0
    lost: int = 0


class Pool:
    """As many connections as are used at once, as an asynchronous context. `connect` is in seconds."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, connect: float, trust: ssl.SSLContext | bool, proxy: Proxy | None
    ) -> None:
        self._url = URL(url)
        self._headers = headers
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)
        self._trust = trust
        self._proxy = proxy
        self._reused = self._lost = self._fresh = 0
        self._idle: list[tuple[Connection, float]] = []  # the last used is taken first: the server kept it for sure

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._connector = aiohttp.TCPConnector(limit=0, ssl=self._trust, socket_factory=_socket)  # slots are the limit
        proxy = self._proxy
        self._target = aiohttp.ClientRequest(
            "POST",
            self._url,
            loop=self._loop,
            proxy=None if proxy is None else URL(proxy.url),
            proxy_headers=None if proxy is None else proxy.header(),
        )
        headers = {"Host": self._target.headers["Host"], **self._headers}
        where = self._url.raw_path_qs
        if proxy is not None and self._url.scheme == "http":  # read by the proxy, and not only by who is behind it
            where, headers = str(self._url), {**headers, **proxy.header()}
        lines = [f"POST {where} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self._head = "\r\n".join([*lines, "Content-Length: "]).encode("ascii")
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection, _since in self._idle:
            if connection.transport is not None:
                connection.transport.abort()  # TLS would say goodbye first, and may do so when the loop is closed
            connection.close()
        await self._connector.close()
        await asyncio.sleep(0)

    async def post(self, body: bytes, read: Read[T], sendings: Sendings, *, fresh: bool = False) -> T:
        """What `read` makes of the answer; the connection is kept if it was read to its end. Raises what aiohttp's
        session would, but for what is no HTTP: that is an HttpProcessingError.

        A kept connection may be closed while a request is on its way: then it goes over a fresh one, at once. Whether
        the first had been read by then cannot be told. A server that closes many of them is sent to over fresh ones
        alone, as with `fresh`."""
        kept = None if fresh or self._does_without() else self._kept()
        if kept is not None:
            self._reused += 1
            try:
                return await self._exchange(kept, body, read, sendings)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str):
                    raise  # some of an answer had come
                sendings.lost += 1
                self._lost += 1
        return await self._exchange(await self._connected(), body, read, sendings)

    async def _exchange(self, connection: Connection, body: bytes, read: Read[T], sendings: Sendings) -> T:
        try:
            protocol = cast(ResponseHandler, connection.protocol)  # it was open a moment ago
            transport = cast(asyncio.Transport, connection.transport)
            protocol.set_response_params(
                read_until_eof=True,
                auto_decompress=False,
                max_line_size=LINE,
                max_field_size=LINE,
                max_headers=LINES,
            )
            transport.writelines((self._head, b"%d\r\n\r\n" % len(body), body))
            sendings.left += 1
            message, payload = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:  # noqa: PLR2004  provisional: the answer comes yet
                message, payload = await protocol.read()
            answer = await read(message, payload)
        except BaseException:
            connection.close()
            raise
        self._keep(connection)
        return answer

    @property
    def _closes(self) -> bool:
        """Whether the server closes the connections that it should keep."""
        return self._lost >= FEW_LOST and self._lost > self._reused / 5

    def _does_without(self) -> bool:
        """Whether this request takes a fresh connection, as kept ones are closed; now and then one is tried."""
        closes = self._closes
        self._fresh += closes
        if self._fresh >= TRIED_ANEW:
            self._fresh = self._lost = self._reused = 0
        return closes

    def _keep(self, connection: Connection) -> None:
        if _is_clean(connection) and not self._closes:
            self._idle.append((connection, self._loop.time()))
        else:
            connection.close()

    def _kept(self) -> Connection | None:
        while self._idle:
            connection, since = self._idle.pop()
            if self._loop.time() - since <= KEPT_SECONDS and _is_clean(connection) and not _is_closing(connection):
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


def _is_closing(connection: Connection) -> bool:
    """Whether the peer has hung up, which the loop may not have heard yet."""
    transport = connection.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    if not HANGS_UP or peer is None:
        return False
    look = select.poll()
    look.register(peer.fileno(), HANGS_UP)
    return bool(look.poll(0))


def _socket(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", IDLE), ("TCP_KEEPINTVL", AGAIN), ("TCP_KEEPCNT", PROBES)):
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
