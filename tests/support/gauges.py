"""Servers that tell their load at `/metrics`."""

import asyncio
import ssl

from aiohttp import web
from support.service import PATIENCE

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="org/{m}"} 8.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="org/{m}"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="org/{m}",reason="capacity"} 3.0
"""


class Pages:
    """A server whose page a test scripts, by how often it was asked; None: it never comes. `asked`: the paths and
    headers of requests."""

    def __init__(self, page, trust: ssl.SSLContext | None = None) -> None:
        self.asked, self._page, self._trust = [], page, trust
        self._came = asyncio.Event()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/{path:.*}", self._get)
        self._runner = web.AppRunner(app, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._trust).start()
        self.url = "{}://{}:{}".format("https" if self._trust else "http", *self._runner.addresses[0])
        return self

    async def has_been_asked(self, times: int) -> None:
        """Returns once it has been asked so often, and so has been heard once less."""
        async with asyncio.timeout(PATIENCE):
            while len(self.asked) < times:
                self._came.clear()
                await self._came.wait()

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _get(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, request.headers))
        self._came.set()
        answer = self._page(len(self.asked))
        return answer or await asyncio.Future()


def page(text: str = VLLM, **more):
    return lambda _: web.Response(text=text, **more)
