"""Ways to the servers of tests."""

from support.service import KEY, PATIENCE

from batchgen.api.connection import Connection


def connection(*urls: str, key: str = KEY, patience: float = PATIENCE, **more) -> Connection:
    """Both time-outs are `patience`, in seconds."""
    return Connection(urls=urls, key=key, connect=patience, total=patience, **more)
