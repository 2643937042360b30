"""The proxy that a job names, with the name and password for it that stand in a variable, and never in a job file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from batchgen.errors import UsageError

EXAMPLE = "http://user:password@proxy.example.com:3128"


@dataclass(frozen=True)
class Proxy:
    """`url` holds no secret; `login` is `user:password`, never shown."""

    url: str
    login: str | None = field(default=None, repr=False)

    def header(self) -> dict[str, str]:
        """What a proxy that wants a password is sent (RFC 7617)."""
        if self.login is None:
            return {}
        return {"Proxy-Authorization": "Basic " + base64.b64encode(self.login.encode()).decode("ascii")}


def proxy_of(url: str | None, variable: str | None, environ: Mapping[str, str]) -> Proxy | None:
    """`url` is the job's, `variable` the name of one that holds an address with user and password, or these alone
    beside a url. Raises UsageError, which shows nothing of what it holds."""
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
    try:
        parts = urlsplit(given)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageError(f"endpoint.proxy_env: {variable} holds no address such as {EXAMPLE}")
    place = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{place}{'' if port is None else f':{port}'}"
    if parts.username is None:
        return Proxy(url)
    return Proxy(url, f"{unquote(parts.username)}:{unquote(parts.password or '')}")
