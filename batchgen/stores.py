"""Object stores: S3, Google Cloud Storage, Azure Blob Storage. Objects are listed, read as files, and appear whole.

By obstore, not by pyarrow's file systems: those complete an upload that an exception has ended, so that half a file
appears, and read whatever version is there by now. Credentials come from the environment that each store's own tools
use. What goes wrong is an OSError, as a disk's; its words repeat no header, query or body: a credential might be there.
"""

from __future__ import annotations

import datetime as dt
import errno
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from batchgen import aws_profile
from batchgen.blocks import Blocks, Reader
from batchgen.errors import UsageError
from batchgen.places import Url

BUFFER = 64 << 10
PART, MOST_PARTS, AT_ONCE = 8 << 20, 9_000, 4
"""Bytes of an upload's part, as S3 allows ten thousand of them, and how many are on their way."""
TRIES, PATIENCE = 6, dt.timedelta(seconds=90)
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_ENDPOINTS = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT",
    "STORAGE_EMULATOR_HOST",
    "AZURE_STORAGE_ENDPOINT",
)
REPLACED = "was replaced while it was read"
_HOST = re.compile(r"[\w.-]+|[0-9a-f:]+")
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName"}
_METADATA = re.compile(r"/latest/api/token|/latest/meta-data|computeMetadata|/metadata/identity|token request")
"""Where a machine of the cloud itself has its credentials from: asked when nothing else is there."""


@dataclass(frozen=True)
class Object:
    """An object as it was when it was looked at. Reads as a Path does; never a mixture of two versions."""

    url: Url
    size: int
    tag: str
    modified: dt.datetime
    store: Any = field(compare=False, repr=False)

    def __str__(self) -> str:
        return str(self.url)

    @property
    def name(self) -> str:
        return self.url.name

    @property
    def suffix(self) -> str:
        return self.url.suffix

    def open(self, _mode: str = "rb") -> BinaryIO:
        blocks = _open_now.get(self) or Blocks(self.size, partial(_fetched, self))
        _open_now[self] = blocks
        return io.BufferedReader(Reader(blocks), BUFFER)

    def is_the_same(self, meta: Mapping[str, Any]) -> bool:
        """By the ETag, or by the date where the store gives none: listings tell it to the millisecond, answers to the
        second."""
        tag: str = meta["e_tag"] or ""
        if self.tag and tag:
            return (_bare(tag), meta["size"]) == (_bare(self.tag), self.size)
        dates = {when.replace(microsecond=0) for when in (meta["last_modified"], self.modified)}
        return len(dates) == 1 and meta["size"] == self.size

    def now(self) -> Object:
        """The same, looked at again. Raises OSError."""
        with _as_of_a_disk(self.url):
            return _object(self.url.bucket, self.store.head(self.url.key), self.store)


_open_now: WeakValueDictionary[Object, Blocks] = WeakValueDictionary()


def _bare(tag: str) -> str:
    """Azure's listings have no quotes."""
    return tag.removeprefix("W/").strip('"')


def _fetched(of: Object, start: int, end: int) -> bytes:
    """From that very version, also where the store does not hear If-Match. Raises OSError."""
    with _as_of_a_disk(of.url):
        options = {"range": (start, end), **({"if_match": of.tag} if of.tag else {})}
        answer = of.store.get(of.url.key, options=options)
        if not of.is_the_same(answer.meta):
            raise OSError(errno.ESTALE, REPLACED, str(of.url))
        data: bytes = answer.bytes().to_bytes()
    if len(data) != end - start:
        raise OSError(errno.EIO, f"the store gave {len(data):,} bytes where {end - start:,} were asked for", str(of))
    return data


def look(url: Url) -> Object | None:
    """None where there is no such object. Raises OSError, UsageError."""
    with _as_of_a_disk(url):
        store = _store(url)
        try:
            return _object(url.bucket, store.head(url.key), store)
        except FileNotFoundError:
            return None


def below(folder: Url) -> list[Object]:
    """The objects whose names begin with the folder's and a slash, in no order. Raises OSError where there is no such
    bucket, UsageError."""
    with _as_of_a_disk(folder):
        store = _store(folder)
        found = store.list(prefix=folder.key or None)
        return [_object(folder.bucket, meta, store) for some in found for meta in some]


