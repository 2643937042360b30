"""The place where results appear, whole: a file, a folder of parts, an object, or a folder of objects. `draft`
writes them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchgen.checkpoint.schema import PUBLISHING
from batchgen.errors import BatchgenError, MachineRefused, UsageError
from batchgen.job.job import Job
from batchgen.job.sections import Input
from batchgen.output.draft import PART, Draft, file_beside, folder_beside, to_upload
from batchgen.storage import file_lock, folders, object_store
from batchgen.storage.atomic import discard, machine_refusals, try_out
from batchgen.storage.listing import files_at, would_find
from batchgen.storage.location import Location, ObjectUrl, to_location

if TYPE_CHECKING:
    from batchgen.input.source import Source

log = logging.getLogger("batchgen")


@dataclass(frozen=True)
class Destination:
    """A place for results. `rows_per_file`: rows of each part of a folder; None: one file. `scratch`: a local
    folder. `lock`: of the job's own place, next to which results may appear; None: another place. `is_gated`: also
    rejected ones may; `is_compared`: the gate compares them with earlier ones."""

    place: Location
    rows_per_file: int | None
    scratch: Path
    lock: Path | None = None
    is_gated: bool = False
    is_compared: bool = False

    @property
    def is_own(self) -> bool:
        """Returns whether it is the job's own place."""
        return self.lock is not None

    @property
    def is_folder(self) -> bool:
        return self.rows_per_file is not None

    @property
    def rejected(self) -> Location:
        """Returns the place of results that the gate rejected."""
        return self._beside("rejected")

    @property
    def partial(self) -> Location:
        """Returns the place of results that have rows without a text, and fewer texts than the existing ones."""
        return self._beside("partial")

    @property
    def places(self) -> list[Location]:
        """Returns every place where a run may put results: this one, and what is beside the job's own."""
        beside = [self.partial, *([self.rejected] if self.is_gated else [])]
        return [self.place, *(beside if self.is_own else [])]

    def _beside(self, mark: str) -> Location:
        return self.place.with_name(f"{self.place.stem}.{mark}{self.place.suffix}")

    def refuse(self, source: Source | None) -> None:
        """Raises UsageError if the results cannot stand there, whatever the machine does. `source`: the input; None if
        it is not on this machine, where it cannot be overwritten."""
        for there in self.places:
            if isinstance(there, Path):
                folders.refuse_in_the_way(there.parent)
                _refuse_name(there, self.place)
                _refuse_path(there, is_folder=self.is_folder)
            if source is not None:
                _refuse_input(there, source)
                if isinstance(there, Path) and not self.is_folder:
                    refuse_as_input(there, source.spec, "output.path")

    def drop_beside(self, place: Location, source: Source, key: bytes) -> None:
        """Removes what an earlier run left at such a place, once a later run's results exist. Never removes the
        input, or a file without our metadata key."""
        import pyarrow as pa  # noqa: PLC0415  it takes long, and a plan writes nothing

        where = replace(self, place=place, lock=None)
        with suppress(BatchgenError, OSError, pa.ArrowException):
            where.refuse(source)
            if key in metadata_at(place):
                where.remove()

    def remove(self) -> None:
        """Raises OSError."""
        if isinstance(self.place, Path):
            discard(self.place)
            folders.sync(self.place.parent)
        else:
            object_store.remove(
                [one.url for one in object_store.list_objects(self.place)] if self.is_folder else [self.place]
            )

    def refuse_unwritable(self) -> None:
        """Raises UsageError if publishing could not do there what it does: it is tried, and leaves nothing. In a
        store, a tiny object comes and goes."""
        self.refuse_closed()
        try:
            if isinstance(self.place, Path):
                try_out(self.place, is_folder=self.is_folder)
            else:
                self._probe(self.place.with_name(f".{self.place.name}.probe"))
        except OSError as error:
            raise UsageError(f"{self.place}: cannot be written: {error.strerror}; nothing was sent") from None

    def try_again(self) -> None:
        """Tries on this machine, once a run has sent, what `refuse_unwritable` tried before. Raises MachineRefused."""
        if isinstance(self.place, Path):
            with machine_refusals(self.place):
                try_out(self.place, is_folder=self.is_folder)

    def _probe(self, probe: ObjectUrl) -> None:
        object_store.put(probe, b"may be removed")
        try:
            object_store.remove([probe])
        except OSError as error:
            stays = "parts of earlier runs stay" if self.is_folder else "it may stay"
            log.warning("warning: %s: %s: %s", probe, error.strerror, stays)

    def refuse_closed(self) -> None:
        """Raises what `refuse_unwritable` would raise, as far as it can be found out without writing anything."""
        if isinstance(self.place, Path):
            folders.refuse_unwritable(self.place.parent)  # made when there is something to put into it
            return
        try:
            if self.is_folder:
                object_store.try_listing(self.place)
            elif self.is_compared:
                object_store.try_listing(self.place.parent)
        except OSError as error:
            raise UsageError(f"{self.place}: cannot be listed: {error.strerror}; nothing was sent") from None

    def obstacles(self) -> list[str]:
        """Returns why a run would be refused on this machine, as far as it can be found out without writing
        anything."""
        try:
            folders.refuse_unwritable(self.scratch)
            folders.refuse_network(self.scratch)
            self.refuse_closed()
        except (UsageError, MachineRefused) as error:
            return [f"a run would be refused here: {error}"]
        warning = folders.network_warning(self.scratch)
        return [warning] if warning else []

    @contextmanager
    def draft(self) -> Iterator[Draft]:
        """Yields new results, which are removed when the block ends unless they were put in place. Raises
        MachineRefused."""
        with machine_refusals(self.place), self._draft() as draft:
            yield draft

    def in_turn(self) -> AbstractContextManager[None]:
        """Keeps other commands from putting results into the job's own place while the block runs: what stands there is
        compared and replaced in one step."""
        if self.lock is None:
            return nullcontext()
        return file_lock.in_turn(self.lock, f"{self.place}: waits for another command that puts results there")

    def _draft(self) -> AbstractContextManager[Draft]:
        if isinstance(self.place, Path):
            return folder_beside(self.place) if self.is_folder else file_beside(self.place)
        return to_upload(self.place, self.scratch, is_folder=self.is_folder)


