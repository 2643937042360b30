"""Kept connections to one endpoint, and a POST over one of them: aiohttp's connector and parser, without its session.

A session makes a request, a response and a dozen tables for each attempt, for cookies, redirects and middlewares that
one fixed POST has no use for: three fifths of an attempt's CPU, against a constant answer. What stays of aiohttp is
what is hard: names, TLS and its certificates, proxies, HTTP's grammar.

This file alone calls what aiohttp does not promise to keep. `is_supported` says whether the aiohttp that is installed
has it, and does with it what is expected here; where not, `session_pool` takes its place.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Self, TypeVar, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from yarl import URL

from batchgen.api.exchange import LINE, LINES, NotHttp, Read, Sendings
from batchgen.api.proxy import Proxy
from batchgen.api.resolver import Resolver
from batchgen.api.sockets import keepalive_socket

T = TypeVar("T")
KEPT_SECONDS = 15.0
"""How long an idle connection is trusted to be there still, as aiohttp's own pool has it."""
FEW_GONE = 3
"""Kept connections that end by chance; where more than a fifth do, the server closes them."""
TIME_TO_CLOSE = 0.1
"""Seconds in which a server that closes connections does so. llama.cpp's does after each stream, and says nothing."""
AT_ONCE = 1.0
"""Seconds of idleness after which the end of a connection says nothing of the next one's."""
TRIED_ANEW = 200
"""Requests over fresh connections, after which one is kept again."""
HANGS_UP = getattr(select, "POLLRDHUP", 0)


class _Link:
    """A connection, and what is asked of it at each request. `since`: from when on it is idle."""

    __slots__ = ("_look", "connection", "protocol", "since", "transport")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.protocol = cast(ResponseHandler, connection.protocol)  # it was open a moment ago
        self.transport = cast(asyncio.Transport, connection.transport)
        self.since = 0.0
        self._look = _looker(self.transport)

    def is_clean(self) -> bool:
        """Whether it is open, and nothing lies in it: a late second answer to one request is none to the next."""
        return not self.protocol.should_close and self.protocol.is_connected()

    def is_closing(self) -> bool:
        """Whether the peer has hung up, which the loop may not have heard yet."""
        return self._look is not None and bool(self._look(0))

    def close(self) -> None:
        self.connection.close()

    def abort(self) -> None:
        self.transport.abort()
        self.connection.close()


def _looker(transport: asyncio.Transport) -> Callable[[int], list[tuple[int, int]]] | None:
    """What tells of a peer that hangs up; None where the system does not."""
    peer = transport.get_extra_info("socket")
    if not HANGS_UP or peer is None:
        return None
    look = select.poll()
    look.register(peer.fileno(), HANGS_UP)
    return look.poll


