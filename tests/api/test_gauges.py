"""What inference servers say of their load, and who is asked for it."""

import asyncio

import pytest
from aiohttp import web
from support.connections import connection
from support.service import PATIENCE

from batchgen.api.gauges import Load, load_of, loads
from batchgen.api.proxy import Proxy

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="org/{m}"} 8.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="org/{m}"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="org/{m}",reason="capacity"} 3.0
"""


@pytest.mark.parametrize(
    ("page", "load"),
    [
        pytest.param(VLLM, Load(8, 3), id="vLLM"),
        pytest.param(VLLM + VLLM.replace('"0"', '"1"').replace("8.0", "5.0"), Load(13, 6), id="vLLM with two engines"),
        pytest.param(VLLM.replace("vllm:", "vllm_"), Load(8, 3), id="through an exporter that takes no colon"),
        pytest.param(VLLM.replace("8.0", "1.2e+02"), Load(120, 3), id="a large number"),
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
        pytest.param("# HELP vllm:num_requests_running 8\nprocess_open_fds 12.0\n", None, id="a page of others"),
        pytest.param("", None, id="no page"),
    ],
)
def test_the_gauges_of_each_server_are_read(page, load):
    assert load_of(page) == load


class Pages:
    """A server whose page a test scripts, by how often it was asked. `asked`: the paths and headers of requests."""

    def __init__(self, page) -> None:
        self.asked, self._page = [], page

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/{path:.*}", self._get)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0])
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _get(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, request.headers))
        return self._page(len(self.asked))


def page(text: str = VLLM, **more):
    return lambda _: web.Response(text=text, **more)


async def test_it_is_asked_as_long_as_it_tells_and_never_sees_the_key(monkeypatch):
    monkeypatch.setattr("batchgen.api.gauges.SECONDS", 0.01)
    async with Pages(page()) as server:
        told = loads(connection(server.url + "/team"))
        assert [await anext(told) for _ in range(3)] == [Load(8, 3)] * 3
        await told.aclose()
    assert {path for path, _ in server.asked} == {"/team/metrics"}
    assert not any("Authorization" in headers for _, headers in server.asked)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(page("process_open_fds 12.0\n"), id="gauges of other things"),
        pytest.param(page(VLLM, status=501), id="501, as llama.cpp's server says without --metrics"),
        pytest.param(page("", status=302, headers={"Location": "/elsewhere"}), id="a redirect"),
        pytest.param(page("x" * (9 << 20)), id="a page without end"),
    ],
)
async def test_a_server_without_gauges_is_asked_once(answer):
    async with Pages(answer) as server, asyncio.timeout(PATIENCE):
        assert [load async for load in loads(connection(server.url))] == []
    assert len(server.asked) == 1


async def test_a_server_that_has_told_may_be_gone_for_a_while(monkeypatch):
    monkeypatch.setattr("batchgen.api.gauges.SECONDS", 0.01)
    restart = {2: web.Response(status=503), 3: web.Response(text="")}
    async with Pages(lambda number: restart.get(number) or web.Response(text=VLLM)) as server:
        told = loads(connection(server.url))
        assert [await anext(told) for _ in range(2)] == [Load(8, 3)] * 2
        await told.aclose()
    assert len(server.asked) == 4


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
