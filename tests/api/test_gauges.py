"""What inference servers say of their load, and who is asked for it."""

import asyncio
import ssl
from contextlib import aclosing

import aiohttp
import pytest
from aiohttp import web
from support.connections import connection
from support.gauges import VLLM, Pages, page
from support.name_server import said_where_no_name_server_answers
from support.service import PATIENCE

from batchgen.api.gauges import Load, load_of, loads
from batchgen.api.proxy import Proxy


@pytest.mark.parametrize(
    ("page", "load"),
    [
        pytest.param(VLLM, Load(8, 3), id="vLLM"),
        pytest.param(VLLM + VLLM.replace('"0"', '"1"').replace("8.0", "5.0"), Load(13, 6), id="vLLM with two engines"),
        pytest.param(VLLM.replace("vllm:", "vllm_"), Load(8, 3), id="through an exporter that takes no colon"),
        pytest.param(VLLM.replace("8.0", "1.2e+02"), Load(120, 3), id="a large number"),
        pytest.param(VLLM.replace("8.0", "1.2E2"), Load(120, 3), id="a large number, as Java writes it"),
        pytest.param(VLLM.replace("3.0", "5e-324"), Load(8, 5e-324), id="a small number"),
        pytest.param(
            "llamacpp:requests_processing 4\nllamacpp:requests_deferred 12\n", Load(4, 12), id="llama.cpp's server"
        ),
        pytest.param(
            'sglang:num_running_reqs{model_name="m"} 2.0 1796022049\nsglang:num_queue_reqs{model_name="m"} 0.0\n',
            Load(2, 0),
            id="SGLang, by its documentation, with the time that the format allows",
        ),
        pytest.param(VLLM.replace("num_requests_waiting{", "num_requests_swapped{"), None, id="one of the two"),
        pytest.param(VLLM.replace("3.0", "NaN"), None, id="no number"),
        pytest.param(VLLM.replace("3.0", "+Inf"), None, id="without end"),
        pytest.param(VLLM.replace("3.0", "-1.0"), None, id="less than none"),
        pytest.param(f"# all on one line: {VLLM}".replace("\n", " "), None, id="within a line"),
        pytest.param("# HELP vllm:num_requests_running 8\nprocess_open_fds 12.0\n", None, id="a page of others"),
        pytest.param("", None, id="no page"),
    ],
)
def test_the_gauges_of_each_server_are_read(page, load):
    assert load_of(page) == load


async def told(url: str, count: int, **more) -> list[Load]:
    """What a server tells at first."""
    async with aclosing(loads(connection(url, **more))) as each, asyncio.timeout(PATIENCE):
        return [await anext(each) for _ in range(count)]


async def test_it_is_asked_as_long_as_it_tells_and_never_sees_the_key(monkeypatch):
    monkeypatch.setattr("batchgen.api.gauges.SECONDS", 0.01)
    async with Pages(page()) as server:
        assert await told(server.url + "/team", 3) == [Load(8, 3)] * 3
    assert {path for path, _ in server.asked} == {"/team/metrics"}
    assert not any("Authorization" in headers for _, headers in server.asked)
    assert {headers["Accept-Encoding"] for _, headers in server.asked} == {"identity"}, "compressing it is work"


async def test_no_cookie_is_kept(monkeypatch):
    monkeypatch.setattr("batchgen.api.gauges.SECONDS", 0.01)
    async with Pages(page(headers={"Set-Cookie": "session=1"})) as server:
        assert await told(server.url.replace("127.0.0.1", "localhost"), 2) == [Load(8, 3)] * 2
    assert not any("Cookie" in headers for _, headers in server.asked)


