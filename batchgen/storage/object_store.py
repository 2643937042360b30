"""Object stores: S3, Google Cloud Storage, Azure Blob Storage. Objects are listed, read as files, and appear whole.

Uses obstore, not pyarrow's file systems. Those complete an upload that an exception has ended, so that half a file
appears, and they read whatever version is current. Credentials come from the environment that each store's own tools
use. Every failure is an OSError, as of a disk. Its message repeats no header, query or body, which might hold a
credential.
"""

from __future__ import annotations

import datetime as dt
import errno
import io
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from weakref import WeakValueDictionary

from batchgen.storage.block_reader import BlockCache, BlockReader
from batchgen.storage.error_messages import PANIC, REPLACED, to_os_error
from batchgen.storage.location import ObjectUrl
from batchgen.storage.settings import addresses, settings, without_empty_variables

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore import ObjectMeta as Meta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

READ_BUFFER_BYTES = 64 << 10
NO_DATE = dt.datetime.fromtimestamp(0, dt.UTC)
"""The date of a response without one."""
UPLOAD_PART_BYTES, MAX_UPLOAD_PARTS, PARALLEL_PARTS = 8 << 20, 9_000, 4
"""Bytes of an upload's part; parts of an upload, of which S3 allows ten thousand; and how many are uploaded in
parallel."""
QUICK_RETRIES: RetryConfig = {"max_retries": 6, "retry_timeout": dt.timedelta(seconds=30)}
"""Retries at first: a wrong name, and a store that has to be waited for, are reported within seconds."""
PATIENT_RETRIES: RetryConfig = {
    "max_retries": 150,
    "retry_timeout": dt.timedelta(seconds=150),
    "backoff": {"init_backoff": dt.timedelta(seconds=1), "max_backoff": dt.timedelta(seconds=5), "base": 2},
}
"""Retries after these, of a store that answers that it is busy, or has answered before. No wait is shorter than the
first. A request's signature and credentials are valid for five minutes."""
_has_answered: set[tuple[str, ...]] = set()

log = logging.getLogger("batchgen")

T = TypeVar("T")


@dataclass(frozen=True)
class Object:
    """An object as it was when it was listed. Opens as a Path does, and never reads a mixture of two versions."""

    url: ObjectUrl
    size: int
    tag: str
    modified: dt.datetime
    client: _Client = field(compare=False, repr=False)

    def __str__(self) -> str:
        return str(self.url)

    @property
    def name(self) -> str:
        return self.url.name

    @property
    def suffix(self) -> str:
        return self.url.suffix

    def open(self, _mode: str = "rb") -> BinaryIO:
        blocks = _open_caches.get(self) or BlockCache(self.size, partial(_fetch_range, self))
        _open_caches[self] = blocks
        _last_small[:] = [blocks] if self.size <= SMALL_BYTES else []
        return io.BufferedReader(BlockReader(blocks), READ_BUFFER_BYTES)

    def is_same_version(self, meta: Mapping[str, Any]) -> bool:
        """Compares the ETag, or the date if the store gives none. Dates of listings have milliseconds, dates of
        responses seconds."""
        tag: str = meta["e_tag"] or ""
        if self.tag and tag:
            return (_unquoted(tag), meta["size"]) == (_unquoted(self.tag), self.size)
        dates = {when.replace(microsecond=0) for when in (meta["last_modified"], self.modified)} - {NO_DATE}
        return len(dates) <= 1 and meta["size"] == self.size

    def current(self) -> Object:
        """Returns the object as it is now. Raises OSError."""
        return _object(self.url, self.client.ask(self.url, lambda store: store.head(self.url.key)), self.client)


SMALL_BYTES = 12 << 20
"""Of an object that is kept until another is opened: what reads its header closes it, and the whole is read next."""
_open_caches: WeakValueDictionary[Object, BlockCache] = WeakValueDictionary()
_last_small: list[BlockCache] = []


def _unquoted(tag: str) -> str:
    """Returns the ETag without quotes: Azure's listings have none."""
    return tag.removeprefix("W/").strip('"')


def _fetch_range(one: Object, start: int, end: int) -> bytes:
    """Returns bytes of exactly this version, also from a store that ignores If-Match. Raises OSError."""
    options: GetOptions = {"range": (start, end)}
    if one.tag:
        options["if_match"] = one.tag
    meta, data = one.client.ask(one.url, lambda store: _meta_and_bytes(store.get(one.url.key, options=options)))
    if not one.is_same_version(meta):
        raise OSError(errno.ESTALE, REPLACED, str(one.url))
    if len(data) != end - start:
        raise OSError(errno.EIO, f"the store gave {len(data):,} bytes where {end - start:,} were asked for", str(one))
    return data


def _meta_and_bytes(answer: GetResult) -> tuple[Meta, bytes]:
    return answer.meta, answer.bytes().to_bytes()


