"""The `endpoint` section: which service answers, which key it gets, and how it is reached. Accepts no address that
holds a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from batchgen.api.dialects import CHATS, COMPLETIONS, Dialect
from batchgen.api.types import VENDOR_HOST, VENDOR_URL
from batchgen.job.types import JobPath, Section, VariableName, validation_error

IN_THE_CLEAR = "should be https: the key would cross the network in the clear (http is for this machine only)"
NO_PATH = f"should be {VENDOR_URL}: each request adds its path by itself"


def endpoint_url(url: str) -> str:
    """Checks the address of a service that gets a key. Raises ValueError."""
    url = _address(url)
    if crosses_in_the_clear(url):
        raise ValueError(IN_THE_CLEAR)
    if _is_path_of_vendor(url):
        raise ValueError(NO_PATH)
    return url


def _address(url: str) -> str:
    url, path = url.rstrip("/"), parts_of(url, "an address such as https://api.writer.com").path.rstrip("/")
    for dialect in (*COMPLETIONS.values(), *CHATS.values()):
        if path.endswith(dialect.path):
            raise ValueError(f"should end before {dialect.path}, which each request adds by itself")
    return url


def _is_path_of_vendor(url: str) -> bool:
    """Returns whether the address has a path on the vendor's host, such as the /v1 that other clients want."""
    parts = urlsplit(url)
    return parts.hostname == VENDOR_HOST and bool(parts.path)


def crosses_in_the_clear(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def proxy_url(url: str) -> str:
    example = "a proxy's address such as http://proxy.example.com:3128"
    if parts_of(url, example).path.strip("/"):
        raise ValueError(f"should be {example}")
    return url.rstrip("/")


def parts_of(url: str, example: str, *, query: bool = False) -> SplitResult:
    """Splits an address. `query`: it may have one. Raises ValueError; the messages show nothing of the address, which
    may hold a password in the wrong place."""
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError("is not an address: its host or port cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        missing = "; http:// or https:// is missing in front" if url and "://" not in url else ""
        raise ValueError(f"should be {example}{missing}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password")
    if (parts.query and not query) or parts.fragment:
        raise ValueError(f"must not hold a {'' if query else 'query or '}fragment")
    if not re.fullmatch(r"[!-~]+", url) or not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9a-f:.]+", parts.hostname):
        raise ValueError("holds a character that no address has")
    return parts


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def api_and_label(identity: str) -> tuple[Literal["writer", "openai"], str]:
    """Returns what `Endpoint.identity` made an identity of."""
    label = identity.removeprefix("openai ")
    return ("writer" if label == identity else "openai"), label


Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[
    Annotated[Address, Tag("one")] | Annotated[list[Address], Field(min_length=1), Tag("many")],
    Discriminator(lambda given: "many" if isinstance(given, list) else "one"),
]


class Endpoint(Section):
    """Which service answers, and where to find its key."""

    api: Literal["writer", "openai"] = Field(
        "writer", description="openai: an own server's API, as of vLLM, llama.cpp, TGI or Ollama"
    )
    url: Addresses | None = Field(
        None,
        description="else, with api: writer, the variable WRITER_BASE_URL, else https://api.writer.com; "
        "a list: servers that share the requests",
    )
    name: str | None = Field(None, min_length=1, description="what the answers belong to, where the address may change")
    key_env: VariableName = Field(
        "WRITER_API_KEY",
        description="the name of the variable that holds the key, never the key; with api: openai no key is sent "
        "unless this or key_file is given",
    )
    key_file: JobPath | None = Field(None, description="a file that holds the key, in place of the variable; chmod 600")
    ca_file: JobPath | None = Field(None, description="certificates (PEM) to trust in place of the system's")
    proxy: Annotated[str, AfterValidator(proxy_url)] | None = Field(
        None, description="the only proxy that is ever used; the environment's are not"
    )
    proxy_env: VariableName | None = Field(
        None,
        description="the name of the variable that holds the proxy's address with user and password, never these; "
        "beside proxy, user:password alone",
    )
    allow_removed_models: bool = Field(default=False, description="send to models that the vendor announced as removed")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Checks its keys against each other; each mistake is reported at its place."""
        if self.has_key and any(map(crosses_in_the_clear, self.urls)):
            open_to = "" if not self.is_own_server else "; a server that wants no key may have http: leave the key out"
            raise validation_error(("url",), IN_THE_CLEAR + open_to)
        if not self.is_own_server and any(map(_is_path_of_vendor, self.urls)):
            raise validation_error(("url",), NO_PATH)
        if self.is_own_server and not self.urls:
            raise validation_error(("url",), "url is missing: api: openai needs the address of your server")
        if len(set(self.urls)) < len(self.urls):
            raise validation_error(("url",), "holds an address twice")
        if len(self.urls) > 1 and self.name is None:
            why = "name is missing: several servers need one, by which their answers stay known"
            earlier = f'the answers of a job that has run at one of them serve under `name: "{self.urls[0]}"`'
            raise validation_error(("name",), f"{why}; {earlier}")
        return self

    @property
    def urls(self) -> tuple[str, ...]:
        """Returns every address. Those for OpenAI's clients end in /v1; here they may."""
        given = [self.url] if isinstance(self.url, str) else self.url or []
        return tuple(url.removesuffix("/v1") if self.is_own_server else url for url in given)

    @property
    def is_own_server(self) -> bool:
        """Returns whether the job has to name the address."""
        return COMPLETIONS[self.api].is_own_server

    @property
    def has_key(self) -> bool:
        """Returns whether requests carry a key. Writer's key goes to writer's servers only: for others the job must
        name one."""
        return not self.is_own_server or self.key_file is not None or "key_env" in self.model_fields_set

    def dialect(self, *, chat: bool) -> Dialect:
        """Returns what is spoken there: of chats, or of completions."""
        return (CHATS if chat else COMPLETIONS)[self.api]

    def label(self, urls: Iterable[str]) -> str:
        """Returns what people call it: its name, else its address. Several addresses have a name."""
        return self.name or " ".join(urls)

    def identity(self, urls: Iterable[str]) -> str:
        """Returns whose the answers are: the same body means another request in another dialect."""
        return f"{'' if self.api == 'writer' else self.api + ' '}{self.label(urls)}"

    @property
    def key_source(self) -> str:
        """Returns where the key is read from, for messages."""
        return self.key_file or (self.key_env if self.has_key else "endpoint.key_env, which the job does not set,")
