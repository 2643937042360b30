"""Where results appear, whole: a file, a folder of parts, an object, or a folder of objects.

Local ones are written beside their place and put there in one step. What goes to a store is written into the state
folder first, so that it is read back before it is uploaded; an object appears when its upload is complete. A store has
no folders that could be exchanged: there the parts of each publication have names of their own, and the list of those
in force is written last (`parts`).
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from batchgen.errors import BatchgenError, MachineRefused, UsageError
from batchgen.input.source import Source
from batchgen.job.job import Job
from batchgen.storage import folders, manifest, object_store
from batchgen.storage.atomic import (
    create_synced,
    discard,
    machine_refusals,
    replacing,
    replacing_folder,
    temporary_folder,
    try_out,
)
from batchgen.storage.listing import find
from batchgen.storage.location import Location, ObjectUrl, to_location
from batchgen.storage.object_store import Object

PARQUET, SPREADSHEET = ".parquet", ".csv"
PART = re.compile(r"part-\d{5,}(-\w+)?\.parquet")
STALE = dt.timedelta(days=1)
"""After so long nobody is uploading a part any more that no list names."""

log = logging.getLogger("batchgen")

Writing = Callable[[int], AbstractContextManager[BinaryIO]]
"""The file of a part, by its number, from 0; it is on stable storage when the block ends."""


@dataclass(frozen=True)
class Destination:
    """`rows_per_file`: a folder of parts of so many rows; None: one file. `scratch`: a folder on this machine.
    `is_own`: it is the job's own place, where results may appear beside it; `is_gated`: also those that the gate
    rejects, and `is_compared`: by what an earlier one left."""

    place: Location
    rows_per_file: int | None
    scratch: Path
    is_own: bool = False
    is_gated: bool = False
    is_compared: bool = False

    @property
    def rejected(self) -> Location:
        """Where results go that are not to take the place of those that stand there."""
        return self._beside("rejected")

    @property
    def partial(self) -> Location:
        """Where results go that have fewer texts than those that stand there, and rows without one."""
        return self._beside("partial")

    def _beside(self, mark: str) -> Location:
        return self.place.with_name(f"{self.place.stem}.{mark}{self.place.suffix}")

    def refuse(self, source: Source) -> None:
        """Raises UsageError where the results cannot stand there, whatever the machine does."""
        beside = [self.partial, *([self.rejected] if self.is_gated else [])] if self.is_own else []
        for there in (self.place, *beside):
            if isinstance(there, Path):
                folders.refuse_in_the_way(there.parent)
                _refuse_name(there, self.place)
                _refuse_path(there, source, is_folder=self.rows_per_file is not None)
            else:
                _refuse_url(there, source)

    def drop_beside(self, place: Location, source: Source, key: bytes) -> None:
        """What an earlier run left at such a place, now that a later one stands beside it. The input stays, and what is
        another's: whose metadata have no such key."""
        import pyarrow as pa  # noqa: PLC0415  these take long, and a plan writes nothing

        from batchgen.input.parquet_steps import opened  # noqa: PLC0415

        where = replace(self, place=place, is_own=False)
        with suppress(BatchgenError, OSError, pa.ArrowException):
            where.refuse(source)
            with find(str(where.place)).files[-1].open("rb") as file, opened(file) as last:
                is_ours = key in (last.metadata.metadata or {})
            if is_ours:
                where.remove()

    def remove(self) -> None:
        """Raises OSError."""
        if isinstance(self.place, Path):
            discard(self.place)
            folders.sync(self.place.parent)
        else:
            object_store.remove(
                [self.place] if self.rows_per_file is None else [o.url for o in object_store.list_objects(self.place)]
            )

    def refuse_unwritable(self) -> None:
        """Raises UsageError where publishing could not do there what it does: it is tried, and leaves nothing. In a
        store, a tiny object comes and goes."""
        self.refuse_closed()
        try:
            if isinstance(self.place, Path):
                try_out(self.place, is_folder=self.rows_per_file is not None)
            else:
                self._probe(self.place.with_name(f".{self.place.name}.probe"))
        except OSError as error:
            raise UsageError(f"{self.place}: cannot be written: {error.strerror}; nothing was sent") from None

    def _probe(self, probe: ObjectUrl) -> None:
        object_store.put(probe, b"may be removed")
        try:
            object_store.remove([probe])
        except PermissionError as error:
            stays = "parts of earlier runs stay" if self.rows_per_file else "it may stay"
            log.warning("warning: %s: %s: %s", probe, error.strerror, stays)

    def refuse_closed(self) -> None:
        """As much of that as leaves no trace, however short."""
        if isinstance(self.place, Path):
            folders.refuse_unwritable(self.place.parent)  # made when there is something to put into it
            return
        try:
            if self.rows_per_file is not None:
                object_store.try_listing(self.place)
            elif self.is_compared:
                object_store.try_listing(self.place.parent)
        except OSError as error:
            raise UsageError(f"{self.place}: cannot be listed: {error.strerror}; nothing was sent") from None

    def obstacles(self) -> list[str]:
        """What a run would be refused for on this machine first, as far as that leaves no trace."""
        try:
            folders.refuse_unwritable(self.scratch)
            folders.refuse_network(self.scratch)
            self.refuse_closed()
        except (UsageError, MachineRefused) as error:
            return [f"a run would be refused here: {error}"]
        warning = folders.network_warning(self.scratch)
        return [warning] if warning else []

    @contextmanager
    def writing(self, final: Callable[[], Any]) -> Iterator[Writing]:
        """What was written appears when the block ends well, and else nothing. `final`: asked then for its place.

        Raises MachineRefused."""
        with machine_refusals(self.place), self._writing(final) as part:
            yield part

    def _writing(self, final: Callable[[], Any]) -> AbstractContextManager[Writing]:
        if isinstance(self.place, Path):
            return _one_file(self.place, final) if self.rows_per_file is None else _folder(self.place, final)
        return _uploaded(self.place, final, self.scratch, is_folder=self.rows_per_file is not None)


