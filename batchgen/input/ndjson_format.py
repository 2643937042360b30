"""Reads NDJSON files: one JSON object per line. Every value is kept exactly, or refused."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO, Literal

import msgspec
import polars as pl

from batchgen.errors import UsageError
from batchgen.input.bounds import BATCH_BYTES, BATCH_ROWS, MAX_CELL, Schema
from batchgen.input.compression import open_decompressed
from batchgen.input.file_hints import identify
from batchgen.input.ndjson_types import Position, ValueKinds, parse_fraction
from batchgen.storage.listing import File

Objects = tuple[int, list[bytes]]
"""The number of the first object, and each object as a line."""
NO_OBJECT = "not a JSON object that can be read"
_object = msgspec.json.Decoder(dict[str, Any])
_as_they_stand = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KEY = re.compile(rb'(?<!\\)"\s*:')
_NOT_PLAIN = (b"\\", b" :", b"\t:", b"\r:")
"""In a text without these, each `":` ends a key, unless it begins a text."""
_BACKSLASH_AT_END = b'\\\\"'
_FRACTION = re.compile(rb"[:\[,]\s*(-?\d+(?:\.\d+(?:[eE][-+]?\d+)?|[eE][-+]?\d+))")
_MANY_DIGITS = re.compile(rb"\.(?:\d{7}|(?<=\d{9}\.)\d)")
_SHORT = 15
"""Digits that a float always keeps."""


class Ndjson:
    """Types are the narrowest that hold the values of all files."""

    unit: Literal["line", "row"] = "line"
    notes: Sequence[str] = ()

    def __init__(self) -> None:
        self._mixed: list[str] = []

    def schema(self, paths: Sequence[File]) -> Schema:
        """Returns the columns of all files, as if they were one."""
        top = ValueKinds()
        for path in paths:
            for first, lines in self.objects(path):
                _look(Position(path, first, self.unit), lines, top)
        names = list(top.fields)
        if top.kinds and not all(name.strip() for name in names or [""]):
            raise UsageError(f"{paths[0]}: {'a key is empty' if names else 'its objects have no keys'}")
        self._mixed = [name for name, field in top.fields.items() if field.is_mixed]
        return {
            name: pl.String() if name in self._mixed or (dtype := field.dtype()) == pl.Null else dtype
            for name, field in top.fields.items()
        }

    def batches(self, path: File, schema: Schema) -> Iterator[pl.DataFrame]:
        for _, lines in self.objects(path):
            frame = pl.read_ndjson(io.BytesIO(b"".join(lines)), schema=schema)
            yield frame.with_columns(_texts(lines, self._mixed)) if self._mixed else frame

    def objects(self, path: File) -> Iterator[Objects]:
        with open_decompressed(path) as file:
            yield from in_batches(_lines(path, file))


def _look(place: Position, lines: Sequence[bytes], top: ValueKinds) -> None:
    """Adds what the lines hold. `place`: of the first. Raises UsageError with the line. Strict where polars is not:
    lone surrogates, say."""
    whole = b"".join(lines)
    is_plain = not any(mark in whole for mark in _NOT_PLAIN)
    path, first, unit = place
    at, line, keys = first, b"", 0
    try:
        for at, line in enumerate(lines, first):
            found = top.add(_object.decode(line), Position(path, at, unit))
            keys += found
            if not is_plain and (found != len(_KEY.findall(line)) or _BACKSLASH_AT_END in line):
                _repeats.decode(line.decode())
        if is_plain and keys != whole.count(b'":'):
            for at, line in enumerate(lines, first):  # noqa: B007  for the message
                _repeats.decode(line.decode())
        if _has_long(whole) and any(map(_is_rounded, _FRACTION.findall(whole))):
            for at, line in enumerate(lines, first):
                top.add(json.loads(line, parse_float=parse_fraction), Position(path, at, unit))
    except (ValueError, RecursionError) as error:
        if at == 1 and (what := identify(line)):
            raise UsageError(f"{path}: {what}") from None
        hint = " (one object a line; a list of objects must end in .json)" if line.lstrip().startswith(b"[") else ""
        raise UsageError(f"{Position(path, at, unit)}: {NO_OBJECT}: {error}{hint}") from None


def _has_long(whole: bytes) -> bool:
    """Returns whether there may be numbers with many digits. Ten times as fast as looking at each."""
    return _MANY_DIGITS.search(whole) is not None or b"e-" in whole or b"E-" in whole


def _is_rounded(fraction: bytes) -> bool:
    """Returns whether a float might have other digits."""
    return (len(fraction) > _SHORT or b"-" in fraction[1:]) and repr(float(fraction)).encode() != fraction


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> None:
    """Raises ValueError for a key that an object has twice."""
    keys: set[str] = set()
    for key, _ in pairs:
        if key in keys:
            raise ValueError(f"it has the key {key!r} twice")
        keys.add(key)


_repeats = json.JSONDecoder(object_pairs_hook=_refuse_repeated)


def _texts(lines: Sequence[bytes], names: Sequence[str]) -> list[pl.Series]:
    """Returns the columns that mix text and other values; the others are text as it is in the file."""
    rows = [_as_they_stand.decode(line) for line in lines]
    return [pl.Series(name, [_text(row.get(name)) for row in rows], pl.String()) for name in names]


def _text(raw: msgspec.Raw | None) -> str | None:
    value = b"null" if raw is None else bytes(raw).strip()
    if value == b"null":
        return None
    return msgspec.json.decode(value, type=str) if value.startswith(b'"') else value.decode()


def _lines(path: File, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yields the lines that are not blank, each with its number and its end."""
    for at, line in enumerate(iter(partial(file.readline, MAX_CELL + 1), b""), 1):
        if at == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901  a BOM is no content
        if len(line) > MAX_CELL:
            raise UsageError(f"{path}:{at}: a line is longer than {MAX_CELL >> 20} MiB")
        if line.strip():
            yield at, line if line.endswith(b"\n") else line + b"\n"


def in_batches(numbered: Iterable[tuple[int, bytes]]) -> Iterator[Objects]:
    """Yields numbered lines in batches, in which no number is left out."""
    lines: list[bytes] = []
    first = due = size = 0
    for at, line in numbered:
        size += len(line)
        if at != due or due - first == BATCH_ROWS or size > BATCH_BYTES:
            if lines:
                yield first, lines
            first, lines, size = at, [], len(line)
        lines.append(line)
        due = at + 1
    if lines:
        yield first, lines
