"""Reads a job's proxy. Its user and password come from a variable, and never from a job file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from batchgen.errors import UsageError

EXAMPLE = "http://user:password@proxy.example.com:3128"


@dataclass(frozen=True)
class Proxy:
    """Describes a proxy. `url` holds no secret; `login` is `user:password`, and is never shown."""

    url: str
    login: str | None = field(default=None, repr=False)

    def header(self) -> dict[str, str]:
        """Returns the header with the login (RFC 7617); none without a login."""
        if self.login is None:
            return {}
        return {"Proxy-Authorization": "Basic " + base64.b64encode(self.login.encode()).decode("ascii")}


def proxy_of(url: str | None, variable: str | None, environ: Mapping[str, str]) -> Proxy | None:
    """Returns the job's proxy. `url`: as in the job file. `variable`: the name of a variable that holds an address with
    user and password, or only these beside a `url`. Raises UsageError, which does not show the variable's value."""
    if variable is None:
        return None if url is None else Proxy(url)
    given = environ.get(variable, "").strip()
    if not given:
        raise UsageError(f"endpoint.proxy_env: {variable} is not set: set it to the proxy's address, such as {EXAMPLE}")
    if "://" not in given:
        if url is None or ":" not in given:
            raise UsageError(f"endpoint.proxy_env: {variable} holds no address such as {EXAMPLE}")
        return Proxy(url, given)
    return _parsed(given, variable)


def _parsed(given: str, variable: str) -> Proxy:
    """Parses an address that may hold a login."""
    try:
        parts = urlsplit(given)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageError(f"endpoint.proxy_env: {variable} holds no address such as {EXAMPLE}")
    shown = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}"
    if parts.username is None:
        return Proxy(url)
    return Proxy(url, f"{unquote(parts.username)}:{unquote(parts.password or '')}")