class ConnectionPool:
    """As many connections as are used at once, as an asynchronous context. `connect` is in seconds."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, connect: float, trust: ssl.SSLContext | bool, proxy: Proxy | None
    ) -> None:
        self._url = URL(url)
        self._headers = headers
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)
        self._connect = connect
        self._trust = trust
        self._proxy = proxy
        self._wanted = self._gone = self._fresh = 0  # kept connections, those of them that had ended, and fresh ones
        self._has_kept = False
        """Whether the server has been seen to keep a connection."""
        self._idle: list[_Link] = []

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._connector = aiohttp.TCPConnector(
            limit=0, ssl=self._trust, socket_factory=keepalive_socket, resolver=Resolver(self._connect)
        )
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
        for link in self._idle:
            link.abort()  # TLS would say goodbye first, and may do so when the loop is closed
        await self._connector.close()
        await asyncio.sleep(0)

    async def post(self, body: bytes, read: Read[T], sendings: Sendings, *, fresh: bool = False) -> T:
        """Returns what `read` makes of the answer; the connection is kept if it was read to its end. Raises as Pool.

        A kept connection may be closed while a request is on its way: then it goes over a fresh one, at once. Whether
        the first had been read by then cannot be told. A server that closes many of them is sent to over fresh ones
        alone, as with `fresh`."""
        link = None if fresh or self._does_without() else await self._kept()
        while True:
            is_kept = link is not None
            link = link or _Link(await self._connected())
            self._wanted += is_kept
            try:
                set_up(link.protocol)
                link.transport.writelines((self._head, b"%d\r\n\r\n" % len(body), body))
                sendings.left += 1
                message, payload = await link.protocol.read()
                while 100 <= message.code < 200 and message.code != 101:  # noqa: PLR2004  provisional: the answer comes
                    message, payload = await link.protocol.read()
                answer = await read(message.code, message.headers, payload)
            except BaseException as error:
                link.close()
                if isinstance(error, HttpProcessingError):
                    raise NotHttp.caused_by(error) from None
                if not (is_kept and _is_lost(error)):
                    raise
                sendings.lost += 1
                self._gone += 1
                link = None
            else:
                self._keep(link)
                return answer

    def _closes(self) -> bool:
        """Whether the server closes the connections that it should keep."""
        return self._gone >= FEW_GONE and self._gone > self._wanted / 5

    def _does_without(self) -> bool:
        """Whether this request takes a fresh connection, as kept ones are closed; now and then one is tried."""
        if not self._closes():
            return False
        self._fresh += 1
        if self._fresh >= TRIED_ANEW:
            self._fresh = self._gone = self._wanted = 0
            self._has_kept = False
        return True

    def _keep(self, link: _Link) -> None:
        if link.is_clean() and not self._closes():
            link.since = self._loop.time()
            self._idle.append(link)
        else:
            link.close()

    async def _kept(self) -> _Link | None:
        """Returns a connection that is open still, the last used first; None if there is none. A server that has kept
        none yet is first given the time to close: a request that meets the close would count as possibly billed."""
        while self._idle:
            since = self._idle[0].since
            if not self._has_kept and (wait := since + TIME_TO_CLOSE - self._loop.time()) > 0:
                await asyncio.sleep(wait)
                continue
            link = self._idle.pop(-1 if self._has_kept else 0)
            idle = self._loop.time() - link.since
            if idle <= KEPT_SECONDS and link.is_clean() and not link.is_closing():
                self._has_kept = True
                return link
            if idle < AT_ONCE:
                self._wanted, self._gone = self._wanted + 1, self._gone + 1
            link.close()
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


def set_up(protocol: ResponseHandler) -> None:
    """Makes it ready for one answer: with a parser of its own, which knows nothing of half an answer before it."""
    protocol.set_response_params(
        read_until_eof=True, auto_decompress=False, max_line_size=LINE, max_field_size=LINE, max_headers=LINES
    )


def _is_lost(error: BaseException) -> bool:
    """Whether the connection ended before any of an answer had come."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)
    return isinstance(error, aiohttp.ClientOSError)


# whether the aiohttp that is installed is one that this file knows


async def is_supported() -> bool:
    """Whether aiohttp has what is called here, and it does what it should: looks, and tries it on a few bytes."""
    try:
        return _is_known() and await _behaves()
    except Exception:  # noqa: BLE001  whatever another version raises: it is another
        return False


def _is_known() -> bool:
    wanted: list[tuple[Any, set[str]]] = [
        (aiohttp.TCPConnector, {"socket_factory"}),
        (aiohttp.TCPConnector.connect, {"req", "traces", "timeout"}),
        (aiohttp.ClientRequest, {"loop", "proxy", "proxy_headers"}),
        (aiohttp.ClientConnectorError, {"connection_key", "os_error"}),
    ]
    has = all(names <= set(signature(made).parameters) for made, names in wanted)
    return has and all(hasattr(Connection, name) for name in ("protocol", "transport", "closed", "close"))


class _NoTransport(asyncio.Transport):
    """Sends nothing anywhere."""

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


_LONG = b"x" * (LINE - 9)
_ANSWER = b"HTTP/1.1 200 OK\r\nX: %b\r\n%bContent-Length: 2\r\n\r\nok" % (_LONG, b"Y: z\r\n" * (LINES - 9))


async def _behaves() -> bool:
    """Whether two answers, one of them long and after a provisional one, are read one by one, and a third that nobody
    asked for is noticed."""
    protocol = ResponseHandler(asyncio.get_running_loop())
    protocol.connection_made(_NoTransport())
    for before in (b"HTTP/1.1 100 Continue\r\n\r\n", b""):
        set_up(protocol)
        protocol.data_received(before + _ANSWER)
        if before:
            provisional, _ = await protocol.read()
        message, payload = await protocol.read()
        whole = await payload.read()
        if (provisional.code, message.code, message.headers["x"], whole) != (100, 200, _LONG.decode(), b"ok"):
            return False
        if protocol.should_close or not protocol.is_connected():
            return False
    protocol.data_received(_ANSWER)
    return protocol.should_close
