"""One POST of JSON, tried a few times: a message that is welcome, and not worth waiting for.

Of its address nothing is ever shown but the host, and nothing of what answers but the status.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp
from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt, wait_exponential

from batchgen import __version__, event_loop
from batchgen.api.proxy import Proxy

SECONDS = 10.0
"""Of each try."""
TRIES = 3


class _No(Exception):
    """An answer that another try would not change."""


class _NotNow(Exception):
    """An answer that another try may change."""


def post(address: str, body: bytes, proxy: Proxy | None) -> str | None:
    """Why it did not arrive; None where it did. Within half a minute; in a thread without a loop at work."""
    told: list[str] = []

    async def deliver() -> None:
        again = retry_if_exception_type((OSError, aiohttp.ClientError, _NotNow))
        tries = AsyncRetrying(stop=stop_after_attempt(TRIES), wait=wait_exponential(0.5), retry=again)
        try:
            async for one in tries:
                with one:
                    await _post(address, body, proxy if address.startswith("https:") else None)
        except RetryError as error:
            told.append(_said(error.last_attempt.exception()))
        except _No as error:
            told.append(_said(error))

    event_loop.run(deliver())
    return f"{urlsplit(address).hostname}: {told[0]}" if told else None


async def _post(address: str, body: bytes, proxy: Proxy | None) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": f"batchgen/{__version__}"}
    url, login = (None, None) if proxy is None else (proxy.url, proxy.header())
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS), trust_env=False) as session,
        session.post(
            address, data=body, headers=headers, proxy=url, proxy_headers=login, allow_redirects=False
        ) as answer,
    ):
        if answer.status >= 500 or answer.status in (408, 429):  # noqa: PLR2004
            raise _NotNow(f"answered {answer.status}")
        if answer.status >= 300:  # noqa: PLR2004
            raise _No(f"answered {answer.status}")


def _said(error: BaseException | None) -> str:
    """Not in aiohttp's words, which may hold the address."""
    if isinstance(error, _No | _NotNow):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS:.0f} s"
    return "cannot be reached" + (f": {error.strerror}" if isinstance(error, OSError) and error.strerror else "")
