"""Both ways to POST, against a server that counts connections and says whatever the test tells it to."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager

import pytest

from batchgen.api import connection_pool as pools
from batchgen.api.connection_pool import ConnectionPool, is_supported
from batchgen.api.exchange import NotHttp, Sendings
from batchgen.api.pool import pool_of
from batchgen.api.session_pool import SessionPool

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
        async with await pool_of(url, {"Authorization": "Bearer k"}, connect=5, trust=True, proxy=None) as pool:
            yield pool, f"{shown}:{port}"


async def whole(status, headers, payload) -> tuple[int, bytes]:
    return status, await payload.read()


@pytest.mark.usefixtures("keeping_pool")
async def test_one_after_another_share_a_connection():
    server = Server(OK)
    async with opened(server) as (pool, _):
        for _ in range(10):
            assert await pool.post(b"{}", whole, Sendings()) == (200, b"ok")
    assert [len(asked) for asked in server.asked] == [10]


@pytest.mark.usefixtures("keeping_pool")
async def test_as_many_connections_as_are_used_at_once():
    server = Server(OK)
    async with opened(server) as (pool, _):
        for _ in range(5):
            await asyncio.gather(*(pool.post(b"{}", whole, Sendings()) for _ in range(8)))
    assert [len(asked) for asked in server.asked] == [5] * 8


@pytest.mark.usefixtures("keeping_pool")
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


@pytest.mark.usefixtures("each_pool")
async def test_an_answer_that_is_not_read_to_its_end_ends_the_connection():
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun", OK)

    async def leave(status, headers, payload) -> bytes:
        return await payload.readany()

    async with opened(server) as (pool, _):
        assert await pool.post(b"{}", leave, Sendings()) == b"begun"
        assert await pool.post(b"{}", whole, Sendings()) == (200, b"ok")
    assert len(server.asked) == 2


@pytest.mark.usefixtures("each_pool")
async def test_a_request_that_is_given_up_ends_its_connection():
    server = Server(b"HTTP/1.1 200 OK\r\n", OK)
    async with opened(server) as (pool, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.post(b"{}", whole, Sendings())
        assert await pool.post(b"{}", whole, Sendings()) == (200, b"ok")
    assert len(server.asked) == 2


@pytest.mark.usefixtures("keeping_pool")
async def test_what_was_idle_for_long_is_not_trusted(monkeypatch):
    server = Server(OK)
    async with opened(server) as (pool, _):
        await pool.post(b"{}", whole, Sendings())
        monkeypatch.setattr(pools, "KEPT_SECONDS", -1)
        await pool.post(b"{}", whole, Sendings())
    assert len(server.asked) == 2


@pytest.mark.usefixtures("each_pool")
@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, id="a provisional one before it"),
        pytest.param(OK.replace(b"1.1", b"1.0"), id="HTTP/1.0"),
        pytest.param(OK.replace(b"Content-Length: 2", b"Connection: close"), id="to the end of the connection"),
        pytest.param(OK.replace(b"\r\n\r\n", b"\r\nX: %b\r\n\r\n" % (b"x" * 60_000)), id="a header of 60 kB"),
        pytest.param(OK.replace(b"\r\n\r\n", b"\r\nX: y" * 500 + b"\r\n\r\n"), id="five hundred headers"),
        pytest.param(OK + OK, id="a second answer after it"),
    ],
)
async def test_what_comes_is_read_and_the_next_answer_is_the_next_requests(first: bytes):
    server = Server(first, OK.replace(b"ok", b"no"))
    async with opened(server) as (pool, _):
        sendings = Sendings()
        assert await pool.post(b"{}", whole, sendings) == (200, b"ok")
        assert (sendings.sent, sendings.lost) == (1, 0)
        await asyncio.sleep(0.05)  # until what follows has come, too
        assert await pool.post(b"{}", whole, Sendings()) == (200, b"no")


@pytest.mark.usefixtures("each_pool")
async def test_what_is_no_http_is_told_as_such():
    server = Server(b"SSH-2.0-OpenSSH_9.6\r\n")
    async with opened(server) as (pool, _):
        with pytest.raises(NotHttp, match=r"BadStatusLine|BadHttpMessage"):
            await pool.post(b"{}", whole, Sendings())


@pytest.mark.usefixtures("each_pool")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_what_is_sent(host: str):
    server = Server(OK)
    async with opened(server, "/base/v1/completions", host) as (pool, address):
        await pool.post('{"prompt":"ä"}'.encode(), whole, Sendings())
    ((asked,),) = server.asked
    head, _, body = asked.partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    assert (first, body) == (b"POST /base/v1/completions HTTP/1.1", b'{"prompt":"\xc3\xa4"}')
    wanted = {b"Host: " + address.encode(), b"Authorization: Bearer k", b"Content-Length: 15"}
    assert set(headers) - {b"Connection: close"} == wanted
    assert len(headers) == len(set(headers))


# which of them is taken


async def test_the_fast_one_is_taken_where_aiohttp_is_as_it_should_be(monkeypatch):
    assert await is_supported()
    assert isinstance(await pool_of("http://h", {}, connect=5, trust=True, proxy=None), ConnectionPool)
    monkeypatch.setattr(pools, "MAX_HEADERS", 5)  # as if it read fewer headers than it is told to
    assert not await is_supported()
    assert isinstance(await pool_of("http://h", {}, connect=5, trust=True, proxy=None), SessionPool)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        pytest.param(pools.ResponseHandler, "set_response_params", id="a method is gone"),
        pytest.param(pools.ResponseHandler, "should_close", id="a property is gone"),
        pytest.param(pools.Connection, "protocol", id="a connection shows no protocol"),
        pytest.param(pools.aiohttp.TCPConnector, "connect", id="the connector connects otherwise"),
    ],
)
async def test_another_aiohttp_is_noticed(monkeypatch, owner, name: str):
    for base in [base for base in owner.__mro__ if name in vars(base)]:
        monkeypatch.delattr(base, name)
    assert not await is_supported()


async def test_an_aiohttp_that_takes_no_notice_of_what_nobody_asked_for_is_noticed(monkeypatch):
    monkeypatch.setattr(pools.ResponseHandler, "should_close", False)
    assert not await is_supported()
