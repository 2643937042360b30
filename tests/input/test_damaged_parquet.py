"""Parquet files that are not what they say: no row is lost and no text changed without a word."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchgen.errors import UsageError
from batchgen.input import parquet_format, parquet_steps
from batchgen.input.parquet_format import Parquet
from batchgen.input.parquet_steps import broken_column


def read(path: Path) -> list[dict[str, Any]]:
    parquet = Parquet()
    return pl.concat(parquet.batches(path, parquet.schema([path]))).to_dicts()


def said(path: Path) -> str:
    """Of a file that is refused, without its folder."""
    with pytest.raises(UsageError) as told:
        read(path)
    return str(told.value).replace(f"{path.parent}/", "")


def footer_that_says(table: pa.Table, rows: int, at: set[int], **how: Any) -> bytes:
    """A Parquet file whose footer names another number of `rows`, at some of the places where it names one."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **how)
    whole = buffer.getvalue()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    per_group = pq.ParquetFile(buffer).metadata.row_group(0).num_rows
    true, false = (bytes([0x16, 2 * number]) for number in (per_group, rows))  # as Thrift's compact protocol has an i64
    pieces = whole[start:-8].split(true)
    footer = pieces[0] + b"".join((false if n in at else true) + piece for n, piece in enumerate(pieces[1:]))
    return whole[:start] + footer + whole[-8:]


SIX = pa.table({"name": [f"shelf {n}" for n in range(6)], "n": list(range(6))})
SHORT = {
    "every column": ({0, 1, 2, 3}, "it holds 6 of the 8 rows that its footer says"),
    "a column of texts": ({0, 1, 3}, "it holds 6 of the 8 rows that its footer says"),
    "the row group alone": ({3}, "its footer says 6 rows, and its row groups hold 8"),
    "the file alone": ({0}, "its footer says 8 rows, and its row groups hold 6"),
}


@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("short", SHORT)
def test_fewer_rows_than_the_footer_says(tmp_path, short, dictionary):
    at, told = SHORT[short]
    path = tmp_path / "in.parquet"
    path.write_bytes(footer_that_says(SIX, 8, at, use_dictionary=dictionary))
    assert said(path) == f"in.parquet: damaged Parquet: {told}"


def test_a_row_group_that_is_short_does_not_move_the_next_ones_values(tmp_path):
    """Columns of unlike lengths would stand beside each other's rows."""
    path = tmp_path / "in.parquet"
    path.write_bytes(footer_that_says(pa.concat_tables([SIX, SIX]), 8, {0, 2}, row_group_size=6))
    assert "of the 12 rows that its footer says" in said(path) or "row groups hold 14" in said(path)


def test_a_run_ends_by_name_and_buys_nothing(job, called, service):
    path = job([], input={"path": "in.parquet", "id": None})
    (job.folder / "in.parquet").write_bytes(footer_that_says(SIX, 8, {0, 1, 2, 3}))
    for command in ("plan", "run"):
        ended = called(command, path)
        assert (ended.returncode, dict(service.asked)) == (2, {})
        assert "in.parquet: damaged Parquet: it holds 6 of the 8 rows" in ended.stderr


def test_a_page_that_is_not_what_its_checksum_says(tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(SIX, path, write_page_checksum=True, use_dictionary=False, compression="none")
    assert len(read(path)) == 6
    path.write_bytes(path.read_bytes().replace(b"shelf 3", b"shelf 8", 1))
    assert said(path).startswith("in.parquet: damaged Parquet: could not verify page integrity")


# Texts that are no UTF-8


def illegible() -> Any:
    good = pa.array([b"a", b"b", b"Gr\xf6\xdfe"])
    return pa.Array.from_buffers(pa.string(), 3, good.buffers())


ILLEGIBLE = {
    "a text": illegible,
    "in a list": lambda: pa.ListArray.from_arrays([0, 1, 2, 3], illegible()),
    "in a struct": lambda: pa.StructArray.from_arrays([illegible()], ["x"]),
    "of a map": lambda: pa.MapArray.from_arrays([0, 1, 2, 3], pa.array(["k"] * 3), illegible()),
}


@pytest.mark.parametrize("kind", ILLEGIBLE)
def test_a_text_that_is_no_utf8_is_refused_with_its_row(tmp_path, kind):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3], "name": ILLEGIBLE[kind]()}), path)
    assert said(path) == "in.parquet: row 3: name: not UTF-8"


