"""The pool of connections, against a server that counts them and says whatever the test tells it to."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager

import pytest

from batchgen.api import connection_pool as pools
from batchgen.api.connection_pool import Pool, Sendings

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each request with the next of `answers`, the last for ever; keeps what it was asked, by connection."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[list[bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked: list[bytes] = []
        self.asked.append(asked)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(re.search(rb"Content-Length: (\d+)", head)[1])
                asked.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                writer.write(answer)
                if b"close" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def opened(server: Server, path: str = "/v1/completions", host: str = "127.0.0.1"):
    listening = await asyncio.start_server(server.serve, host, 0)
    port = listening.sockets[0].getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    async with listening:
        url = f"http://{shown}:{port}{path}"
        async with Pool(url, {"Authorization": "Bearer k"}, connect=5, trust=True, proxy=None) as pool:
            yield pool, f"{shown}:{port}"


async def whole(message, payload) -> tuple[int, bytes]:
    return message.code, await payload.read()


async def test_one_after_another_share_a_connection():
    server = Server(OK)
    async with opened(server) as (pool, _):
        for _ in range(10):
            assert await pool.post(b"{}", whole, Sendings()) == (200, b"ok")
    assert [len(asked) for asked in server.asked] == [10]


async def test_as_many_connections_as_are_used_at_once():
    server = Server(OK)
    async with opened(server) as (pool, _):
        for _ in range(5):
            await asyncio.gather(*(pool.post(b"{}", whole, Sendings()) for _ in range(8)))
    assert [len(asked) for asked in server.asked] == [5] * 8


@pytest.mark.parametrize(
    ("first", "connections"),
    [
        pytest.param(OK, 1, id="whole: kept"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 1, id="a provisional one before it: kept"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK, 1, id="hints before it: kept"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 1, id="without a body: kept"),
        pytest.param(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), 2, id="the server closes: not kept"),
        pytest.param(OK.replace(b"1.1", b"1.0"), 2, id="HTTP/1.0: not kept"),
        pytest.param(OK + OK, 2, id="a second answer after it: not kept"),
    ],
)
async def test_what_comes_decides_whether_a_connection_is_kept(first: bytes, connections: int):
    server = Server(first, OK)
    async with opened(server) as (pool, _):
        await pool.post(b"{}", whole, Sendings())
        await asyncio.sleep(0.05)  # until what follows has come, too
        assert await pool.post(b"{}", whole, Sendings()) == (200, b"ok")
    assert len(server.asked) == connections


async def test_an_answer_that_is_not_read_to_its_end_ends_the_connection():
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun", OK)

    async def leave(message, payload) -> bytes:
        return await payload.readany()

    async with opened(server) as (pool, _):
        assert await pool.post(b"{}", leave, Sendings()) == b"begun"
        assert await pool.post(b"{}", whole, Sendings()) == (200, b"ok")
    assert len(server.asked) == 2


async def test_a_request_that_is_given_up_ends_its_connection():
    server = Server(b"HTTP/1.1 200 OK\r\n", OK)
    async with opened(server) as (pool, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.post(b"{}", whole, Sendings())
        assert await pool.post(b"{}", whole, Sendings()) == (200, b"ok")
    assert len(server.asked) == 2


async def test_what_was_idle_for_long_is_not_trusted(monkeypatch):
    server = Server(OK)
    async with opened(server) as (pool, _):
        await pool.post(b"{}", whole, Sendings())
        monkeypatch.setattr(pools, "KEPT_SECONDS", -1)
        await pool.post(b"{}", whole, Sendings())
    assert len(server.asked) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_what_is_sent(host: str):
    server = Server(OK)
    async with opened(server, "/base/v1/completions", host) as (pool, address):
        await pool.post('{"prompt":"ä"}'.encode(), whole, Sendings())
    assert server.asked == [
        [
            b"POST /base/v1/completions HTTP/1.1\r\nHost: %b\r\nAuthorization: Bearer k\r\nContent-Length: 15\r\n\r\n"
            b'{"prompt":"\xc3\xa4"}' % address.encode()
        ]
    ]