async def test_the_certificates_of_the_job_are_trusted(certificates):
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trust.load_cert_chain(certificates / "good.pem")
    async with Pages(page(), trust) as server:
        assert await told(server.url, 1, ca_file=str(certificates / "ca.pem")) == [Load(8, 3)]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(page(VLLM, status=401), id="401: to those who have a key"),
        pytest.param(page(VLLM, status=404), id="404"),
        pytest.param(page(VLLM, status=501), id="501, as llama.cpp's server says without --metrics"),
        pytest.param(page("", status=302, headers={"Location": "/elsewhere"}), id="a redirect"),
        pytest.param(page("x" * (9 << 20)), id="a page without end"),
    ],
)
async def test_a_server_that_refuses_is_asked_once(answer, monkeypatch):
    monkeypatch.setattr("batchgen.api.gauges.TIMEOUT", aiohttp.ClientTimeout(total=PATIENCE))
    async with Pages(answer) as server, asyncio.timeout(PATIENCE):
        assert [load async for load in loads(connection(server.url))] == []
    assert len(server.asked) == 1


async def test_a_server_that_has_told_may_be_gone_for_a_while(monkeypatch):
    monkeypatch.setattr("batchgen.api.gauges.SECONDS", 0.001)
    restart = {2: web.Response(status=503), 3: web.Response(status=404), 4: web.Response(text="")}
    async with Pages(lambda number: restart.get(number) or web.Response(text=VLLM)) as server:
        assert await told(server.url, 2) == [Load(8, 3)] * 2
    assert len(server.asked) == 5


async def test_a_server_that_does_not_tell_yet_is_asked_again(monkeypatch):
    """SGLang has its gauges with its first request; and a gateway may be up before what is behind it."""
    monkeypatch.setattr("batchgen.api.gauges.SECONDS", 0.001)
    first = [*(page("", status=status) for status in (502, 503, 504)), page(""), page("process_open_fds 12.0\n")]
    async with Pages(lambda number: [*first, page()][number - 1](number)) as server:
        assert await told(server.url, 1) == [Load(8, 3)]


async def test_a_server_that_does_not_answer_in_time_is_asked_again(monkeypatch):
    monkeypatch.setattr("batchgen.api.gauges.TIMEOUT", aiohttp.ClientTimeout(total=0.05))
    monkeypatch.setattr("batchgen.api.gauges.SECONDS", 0.001)
    async with Pages(lambda number: None if number == 1 else web.Response(text=VLLM)) as server:
        assert await told(server.url, 1) == [Load(8, 3)]


async def test_a_server_that_tells_nothing_is_asked_less_and_less_often(monkeypatch):
    waits, wait = [], asyncio.sleep

    async def waited(seconds: float) -> None:
        waits.extend([seconds] if seconds else [])  # aiohttp's server waits, too: for nothing
        await wait(0)

    monkeypatch.setattr("batchgen.api.gauges.asyncio.sleep", waited)
    tells = {1, 10, 11}
    async with Pages(lambda number: web.Response(text=VLLM if number in tells else "")) as server:
        assert await told(server.url, 3) == [Load(8, 3)] * 3
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 0.5]


async def test_a_server_that_is_not_up_yet_is_asked_again(monkeypatch, unused_tcp_port):
    monkeypatch.setattr("batchgen.api.gauges.SECONDS", 0.01)
    told = loads(connection(f"http://127.0.0.1:{unused_tcp_port}"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await anext(told)


async def test_through_a_proxy_nothing_is_asked():
    async with Pages(page()) as server:
        assert [load async for load in loads(connection(server.url, proxy=Proxy(server.url)))] == []
    assert not server.asked


SILENT = """
import asyncio, threading
from batchgen.api import gauges
from batchgen.api.connection import Connection

async def main():
    told = gauges.loads(Connection(urls=("http://service.example",), key="", connect=2, total=60))
    try:
        async with asyncio.timeout(3):
            await anext(told)
    except TimeoutError:
        print([thread.name for thread in threading.enumerate() if not thread.daemon])

asyncio.run(main())
"""


def test_name_servers_that_never_answer_hold_nobody_up(tmp_path):
    """The run reads its rows in the threads in which the loop looks up names, and its end waits for them."""
    assert said_where_no_name_server_answers(tmp_path, SILENT) == "['MainThread']\n"
