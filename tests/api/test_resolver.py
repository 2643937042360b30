"""Names that resolve, names that do not, and name servers that never answer."""

import asyncio
import socket
import threading
from contextlib import suppress

import pytest
from support.connections import connection
from support.name_server import said_where_no_name_server_answers

from batchgen.api.client import Client
from batchgen.api.failure_kinds import Kind
from batchgen.api.resolver import Resolver

SILENT = """
import asyncio
from batchgen.api.client import Client
from batchgen.api.connection import Connection

async def main():
    async with Client(Connection(urls=("http://service.example",), key="", connect=2, total=60)) as client:
        print(await client.attempt(b"{}", "m"))

asyncio.run(main())
"""


def held(release: threading.Event):
    """A lookup that takes until the event is set. Returns it, and the hosts that it was asked for."""
    asked = []

    def lookup(host, port, **how):
        asked.append(host)
        release.wait()
        return socket.getaddrinfo("127.0.0.1", port, **how)

    return lookup, asked


async def test_all_wait_for_one_lookup_and_what_comes_late_serves_the_next():
    release = threading.Event()
    lookup, asked = held(release)
    resolver = Resolver(0.2, lookup)
    told = await asyncio.gather(*(resolver.resolve("x.example", 80) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in told] == [f"[Errno {socket.EAI_AGAIN}] no name server has answered for 0.15 s"] * 3
    with pytest.raises(OSError, match="no name server"):
        await resolver.resolve("x.example", 80)
    release.set()
    late = None
    while late is None:
        with suppress(OSError):
            (late,) = await resolver.resolve("x.example", 80)
        await asyncio.sleep(0.01)
    assert (late["host"], late["port"], late["hostname"]) == ("127.0.0.1", 80, "x.example")
    assert asked == ["x.example"]
    await resolver.resolve("x.example", 80)
    assert asked == ["x.example"] * 2, "an answer is used once: names move"


@pytest.mark.parametrize("host", ["no-such-host.invalid", f"{'x' * 64}.example"], ids=["unknown", "no name"])
async def test_a_name_that_does_not_resolve_is_not_sent(host):
    async with Client(connection(f"http://{host}")) as client:
        failure = await client.attempt(b"{}", "m")
    assert failure.kind is Kind.UNSENT
    assert failure.message.startswith(f"no connection: {host}:80: ")


@pytest.mark.parametrize("pool", ["connection", "session"])
def test_a_name_server_that_never_answers_is_named_as_the_cause(tmp_path, pool):
    said = said_where_no_name_server_answers(tmp_path, SILENT, BATCHGEN_TEST_POOL=pool)
    assert said == "unsent: no connection: service.example:80: no name server has answered for 1.5 s\n"