def test_a_dictionary_with_a_text_that_is_no_utf8_is_refused(tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"name": pa.DictionaryArray.from_arrays([0, 1, 2], illegible())}), path)
    assert said(path) == "in.parquet: damaged Parquet: Invalid UTF8 payload"


# Row groups


@pytest.mark.parametrize("rows", [1, 3, 10, 1000])
def test_small_row_groups_are_read_in_one_go(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(parquet_steps, "TOGETHER", 50)
    monkeypatch.setattr(parquet_steps, "BATCH_ROWS", 20)
    path = tmp_path / "in.parquet"
    table = pa.table({"n": range(400), "name": [f"{n} " + "and more " * (n % 7 * 100) for n in range(400)]})
    pq.write_table(table, path, row_group_size=rows)
    assert read(path) == table.to_pylist()


def test_many_row_groups_open_the_file_no_more_often_than_one(tmp_path, monkeypatch):
    """Each opening reads the whole footer, which grows with the row groups."""
    opens = []
    whole = parquet_steps.open_parquet
    for module in (parquet_steps, parquet_format):
        monkeypatch.setattr(
            module, "open_parquet", lambda path, **how: opens.append(how.get("metadata")) or whole(path, **how)
        )
    table = pa.table({"name": [f"{n % 500} and a word more, of which there are many" for n in range(20_000)]})
    seen = []
    for rows in (20_000, 5000, 100):
        pq.write_table(table, tmp_path / "in.parquet", row_group_size=rows)
        assert len(read(tmp_path / "in.parquet")) == 20_000
        seen.append(sum(metadata is None for metadata in opens))
        opens.clear()
    assert seen == [2, 2, 2]


class Counted(type(Path())):
    """A path whose files say what is read of them."""

    read: ClassVar[list[int]] = []

    def open(self, *_):
        class File(io.FileIO):
            def read(self, size=-1):
                data = super().read(size)
                Counted.read.append(len(data))
                return data

        return File(self)


@pytest.mark.parametrize("rows", [3000, 500])
def test_what_is_looked_at_before_it_is_decoded_is_fetched_once(tmp_path, monkeypatch, rows):
    """Row groups of columns whose few words stand for many rows, which are more than may be decoded unseen."""
    monkeypatch.setattr(parquet_steps, "MOST", 100_000)
    words = [f"{n} " + "and more " * 50 for n in range(40)]
    table = pa.table({f"c{at}": [words[(n + at) % 40] for n in range(3000)] for at in range(30)})
    path = Counted(tmp_path / "in.parquet")
    pq.write_table(table, path, row_group_size=rows, compression="none")
    reader = Parquet()
    schema = reader.schema([path])
    Counted.read.clear()
    assert [row for frame in reader.batches(path, schema) for row in frame.to_dicts()] == table.to_pylist()
    assert path.stat().st_size * 0.9 < sum(Counted.read) < path.stat().st_size * 1.1


# Types


@pytest.mark.parametrize(
    ("dtype", "what"),
    [
        (pa.timestamp("us", "Mars/Phobos"), "times of the zone Mars/Phobos"),
        (pa.list_(pa.timestamp("ms", "-03:30")), "times of the zone -03:30"),
        (pa.decimal256(50, 2), "decimals of 50 digits"),
        (pa.struct([("x", pa.decimal256(40, 2))]), "decimals of 40 digits"),
    ],
)
def test_a_type_that_no_reader_has_is_told_with_its_column(tmp_path, dtype, what):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"name": ["a"], "odd": pa.nulls(1, dtype)}), path)
    assert said(path).startswith(f"in.parquet: column 'odd' holds {what}")


def test_a_footer_that_says_what_cannot_be_is_told_by_its_column(tmp_path):
    """What pyarrow must not be asked is looked for in a file of the same size with nothing in it: here the file is said
    to be shorter than its footer has it."""
    path = tmp_path / "in.parquet"
    pq.write_table(SIX, path)
    with pq.ParquetFile(path) as file:
        assert broken_column(file, path.stat().st_size) is None
        name, said = broken_column(file, 60) or ("", "")
    assert (name, bool(said)) == ("name", True)
