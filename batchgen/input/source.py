"""Reads the job's input as one stream of batches: the files in order, with types and new names applied, and only the
job's rows: those that meet `where`, up to the limit, of the shard. Each row keeps its number in the files.

Reading is repeatable: planning, sending and publishing read the same rows, and `Source.verify` raises if somebody
changed the files in between. Never holds more than one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from batchgen.errors import InputChanged, UsageError
from batchgen.input.bounds import Schema
from batchgen.input.compression import is_compressed
from batchgen.input.csv_format import Csv
from batchgen.input.csv_types import WrongCell, typed
from batchgen.input.file_hints import column_hint, separator_hint
from batchgen.input.formats import Format, format_of, is_csv
from batchgen.input.notes import in_other_files
from batchgen.input.row_checksum import RowChecksum
from batchgen.input.where import Condition, RowFault
from batchgen.job.sections import Input
from batchgen.storage.listing import File, Fingerprint, Found, Keys, find, fingerprint
from batchgen.ui.humanize import first_line

_NO_NUL = "which no table can hold: set input.encoding, if it is a CSV in UTF-16; else name it anew by input.rename"


class Batch(NamedTuple):
    """Rows and their numbers: from 1 over all files of the input, including the rows that were left out."""

    frame: pl.DataFrame
    numbers: pl.Series

    def every(self, nth: int, first: int, end: int) -> Batch:
        """Returns every `nth` row, from `first` on, of the rows before `end`."""
        if nth == 1 and end == self.frame.height:
            return self
        chosen = (rows.head(end).gather_every(nth, first) for rows in (self.frame, self.numbers))
        return Batch(*chosen)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Source:
    """The rows of an input, with `columns`, in the order of `files`. `keys`: each file's partition keys. `raw`: the
    columns within the files."""

    spec: Input
    files: tuple[File, ...]
    keys: tuple[Keys, ...]
    format: Format
    raw: Schema
    columns: Schema
    fingerprint: Fingerprint
    condition: Condition | None

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yields frames of at most 4,096 rows and about 16 MiB. Raises UsageError with the file, and line or row;
        InputChanged if the files changed meanwhile, which is the likely cause then."""
        for batch in self.numbered():
            yield batch.frame

    def numbered(self, start: int = 0, whole: RowChecksum | None = None) -> Iterator[Batch]:
        """Yields what `batches` yields, with the rows' numbers. Raises as it does. `start`: what `start_of` returned:
        the first row. `whole`: the rows of all shards are added to it."""
        try:
            yield from self._numbered(start, whole)
        except UsageError:
            self.verify()
            raise

    def start_of(self, row: int) -> int:
        """Returns the row, not after this one, from which on a part of the input can be read again. Rows are counted
        from 0 over the job's rows."""
        is_whole = self.condition is None and self.spec.parsed_shard.of == 1 and len(self.files) == 1
        return self.format.start_of(self.files[0], row) if isinstance(self.format, Csv) and is_whole else 0

    def _numbered(self, start: int, whole: RowChecksum | None) -> Iterator[Batch]:
        left, shard = self.spec.limit, self.spec.parsed_shard
        row, met = 1 + start, start
        for raw in self._raw_batches(start):
            rows = Batch(raw, pl.int_range(row, row + raw.height, dtype=pl.Int64, eager=True))
            row += raw.height
            if self.condition is not None:
                rows = self._meeting(self.condition, self._final(rows))
            taken = rows.frame.height if left is None else min(left - met, rows.frame.height)
            if whole is not None:
                whole.add(rows.frame.head(taken))
            own = rows.every(shard.of, shard.first(met), taken)
            met += taken
            if own.frame.height:
                yield own if self.condition is not None else self._final(own)
            if met == left:
                return

    def _final(self, rows: Batch) -> Batch:
        """Returns the rows with the columns' final types and names."""
        return Batch(self._typed(*rows).rename(self.spec.rename), rows.numbers)

    def _meeting(self, condition: Condition, rows: Batch) -> Batch:
        try:
            met = condition.places(rows.frame)
        except RowFault as fault:
            raise UsageError(f"{self.spec.path}: row {rows.numbers[fault.at]:,}: input.where: {fault}") from None
        return rows if met.len() == rows.frame.height else Batch(rows.frame[met], rows.numbers.gather(met))

    def _raw_batches(self, start: int) -> Iterator[pl.DataFrame]:
        try:
            for file, keys in zip(self.files, self.keys, strict=True):
                named = [pl.lit(value, pl.String).alias(name) for name, value in keys.items()]
                for frame in self._file_batches(file, start):
                    yield frame.with_columns(named) if named else frame
        except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            said = getattr(error, "strerror", None) or first_line(error)
            raise UsageError(f"{self.spec.path}: cannot be read: {said}") from None

    def _file_batches(self, file: File, start: int) -> Iterator[pl.DataFrame]:
        if start and isinstance(self.format, Csv):
            return self.format.batches(file, self.raw, start)
        return self.format.batches(file, self.raw)

    def _typed(self, frame: pl.DataFrame, numbers: pl.Series) -> pl.DataFrame:
        for name, wanted in self.spec.types.items():
            column = typed(frame[name], wanted, self.spec.decimal)
            if isinstance(column, WrongCell):
                raise UsageError(f"{self.spec.path}: row {numbers[column.at]:,}: {name}: {column.said}")
            frame = frame.with_columns(column)
        return frame

    @property
    def notes(self) -> list[str]:
        """Returns what the user should know of the reading, as far as the files were read."""
        return [*_copies(self.files), *self.format.notes]

    def verify(self) -> None:
        """Raises InputChanged if a file is not as it was when the source was opened."""
        with suppress(UsageError, OSError):
            if fingerprint(self.files) == self.fingerprint:
                return
        raise InputChanged.of(self.spec.path)


