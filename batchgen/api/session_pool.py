"""A POST by aiohttp's promised interface alone, over a connection of its own. For an aiohttp whose inner parts are not
those that `connection_pool` knows.

No connection is kept. A session takes whatever lies in a kept connection for the answer to the next request: where a
server answers twice, one row would get the answer to another. Nor does it tell whether a request that found a kept
connection closed may have been read.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Self, TypeVar

import aiohttp
from aiohttp import hdrs

from batchgen.api.exchange import LINE, LINES, NotHttp, Read, Sendings
from batchgen.api.proxy import Proxy
from batchgen.api.resolver import Resolver
from batchgen.api.sockets import keepalive_socket

T = TypeVar("T")
_UNASKED = (hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE)
"""Headers that a session adds, and that are the client's to choose."""


class SessionPool:
    """Its arguments are those of a ConnectionPool."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, connect: float, trust: ssl.SSLContext | bool, proxy: Proxy | None
    ) -> None:
        self._url = url
        self._headers = {**headers, hdrs.CONNECTION: "close"}
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)
        self._connect = connect
        self._trust = trust
        self._through = {} if proxy is None else {"proxy": proxy.url, "proxy_headers": proxy.header()}
        if proxy is not None and url.startswith("http:"):  # read by the proxy, and not only by who is behind it
            self._headers |= proxy.header()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                ssl=self._trust,
                force_close=True,
                socket_factory=keepalive_socket,
                resolver=Resolver(self._connect),
            ),
            skip_auto_headers=_UNASKED,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trace_configs=[_sent()],
            max_line_size=LINE,
            max_field_size=LINE,
            max_headers=LINES,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def post(self, body: bytes, read: Read[T], sendings: Sendings, *, fresh: bool = False) -> T:  # noqa: ARG002
        try:
            async with self._session.post(
                self._url,
                data=body,
                headers=self._headers,  # a session's own would be sent to the proxy, too, and with them the key
                allow_redirects=False,
                trace_request_ctx=sendings,
                **self._through,  # type: ignore[arg-type]
            ) as response:
                return await read(response.status, response.headers, response.content)
        except aiohttp.ClientResponseError as error:
            if not sendings.left:
                raise  # it is the proxy's
            raise NotHttp.caused_by(error) from None


def _sent() -> aiohttp.TraceConfig:
    """Counts a request when it leaves."""

    async def leave(_session: object, context: Any, _params: object) -> None:
        context.trace_request_ctx.left += 1

    traces = aiohttp.TraceConfig()
    traces.on_request_headers_sent.append(leave)
    return traces
