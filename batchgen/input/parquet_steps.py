"""Decides how many rows of a Parquet file are decoded at once, however much its few bytes stand for.

Given the longest value in a row group's dictionaries, a step's rows take four batches at most. Small row groups are
read together, so that a file of many costs what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from io import BufferedIOBase
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchgen.input.arrow_types import rebuilt
from batchgen.input.bounds import BATCH_BYTES, BATCH_ROWS
from batchgen.input.read_once import ReadOnce
from batchgen.storage.listing import File
from batchgen.storage.object_store import Object
from batchgen.ui.humanize import first_line

FEW_ROWS = 32
"""Rows decoded at once if the longest value is unknown."""
MOST = 4 * BATCH_BYTES
_DELTAS = "DELTA_BYTE_ARRAY"
TOGETHER = 8 * BATCH_ROWS
"""The most rows of row groups that are read together: starting a read takes as long as some thousand rows."""


def open_parquet(path: File | BinaryIO | BufferedIOBase, **how: Any) -> pq.ParquetFile:
    """Opens a Parquet file, given by its name or as an open file. As a context manager it closes the file. INT96
    timestamps, as Spark writes them, are read in microseconds: in nanoseconds the year 9999 would be 1816 (pyarrow
    26). Pages that have a checksum are verified."""
    file: Any = path.open() if isinstance(path, Object) else path
    return pq.ParquetFile(file, coerce_int96_timestamp_unit="us", page_checksum_verification=True, **how)


def broken_column(file: pq.ParquetFile, size: int) -> tuple[str, str] | None:
    """Returns a column that is encrypted, or for which the footer is impossible, and what is wrong; None if there is
    none. `size`: the file's. pyarrow (26.0.1) ends the process when it is asked for that part of the footer."""
    with suppress(OSError), NamedTemporaryFile() as hollow:  # where there is no room for one, the footer is trusted
        hollow.truncate(size)  # which takes none
        if _wrong(hollow.name, file.metadata, None) is not None:
            told = ((name, _wrong(hollow.name, file.metadata, [name])) for name in file.schema_arrow.names)
            return next(((name, error) for name, error in told if error is not None), None)
    return None


def intervals(file: pq.ParquetFile) -> list[str]:
    """Returns the columns that hold Parquet's own intervals: pyarrow (26.0.1) reads their bytes."""
    paths = [f"{column.path}." for column in _columns(file) if column.converted_type == "INTERVAL"]
    return [name for name in file.schema_arrow.names if any(path.startswith(f"{name}.") for path in paths)]


def enums_as_text(file: pq.ParquetFile) -> dict[int, Any]:
    """Returns the columns that hold Parquet's enums, at any depth, by position, with these as text: so the format has
    it, and pyarrow (26.0.1) reads their bytes."""
    told = [column.logical_type.type == "ENUM" for column in _columns(file)]
    if not any(told):
        return {}
    enums = iter(told)

    def leaf(dtype: Any) -> Any:
        if isinstance(dtype, pa.BaseExtensionType):
            rebuilt(dtype.storage_type, leaf)  # it may be stored in several columns
            return dtype
        return pa.string() if next(enums, False) and pa.types.is_binary(dtype) else dtype

    columns = [field.with_type(rebuilt(field.type, leaf)) for field in file.schema_arrow]
    return {at: field for at, field in enumerate(columns) if field.type != file.schema_arrow.field(at).type}


def _wrong(hollow: str, footer: pq.FileMetaData, columns: list[str] | None) -> str | None:
    """Returns what is wrong with the footer's parts for these columns; None if nothing is. `hollow`: an empty file
    of the same size. pyarrow builds all parts before it looks for the first page, which does not exist there."""
    with pq.ParquetFile(hollow, metadata=footer, pre_buffer=True, memory_map=True) as asked:
        groups = [*range(footer.num_row_groups)]
        try:
            next(asked.iter_batches(1, row_groups=groups, columns=columns, use_threads=False), None)
        except (pa.ArrowException, OSError) as error:
            return None if "page header" in str(error) else first_line(error)
    return None


def planned_reads(source: ReadOnce, file: pq.ParquetFile) -> Iterator[tuple[list[int], int]]:
    """Yields row groups to read in one go, and how many of their rows to decode at once. `source`: what `file` reads.
    A row group that is looked at for its dictionaries is fetched whole, and fetched no more when it is decoded."""
    groups: list[int] = []
    rows = size = step = 0
    with _dictionaries(source, file) as dictionaries:
        for group in range(file.num_row_groups):
            own_rows, own_size = file.metadata.row_group(group).num_rows, _compressed_size(file, group)
            if groups and (rows + own_rows > TOGETHER or size + own_size > MOST):  # before the next one is fetched
                yield groups, step
                source.forget()
                groups, rows, size = [], 0, 0
            own_step = _step(source, dictionaries, group)
            if groups and not step <= 2 * own_step <= 4 * step:
                yield groups, step
                groups, rows, size = [], 0, 0
            step = min(step, own_step) if groups else own_step
            groups, rows, size = [*groups, group], rows + own_rows, size + own_size
        if groups:
            yield groups, step


def _dictionaries(source: ReadOnce, file: pq.ParquetFile) -> pq.ParquetFile:
    texts = [column.path for column in _columns(file) if column.physical_type == "BYTE_ARRAY"]
    return open_parquet(source, metadata=file.metadata, read_dictionary=texts, pre_buffer=False)


def _compressed_size(file: pq.ParquetFile, group: int) -> int:
    of = file.metadata.row_group(group)
    return sum(of.column(at).total_compressed_size for at in range(of.num_columns))


def _step(source: ReadOnce, dictionaries: pq.ParquetFile, group: int) -> int:
    """Returns how many rows of a row group may be decoded at once."""
    of = dictionaries.metadata.row_group(group)
    even = BATCH_BYTES * of.num_rows // max(of.total_byte_size, 1)
    chunks = (of.column(at) for at in range(of.num_columns))
    with source.ahead():
        longest = max((_longest(dictionaries, group, chunk, of.num_rows) for chunk in chunks), default=0)
    return max(1, min(BATCH_ROWS, even, MOST // max(longest, 1)))


def _columns(file: pq.ParquetFile) -> Iterator[Any]:
    leaves: Any = file.schema
    return (leaves.column(at) for at in range(len(file.schema)))


def _longest(dictionaries: pq.ParquetFile, group: int, chunk: Any, rows: int) -> int:
    """Returns the bytes of the longest value that a chunk may repeat without taking the room for it; 0 if it repeats
    none. For a chunk that is small however often it repeats, returns a row's share of that."""
    if chunk.physical_type != "BYTE_ARRAY" or not (chunk.has_dictionary_page or _DELTAS in chunk.encodings):
        return 0
    at_once = max(1, min(rows, BATCH_ROWS))
    most = chunk.total_uncompressed_size * (at_once if chunk.num_values == rows else chunk.num_values)
    if most <= MOST:
        return int(-(-most // at_once))
    return MOST // FEW_ROWS if _DELTAS in chunk.encodings else _in_dictionary(dictionaries, group, chunk.path_in_schema)


def _in_dictionary(dictionaries: pq.ParquetFile, group: int, name: str) -> int:
    """Returns the bytes of the longest value."""
    first = next(dictionaries.iter_batches(1, row_groups=[group], columns=[name], use_threads=False), None)
    values: Any = None if first is None or first.num_columns != 1 else first.column(0)
    if not isinstance(values, pa.DictionaryArray):
        return MOST // FEW_ROWS
    held: Any = values.dictionary
    return int(pc.max(pc.binary_length(held)).as_py() or 0)