def of(job: Job, date: str) -> Destination:
    """Of a run that began on that date (ISO)."""
    is_gated = job.gate.is_set and job.first is None  # the first rows alone are a trial
    return Destination(
        job.output_path(date),
        job.output.rows_per_file,
        job.state_folder,
        is_own=True,
        is_gated=is_gated,
        is_compared=is_gated and job.gate.max_drift is not None,
    )


def given(job: Job, output: str | Path, suffixes: Sequence[str]) -> Destination:
    """One file, as the command line names it. Raises UsageError where that is no place for one."""
    try:
        where = to_location(output)
    except ValueError as error:
        raise UsageError(f"--output: {error}") from None
    if where.suffix not in suffixes:
        raise UsageError(f"{output}: should end in {' or '.join(suffixes)}")
    return Destination(where.absolute() if isinstance(where, Path) else where, None, job.state_folder)


def stands(there: Location) -> bool:
    """Raises OSError where the store does not answer."""
    return (
        there.exists()
        if isinstance(there, Path)
        else bool(object_store.head(there) or object_store.list_objects(there))
    )


def _refuse_name(path: Path, place: Path | ObjectUrl) -> None:
    size, most = len(os.fsencode(path.name)), folders.longest_name(path.parent)
    if size > most:
        beside = "" if path == place else f" of {path.name}, where results go that do not take its place,"
        raise UsageError(
            f"{place}: the name{beside} has {size:,} bytes, and the file system takes {most:,}: give output.path a "
            "shorter one"
        )


def _refuse_path(path: Path, source: Source, *, is_folder: bool) -> None:
    if path.exists() and not path.is_symlink() and folders.is_mount_point(path):
        within = f"give output.path a folder within it, such as {path / 'results'}"
        instead = within if is_folder else "mount the folder that it is in, or give output.path another name"
        raise UsageError(f"{path}: is a mount point, whose place nothing can take: {instead}")
    if not is_folder and path.is_dir():
        raise UsageError(f"{path}: is a folder: give output.path the name of a file, or set output.rows_per_file")
    if is_folder and path.is_dir() and not path.is_symlink():
        strange = next((file.name for file in path.iterdir() if not PART.fullmatch(file.name)), None)
        if strange is not None:
            raise UsageError(f"{path}: holds {strange}, and would be replaced: give output.path a folder of its own")
    elif is_folder and path.exists() and not path.is_symlink():
        raise UsageError(f"{path}: is a file: output.rows_per_file makes a folder: move it away, or name another")
    inputs = {file for file in source.files if isinstance(file, Path)} if path.exists() else set()
    above = {folder for file in inputs for folder in file.parents}
    if any(folders.is_same(path, one) for one in inputs | above):
        raise UsageError(f"{path}: is the input too: give output.path another name")
    if folders.is_within(path, Path(source.spec.path)) and Path(source.spec.path).is_dir():
        raise UsageError(f"{path}: lies in the input's folder, and would be read as input: give output.path another")


def _refuse_url(url: ObjectUrl, source: Source) -> None:
    if any(f"{file}/".startswith(f"{url}/") for file in source.files):
        raise UsageError(f"{url}: is the input too: give output.path another name")
    if str(url).startswith(f"{source.spec.path}/"):
        raise UsageError(f"{url}: lies in the input's folder, and would be read as input: give output.path another")


@contextmanager
def _one_file(path: Path, final: Callable[[], Path]) -> Iterator[Writing]:
    with replacing(path, final) as file:
        yield lambda _: nullcontext(file)


@contextmanager
def _folder(path: Path, final: Callable[[], Path]) -> Iterator[Writing]:
    with replacing_folder(path, final) as folder:
        yield lambda number: create_synced(folder / f"{_stem(number)}{PARQUET}")


def _stem(number: int) -> str:
    return f"part-{number:05}"


@contextmanager
def _uploaded(url: ObjectUrl, final: Callable[[], ObjectUrl], scratch: Path, *, is_folder: bool) -> Iterator[Writing]:
    suffix = PARQUET if is_folder else url.suffix
    with temporary_folder(scratch / "upload") as folder:
        yield lambda number: create_synced(folder / f"{_stem(number)}{suffix}")
        files = sorted(folder.iterdir())
        if is_folder:
            _upload_folder(final(), files)
        else:
            _read_back(object_store.put(final(), files[0]), files[0])


def _upload_folder(url: ObjectUrl, files: list[Path]) -> None:
    """The parts first, under new names; then the list of them; then the parts go that the list before it named."""
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
    """The rows of an object, by its own footer. Raises MachineRefused where it is not what was uploaded."""
    if here.suffix != PARQUET:
        return 0
    from batchgen.input.parquet_steps import opened  # noqa: PLC0415  as above

    with opened(here) as meant, there.open() as file, opened(file) as found:
        if found.metadata.num_rows != meant.metadata.num_rows or not found.schema_arrow.equals(meant.schema_arrow):
            raise MachineRefused(f"{there}: does not read back as what was uploaded: run the command again")
        return found.metadata.num_rows
