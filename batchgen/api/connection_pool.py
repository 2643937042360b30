"""Keeps connections to one endpoint, and POSTs over them: aiohttp's connector and parser, without its session.

A session builds a request, a response and a dozen tables for each attempt, for cookies, redirects and middlewares. One
fixed POST needs none of them: they are three fifths of an attempt's CPU against a constant answer. aiohttp still does
the hard parts: names, TLS and its certificates, proxies, HTTP's grammar.

Only this file calls what aiohttp does not promise to keep. `is_supported` checks whether the installed aiohttp has it,
and behaves as expected here; otherwise `session_pool` is used.
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

from batchgen.api.exchange import MAX_HEADER_BYTES, MAX_HEADERS, NotHttp, Read, Sendings
from batchgen.api.proxy import Proxy
from batchgen.api.resolver import Resolver
from batchgen.api.sockets import keepalive_socket

T = TypeVar("T")
KEPT_SECONDS = 15.0
"""Seconds for which an idle connection may be used again, as in aiohttp's own pool."""
FEW_GONE = 3
"""Kept connections that may end by chance. If more do, and more than a fifth of all, the server closes them."""
TIME_TO_CLOSE = 0.1
"""Seconds in which a server that closes connections after streams does so. llama.cpp's does, unannounced."""
AT_ONCE = 1.0
"""Seconds of idleness after which an ended connection says nothing about the next one."""
TRIED_ANEW = 200
"""Requests over new connections, after which keeping one is tried again."""
POLL_EVENTS = getattr(select, "POLLIN", 0) | getattr(select, "POLLRDHUP", 0)
"""What shows that an idle connection is none to use: something came that nobody asked for, or the peer has hung up."""


class _KeptConnection:
    """Holds a connection, and what is asked of it at each request. `since`: when it became idle. `has_streamed`: its
    last answer had no length."""

    __slots__ = ("_poll", "connection", "has_streamed", "protocol", "since", "transport")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.protocol = cast(ResponseHandler, connection.protocol)  # it was open a moment ago
        self.transport = cast(asyncio.Transport, connection.transport)
        self.since = 0.0
        self.has_streamed = False
        self._poll = _poll_of(self.transport)

    def is_clean(self) -> bool:
        """Returns whether it is open and empty: a second answer to one request must not be read as the next one's."""
        return not self.protocol.should_close and self.protocol.is_connected()

    def is_spoiled(self) -> bool:
        """Returns whether the peer has hung up, or has sent more, of which the loop may not know yet."""
        return self._poll is not None and bool(self._poll(0))

    def close(self) -> None:
        self.connection.close()

    def abort(self) -> None:
        self.transport.abort()
        self.connection.close()


def _poll_of(transport: asyncio.Transport) -> Callable[[int], list[tuple[int, int]]] | None:
    """Returns a function that detects POLL_EVENTS; None if the system cannot tell."""
    peer = transport.get_extra_info("socket")
    if not POLL_EVENTS or peer is None:
        return None
    poll = select.poll()
    poll.register(peer.fileno(), POLL_EVENTS)
    return poll.poll


