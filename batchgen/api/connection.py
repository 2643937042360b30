"""Describes how to reach a service: all that a client, a load balancer or another process needs to make attempts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from batchgen.api.dialects import WRITER, Dialect
from batchgen.api.failure_kinds import Kind, Scope, kinds_of
from batchgen.api.proxy import Proxy


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Describes the way to a service. It is made once for a run. A pickle of it holds the key.

    `urls`: addresses of servers, which share the requests. `is_local`: the built-in model answers, in the process that
    makes the attempts; it has no address. `key`: empty if none is sent. `connect`, `total`: time-outs
    in seconds. `slots`: the most requests in flight. `ca_file`: certificates to trust in place of the system's.
    `fatal_kinds`: failures that end the run. `secret_variables`: names of environment variables that hold secrets,
    which no other process may inherit.
    """

    urls: tuple[str, ...]
    key: str = field(repr=False)
    connect: float
    total: float
    dialect: Dialect = WRITER
    is_local: bool = False
    slots: int = 64
    ca_file: str | None = None
    proxy: Proxy | None = None
    fatal_kinds: frozenset[Kind] = kinds_of(Scope.RUN)
    secret_variables: tuple[str, ...] = ()

    def each(self) -> list[Connection]:
        """Returns one connection for each address."""
        return [replace(self, urls=(url,)) for url in self.urls]
