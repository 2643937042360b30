"""Chooses between the two ways to POST, by what the installed aiohttp has."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping

from batchgen.api import connection_pool
from batchgen.api.connection_pool import ConnectionPool
from batchgen.api.exchange import Pool
from batchgen.api.proxy import Proxy
from batchgen.api.session_pool import SessionPool

TEST_ONLY = "BATCHGEN_TEST_POOL"
"""An environment variable for this project's own tests: `session` chooses the slower way."""


async def pool_of(
    url: str, headers: Mapping[str, str], *, connect: float, trust: ssl.SSLContext | bool, proxy: Proxy | None
) -> Pool:
    """Returns the fast pool if the installed aiohttp supports it, else the one that any aiohttp supports. `connect`: a
    time-out in seconds."""
    is_fast = os.environ.get(TEST_ONLY) != "session" and await connection_pool.is_supported()
    kind = ConnectionPool if is_fast else SessionPool
    return kind(url, headers, connect=connect, trust=trust, proxy=proxy)