class ConnectionPool:
    """Opens as many connections as are used at the same time, as an asynchronous context. `connect`: a time-out in
    seconds."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, connect: float, trust: ssl.SSLContext | bool, proxy: Proxy | None
    ) -> None:
        self._url = URL(url)
        self._headers = headers
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)
        self._connect = connect
        self._trust = trust
        self._proxy = proxy
        self._wanted = self._gone = self._new = 0  # kept connections, those of them that had ended, and new ones
        self._has_kept = False
        """Whether the server has been seen to keep a connection after a stream."""
        self._idle: list[_KeptConnection] = []

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
        if proxy is not None and self._url.scheme == "http":  # the proxy reads these, not only the server behind it
            where, headers = str(self._url), {**headers, **proxy.header()}
        lines = [f"POST {where} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self._head = "\r\n".join([*lines, "Content-Length: "]).encode("ascii")
        return self

    async def __aexit__(self, *_: object) -> None:
        for link in self._idle:
            link.abort()  # TLS would say goodbye first, perhaps after the loop is closed
        await self._connector.close()
        await asyncio.sleep(0)

    async def post(self, body: bytes, read: Read[T], sendings: Sendings, *, new_connection: bool = False) -> T:
        """Returns what `read` makes of the answer. The connection is kept if the answer was read to its end. Raises as
        Pool does.

        A kept connection may be closed while a request is on its way. Then the request is sent again at once, over a
        new one; whether the server read it the first time is unknown. If a server closes many, each request gets a
        new connection, as with `new_connection`."""
        link = None if new_connection or self._needs_new_connection() else await self._kept()
        while True:
            is_kept = link is not None
            link = link or _KeptConnection(await self._connected())
            self._wanted += is_kept
            try:
                prepare_for_answer(link.protocol)
                link.transport.writelines((self._head, b"%d\r\n\r\n" % len(body), body))
                sendings.sent += 1
                message, payload = await link.protocol.read()
                while 100 <= message.code < 200 and message.code != 101:  # noqa: PLR2004  provisional: the answer follows
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
                link.has_streamed = "Content-Length" not in message.headers
                self._keep(link)
                return answer

    def _closes(self) -> bool:
        """Returns whether the server closes connections that it should keep."""
        return self._gone >= FEW_GONE and self._gone > self._wanted / 5

    def _needs_new_connection(self) -> bool:
        """Returns whether this request needs a new connection, since kept ones get closed. Sometimes one is tried."""
        if not self._closes():
            return False
        self._new += 1
        if self._new >= TRIED_ANEW:
            self._new = self._gone = self._wanted = 0
            self._has_kept = False
        return True

    def _keep(self, link: _KeptConnection) -> None:
        if link.is_clean() and not self._closes():
            link.since = self._loop.time()
            self._idle.append(link)
        else:
            link.close()

    async def _kept(self) -> _KeptConnection | None:
        """Returns a connection that is open still, the last used first; None if there is none. Until the server has
        kept one after a stream, it is given the time to close: a request that meets the close would count as possibly
        billed."""
        while self._idle:
            oldest = self._idle[0]
            is_doubtful = oldest.has_streamed and not self._has_kept
            if is_doubtful and (wait := oldest.since + TIME_TO_CLOSE - self._loop.time()) > 0:
                await asyncio.sleep(wait)
                continue
            link = self._idle.pop(0 if is_doubtful else -1)
            idle = self._loop.time() - link.since
            if idle <= KEPT_SECONDS and link.is_clean() and not link.is_spoiled():
                self._has_kept = self._has_kept or is_doubtful
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


def prepare_for_answer(protocol: ResponseHandler) -> None:
    """Prepares a connection for one answer. Its parser is new, and knows nothing of half an answer before it."""
    protocol.set_response_params(
        read_until_eof=True,
        auto_decompress=False,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
    )


def _is_lost(error: BaseException) -> bool:
    """Returns whether the connection ended before any byte of an answer came."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)
    return isinstance(error, aiohttp.ClientOSError)


# Is the installed aiohttp one that this file knows?


async def is_supported() -> bool:
    """Returns whether aiohttp has what is called here, and it works: looks it up, and tries it on a few bytes."""
    try:
        return _is_known() and await _behaves()
    except Exception:  # noqa: BLE001  another version may raise anything
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
    """Sends nothing."""

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


_LONG = b"x" * (MAX_HEADER_BYTES - 9)
_ANSWER = b"HTTP/1.1 200 OK\r\nX: %b\r\n%bContent-Length: 2\r\n\r\nok" % (_LONG, b"Y: z\r\n" * (MAX_HEADERS - 9))


async def _behaves() -> bool:
    """Returns whether two answers are read one by one (the first is long, and follows a provisional one), and a third
    that was not asked for is noticed."""
    protocol = ResponseHandler(asyncio.get_running_loop())
    protocol.connection_made(_NoTransport())
    for before in (b"HTTP/1.1 100 Continue\r\n\r\n", b""):
        prepare_for_answer(protocol)
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
