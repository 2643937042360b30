"""The Parquet writer reads back what it wrote, whatever the disk made of it."""

import io
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchgen.errors import MachineRefused
from batchgen.output.parquet_writer import ParquetWriter
from batchgen.output.selection import Piece

TEXTS = pa.table({"text": ["a", "b"]})
ROW_LOST, TYPE_CHANGED, RENAMED = (
    TEXTS.slice(1),
    TEXTS.cast(pa.schema({"text": pa.binary()})),
    TEXTS.rename_columns(["t"]),
)


class Disk(io.BytesIO):
    """Holds another file than the one that was written, once that is read. It is a draft, too, of one part."""

    def __init__(self, held: pa.Table | None) -> None:
        super().__init__()
        self._held = held

    def seek(self, offset: int, whence: int = 0) -> int:
        held, self._held = self._held, None
        if held is not None:
            super().seek(0)
            self.truncate()
            pq.write_table(held, self)
        return super().seek(offset, whence)

    def close(self) -> None:
        """Stays open."""

    def part(self, _: int) -> AbstractContextManager[BinaryIO]:
        return nullcontext(self)

    def put(self, _: object) -> None:
        """Has no place."""


@pytest.mark.parametrize(
    "held",
    [
        pytest.param(ROW_LOST, id="a row is lost"),
        pytest.param(TYPE_CHANGED, id="a column has another type"),
        pytest.param(RENAMED, id="a column has another name"),
    ],
)
def test_what_does_not_read_back_as_it_was_written_is_not_published(held):
    with ParquetWriter(Disk(held), TEXTS.schema) as writer:
        writer.write(iter([Piece(pl.Series([1, 2]), TEXTS)]))
        with pytest.raises(MachineRefused, match="does not read back as it was written"):
            writer.finish({})


def test_what_reads_back_is_whole_and_has_its_metadata():
    disk = Disk(None)
    with ParquetWriter(disk, TEXTS.schema) as writer:
        writer.write(iter([Piece(pl.Series([1, 2]), TEXTS)]))
        writer.finish({"key": "value"})
    assert pq.read_table(disk).equals(TEXTS)
    assert pq.ParquetFile(disk).metadata.metadata[b"key"] == b"value"
