"""Which of the two ways to POST is taken: by what the aiohttp that is installed has."""

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
"""An environment variable for this project's own tests: `session` takes the second way where the first could be."""


async def pool_of(
    url: str, headers: Mapping[str, str], *, connect: float, trust: ssl.SSLContext | bool, proxy: Proxy | None
) -> Pool:
    """Makes the fast one, else the one that any aiohttp serves. `connect` is in seconds."""
    is_fast = os.environ.get(TEST_ONLY) != "session" and await connection_pool.is_supported()
    kind = ConnectionPool if is_fast else SessionPool
    return kind(url, headers, connect=connect, trust=trust, proxy=proxy)