def put(url: Url, file: Path | bytes) -> Object:
    """Uploads what appears only when it is complete; an upload that fails is aborted. Raises OSError, UsageError."""
    size = len(file) if isinstance(file, bytes) else file.stat().st_size
    with _as_of_a_disk(url):
        store = _store(url)
        store.put(url.key, file, chunk_size=max(PART, -(-size // MOST_PARTS)), max_concurrency=AT_ONCE)
        there = _object(url.bucket, store.head(url.key), store)
    if there.size != size:
        raise OSError(errno.EIO, f"{there.size:,} bytes are there of the {size:,} that were uploaded", str(url))
    return there


def remove(urls: list[Url]) -> None:
    """Whether or not they are there. Raises OSError, UsageError."""
    for url in urls:
        with _as_of_a_disk(url):
            _store(url).delete(url.key)


def _object(bucket: str, meta: Mapping[str, Any], store: Any) -> Object:
    return Object(Url(bucket, meta["path"]), meta["size"], meta["e_tag"] or "", meta["last_modified"], store)


def _store(url: Url) -> Any:
    from obstore.store import from_url  # noqa: PLC0415  for those alone who use it

    for variable in _ENDPOINTS:
        _refuse_endpoint(variable, os.environ.get(variable, ""))
    config = {"s3": _aws, "gs": _google}.get(url.bucket.partition("://")[0], _azure)(os.environ)
    return from_url(
        url.bucket,
        config=config,  # type: ignore[call-overload]
        client_options={"allow_http": True, "connect_timeout": "10s", "timeout": "300s"},  # http where the user says so
        retry_config={"max_retries": TRIES, "retry_timeout": PATIENCE},
    )


def _refuse_endpoint(variable: str, given: str) -> None:
    """Raises UsageError; obstore would abort on some."""
    parts = urlsplit(given if "://" in given else f"http://{given}")
    if given and (parts.scheme not in ("http", "https") or not _HOST.fullmatch(parts.hostname or "")):
        raise UsageError(f"{variable}: should be an address such as https://storage.example.com")


def _aws(environ: Mapping[str, str]) -> dict[str, Any]:
    """What obstore does not find by itself."""
    found = aws_profile.settings(environ)
    if environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"):
        found.pop("region", None)
    endpoint = found.pop("endpoint_url", None)
    if endpoint is not None and not (environ.get("AWS_ENDPOINT_URL") or environ.get("AWS_ENDPOINT_URL_S3")):
        found["endpoint"] = endpoint
    return {"disable_bulk_delete": True, **found}  # which some stores of the kind do not know


def _google(environ: Mapping[str, str]) -> dict[str, Any]:
    emulator = environ.get("STORAGE_EMULATOR_HOST", "")
    if not emulator:
        return {}
    address = emulator if "://" in emulator else f"http://{emulator}"
    return {"base_url": address, "bearer_token": "none"}  # real credentials are not for it


def _azure(environ: Mapping[str, str]) -> dict[str, Any]:
    """A connection string, and the names that `az` itself has for account and key."""
    pairs = (pair.partition("=") for pair in environ.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";"))
    said = {name: value for name, _, value in pairs}
    given = {
        "account_name": said.get("AccountName") or environ.get("AZURE_STORAGE_ACCOUNT"),
        "account_key": said.get("AccountKey") or environ.get("AZURE_STORAGE_KEY"),
        "sas_key": said.get("SharedAccessSignature"),
        "endpoint": said.get("BlobEndpoint"),
    }
    return {name: value for name, value in given.items() if value}


@contextmanager
def _as_of_a_disk(url: Url) -> Iterator[None]:
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        yield
    except (BaseError, FileNotFoundError, ValueError) as error:
        raise _explained(url, str(error), type(error).__name__) from None


def _explained(url: Url, said: str, kind: str) -> OSError:
    status = re.search(r"status code: (\d+)", said)
    code = re.search(r"<Code>(\w+)</Code>", said)
    told = " ".join([*(status.groups() if status else ()), *(code.groups() if code else ())])
    from_where = _CREDENTIALS.get(url.bucket[:2], _CREDENTIALS["az"])
    if code and code[1] in _NO_BUCKET:
        return FileNotFoundError(errno.ENOENT, f"there is no bucket {url.bucket}", str(url))
    if _METADATA.search(said.split("Debug source", maxsplit=1)[0]) or "Account must be specified" in said:
        return PermissionError(errno.EACCES, f"no credentials were found: set {from_where}", str(url))
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or (status and status[1] in ("400", "401", "403")):
        return PermissionError(errno.EACCES, f"the store refuses ({told}): check {from_where}", str(url))
    if kind == "PreconditionError":
        return OSError(errno.ESTALE, REPLACED, str(url))
    if kind in ("FileNotFoundError", "NotFoundError"):
        return FileNotFoundError(errno.ENOENT, "no such object", str(url))
    if status:
        return OSError(errno.EIO, f"the store answers {told}", str(url))
    if "sending request" in said:
        return OSError(errno.EIO, "the store cannot be reached", str(url))
    return OSError(errno.EIO, f"the store cannot be used: check {from_where}", str(url))
