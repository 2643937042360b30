"""A server that does nothing but answer: `python serve.py ANSWER CHAT SECONDS`, on a free port of this machine.

ANSWER and CHAT are files with a body, or ANSWER is a number: of tokens, of which each answer has other ones, with
their log-probs. SECONDS is how long each request is held. Prints its URL; ends when its standard input does, and
then prints, as JSON, when each request had arrived and when each answer went (seconds of the monotonic clock).
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import answers

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n\r\n"
BACKLOG = 4096


class Record:
    def __init__(self) -> None:
        self.arrived, self.answered = array("d"), array("d")

    def as_json(self) -> str:
        return json.dumps({"arrived": list(self.arrived), "answered": list(self.answered)})


class Connection(asyncio.Protocol):
    """One request after another, as HTTP clients without pipelining send them."""

    def __init__(self, answer: Callable[[bytes], bytes], seconds: float, record: Record) -> None:
        self._answer, self._seconds, self._record = answer, seconds, record
        self._came = b""

    def connection_made(self, transport: asyncio.WriteTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._came += data
        end = self._came.find(_END)
        length = _LENGTH.search(self._came)
        if end < 0 or length is None or len(self._came) < end + len(_END) + int(length[1]):
            return
        response = _response(self._answer(self._came))
        self._came = b""
        self._record.arrived.append(monotonic())
        if self._seconds:
            asyncio.get_running_loop().call_later(self._seconds, self._send, response)
        else:
            self._send(response)

    def _send(self, response: bytes) -> None:
        self._record.answered.append(monotonic())
        self._transport.write(response)


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _answering(answer: str, chat: str) -> Callable[[bytes], bytes]:
    if answer.isdigit():
        chance = random.Random(2)
        return lambda _: answers.with_log_probs(int(answer), chance)
    plain, other = Path(answer).read_bytes(), Path(chat).read_bytes()
    return lambda request: other if request.startswith(b"POST /v1/chat/") else plain


async def serve(answer: Callable[[bytes], bytes], seconds: float) -> None:
    record = Record()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(answer, seconds, record), "127.0.0.1", 0, backlog=BACKLOG)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(record.as_json())


def main() -> None:
    try:
        from uvloop import new_event_loop  # noqa: PLC0415  not on every platform
    except ImportError:
        new_event_loop = asyncio.new_event_loop
    answer, chat, seconds = sys.argv[1:]
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(_answering(answer, chat), float(seconds)))


if __name__ == "__main__":
    main()
