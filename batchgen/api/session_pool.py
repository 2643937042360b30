"""POSTs by aiohttp's public interface only, each over a connection of its own. Used with an aiohttp whose internals
`connection_pool` does not know.

No connection is kept. A session takes any bytes in a kept connection for the answer to the next request: if a server
answers twice, one row would get another's answer. Nor does it tell whether a request that met a closed connection may
have been read.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Self, TypeVar

import aiohttp
from aiohttp import hdrs

from batchgen.api.exchange import MAX_HEADER_BYTES, MAX_HEADERS, NotHttp, Read, Sendings
from batchgen.api.proxy import Proxy
from batchgen.api.resolver import Resolver
from batchgen.api.sockets import keepalive_socket

T = TypeVar("T")
_UNASKED = (hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE)
"""Headers that a session would add. The client sets them itself."""


class SessionPool:
    """Opens a connection for each request. The arguments are those of a ConnectionPool."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, connect: float, trust: ssl.SSLContext | bool, proxy: Proxy | None
    ) -> None:
        self._url = url
        self._headers = {**headers, hdrs.CONNECTION: "close"}
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)
        self._connect = connect
        self._trust = trust
        self._through = {} if proxy is None else {"proxy": proxy.url, "proxy_headers": proxy.header()}
        if proxy is not None and url.startswith("http:"):  # the proxy reads these, not only the server behind it
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
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def post(self, body: bytes, read: Read[T], sendings: Sendings, *, new_connection: bool = False) -> T:  # noqa: ARG002
        try:
            async with self._session.post(
                self._url,
                data=body,
                headers=self._headers,  # as a session's headers, they and the key would go to the proxy, too
                allow_redirects=False,
                trace_request_ctx=sendings,
                **self._through,  # type: ignore[arg-type]
            ) as response:
                return await read(response.status, response.headers, response.content)
        except aiohttp.ClientResponseError as error:
            if not sendings.sent:
                raise  # from the proxy
            raise NotHttp.caused_by(error) from None


def _sent() -> aiohttp.TraceConfig:
    """Returns a trace that counts requests when they leave."""

    async def leave(_session: object, context: Any, _params: object) -> None:
        context.trace_request_ctx.sent += 1

    traces = aiohttp.TraceConfig()
    traces.on_request_headers_sent.append(leave)
    return traces