def open_source(spec: Input) -> Source:
    """Finds the files and reads their columns. Raises UsageError if nothing can be read, or if the files' columns
    differ."""
    found = find(spec.path)
    reader = format_of(spec, found.files)
    before = fingerprint(found.files)
    inside = _columns_within(found.files, reader)
    raw = {**inside, **_agreed_keys(found, inside)}
    if any(name in inside for name in spec.types) and not is_csv(found.files):
        raise UsageError(f"{spec.path}: input.schema types the columns of CSV files; this input has its own types")
    for key, names in (("schema", spec.types), ("rename", spec.rename)):
        for name in names:
            require_column(name, raw, f"input.{key}")
    columns = _final_columns(spec, raw)
    if spec.id is not None:
        require_column(spec.id, columns, "input.id")
    condition = None if spec.where is None else Condition(spec.where, columns)
    return Source(spec, found.files, found.keys, reader, inside, columns, before, condition)


def _copies(files: tuple[File, ...]) -> list[str]:
    """Returns a note if a file is there twice but for its compression, as `gzip -k` leaves it."""
    first: dict[str, File] = {}
    twice = []
    for file in files:
        other = first.setdefault(str(file).removesuffix(file.suffix) if is_compressed(file) else str(file), file)
        twice += [(file, other)] if other is not file else []
    return [
        f"{file} and {other.name} are both read{in_other_files(len(twice) - 1)}: if they hold the same rows, take one "
        "away: each is bought twice"
        for file, other in twice[:1]
    ]


def _columns_within(files: tuple[File, ...], reader: Format) -> Schema:
    try:
        return reader.schema(files)
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _agreed_keys(found: Found, inside: Schema) -> Schema:
    """Returns the columns that the folders' names make."""
    first = found.keys[0]
    for file, keys in zip(found.files, found.keys, strict=True):
        if list(keys) != list(first):
            said = [" and ".join(f"{name}=" for name in names) or "no column" for names in (keys, first)]
            raise UsageError(f"{file}: its folders name {said[0]}, and those of {found.files[0]} {said[1]}")
    for name in first:
        if name in inside:
            raise UsageError(f"{found.files[0]}: {name!r} is a column of the file, and also of a folder: {name}= too")
    return dict.fromkeys(first, pl.String())


def _final_columns(spec: Input, raw: Schema) -> Schema:
    columns: Schema = {}
    for name, dtype in raw.items():
        final = spec.rename.get(name, name)
        if final in columns:
            raise UsageError(f"{spec.path}: input.rename gives two columns the name {final!r}")
        if "\0" in final:
            raise UsageError(f"{spec.path}: the name of column {final!r} has a NUL character, {_NO_NUL}")
        columns[final] = getattr(pl, spec.types[name])() if name in spec.types else dtype
    return columns


def require_column(name: str, columns: Schema, key: str) -> None:
    """Raises UsageError, with the closest name, if the input has no such column."""
    if name not in columns:
        hint = separator_hint(columns) or column_hint(name, columns)
        raise UsageError(f"{key}: the input has no column {name!r}; {hint}")