def of(job: Job, date: str) -> Destination:
    """Returns the destination of a run that began on that date (ISO)."""
    is_gated = job.gate.is_set and job.first_rows is None  # the first rows alone are a trial
    return Destination(
        job.output_path(date),
        job.output.rows_per_file,
        job.state_folder,
        lock=_lock(job.state_folder, job.name),
        is_gated=is_gated,
        is_compared=is_gated and job.gate.max_drift is not None,
    )


def of_whole(job: Job, date: str) -> Destination:
    """Returns the place for the merged results of a job's shards, of runs that began on that date (ISO)."""
    place, lock = job.output_path(date, whole=True), _lock(job.state_folder, job.whole_name)
    return Destination(place, job.output.rows_per_file, job.state_folder, lock=lock)


def _lock(folder: Path, name: str) -> Path:
    return folder / f"{name}{PUBLISHING}"


def from_option(job: Job, output: str | Path, suffixes: Sequence[str]) -> Destination:
    """Returns the single file that the command line names. Raises UsageError if it cannot be one."""
    try:
        where = to_location(output)
    except ValueError as error:
        raise UsageError(f"--output: {error}") from None
    if where.suffix not in suffixes:
        raise UsageError(
            f"{output}: should end in {', '.join(suffixes[:-1])}{' or ' if suffixes[1:] else ''}{suffixes[-1]}"
        )
    return Destination(where.absolute() if isinstance(where, Path) else where, None, job.state_folder)


def refuse_as_input(path: Path, spec: Input, key: str) -> None:
    """Raises UsageError if a file there would be among the input's at the next run. `key`: what sets its path."""
    if would_find(spec.path, path):
        raise UsageError(f"{path}: lies in input.path, and would be read as input: choose another {key}")


def metadata_at(place: Location) -> dict[bytes, bytes]:
    """Returns the metadata of results. Read by pyarrow: polars panics if a store refuses the read. Raises OSError,
    UsageError, ArrowException."""
    last = files_at(place)[-1]
    import pyarrow.parquet as pq  # noqa: PLC0415  as above: most plans find no results

    with last.open("rb") as file:
        return pq.read_metadata(file).metadata or {}


def exists(there: Location) -> bool:
    """Returns whether a file, folder or object is there. Raises OSError if the store does not answer."""
    return (
        there.exists()
        if isinstance(there, Path)
        else bool(object_store.head(there) or object_store.list_objects(there))
    )


def _refuse_name(path: Path, place: Path | ObjectUrl) -> None:
    size, most = len(os.fsencode(path.name)), folders.longest_name(path.parent)
    if size > most:
        beside = "" if path == place else f" of {path.name}, for results that are not put in its place,"
        raise UsageError(
            f"{place}: the name{beside} has {size:,} bytes, and the file system takes {most:,}: give output.path a "
            "shorter one"
        )


def _refuse_path(path: Path, *, is_folder: bool) -> None:
    if path.exists() and not path.is_symlink() and folders.is_mount_point(path):
        within = f"give output.path a folder within it, such as {path / 'results'}"
        instead = within if is_folder else "mount the folder that it is in, or give output.path another name"
        raise UsageError(f"{path}: is a mount point, which cannot be replaced: {instead}")
    if not is_folder and path.is_dir():
        raise UsageError(f"{path}: is a folder: choose the name of a file as output.path, or set output.rows_per_file")
    if is_folder and path.is_dir() and not path.is_symlink():
        strange = next((file.name for file in path.iterdir() if not PART.fullmatch(file.name)), None)
        if strange is not None:
            raise UsageError(f"{path}: holds {strange}, and would be replaced: choose a folder that holds nothing else")
    elif is_folder and path.exists() and not path.is_symlink():
        raise UsageError(
            f"{path}: is a file, and output.rows_per_file needs a folder: move it, or choose another output.path"
        )


def _refuse_input(there: Location, source: Source) -> None:
    if _is_input(there, source):
        raise UsageError(f"{there}: is also the input: choose another output.path")
    if _is_in_input(there, source):
        raise UsageError(f"{there}: is in the input's folder, and would be read as input: choose another output.path")


def _is_input(there: Location, source: Source) -> bool:
    """Returns whether it is a file of the input, or a folder that holds one."""
    if isinstance(there, ObjectUrl):
        return any(f"{file}/".startswith(f"{there}/") for file in source.files)
    inputs = {file for file in source.files if isinstance(file, Path)} if there.exists() else set()
    above = {folder for file in inputs for folder in file.parents}
    return any(folders.is_same(there, one) for one in inputs | above)


def _is_in_input(there: Location, source: Source) -> bool:
    if isinstance(there, ObjectUrl):
        return str(there).startswith(f"{source.spec.path}/")
    return folders.is_within(there, Path(source.spec.path)) and Path(source.spec.path).is_dir()
