"""Input files that want to do harm: a few kilobytes that decompress to gigabytes are refused, in little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchgen.errors import UsageError
from batchgen.input import bounds
from batchgen.input.parquet_format import Parquet

READS = """
import resource, sys
from pathlib import Path
from batchgen.errors import UsageError
from batchgen.input.parquet_format import Parquet
path, most = Path(sys.argv[1]), int(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = 0
try:
    parquet = Parquet()
    for frame in parquet.batches(path, parquet.schema([path])):
        rows += frame.height
        if rows >= most:
            break
    said = "read"
except UsageError as error:
    said = str(error)
print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, said)
"""


def told(path: Path, most: int = 10**9) -> tuple[int, int, str]:
    """Rows read, megabytes it took, and what was said, of a process of its own."""
    command = [sys.executable, "-c", READS, str(path), str(most)]
    rows, megabytes, said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(maxsplit=2)
    return int(rows), int(megabytes), said.strip()


def repeated(value: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([value]))


def late(rows: int) -> pa.Array:
    indices = pa.concat_arrays([pa.repeat(pa.scalar(n, pa.int32()), rows // 2) for n in (0, 1)])
    return pa.DictionaryArray.from_arrays(indices, pa.array(["a", "x" * 2_000_000]))


def lists(rows: int) -> pa.Array:
    return pa.ListArray.from_arrays(
        pa.array(range(0, 1000 * rows + 1, 1000), pa.int32()), pa.repeat("y" * 1000, 1000 * rows)
    )


BOMBS = {
    "a kilobyte, ten million times": lambda path: pq.write_table(pa.table({"name": repeated("x" * 1000, 10_000_000)}), path),
    "ten megabytes, ten thousand times": lambda path: pq.write_table(pa.table({"name": repeated("x" * 10_000_000, 10_000)}), path),
    "after a long fuse": lambda path: pq.write_table(pa.table({"name": late(20_000)}), path, store_schema=False),
    "each like the one before": lambda path: pq.write_table(
        pa.table({"name": pa.repeat("z" * 1_000_000, 1200)}), path, use_dictionary=False, column_encoding={"name": "DELTA_BYTE_ARRAY"}
    ),
    "lists of lists": lambda path: pq.write_table(pa.table({"name": lists(1200)}), path),
    "truth, a hundred million times": lambda path: pq.write_table(pa.table({"name": pa.repeat(pa.scalar(value=True), 100_000_000)}), path),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_parquet_bomb_is_refused_in_little_memory(tmp_path, bomb):
    path = tmp_path / "in.parquet"
    bomb(path)
    assert path.stat().st_size < 2 << 20
    _, megabytes, said = told(path)
    assert "MB that decompress to" in said
    assert megabytes < 500


def test_what_is_compressed_beyond_measure_is_refused_by_its_footer(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "UNFOLDS_FROM", 32 << 20)
    path = tmp_path / "in.parquet"
    zeros = pa.table({"name": pa.repeat("x" * 1_000_000, 40)})
    pq.write_table(zeros, path, use_dictionary=False, compression="zstd", write_statistics=False)
    with pytest.raises(UsageError, match="MB that decompress to"):
        Parquet().schema([path])


def test_texts_that_repeat_are_no_bomb(tmp_path):
    """A few long instructions over many rows: read whole, a batch at a time."""
    path = tmp_path / "in.parquet"
    rows = 300_000
    names = pa.array([f"product {n} of the house" for n in range(rows)])
    pq.write_table(pa.table({"name": names, "style": repeated("s" * 3000, rows)}), path)
    read, megabytes, said = told(path)
    assert (read, said) == (rows, "read")
    assert megabytes < 200


def test_a_cell_beyond_the_cap_is_refused_with_its_row(tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": ["a", "b", "c"], "name": ["x", "y" * ((16 << 20) + 1), "z"]}), path)
    _, _, said = told(path)
    assert said == f"{path}: row 2: name: a cell is larger than 16 MiB"


def test_two_columns_of_a_name_are_refused(tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    assert told(path)[2] == f"{path}: two columns are named 'a'"
