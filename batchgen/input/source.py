"""The job's input as one stream of row batches: files in order, the limit, the shard, types and new names applied.

Reading is repeatable: planning, sending and publishing each read the same rows, and `Source.verify`
says when somebody changed the files in between. Never holds more than one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from batchgen.errors import InputChanged, UsageError
from batchgen.input.bounds import Schema
from batchgen.input.csv_format import Csv
from batchgen.input.foreign import meant, named_otherwise, separated, unlike
from batchgen.input.formats import BY_SUFFIX, Format
from batchgen.input.ndjson_format import Ndjson
from batchgen.job.sections import Input
from batchgen.job.shard import WHOLE
from batchgen.storage.listing import File, Fingerprint, Found, Keys, find, fingerprint, glob_of

_BOOLEANS = {"true": True, "false": False}
_DAY, _TIMES = "%Y-%m-%d", ("%H:%M:%S%.f", "%H:%M")
_MOMENTS = [f"{_DAY}{joint}{time}" for joint in "T " for time in _TIMES] + [_DAY]
_PARSERS: dict[str, Callable[[pl.Expr], pl.Expr]] = {  # ISO 8601 only: no guess which of 01/02 is the month
    "Boolean": lambda c: c.str.to_lowercase().replace_strict(_BOOLEANS, default=None, return_dtype=pl.Boolean),
    "Date": lambda c: c.str.to_date(_DAY, strict=False),
    "Datetime": lambda c: pl.coalesce([c.str.to_datetime(moment, strict=False, time_unit="us") for moment in _MOMENTS]),
}


def _parsed(name: str, dtype: str) -> pl.Expr:
    column = pl.col(name)
    return _PARSERS[dtype](column) if dtype in _PARSERS else column.cast(getattr(pl, dtype), strict=False)


@dataclass(frozen=True)
class Source:
    """Rows with `columns`, in the order of `files`. Rows are counted from 1 over all files, a shard's too. `keys`: of
    each file, what its folders say; `raw`: the columns within the files."""

    spec: Input
    files: tuple[File, ...]
    keys: tuple[Keys, ...]
    format: Format
    raw: Schema
    columns: Schema
    fingerprint: Fingerprint

    def batches(self) -> Iterator[pl.DataFrame]:
        """At most 4,096 rows and about 16 MiB each. Raises UsageError with the file, and line or row."""
        left, part = self.spec.limit, self.spec.part
        row = 0
        for frame in self._raw_batches():
            batch = frame if left is None else frame.head(min(left - row, frame.height))
            own = batch if part == WHOLE else batch.gather_every(part.of, part.first(row))
            if own.height:
                yield self._typed(own, part.rows(row)).rename(self.spec.rename)
            row += batch.height
            if row == left:
                return

    def _raw_batches(self) -> Iterator[pl.DataFrame]:
        try:
            for file, keys in zip(self.files, self.keys, strict=True):
                named = [pl.lit(value, pl.String).alias(name) for name, value in keys.items()]
                for frame in self.format.batches(file, self.raw):
                    yield frame.with_columns(named) if named else frame
        except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            self.verify()  # the likely cause: somebody is writing the file
            said = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise UsageError(f"{self.spec.path}: cannot be read: {said}") from None

    def _typed(self, frame: pl.DataFrame, before: int) -> pl.DataFrame:
        """`before`: how many of the job's rows came before."""
        for name, wanted in self.spec.types.items():
            given = frame[name]
            typed = frame.select(_parsed(name, wanted)).to_series()
            lost = typed.is_null() | (typed.is_infinite() if typed.dtype.is_float() else False)
            wrong = (given.is_not_null() & lost).arg_true()
            if wrong.len():
                at = wrong[0]
                row = self.spec.part.row(before + at) + 1
                raise UsageError(f"{self.spec.path}: row {row:,}: {name}: {given[at]!r} is no {wanted}")
            frame = frame.with_columns(typed)
        return frame

    @property
    def notes(self) -> list[str]:
        """What its reading should say, as far as it was read."""
        return self.format.notes if isinstance(self.format, Csv) else []

    def verify(self) -> None:
        """Raises InputChanged where a file is not as it was when the source was opened."""
        with suppress(UsageError, OSError):
            if fingerprint(self.files) == self.fingerprint:
                return
        raise InputChanged(f"{self.spec.path}: changed while the job was at work; every answer is kept: run it again")


