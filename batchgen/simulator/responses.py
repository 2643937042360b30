"""Sends answers: whole, as events, as the contract's error, or spoiled as the options demand.

It must never choose among these, generate, or bill: that is done before it is called.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from batchgen.simulator.answers import Answer, RejectedError

DRIP = 1 / 50
"""Seconds between the bytes of an answer that drips."""
GARBAGE = b"<html><body><h1>Welcome</h1>Please accept our terms of use.</body></html>"
"""An answer as a captive portal replaces it."""


def refusal(rejected: RejectedError, *, is_openai: bool = False) -> web.Response:
    """Returns the contract's error."""
    body = rejected.body(is_openai=is_openai)
    response = web.Response(body=body, status=rejected.status, content_type="application/json")
    if rejected.retry_after is not None:
        response.headers["Retry-After"] = str(rejected.retry_after)
    return response


async def send(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Sends the answer as the contract has it."""
    if answer.content_type == "application/json":
        return web.Response(body=answer.whole, content_type=answer.content_type)
    response = web.StreamResponse(headers={"Content-Type": answer.content_type, "Cache-Control": "no-cache"})
    await response.prepare(request)
    for piece in answer.pieces:
        await response.write(piece)
    await response.write_eof()
    return response


async def reset(request: web.Request, _: Answer | None = None) -> web.StreamResponse:
    """Resets the connection (RST) before any byte of an answer."""
    transport = request.transport
    if transport is not None:
        _reset_on_close(transport)
        transport.abort()
    return web.Response()


def _reset_on_close(transport: asyncio.Transport) -> None:
    """Makes closing the connection reset it. Uses a duplicate of the socket: the loop owns the original."""
    with suppress(OSError), socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as plug:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def hang(_: web.Request, __: Answer) -> web.StreamResponse:
    """Sends nothing until the client goes: then the server cancels its handler."""
    never: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()
    return await never


async def cut(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Sends half of what Content-Length announces."""
    response = await _start(request, answer)
    await response.write(answer.whole[: len(answer.whole) // 2])
    if request.transport is not None:
        request.transport.close()  # what was written is sent before the connection ends
    return response


async def drip(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Sends one byte at a time, until the end or until the client goes."""
    response = await _start(request, answer)
    for byte in answer.whole:
        await response.write(bytes([byte]))
        await asyncio.sleep(DRIP)
    await response.write_eof()
    return response


async def _start(request: web.Request, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": answer.content_type})
    response.content_length = len(answer.whole)
    await response.prepare(request)
    return response


async def garbage(_: web.Request, __: Answer) -> web.StreamResponse:
    """Sends a 200 without the answer."""
    return web.Response(body=GARBAGE, content_type="text/html")


Say = Callable[[web.Request, Answer], Awaitable[web.StreamResponse]]
SPOILS: dict[str | None, Say] = {
    None: send,
    "reset": reset,
    "hang": hang,
    "cut": cut,
    "drip": drip,
    "garbage": garbage,
}
"""The function that sends an answer, by its fault."""
