"""Writes results so that they take their place whole, in one step, or leave no trace.

Local results are written next to their place. Results for a store are written into the state folder first, so that they
are read back before they are uploaded; an object appears when its upload is complete. A store cannot swap folders: the
parts of each publication have names of their own, and a manifest that lists the current ones is written last.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from batchgen.errors import MachineRefused
from batchgen.storage import manifest, object_store
from batchgen.storage.atomic import NewFile, create_synced, new_file, put_folder, temporary_folder
from batchgen.storage.location import ObjectUrl
from batchgen.storage.object_store import Object

PARQUET = ".parquet"
PART = re.compile(r"part-\d{5,}(-\w+)?\.parquet")
FIRST_PART = f"part-{0:05}{PARQUET}"
"""The first part of a folder on this machine."""
STALE = dt.timedelta(days=1)
"""After this time nobody is still uploading a part that no manifest lists."""


class Draft(Protocol):
    """New results, in one file or in parts."""

    def part(self, number: int) -> AbstractContextManager[BinaryIO]:
        """Opens the file of a part, by its number from 0."""

    def put(self, place: Any) -> None:
        """Gives the results their place, once all files are written. Raises OSError, MachineRefused."""


@dataclass(frozen=True)
class _FileBeside:
    new: NewFile

    def part(self, number: int) -> AbstractContextManager[BinaryIO]:  # noqa: ARG002  there is one
        return nullcontext(self.new.file)

    def put(self, place: Path) -> None:
        self.new.put(place)


@dataclass(frozen=True)
class _FolderBeside:
    folder: Path

    def part(self, number: int) -> AbstractContextManager[BinaryIO]:
        return _created(self.folder, number)

    def put(self, place: Path) -> None:
        put_folder(self.folder, place)


@dataclass(frozen=True)
class _Upload:
    """`suffix`: of the only file; None: there are parts."""

    folder: Path
    suffix: str | None

    def part(self, number: int) -> AbstractContextManager[BinaryIO]:
        return _created(self.folder, number, self.suffix or PARQUET)

    def put(self, place: ObjectUrl) -> None:
        files = sorted(self.folder.iterdir())
        if self.suffix is None:
            _upload_folder(place, files)
        else:
            _read_back(object_store.put(place, files[0]), files[0])


def _created(folder: Path, number: int, suffix: str = PARQUET) -> AbstractContextManager[BinaryIO]:
    """Opens a new part, which is on stable storage when the block ends."""
    return create_synced(folder / f"part-{number:05}{suffix}")


@contextmanager
def file_beside(path: Path) -> Iterator[Draft]:
    """Yields one file next to `path`. Raises OSError."""
    with new_file(path) as new:
        yield _FileBeside(new)


@contextmanager
def folder_beside(path: Path) -> Iterator[Draft]:
    """Yields a folder of parts next to `path`."""
    with temporary_folder(path) as folder:
        yield _FolderBeside(folder)


@contextmanager
def to_upload(url: ObjectUrl, scratch: Path, *, is_folder: bool) -> Iterator[Draft]:
    """Yields an object or a folder of objects, written below `scratch` first."""
    with temporary_folder(scratch / "upload") as folder:
        yield _Upload(folder, None if is_folder else url.suffix)


def _upload_folder(url: ObjectUrl, files: list[Path]) -> None:
    """Uploads the parts under new names, then the manifest that lists them. Then removes the parts that the earlier
    manifest listed."""
    before = object_store.list_objects(url)
    named = (
        {one.name for one in manifest.in_force(before)} if any(o.name == manifest.MANIFEST for o in before) else set()
    )
    tag = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}{secrets.token_hex(3)}"
    urls = [url / f"{file.stem}-{tag}{file.suffix}" for file in files]
    try:
        rows = [_read_back(object_store.put(to, file), file) for to, file in zip(urls, files, strict=True)]
    except BaseException:
        with suppress(OSError):
            object_store.remove(urls)
        raise
    object_store.put(
        url / manifest.MANIFEST, msgspec.json.encode(manifest.Manifest([to.name for to in urls], sum(rows)))
    )
    stale = dt.datetime.now(dt.UTC) - STALE
    ours = (one for one in before if PART.fullmatch(one.name) and one.url.parts[:-1] == url.parts)
    with suppress(OSError):  # nobody reads them any more, and a later publication finds them
        object_store.remove([one.url for one in ours if one.name in named or one.modified < stale])


def _read_back(there: Object, here: Path) -> int:
    """Returns the rows of an object, from its footer. Raises MachineRefused if it is not what was uploaded."""
    if here.suffix != PARQUET:
        return 0
    from batchgen.input.parquet_steps import open_parquet  # noqa: PLC0415  as above

    with open_parquet(here) as meant, there.open() as file, open_parquet(file) as found:
        if found.metadata.num_rows != meant.metadata.num_rows or not found.schema_arrow.equals(meant.schema_arrow):
            raise MachineRefused(f"{there}: does not read back as what was uploaded: run the command again")
        return found.metadata.num_rows