def open_source(spec: Input) -> Source:
    """Finds the files and reads their columns. Raises UsageError where there is nothing to read or no agreement."""
    found = find(spec.path)
    reader = _format(spec.path, found.files)
    before = fingerprint(found.files)
    inside = _agreed_schema(found.files, reader)
    raw = {**inside, **_agreed_keys(found, inside)}
    if any(name in inside for name in spec.types) and not isinstance(reader, Csv):
        raise UsageError(f"{spec.path}: input.schema types the columns of CSV files; this input brings its own")
    for key, names in (("schema", spec.types), ("rename", spec.rename)):
        for name in names:
            require_column(name, raw, f"input.{key}")
    columns = _final_columns(spec, raw)
    if spec.id is not None:
        require_column(spec.id, columns, "input.id")
    return Source(spec, found.files, found.keys, reader, inside, columns, before)


def _format(pattern: str, files: tuple[File, ...]) -> Format:
    known = [file for file in files if file.suffix.lower() in BY_SUFFIX]
    strange = next((file for file in files if file.suffix.lower() not in BY_SUFFIX), None)
    if strange is not None:
        told = named_otherwise(strange.suffix)
        others = glob_of(pattern, known[0].suffix, known) if known else None
        hint = f"; to leave it out, give the glob {others}" if others else ""
        raise UsageError(f"{strange}: an input is named by what it is: {', '.join(BY_SUFFIX)}{told}{hint}")
    if len({BY_SUFFIX[file.suffix.lower()] for file in files}) > 1:
        kinds = {file.suffix.lower() for file in files}
        raise UsageError(f"{pattern}: the files are of several formats: {', '.join(sorted(kinds))}")
    return BY_SUFFIX[files[0].suffix.lower()]()


def _agreed_schema(files: tuple[File, ...], reader: Format) -> Schema:
    try:
        if isinstance(reader, Ndjson):
            return reader.schema(files)
        first, *others = [reader.schema(path) for path in files]
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read: {error.strerror}") from None
    for path, other in zip(files[1:], others, strict=True):
        if list(other) != list(first):
            raise UsageError(f"{path}: its columns ({', '.join(other)}) are not those of {files[0].name}")
        for name, dtype in other.items():
            if dtype != first[name]:
                raise UsageError(f"{path}: {name} is {dtype} here and {first[name]} in {files[0].name}")
    return first


def _agreed_keys(found: Found, inside: Schema) -> Schema:
    """The columns that the folders' names make."""
    first = found.keys[0]
    for file, keys in zip(found.files, found.keys, strict=True):
        if list(keys) != list(first):
            said = [" and ".join(f"{name}=" for name in names) or "no column" for names in (keys, first)]
            raise UsageError(f"{file}: its folders name {said[0]}, and those of {found.files[0]} {said[1]}")
    for name in first:
        if name in inside:
            raise UsageError(f"{found.files[0]}: {name!r} is a column of the file, and a folder's {name}= too")
    return dict.fromkeys(first, pl.String())


def _final_columns(spec: Input, raw: Schema) -> Schema:
    columns: Schema = {}
    for name, dtype in raw.items():
        final = spec.rename.get(name, name)
        if final in columns:
            raise UsageError(f"{spec.path}: input.rename gives two columns the name {final!r}")
        columns[final] = getattr(pl, spec.types[name])() if name in spec.types else dtype
    return columns


def require_column(name: str, columns: Schema, key: str) -> None:
    """Raises UsageError, with the near miss, where the input has no such column."""
    if name not in columns:
        close = meant(name, columns)
        hint = f"did you mean {close}?{unlike(name, close)}" if close else f"its columns: {', '.join(columns)}"
        raise UsageError(f"{key}: the input has no column {name!r}; {separated(columns) or hint}")
