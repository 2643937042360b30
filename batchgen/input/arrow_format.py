"""Reads Arrow IPC files (Feather 2) and streams: batches of rows, with the file's columns and types.

Holds a whole record batch, as its writer did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import pyarrow as pa

from batchgen.errors import UsageError
from batchgen.input.arrow_frames import columns_of, refuse_long, refusing, slices, to_frame, validated
from batchgen.input.bounds import ROW_BYTES, Schema, refuse_unfolding
from batchgen.input.common_schema import common_schema
from batchgen.input.file_hints import identify
from batchgen.storage.listing import File, size_of

_FILE, _STREAM, _OLD_FEATHER = b"ARROW1", b"\xff\xff\xff\xff", b"FEA1"
_STREAMS_END = _STREAM + b"\0\0\0\0"


class Arrow:
    """Columns, their types and order are the same in all files."""

    notes: Sequence[str] = ()

    def schema(self, paths: Sequence[File]) -> Schema:
        return common_schema(paths, self._schema)

    def _schema(self, path: File) -> Schema:
        with _opened(path) as reader:
            return columns_of(path, reader.schema)

    def batches(self, path: File, schema: Schema) -> Iterator[pl.DataFrame]:
        row = unfolded = 0
        with _opened(path) as reader:
            for batch in _record_batches(reader):
                refuse_unfolding(path, ROW_BYTES * (row + batch.num_rows))
                for frame in slices(to_frame(validated(path, batch, row))):
                    refuse_long(path, frame, row)
                    row += frame.height
                    unfolded += int(frame.estimated_size())
                    refuse_unfolding(path, unfolded)
                    yield frame if list(schema) == frame.columns else frame.select(list(schema))


@contextmanager
def _opened(path: File) -> Iterator[Any]:
    """Yields a reader of the file. Raises UsageError if it is not an Arrow file, or damaged."""
    with refusing(path, "damaged Arrow file"):
        with path.open("rb") as file:
            begin = file.read(1024)
            _refuse_other(path, begin, file)
        source: Any = pa.OSFile(str(path), "r") if isinstance(path, Path) else path.open()
        with source:
            yield pa.ipc.open_file(source) if begin.startswith(_FILE) else pa.ipc.open_stream(source)


def _refuse_other(path: File, begin: bytes, file: BinaryIO) -> None:
    if begin.startswith(_OLD_FEATHER):
        raise UsageError(f"{path}: is a Feather file of version 1: write it as Parquet")
    if not begin.startswith((_FILE, _STREAM)):
        raise UsageError(f"{path}: {identify(begin) or 'not an Arrow file'}")
    if begin.startswith(_STREAM):
        file.seek(max(0, size_of(path) - len(_STREAMS_END)))
        if file.read() != _STREAMS_END:
            raise UsageError(f"{path}: damaged Arrow file: a stream without its end: it was cut off")


def _record_batches(reader: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        yield from (reader.get_batch(at) for at in range(reader.num_record_batches))
    else:
        yield from reader
