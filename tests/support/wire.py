"""A server of raw bytes: what no server library would send."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from support.service import PATIENCE

KEY = "test-key-4f1d0c"


TOTAL = 15
"""Seconds of an attempt in all: what never ends takes so long, and all else has to be told in them on a busy machine, too."""


Writer = asyncio.StreamWriter


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    head: bytes
    body: bytes

    @property
    def name(self) -> str:
        """What the row is called."""
        return json.loads(self.body)["prompt"].removeprefix("Write about ").removesuffix(".")


Answer = Callable[[Asked, Writer], Awaitable[None]]


class Wire:
    """A server of raw bytes, in a thread, while the block lasts. `answers`: by row's name; the others' are fine.

    `heads` are the requests' as they came, `opened` counts connections.
    """

    def __init__(self, answers: dict[str, Answer] | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.answers = answers or {}
        self.default: Answer = fine
        self.heads: list[bytes] = []
        self.opened = 0
        self._asked = threading.Condition()
        self._tls = tls
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="wire")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def wait(self, until: Callable[[], bool]) -> None:
        """Returns when `until()` holds, which is asked at every request; fails when it does not come to that."""
        with self._asked:
            assert self._asked.wait_for(until, PATIENCE), "the wire waited in vain"

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda *_: None)
        self._stop = asyncio.Event()
        serving: set[asyncio.Task[None]] = set()

        def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
            task = asyncio.ensure_future(self._serve(reader, writer))
            serving.add(task)
            task.add_done_callback(serving.discard)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        self.opened += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                await self.converse(reader, writer)
        finally:
            writer.close()

    async def converse(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            with self._asked:
                self.heads.append(head)
                self._asked.notify_all()
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            asked = Asked(head, await reader.readexactly(int(length.split(b":")[1])))
            await self.answers.get(asked.name, self.default)(asked, writer)
            await writer.drain()
            if writer.is_closing():
                return


def http(body: bytes, *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    """A whole answer, which ends with its connection."""
    given = [f"HTTP/1.1 {status}", "Connection: close", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join([*given, "", ""]).encode("latin-1") + body


def completion(text: str, **more: object) -> bytes:
    return json.dumps({"choices": [{"text": text, "log_probs": None}], "model": "m", **more}).encode()


async def fine(asked: Asked, writer: Writer) -> None:
    writer.write(kept(completion(f"about {asked.name}")))


def says(*pieces: bytes, close: bool = True) -> Answer:
    """Writes these bytes, each by itself, and ends the connection."""

    async def answer(_: Asked, writer: Writer) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)  # so that it is a packet of its own
        if not close:
            await asyncio.Event().wait()
        writer.close()

    return answer


def endless(head: bytes, piece: bytes, *, every: float = 0) -> Answer:
    """Writes the head, and the piece again and again until nobody listens."""

    async def answer(_: Asked, writer: Writer) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every)

    return answer


CHUNKED = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"


def kept(body: bytes) -> bytes:
    """A whole answer, after which the connection stays."""
    return http(body).replace(b"Connection: close\r\n", b"")


EVENTS = "Content-Type: text/event-stream"


GOOD = completion("good")


SSE = b'data: {"value": "on"}\n\ndata: {"value": "ce"}\n\n'


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


ROWS = [{"id": str(n), "name": f"row {n}"} for n in range(6)]


QUICK = {"retry": {"attempts": 1}, "limits": {"concurrency": 2}}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority's `ca.pem`; pairs `good`, `stranger` (another host's), `bare` (without the key
    identifier that Python 3.13 asks for), all three the authority's, and `own` (self-signed), each as .pem with key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    fresh = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=A test's authority"]
    openssl("req", "-x509", *fresh, *authority, "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # 3.13 is strict
    for name, host, issuer in (
        ("good", "IP:127.0.0.1", "keyid"),
        ("stranger", "DNS:elsewhere.example", "keyid"),
        ("bare", "IP:127.0.0.1", "none"),
    ):
        openssl("req", *fresh, "-keyout", "its.key", "-out", "its.csr", "-subj", f"/CN={name}")
        (folder / "its.ext").write_text(
            f"subjectAltName={host}\nauthorityKeyIdentifier={issuer}\nsubjectKeyIdentifier=hash\n"
        )
        openssl(
            "x509",
            "-req",
            "-in",
            "its.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            "its.ext",
            "-out",
            "its.pem",
        )
        (folder / f"{name}.pem").write_bytes((folder / "its.key").read_bytes() + (folder / "its.pem").read_bytes())
    openssl(
        "req",
        "-x509",
        *fresh,
        "-keyout",
        "its.key",
        "-out",
        "its.pem",
        "-days",
        "30",
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    )
    (folder / "own.pem").write_bytes((folder / "its.key").read_bytes() + (folder / "its.pem").read_bytes())
    return folder


def tls(pair: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    return context


class Proxy(Wire):
    """Answers CONNECT by a tunnel, or by what it is told to; `connects` are its requests as they came."""

    def __init__(self, refusal: bytes = b"") -> None:
        super().__init__()
        self.connects: list[bytes] = []
        self.refuses: Callable[[int], bytes] = lambda _: refusal  # by how many asked so far

    async def converse(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.connects.append(head)
        method, target, _ = head.split(b" ", 2)
        refusal = self.refuses(len(self.connects))
        if refusal or method != b"CONNECT":
            writer.write(refusal or http(b"", status="405 Method Not Allowed"))
            await writer.drain()
            return
        host, port = target.decode().rsplit(":", 1)
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(piped(reader, far_writer), piped(far_reader, writer))


async def piped(reader: asyncio.StreamReader, writer: Writer) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
