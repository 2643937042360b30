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
from dataclasses import dataclass

import msgspec
from aiohttp import web

from batchgen.api import sse
from batchgen.api.types import Choice, Completion
from batchgen.simulator import model

DRIP = 1 / 50
"""Seconds between the bytes of an answer that drips."""
GARBAGE = b"<html><body><h1>Welcome</h1>Please accept our terms of use.</body></html>"
"""An answer as a captive portal replaces it."""


class RejectedError(Exception):
    """Refuses a request with the contract's error body. `key`: the field at fault. `retry_after`: whole seconds."""

    def __init__(
        self, status: int, tpe: str, description: str, key: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(description)
        self.status, self.tpe, self.description, self.key = status, tpe, description, key
        self.retry_after = retry_after

    def response(self, *, is_openai: bool = False) -> web.Response:
        response = json(self._as_openai() if is_openai else self._as_writer(), self.status)
        if self.retry_after is not None:
            response.headers["Retry-After"] = str(self.retry_after)
        return response

    def _as_writer(self) -> dict[str, object]:
        error = {"description": self.description, "key": self.key, "extras": None}
        return {"tpe": self.tpe, "errors": [error], "extras": None}

    def _as_openai(self) -> dict[str, object]:
        return {"error": {"message": self.description, "type": self.tpe, "param": self.key, "code": self.status}}


def json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


TPES = {
    400: "BadRequest",
    401: "Unauthorized",
    402: "PaymentRequired",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "PayloadTooLarge",
    415: "InvalidContentType",
    429: "fail.tooManyRequests",
}
SLOW_DOWN = frozenset({429, 503})
"""Statuses with a `Retry-After`."""


def tpe(status: int) -> str:
    return TPES.get(status, "BadRequest" if status < 500 else "InternalServerError")  # noqa: PLR2004  the class


def on_demand(status: int) -> RejectedError:
    """Returns the error for a status that was ordered. Its words must not name the model: such an error stops a run."""
    retry_after = 1 if status in SLOW_DOWN else None
    return RejectedError(status, tpe(status), f"fault {status}, on demand", retry_after=retry_after)


@dataclass(frozen=True, slots=True)
class Answer:
    """Holds an answer as it is sent: whole, or an event for each token. A stream has no other end mark than the end of
    its body: the contract documents none."""

    pieces: list[bytes]
    content_type: str

    @classmethod
    def for_choice(cls, choice: Choice, *, streamed: bool) -> Answer:
        if not streamed:
            whole = msgspec.json.encode(Completion(choices=[choice], model=model.NAME))
            return cls([whole], "application/json")
        events = [b"data: " + msgspec.json.encode(sse.Event(value)) + b"\n\n" for value in _values(choice)]
        return cls(events, "text/event-stream")

    @property
    def whole(self) -> bytes:
        return b"".join(self.pieces)


def _values(choice: Choice) -> list[str]:
    """Returns the text by tokens. An empty text is one empty event: a stream must have one."""
    tokens = choice.log_probs.content if choice.log_probs else None
    return [t.token for t in tokens or ()] or [""]


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
