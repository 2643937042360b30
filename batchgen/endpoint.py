"""Which service answers, by which key, along which way: addresses that may be used, and none that shows a secret."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, field_validator

from batchgen.fields import JobPath, Part


def endpoint_url(url: str) -> str:
    parts = parts_of(url, "an address such as https://api.writer.com")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError(
            "should be https: the key would cross the network in the clear (http is for this machine only)"
        )
    return url.rstrip("/")


def proxy_url(url: str) -> str:
    example = "a proxy's address such as http://proxy.example.com:3128"
    if parts_of(url, example).path.strip("/"):
        raise ValueError(f"should be {example}")
    return url.rstrip("/")


def parts_of(url: str, example: str, *, query: bool = False) -> SplitResult:
    """`query`: whether it may have one. The messages show nothing of the address, which may hold a password in the
    wrong place."""
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError("is no address: its host or port cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise ValueError(f"should be {example}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password")
    if (parts.query and not query) or parts.fragment:
        raise ValueError(f"must not hold a {'' if query else 'query or '}fragment")
    if not re.fullmatch(r"[!-~]+", url) or not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9a-f:.]+", parts.hostname):
        raise ValueError("holds a character that no address has")
    return parts


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


class Endpoint(Part):
    """Which service answers, and where its key is to be found."""

    url: Annotated[str, AfterValidator(endpoint_url)] | None = Field(
        None, description="else the variable WRITER_BASE_URL, else https://api.writer.com"
    )
    name: str | None = Field(None, min_length=1, description="what the answers belong to, where the address may change")
    key_env: str = Field("WRITER_API_KEY", description="the name of the variable that holds the key; never the key")
    key_file: JobPath | None = Field(None, description="a file that holds the key, in place of the variable; chmod 600")
    ca_file: JobPath | None = Field(None, description="certificates (PEM) to trust in place of the system's")
    proxy: Annotated[str, AfterValidator(proxy_url)] | None = Field(
        None, description="the only proxy that is ever used; the environment's are not"
    )
    allow_removed_models: bool = Field(default=False, description="send to models that the vendor announced as removed")

    @field_validator("key_env")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
            raise ValueError("should be the NAME of an environment variable, in capitals; a key has no place in a file")
        return value

    @property
    def key_source(self) -> str:
        """Where the key is to be found, for messages."""
        return self.key_file or self.key_env
