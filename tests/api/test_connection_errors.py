"""Errors of the network, as they come from real connections: what they are called, and whether waiting can help."""

import asyncio
import ssl

import pytest
from support.wire import Wire, http, tls

from batchgen.api.connection_errors import failure_of
from batchgen.api.exchange import Sendings
from batchgen.api.failure_kinds import Kind
from batchgen.api.outcome import Failure
from batchgen.api.pool import pool_of


async def failure(url: str, *, trust: ssl.SSLContext | bool = True) -> Failure:
    """What becomes of a request to this address."""
    sendings = Sendings()
    async with await pool_of(f"{url}/v1/completions", {}, connect=5, trust=trust, proxy=None) as pool:
        with pytest.raises(OSError) as caught:
            await pool.post(b"{}", lambda *_: pytest.fail("an answer came"), sendings)
    return failure_of(caught.value, sendings)


def as_python_3_13(ca_file: str | None) -> ssl.SSLContext:
    """The context that Python 3.13 and later make by default."""
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


@pytest.mark.usefixtures("each_pool")
@pytest.mark.parametrize(
    ("pair", "trusted", "why", "advice"),
    [
        pytest.param("own", None, "self-signed certificate", "in endpoint.ca_file", id="self-signed"),
        pytest.param("good", None, "unable to get local issuer", "in endpoint.ca_file", id="an unknown authority"),
        pytest.param("stranger", "ca.pem", "mismatch", "check endpoint.url: it is another host's", id="another host's"),
        pytest.param("bare", "ca.pem", "Missing Authority Key Identifier", "issued anew: Python 3.13", id="3.13"),
    ],
)
async def test_a_certificate_that_is_not_trusted_is_told_with_what_helps(certificates, pair, trusted, why, advice):
    with Wire(tls=tls(certificates / f"{pair}.pem")) as wire:
        told = await failure(wire.url, trust=as_python_3_13(trusted and str(certificates / trusted)))
    assert (told.kind, told.is_systematic) == (Kind.UNSENT, True)
    assert why in told.message
    assert advice in told.message
    assert ("endpoint.ca_file" in told.message) == ("endpoint.ca_file" in advice), "no advice that does not help"


@pytest.mark.usefixtures("each_pool")
async def test_a_server_that_speaks_no_tls_is_no_matter_of_the_systems_permissions():
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(http(b"", status="400 Bad Request"))
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        told = await failure(f"https://127.0.0.1:{port}")
    assert (told.kind, told.is_systematic) == (Kind.UNSENT, True)
    assert told.message.startswith(f"no connection: 127.0.0.1:{port}: no TLS (")
    assert "check endpoint.url" in told.message
