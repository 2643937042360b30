"""The formats of input files. Each yields batches of rows, exactly as they are in the file.

Each refuses what it cannot represent, with file and line, row or cell. None skips an invalid line or repairs one.
NDJSON, JSON and Excel have no types of columns: the narrowest that holds all values is taken. CSV is text. Excel holds
a sheet whole, Arrow a record batch; the others hold a batch of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import polars as pl

from batchgen.errors import UsageError
from batchgen.input.bounds import Schema
from batchgen.input.compression import COMPRESSED, is_compressed, suffix_within
from batchgen.input.csv_format import Csv
from batchgen.input.csv_records import CsvDialect
from batchgen.input.file_hints import suffix_hint
from batchgen.input.json_format import JsonList
from batchgen.input.ndjson_format import Ndjson
from batchgen.job.sections import Input
from batchgen.storage.listing import File, glob_of


class Format(Protocol):
    @property
    def notes(self) -> Sequence[str]:
        """Returns what the user should know of the reading, as far as the files were read."""
        ...

    def schema(self, paths: Sequence[File]) -> Schema:
        """Returns the columns of all files. Raises UsageError if they cannot be read, or if their columns differ."""
        ...

    def batches(self, path: File, schema: Schema) -> Iterator[pl.DataFrame]:
        """Yields a file's rows, with the columns that `schema` returned. Raises UsageError with the file, and the
        line, row or cell."""
        ...


def _csv(spec: Input) -> Format:
    return Csv(CsvDialect(spec.separator, spec.encoding or "utf-8"))


def _tsv(spec: Input) -> Format:
    return Csv(CsvDialect(spec.separator or "\t", spec.encoding or "utf-8"))


def _ndjson(_: Input) -> Format:
    return Ndjson()


def _parquet(_: Input) -> Format:
    from batchgen.input.parquet_format import Parquet  # noqa: PLC0415  it takes long, and many a job has no Parquet

    return Parquet()


def _arrow(_: Input) -> Format:
    from batchgen.input.arrow_format import Arrow  # noqa: PLC0415  as above

    return Arrow()


def _excel(spec: Input) -> Format:
    from batchgen.input.excel_format import Excel  # noqa: PLC0415  as above

    return Excel(spec.sheet)


BY_SUFFIX: dict[str, Callable[[Input], Format]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".tab": _tsv,
    ".txt": _csv,
    ".ndjson": _ndjson,
    ".jsonl": _ndjson,
    ".json": lambda _: JsonList(),
    ".parquet": _parquet,
    ".pq": _parquet,
    ".xlsx": _excel,
    ".xlsm": _excel,
    ".arrow": _arrow,
    ".feather": _arrow,
    ".ipc": _arrow,
}
_OF_CSV = {".csv", ".tsv", ".tab", ".txt"}
_TEXTS = {*_OF_CSV, ".ndjson", ".jsonl", ".json"}
_WORKBOOKS = {".xlsx", ".xlsm"}
_KEYS: dict[str, tuple[set[str], str]] = {
    "separator": (_OF_CSV, "CSV files"),
    "encoding": (_OF_CSV, "CSV files"),
    "decimal": (_OF_CSV, "CSV files"),
    "sheet": (_WORKBOOKS, "workbooks (.xlsx)"),
}
"""Keys of `input` that apply only to some formats."""


def is_csv(files: Sequence[File]) -> bool:
    return suffix_within(files[0].name) in _OF_CSV


def is_workbook(files: Sequence[File]) -> bool:
    return suffix_within(files[0].name) in _WORKBOOKS


def format_of(spec: Input, files: Sequence[File]) -> Format:
    """Returns the reader of the files. Raises UsageError if their suffixes are unknown or differ, or if `spec` has a
    key that the format does not take."""
    pattern = spec.path
    known = [file for file in files if _is_known(file, has_separator=spec.separator is not None)]
    if len(known) < len(files):
        strange = next(file for file in files if file not in known)
        raise UsageError(f"{strange}: {_unknown(strange)}{_without(pattern, known)}")
    suffixes = sorted({suffix_within(file.name) for file in files})
    if len({BY_SUFFIX[suffix] for suffix in suffixes}) > 1:
        one = [file for file in files if suffix_within(file.name) == suffixes[0]]
        globs = f"; to read one of them, give the glob {found}" if (found := glob_of(pattern, suffixes[0], one)) else ""
        raise UsageError(f"{pattern}: the files are of several formats: {', '.join(suffixes)}{globs}")
    suffix = suffixes[0]
    for key, (fits, those) in _KEYS.items():
        if getattr(spec, key) is not None and suffix not in fits:
            raise UsageError(f"input.{key}: applies only to {those}, and {files[0].name} is not one")
    return BY_SUFFIX[suffix](spec)


def _is_known(file: File, *, has_separator: bool) -> bool:
    """Returns whether the file can be read. A .txt file is a table only if its separator is given."""
    suffix = suffix_within(file.name)
    return (suffix != ".txt" or has_separator) and suffix in (_TEXTS if is_compressed(file) else BY_SUFFIX)


def _unknown(file: File) -> str:
    suffix = suffix_within(file.name)
    advice = suffix_hint(suffix)
    if suffix == ".txt":
        return f"a .txt file is read only with its separator{advice}"
    if is_compressed(file):
        texts = ", ".join(suffix for suffix in BY_SUFFIX if suffix in _TEXTS)
        return f"compressed files must end in one of {texts}, followed by {' or '.join(COMPRESSED)}{advice}"
    return f"the suffix must be one of {', '.join(BY_SUFFIX)}{advice}"


def _without(pattern: str, known: Sequence[File]) -> str:
    others = glob_of(pattern, known[0].suffix, known) if known else None
    return f"; to leave it out, give the glob {others}" if others else ""
