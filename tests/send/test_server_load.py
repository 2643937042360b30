"""Whom a run watches, and for how long."""

import asyncio

import pytest
from support.connections import connection
from support.gauges import VLLM, Pages, page

from batchgen.send import server_load
from batchgen.send.concurrency import AdaptiveConcurrency


class Told(AdaptiveConcurrency):
    """A number that notes what it is told."""

    def told(self, *told: float) -> None:
        self.noted = told[1:]


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr("batchgen.api.gauges.SECONDS", 0.001)


async def test_each_server_tells_its_own_number_while_the_run_is_at_work_and_is_asked_no_more():
    async with Pages(page()) as one, Pages(page(VLLM.replace("8.0", "5.0"))) as other:
        numbers = {server.url: Told(1024) for server in (one, other)}
        async with server_load.watching(connection(one.url, other.url), numbers):
            await one.has_been_asked(2)
            await other.has_been_asked(2)
        await asyncio.sleep(0.05)  # what was on its way has come
        asked = len(one.asked) + len(other.asked)
        await asyncio.sleep(0.05)
        assert len(one.asked) + len(other.asked) == asked
    assert [number.noted for number in numbers.values()] == [(8, 3), (5, 3)]


async def test_one_number_of_several_servers_is_told_nothing():
    """Ray's actors share it. What one of the servers tells is not about all that is in flight."""
    async with Pages(page()) as one, Pages(page()) as other:
        both = connection(one.url, other.url)
        async with server_load.watching(both, AdaptiveConcurrency(1024).each(*both.urls)):
            await asyncio.sleep(0.05)
        assert not one.asked + other.asked
