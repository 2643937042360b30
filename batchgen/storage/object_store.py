"""Object stores: S3, Google Cloud Storage, Azure Blob Storage. Objects are listed, read as files, and appear whole.

By obstore, not by pyarrow's file systems: those complete an upload that an exception has ended, so that half a file
appears, and read whatever version is there by now. Credentials come from the environment that each store's own tools
use. What goes wrong is an OSError, as a disk's; its words repeat no header, query or body: a credential might be there.
"""

from __future__ import annotations

import datetime as dt
import errno
import io
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from weakref import WeakValueDictionary

from batchgen.storage.block_reader import BlockCache, BlockReader
from batchgen.storage.error_messages import PANIC, REPLACED, refusal
from batchgen.storage.location import ObjectUrl
from batchgen.storage.settings import settings, where, without_empty_variables

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore import ObjectMeta as Meta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

BUFFER = 64 << 10
UNSAID = dt.datetime.fromtimestamp(0, dt.UTC)
"""The date of an answer that has none."""
PART, MOST_PARTS, AT_ONCE = 8 << 20, 9_000, 4
"""Bytes of an upload's part, as S3 allows ten thousand of them, and how many are on their way."""
QUICK: RetryConfig = {"max_retries": 6, "retry_timeout": dt.timedelta(seconds=30)}
"""Of the first question: a name that is wrong is told within seconds."""
PATIENT: RetryConfig = {
    "max_retries": 150,
    "retry_timeout": dt.timedelta(seconds=150),
    "backoff": {"init_backoff": dt.timedelta(seconds=1), "max_backoff": dt.timedelta(seconds=5), "base": 2},
}
"""Of a store that has answered once, if only that it is busy: no wait is shorter than the first. A request's signature
and credentials serve for five minutes."""
_has_answered: set[tuple[str, ...]] = set()

log = logging.getLogger("batchgen")

T = TypeVar("T")


@dataclass(frozen=True)
class Object:
    """An object as it was when it was looked at. Reads as a Path does; never a mixture of two versions."""

    url: ObjectUrl
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
        blocks = _open_now.get(self) or BlockCache(self.size, partial(_fetched, self))
        _open_now[self] = blocks
        return io.BufferedReader(BlockReader(blocks), BUFFER)

    def is_the_same(self, meta: Mapping[str, Any]) -> bool:
        """By the ETag, or by the date where the store gives none: listings tell it to the millisecond, answers to the
        second."""
        tag: str = meta["e_tag"] or ""
        if self.tag and tag:
            return (_bare(tag), meta["size"]) == (_bare(self.tag), self.size)
        dates = {when.replace(microsecond=0) for when in (meta["last_modified"], self.modified)} - {UNSAID}
        return len(dates) <= 1 and meta["size"] == self.size

    def now(self) -> Object:
        """The same, looked at again. Raises OSError."""
        with _as_of_a_disk(self.url):
            meta = _interruptible(lambda: self.store.head(self.url.key))
        return _object(self.url.bucket, meta, self.store)


_open_now: WeakValueDictionary[Object, BlockCache] = WeakValueDictionary()


def _bare(tag: str) -> str:
    """Azure's listings have no quotes."""
    return tag.removeprefix("W/").strip('"')


def _fetched(of: Object, start: int, end: int) -> bytes:
    """From that very version, also where the store does not hear If-Match. Raises OSError."""
    options = {"range": (start, end), **({"if_match": of.tag} if of.tag else {})}
    with _as_of_a_disk(of.url):
        meta, data = _interruptible(lambda: _gotten(of.store.get(of.url.key, options=options)))
    if not of.is_the_same(meta):
        raise OSError(errno.ESTALE, REPLACED, str(of.url))
    if len(data) != end - start:
        raise OSError(errno.EIO, f"the store gave {len(data):,} bytes where {end - start:,} were asked for", str(of))
    return data


def _gotten(answer: GetResult) -> tuple[Meta, bytes]:
    return answer.meta, answer.bytes().to_bytes()


def head(url: ObjectUrl) -> Object | None:
    """None where there is no such object. Raises OSError, UsageError."""

    def looked(store: ObjectStore) -> Meta | None:
        try:
            return store.head(url.key)
        except FileNotFoundError:
            return None

    meta = _asked(url, looked)
    return _object(url.bucket, meta, _patient(url)) if meta else None


def list_objects(folder: ObjectUrl) -> list[Object]:
    """The objects whose names begin with the folder's and a slash, in no order. Raises OSError where there is no such
    bucket, UsageError."""
    metas = _asked(folder, lambda store: [meta for some in store.list(prefix=folder.key or None) for meta in some])
    store = _patient(folder)
    return [_object(folder.bucket, meta, store) for meta in metas]


def try_listing(folder: ObjectUrl) -> None:
    """Raises OSError where what is in it cannot be listed, UsageError."""
    _asked(folder, lambda store: next(iter(store.list(prefix=folder.key or None)), None))


def put(url: ObjectUrl, file: Path | bytes) -> Object:
    """Uploads what appears only when it is complete; an upload that fails is aborted. Raises OSError, UsageError."""
    size = len(file) if isinstance(file, bytes) else file.stat().st_size

    def written(store: ObjectStore) -> Meta:
        store.put(url.key, file, chunk_size=max(PART, -(-size // MOST_PARTS)), max_concurrency=AT_ONCE)
        return store.head(url.key)

    there = _object(url.bucket, _asked(url, written), _patient(url))
    if there.size != size:
        raise OSError(errno.EIO, f"{there.size:,} bytes are there of the {size:,} that were uploaded", str(url))
    return there


def remove(urls: list[ObjectUrl]) -> None:
    """Whether or not they are there. Raises OSError, UsageError."""
    for url in urls:
        _asked(url, lambda store, key=url.key: store.delete(key))  # type: ignore[misc]


def _object(bucket: str, meta: Meta, store: ObjectStore) -> Object:
    return Object(ObjectUrl(bucket, meta["path"]), meta["size"], meta["e_tag"] or "", meta["last_modified"], store)


def _patient(url: ObjectUrl) -> ObjectStore:
    """A client that objects keep, and share."""
    with _as_of_a_disk(url):
        return _store(url.bucket, PATIENT)


def _asked(url: ObjectUrl, what: Callable[[ObjectStore], T]) -> T:
    """What the store says: at once, or when a spell of refusals is over. One that never answered may be a wrong name,
    and is not waited for. Raises OSError, UsageError."""
    whom = where(url.bucket, os.environ)
    with _as_of_a_disk(url):
        if whom in _has_answered:
            return _interruptible(lambda: what(_store(url.bucket, PATIENT)))
        try:
            told = _interruptible(lambda: what(_store(url.bucket, QUICK)))
        except Exception as error:
            if not re.search(r"status code: (5\d\d|429)", str(error)):
                raise
            log.warning("warning: %s: the store answers that it is busy: it is asked for some minutes more", url)
            told = _interruptible(lambda: what(_store(url.bucket, PATIENT)))
        _has_answered.add(whom)
        return told


def _interruptible(ask: Callable[[], T]) -> T:
    """In a thread of its own: obstore waits, for minutes maybe, and hears no signal meanwhile."""
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
        "allow_http": True,
        "connect_timeout": "10s",
        "timeout": "300s",
    }  # http where the user says
    with without_empty_variables():
        return from_url(bucket, config=config, client_options=options, retry_config=patience)


@contextmanager
def _as_of_a_disk(url: ObjectUrl) -> Iterator[None]:
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        yield
    except (BaseError, FileNotFoundError, ValueError) as error:
        raise refusal(url, error) from None
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise refusal(url, error) from None