def head(url: ObjectUrl) -> Object | None:
    """Returns the object, or None if there is none. Raises OSError, UsageError."""

    def find(store: ObjectStore) -> Meta | None:
        try:
            return store.head(url.key)
        except FileNotFoundError:
            return None

    client = _Client(url.bucket)
    meta = client.ask(url, find)
    return _object(url, meta, client) if meta else None


def list_objects(folder: ObjectUrl) -> list[Object]:
    """Returns the objects whose names begin with the folder's and a slash, in no order. Raises OSError if the bucket
    does not exist, UsageError."""
    client = _Client(folder.bucket)
    listed = client.ask(folder, lambda store: [meta for some in store.list(prefix=folder.key or None) for meta in some])
    return [_object(folder, meta, client) for meta in listed]


def try_listing(folder: ObjectUrl) -> None:
    """Raises OSError if the folder cannot be listed, UsageError."""
    _Client(folder.bucket).ask(folder, lambda store: next(iter(store.list(prefix=folder.key or None)), None))


def put(url: ObjectUrl, file: Path | bytes) -> Object:
    """Uploads an object, which appears only when it is complete. Aborts an upload that fails. Raises OSError,
    UsageError."""
    size = len(file) if isinstance(file, bytes) else file.stat().st_size

    def upload(store: ObjectStore) -> Meta:
        part = max(UPLOAD_PART_BYTES, -(-size // MAX_UPLOAD_PARTS))
        store.put(url.key, file, chunk_size=part, max_concurrency=PARALLEL_PARTS)
        return store.head(url.key)

    client = _Client(url.bucket)
    there = _object(url, client.ask(url, upload), client)
    if there.size != size:
        raise OSError(errno.EIO, f"{there.size:,} bytes are there of the {size:,} that were uploaded", str(url))
    return there


def remove(urls: list[ObjectUrl]) -> None:
    """Deletes the objects, whether or not they exist. Does not wait for a busy store: what stays does no harm. Raises
    OSError, UsageError."""
    for url in urls:
        with _os_errors(url):
            _interruptible(lambda key=url.key, bucket=url.bucket: _store(bucket, QUICK_RETRIES).delete(key))  # type: ignore[misc]


def _object(url: ObjectUrl, meta: Meta, client: _Client) -> Object:
    where = ObjectUrl(url.bucket, meta["path"])
    return Object(where, meta["size"], meta["e_tag"] or "", meta["last_modified"], client)


class _Client:
    """A client for one bucket. First it tries for seconds. If the store has to be waited for, that is said, and then it
    is patient."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket

    @cached_property
    def _quick(self) -> ObjectStore:
        return _store(self._bucket, QUICK_RETRIES)

    @cached_property
    def _patient(self) -> ObjectStore:
        return _store(self._bucket, PATIENT_RETRIES)

    def ask(self, url: ObjectUrl, what: Callable[[ObjectStore], T]) -> T:
        """Returns the store's answer, at once or after a while. Raises OSError, UsageError."""
        store_id = addresses(self._bucket, os.environ)
        with _os_errors(url):
            try:
                answer = _interruptible(lambda: what(self._quick))
            except Exception as error:
                if not _may_pass(error, has_answered=store_id in _has_answered):
                    raise
                until = time.localtime(time.time() + PATIENT_RETRIES["retry_timeout"].total_seconds())
                why = to_os_error(url, error).strerror
                log.warning("warning: %s: %s; trying again until %s", url, why, time.strftime("%H:%M:%S", until))
                answer = _interruptible(lambda: what(self._patient))
            _has_answered.add(store_id)
            return answer


def _may_pass(error: Exception, *, has_answered: bool) -> bool:
    """Returns whether waiting may help: the library tried again, and gave up. A store that cannot be reached and has
    never answered may be a wrong name."""
    is_busy = re.search(r"status code: (5\d\d|429)", str(error)) is not None
    return is_busy or (has_answered and re.search(r"after [1-9]\d* retries", str(error)) is not None)


def _interruptible(ask: Callable[[], T]) -> T:
    """Calls it in a thread: obstore may wait for minutes, and handles no signal meanwhile."""
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001  also a panic, which is no Exception
            answer.set_exception(error)

    threading.Thread(target=work, name="store", daemon=True).start()
    return answer.result()


def _store(bucket: str, patience: RetryConfig) -> ObjectStore:
    from obstore.store import from_url  # noqa: PLC0415  for those alone who use it

    config: Any = settings(bucket, os.environ)
    options: ClientConfig = {
        "allow_http": True,  # where the user says so
        "connect_timeout": "10s",
        "timeout": "300s",
    }
    with without_empty_variables():
        return from_url(bucket, config=config, client_options=options, retry_config=patience)


@contextmanager
def _os_errors(url: ObjectUrl) -> Iterator[None]:
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        yield
    except (BaseError, FileNotFoundError, ValueError) as error:
        raise to_os_error(url, error) from None
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise to_os_error(url, error) from None
