"""Posts JSON to a webhook, with a few tries: a useful message that is not worth a long wait.

Messages show no part of the address except its host, and no part of the response except its status.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp
from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt, wait_exponential

from batchgen import __version__, event_loop
from batchgen.api.proxy import Proxy
from batchgen.api.resolver import Resolver

TRY_SECONDS = 10.0
"""Seconds of each try."""
TRIES = 3


class _PermanentError(Exception):
    """A response that another try would not change."""


class _TransientError(Exception):
    """A response that another try may change."""


def post(address: str, body: bytes, proxy: Proxy | None) -> str | None:
    """Posts the body. Returns why it did not arrive; None if it did. Takes half a minute at most."""
    reason = event_loop.run(_deliver(address, body, proxy if address.startswith("https:") else None))
    return f"{urlsplit(address).hostname}: {reason}" if reason else None


async def _deliver(address: str, body: bytes, proxy: Proxy | None) -> str | None:
    """Tries to post the body a few times. Returns why it did not arrive; None if it did."""
    again = retry_if_exception_type((OSError, aiohttp.ClientError, _TransientError))
    tries = AsyncRetrying(stop=stop_after_attempt(TRIES), wait=wait_exponential(0.5), retry=again)
    try:
        async for one in tries:
            with one:
                await _post(address, body, proxy)
    except RetryError as error:
        return _reason(error.last_attempt.exception())
    except _PermanentError as error:
        return _reason(error)
    return None


async def _post(address: str, body: bytes, proxy: Proxy | None) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": f"batchgen/{__version__}"}
    url, login = (None, None) if proxy is None else (proxy.url, proxy.header())
    connector = aiohttp.TCPConnector(resolver=Resolver(TRY_SECONDS))  # the end of the run waits for aiohttp's own
    timeout = aiohttp.ClientTimeout(total=TRY_SECONDS)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
        session.post(
            address, data=body, headers=headers, proxy=url, proxy_headers=login, allow_redirects=False
        ) as answer,
    ):
        if answer.status >= 500 or answer.status in (408, 429):  # noqa: PLR2004
            raise _TransientError(f"answered {answer.status}")
        if answer.status >= 300:  # noqa: PLR2004
            raise _PermanentError(f"answered {answer.status}")


def _reason(error: BaseException | None) -> str:
    """Returns the reason, not in aiohttp's words, which may hold the address."""
    if isinstance(error, _PermanentError | _TransientError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {TRY_SECONDS:.0f} s"
    return "cannot be reached" + (f": {error.strerror}" if isinstance(error, OSError) and error.strerror else "")
