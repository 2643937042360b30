"""Address and credentials of an object store, from the variables that each store's own tools read.

Addresses are checked here: obstore 0.12 panics at some.
"""

from __future__ import annotations

import ipaddress
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from batchgen.errors import UsageError
from batchgen.storage import aws_profile
from batchgen.storage.location import SCHEMES

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
ADDRESSES = {
    "s3": (
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT",
        "AWS_ENDPOINT_URL_STS",
        "AWS_METADATA_ENDPOINT",
    ),
    "gs": (),  # STORAGE_EMULATOR_HOST may lack a scheme: see _google
    "az": (
        "AZURE_STORAGE_ENDPOINT",
        "AZURE_ENDPOINT",
        "AZURE_STORAGE_AUTHORITY_HOST",
        "AZURE_AUTHORITY_HOST",
        "AZURE_MSI_ENDPOINT",
        "AZURE_IDENTITY_ENDPOINT",
        "IDENTITY_ENDPOINT",
    ),
}
_ADDRESS = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?(?:/[^\s?#@\\]*)?")
_CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_")
_SECRET = re.compile(r"(AWS|AZURE|GOOGLE)\w*(KEY|SECRET|TOKEN|SAS|CONNECTION|PASSWORD)\w*")
_one_at_a_time = threading.Lock()
_EMULATOR = {"account_name": "devstoreaccount1", "use_emulator": "true"}


def family(bucket: str) -> str:
    """Returns the kind of store: `s3`, `gs` or `az`. `bucket`: with its scheme."""
    return SCHEMES[bucket.partition("://")[0]]


def credentials(bucket: str, environ: Mapping[str, str]) -> str:
    """Returns where the store's credentials belong, for messages."""
    kind = family(bucket)
    if kind == "az" and environ.get(_CONNECTION):
        return f"AccountKey or SharedAccessSignature in {_CONNECTION}"
    return _CREDENTIALS[kind]


def secret_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the names of the variables that hold a store's secrets."""
    return tuple(name for name in environ if _SECRET.fullmatch(name))


def addresses(bucket: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the bucket, and the addresses of its store that the environment gives."""
    return bucket, *(environ.get(variable, "") for variable in ADDRESSES[family(bucket)])


def settings(bucket: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Returns the settings that obstore does not find by itself. Raises UsageError for an invalid address."""
    kind = family(bucket)
    for variable in ADDRESSES[kind]:
        if environ.get(variable):
            _refuse_address(variable, environ[variable])
    return {"s3": _aws, "gs": _google, "az": _azure}[kind](environ)


@contextmanager
def without_empty_variables() -> Iterator[None]:
    """Removes empty variables while the block runs. The stores' own tools take an empty variable for unset, obstore for
    an address."""
    with _one_at_a_time:
        empty = [name for name, value in os.environ.items() if not value and name.startswith(_PREFIXES)]
        for name in empty:
            del os.environ[name]
        try:
            yield
        finally:
            os.environ.update(dict.fromkeys(empty, ""))


def _refuse_address(name: str, address: str) -> None:
    """Raises UsageError, whose message does not repeat the address: it may hold a password."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not _is_host(match[1]) or not 0 < int(match[2] or 80) < 1 << 16:
        raise UsageError(f"{name}: should be an address such as https://storage.example.com or http://localhost:9000")


def _is_host(host: str) -> bool:
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
        elif host.rstrip(".").rpartition(".")[2].isdigit():
            ipaddress.IPv4Address(host)
        else:
            host.encode().decode("idna")
    except ValueError:
        return False
    return True


def _aws(environ: Mapping[str, str]) -> dict[str, Any]:
    found = aws_profile.settings(environ)
    if environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"):
        found.pop("region", None)
    endpoint = found.pop("endpoint_url", None)
    if endpoint is not None and not (environ.get("AWS_ENDPOINT_URL") or environ.get("AWS_ENDPOINT_URL_S3")):
        _refuse_address("endpoint_url of the profile in ~/.aws", endpoint)
        found["endpoint"] = endpoint
    return {"disable_bulk_delete": True, **found}  # some S3-compatible stores do not support it


def _google(environ: Mapping[str, str]) -> dict[str, Any]:
    emulator = environ.get("STORAGE_EMULATOR_HOST", "")
    if not emulator:
        return {}
    address = emulator if "://" in emulator else f"http://{emulator}"
    _refuse_address("STORAGE_EMULATOR_HOST", address)
    return {"base_url": address, "bearer_token": "none"}  # real credentials must not be sent to it


def _azure(environ: Mapping[str, str]) -> dict[str, Any]:
    """Returns the settings of a connection string, and of the variables that `az` itself reads for account and key."""
    parts = _parse_connection(environ.get(_CONNECTION, ""))
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        return dict(_EMULATOR)
    endpoint = _blob_endpoint(parts)
    found = {
        "account_name": parts.get("accountname") or _account_name(endpoint) or environ.get("AZURE_STORAGE_ACCOUNT"),
        "account_key": parts.get("accountkey") or environ.get("AZURE_STORAGE_KEY"),
        "sas_key": parts.get("sharedaccesssignature"),
        "endpoint": endpoint,
    }
    return {name: value for name, value in found.items() if value}


def _parse_connection(text: str) -> dict[str, str]:
    """Returns the parts of a connection string; their names may have any case."""
    pairs = [pair.strip().partition("=") for pair in text.split(";") if pair.strip()]
    if not all(name and equals for name, equals, _ in pairs):
        raise UsageError(f"{_CONNECTION}: should be NAME=VALUE;NAME=VALUE, such as AccountName=...;AccountKey=...")
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _blob_endpoint(parts: Mapping[str, str]) -> str | None:
    """Returns the address that the connection string names, or that of another cloud."""
    account, suffix, endpoint = parts.get("accountname"), parts.get("endpointsuffix"), parts.get("blobendpoint")
    if not endpoint and account and suffix:
        endpoint = f"{parts.get('defaultendpointsprotocol', 'https')}://{account}.blob.{suffix.strip('./')}"
    if not endpoint:
        return None
    _refuse_address(f"{_CONNECTION}: BlobEndpoint or EndpointSuffix", endpoint)
    return endpoint.rstrip("/")


def _account_name(endpoint: str | None) -> str | None:
    """Returns the account of a SAS's connection string, which does not name it: the first part of the host, or of an
    emulator's path."""
    if endpoint is None:
        return None
    parts = urlsplit(endpoint)
    return parts.path.strip("/").partition("/")[0] or (parts.hostname or "").partition(".")[0]
