"""The formats of input files: each reads batches of rows, in bounded memory, exactly as they stand.

Each refuses what it cannot represent, with file and line; none guesses a type, skips a bad line or repairs one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import polars as pl

from batchgen.errors import UsageError
from batchgen.rows.bounds import BATCH_BYTES, BATCH_ROWS, MAX_CELL, Schema
from batchgen.rows.csv_format import Csv
from batchgen.rows.files import File
from batchgen.rows.foreign import seen

if TYPE_CHECKING:
    from batchgen.rows.parquet_format import Parquet


class Ndjson:
    """One JSON object a line. Types are the narrowest that hold the whole file's values."""

    def schema(self, path: File) -> Schema:
        parts: list[pl.Schema] = []
        beyond: set[str] = set()
        for number, lines in _line_chunks(path):
            beyond |= _check(path, number, lines)
            parts.append(_infer(path, number, lines))
        try:
            merged = pl.concat(
                [pl.DataFrame(schema=part) for part in [pl.Schema(), *parts]], how="diagonal_relaxed"
            ).schema
        except pl.exceptions.PolarsError as error:
            raise UsageError(f"{path}: a key's values do not go together: {_first_line(error)}") from None
        if parts and not all(name.strip() for name in merged or [""]):
            raise UsageError(f"{path}: {'a key is empty' if merged else 'its objects have no keys'}")
        return {name: _kept(path, name, dtype, beyond) for name, dtype in merged.items()}

    def batches(self, path: File, schema: Schema) -> Iterator[pl.DataFrame]:
        for _, lines in _line_chunks(path):
            yield pl.read_ndjson(io.BytesIO(b"".join(lines)), schema=schema)


NO_OBJECT = "not a JSON object that can be read"
_object = msgspec.json.Decoder(dict[str, Any])
_EXACT = 2**53
"""Integers up to this a double holds exactly (IEEE 754)."""


def _check(path: File, first: int, lines: Sequence[bytes]) -> set[str]:
    """The keys that hold an integer which no double holds. Strict where polars is not: lone surrogates, say."""
    beyond: set[str] = set()
    for number, line in enumerate(lines, first):
        try:
            values = _object.decode(line)
        except (ValueError, RecursionError) as error:
            if number == 1 and (what := seen(line)):
                raise UsageError(f"{path}: {what}") from None
            hint = " (one object a line: jq -c '.[]' makes them of an array)" if line.lstrip().startswith(b"[") else ""
            raise UsageError(f"{path}:{number}: {NO_OBJECT}: {error}{hint}") from None
        beyond.update(name for name, value in values.items() if type(value) is int and abs(value) > _EXACT)
    return beyond


def _infer(path: File, first: int, lines: Sequence[bytes]) -> pl.Schema:
    try:
        return pl.read_ndjson(io.BytesIO(b"".join(lines)), infer_schema_length=None).schema
    except pl.exceptions.PolarsError as error:
        if len(lines) == 1:
            raise UsageError(f"{path}:{first}: {NO_OBJECT}: {_first_line(error)}") from None
        for number, line in enumerate(lines, first):
            _infer(path, number, [line])
        where = f"{path}: lines {first:,} to {first + len(lines) - 1:,}"
        raise UsageError(f"{where}: a key's values do not go together: {_first_line(error)}") from None


def _kept(path: File, name: str, dtype: pl.DataType, beyond: set[str]) -> pl.DataType:
    if dtype == pl.Int128 or (dtype.is_float() and name in beyond):
        raise UsageError(f"{path}: {name!r} holds integers that its type cannot: write them as text")
    return pl.String() if dtype == pl.Null else dtype


def _line_chunks(path: File) -> Iterator[tuple[int, list[bytes]]]:
    """(number of the first line, lines), each line with its end; blank lines stand only at a chunk's bounds."""
    lines: list[bytes] = []
    size = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901  a BOM is no content
            if len(line) > MAX_CELL:
                raise UsageError(f"{path}:{number}: a line of more than {MAX_CELL >> 20} MiB")
            if not line.strip() or len(lines) == BATCH_ROWS or size + len(line) > BATCH_BYTES:
                if lines:
                    yield number - len(lines), lines
                lines, size = [], 0
            if line.strip():
                lines.append(line if line.endswith(b"\n") else line + b"\n")
                size += len(line)
    if lines:
        yield number - len(lines) + 1, lines


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]


def _parquet() -> Parquet:
    from batchgen.rows.parquet_format import Parquet  # noqa: PLC0415  it takes long, and many a job has no Parquet

    return Parquet()


Format: TypeAlias = "Csv | Ndjson | Parquet"
BY_SUFFIX: dict[str, Callable[[], Format]] = {
    ".csv": Csv,
    ".parquet": _parquet,
    ".pq": _parquet,
    ".ndjson": Ndjson,
    ".jsonl": Ndjson,
}
