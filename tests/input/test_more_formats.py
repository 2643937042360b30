"""Separators, encodings, lists of JSON, Arrow files, and what is compressed: read exactly, or refused."""

import datetime as dt
import gzip
import json
import os
import re
import subprocess
import sys
import zlib
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from batchgen.errors import UsageError
from batchgen.input import bounds, json_format
from batchgen.input.source import open_source
from batchgen.job.sections import Input

TEXT = "name,b\nGröße,x\n"
ROWS = {"name": ["Größe"], "b": ["x"]}


def opened(folder, name, **spec):
    return open_source(Input.model_validate({"path": name, **spec}, context={"folder": folder}))


def read(folder, name, content, **spec):
    (folder / name).write_bytes(content)
    source = opened(folder, name, **spec)
    return pl.concat([pl.DataFrame(schema=source.columns), *source.batches()]).to_dict(as_series=False)


def refused(folder, name, content, **spec):
    with pytest.raises(UsageError) as told:
        read(folder, name, content, **spec)
    return str(told.value).replace(f"{folder}/", "")


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


# CSV


@pytest.mark.parametrize(
    ("name", "content", "spec", "rows"),
    [
        pytest.param("in.csv", b"a;b\n1,5;x\n", {"separator": ";"}, {"a": ["1,5"], "b": ["x"]}, id="semicolons"),
        pytest.param("in.csv", b'a|b\n"1|5"|x\n', {"separator": "|"}, {"a": ["1|5"], "b": ["x"]}, id="bars, and one in quotes"),
        pytest.param("in.csv", b"sep=;\r\na;b\r\n1;2\r\n", {}, {"a": ["1"], "b": ["2"]}, id="a line for Excel"),
        pytest.param("in.csv", b"\xef\xbb\xbfsep=\t\na\tb\n1\t2\n", {}, {"a": ["1"], "b": ["2"]}, id="a line for Excel behind a mark"),
        pytest.param("in.csv", "sep=;\na;b\n1;ü\n".encode("utf-16"), {"encoding": "utf-16"}, {"a": ["1"], "b": ["ü"]}, id="Excel's, in UTF-16"),
        pytest.param("in.tsv", b'a\tb\n1\t"x\ty"\n', {}, {"a": ["1"], "b": ["x\ty"]}, id="tabs"),
        pytest.param("in.txt", b"a\tb\n1\t2\n", {"separator": "\t"}, {"a": ["1"], "b": ["2"]}, id="a text with a separator"),
        *[
            pytest.param("in.csv", TEXT.encode(encoding), {"encoding": encoding}, ROWS, id=encoding)
            for encoding in ("cp1252", "latin-1", "iso8859-15", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8", "utf-8-sig", "cp850", "mac_roman")
        ],
        pytest.param("in.csv", b"\xfe\xff" + TEXT.encode("utf-16-be"), {"encoding": "utf-16"}, ROWS, id="UTF-16 of the other order"),
        pytest.param("in.csv", b"\xfe\xff" + TEXT.encode("utf-16-be"), {"encoding": "utf-16-be"}, ROWS, id="a mark where the order is said"),
        pytest.param("in.csv", "a\n名\n".encode("shift_jis"), {"encoding": "shift_jis"}, {"a": ["名"]}, id="Japanese"),
        pytest.param("in.csv", "a\n联通\n".encode("gbk"), {"encoding": "gbk"}, {"a": ["联通"]}, id="Chinese that looks like UTF-8"),
        pytest.param("in.csv", b"a\n" + "ü\n".encode("cp1252") * 1_100_000, {"encoding": "cp1252"}, {"a": ["ü"] * 1_100_000}, id="several blocks"),
        pytest.param("in.csv", b"a;b\n19,99;1\n-5;\n", {"separator": ";", "decimal": ",", "schema": {"a": "Float64", "b": "Int64"}}, {"a": [19.99, -5.0], "b": [1, None]}, id="decimal commas"),
    ],
)  # fmt: skip
def test_csv_of_another_dialect(tmp_path, name, content, spec, rows):
    assert read(tmp_path, name, content, **spec) == rows


@pytest.mark.parametrize(
    ("name", "content", "spec", "said"),
    [
        pytest.param("in.csv", TEXT.encode("cp1252"), {}, "in.csv:2: not UTF-8: byte 0xf6, 'ö' in Windows-1252 (save the file as UTF-8, or set input.encoding", id="Windows' for UTF-8"),
        pytest.param("in.csv", TEXT.encode(), {"encoding": "cp1252"}, "in.csv:2: not cp1252: byte 0xc3: looks like UTF-8", id="UTF-8 for Windows'"),
        pytest.param("in.csv", "a\nx\n产品介绍\n商品名称\n".encode(), {"encoding": "gbk"}, "in.csv:3: not gbk: byte 0xe4: looks like UTF-8: remove input.encoding", id="UTF-8 for Chinese"),
        pytest.param("in.csv", "a\n中国\n東京東京東京\n".encode(), {"encoding": "shift_jis"}, "in.csv:2: not shift_jis: byte 0xe4: looks like UTF-8", id="UTF-8 for Japanese"),
        pytest.param("in.csv", TEXT.encode(), {"encoding": "utf-16"}, "in.csv: not utf-16: looks like UTF-8", id="UTF-8 for UTF-16"),
        pytest.param("in.csv", TEXT.encode(), {"encoding": "ascii"}, "in.csv:2: not ascii: byte 0xc3", id="UTF-8 for ASCII"),
        pytest.param("in.csv", b"a\nx\n\x81\n", {"encoding": "cp1252"}, "in.csv:3: not cp1252: byte 0x81", id="a byte that Windows has not"),
        pytest.param("in.csv", TEXT.encode("utf-16-le"), {"encoding": "utf-16"}, "in.csv: has no byte order mark", id="UTF-16 of an order unknown"),
        pytest.param("in.csv", b"\xff\xfe" + TEXT.encode("utf-16-le"), {"encoding": "utf-16-be"}, "in.csv: is UTF-16-LE, as its first bytes say", id="UTF-16 of the other order"),
        pytest.param("in.csv", b"sep=;\na;b\n", {"separator": ","}, "in.csv:1: says that ';' separates cells, and input.separator ','", id="two separators"),
        pytest.param("in.txt", b"a,b\n", {}, 'in.txt: a .txt file is read only with its separator; if it is a table, set input.separator, such as ";"', id="a text without a separator"),
        pytest.param("in.csv", b"a;b\n1;2,5\n", {}, 'input.separator: ";"', id="semicolons for commas"),
        pytest.param("in.csv", b'a\n"1,5"\n', {"schema": {"a": "Float64"}}, 'in.csv: row 1: a: \'1,5\' is not a valid Float64: if the comma is its decimal separator, set input.decimal: ","', id="a decimal comma"),
        pytest.param("in.csv", b"a\n1.500\n", {"schema": {"a": "Float64"}, "decimal": ","}, "in.csv: row 1: a: '1.500' is not a valid Float64: input.decimal says", id="a point among decimal commas"),
        pytest.param("in.csv", b"a\n1\n", {"sheet": 1}, "input.sheet: applies only to workbooks (.xlsx), and in.csv is not one", id="a sheet of a CSV"),
        pytest.param("in.json", b"[]", {"separator": ";"}, "input.separator: applies only to CSV files, and in.json is not one", id="a separator of JSON"),
        pytest.param("in.ndjson", b"{}", {"encoding": "cp1252"}, "input.encoding: applies only to CSV files", id="an encoding of NDJSON"),
        pytest.param("in.ndjson", b"{}", {"decimal": ","}, "input.decimal: applies only to CSV files", id="decimals of NDJSON"),
    ],
)  # fmt: skip
def test_csv_of_another_dialect_that_is_refused(tmp_path, name, content, spec, said):
    assert said in refused(tmp_path, name, content, **spec)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("separator", ";;", "should be one mark"),
        ("separator", '"', "should be one mark"),
        ("separator", "x", "should be one mark"),
        ("encoding", "cp12521", "is not a known encoding; did you mean cp1252?"),
        ("encoding", "rot13", "is not a known encoding"),
        ("encoding", "idna", "is not an encoding of text files"),
    ],
)
def test_settings_that_cannot_be(tmp_path, key, value, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        opened(tmp_path, "in.csv", **{key: value})


# JSON


@pytest.mark.parametrize("block", [1 << 20, 7], ids=["at once", "in pieces"])
@pytest.mark.parametrize(
    ("content", "rows"),
    [
        pytest.param('[{"a": 1, "b": "x"},\n {"a": 2.5}]', {"a": [1.0, 2.5], "b": ["x", None]}, id="objects"),
        pytest.param('\ufeff [ {"a":"ü\\n\\u00e9"} ] \n', {"a": ["ü\né"]}, id="a mark, blanks, escapes"),
        pytest.param('[{"a": {"b":\n[1, 2]}}]', {"a": [{"b": [1, 2]}]}, id="lists and objects over lines"),
        pytest.param('[{"a": "1"}, {"a": 2.50}]', {"a": ["1", "2.50"]}, id="texts and numbers"),
        pytest.param("[]", {}, id="no object"),
        pytest.param("[" + ",".join(f'{{"a":{n}}}' for n in range(9000)) + "]", {"a": list(range(9000))}, id="many"),
    ],
)
def test_a_list_of_objects(tmp_path, monkeypatch, block, content, rows):
    monkeypatch.setattr(json_format, "BLOCK", block)
    assert read(tmp_path, "in.json", content.encode()) == rows


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "in.json: empty: not a list of objects"),
        (b'{"rows": [{"a": 1}]}', "in.json: not a list of objects"),
        (b'[{"a": 1}', "in.json: row 1: the file ends within the list"),
        (b'[{"a": 1}, {"a": 2', "in.json: row 2: not JSON, or cut off"),
        (b'[{"a": 1} {"a": 2}]', "in.json: row 1: '{' follows"),
        (b'[{"a": 1},]', "in.json: row 2: not JSON"),
        (b'[{"a": 1}] 2', "in.json: something follows the list"),
        (b"[1]", "in.json: row 1: not a JSON object"),
        (b'[{"a": 1}, {"a": NaN}]', "in.json: row 2: not a JSON object"),
        (b'[{"a": 1, "a": 2}]', "in.json: row 1: not a JSON object that can be read: it has the key 'a' twice"),
        (b'[{"a": 1}, {"a": [1]}]', "in.json: row 2: a is a list, and a whole number in row 1: such values"),
        (b'[{"a": 123456789012345678901}]', "in.json: row 1: a is a whole number of more than 64 bits"),
        (b'[{"a": "\xff"}]', "in.json: not UTF-8: byte 0xff at 8"),
        ('[{"a": 1}]'.encode("utf-16"), "in.json: is UTF-16"),
    ],
)
def test_what_is_no_list_of_objects(tmp_path, content, said):
    assert refused(tmp_path, "in.json", content).startswith(said)


# Compressed


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.ndjson", "in.json", "IN.CSV"])
def test_what_is_compressed_is_read_as_what_it_holds(tmp_path, pack, name):
    content = {
        "csv": b"a,b\n1,2\n",
        "tsv": b"a\tb\n1\t2\n",
        "ndjson": b'{"a":"1","b":"2"}\n',
        "json": b'[{"a":"1","b":"2"}]',
    }
    suffix = ".gz" if pack is gzip.compress else ".zst"
    packed = pack(content[name.lower().partition(".")[2]])
    assert read(tmp_path, name + suffix, packed) == {"a": ["1"], "b": ["2"]}


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (zstd, ".zst")])
def test_archives_that_are_not_whole(tmp_path, pack, suffix):
    packed = pack(b"a\n" + os.urandom(50_000).hex().encode())
    kind = "gzip" if suffix == ".gz" else "zstd"
    for cut in (20, len(packed) // 2, len(packed) - 3):
        assert f"in.csv{suffix}: damaged {kind}, or cut off" in refused(tmp_path, f"in.csv{suffix}", packed[:cut])
    assert read(tmp_path, f"in.csv{suffix}", pack(b"a\n1\n") + pack(b"2\n")) == {"a": ["1", "2"]}  # one behind another
    assert f"is not compressed by {kind}" in refused(tmp_path, f"in.csv{suffix}", b"a\n1\n")
    assert f"is not compressed by {kind}" in refused(tmp_path, f"in.csv{suffix}", b"")
    assert "compressed files must end in one of .csv" in refused(tmp_path, f"in.parquet{suffix}", packed)


def test_an_archive_that_unfolds_beyond_measure(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "UNFOLDS_FROM", 1 << 20)
    monkeypatch.setattr(bounds, "MAX_UNFOLDED", 100)
    squeezed = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = squeezed.compress(b"a\n" + b"1\n" * 2_000_000) + squeezed.flush()
    assert "that decompress to more than" in refused(tmp_path, "in.csv.gz", content)


def test_a_line_without_end_is_not_held(tmp_path):
    assert "in.ndjson.gz:1: a line is longer than 16 MiB" in refused(
        tmp_path, "in.ndjson.gz", gzip.compress(b" " * (18 << 20))
    )


# Arrow


TABLE = pa.table(
    {
        "a": [1, 2, None],
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        "when": pa.array([0, 1, None], pa.timestamp("us", "+05:30")),
        "utc": pa.array([0, 1, None], pa.timestamp("us", "Z")),
    }
)


def arrow(how, compress=None):
    sink = pa.BufferOutputStream()
    with how(sink, TABLE.schema, options=pa.ipc.IpcWriteOptions(compression=compress)) as writer:
        writer.write_table(TABLE)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("name", ["in.arrow", "in.feather", "in.ipc"])
@pytest.mark.parametrize("how", [pa.ipc.new_file, pa.ipc.new_stream])
@pytest.mark.parametrize("compress", [None, "lz4", "zstd"])
def test_arrow_files_and_streams(tmp_path, name, how, compress):
    rows = read(tmp_path, name, arrow(how, compress))
    assert (rows["a"], rows["kind"]) == ([1, 2, None], ["x", "y", "x"])
    assert rows["when"] == ["1970-01-01 05:30:00+05:30", "1970-01-01 05:30:00.000001+05:30", None]
    assert opened(tmp_path, name).columns["utc"] == pl.Datetime("us", "UTC")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b\n1,2\n", "in.arrow: not an Arrow file"),
        (arrow(pa.ipc.new_stream)[:-8], "in.arrow: damaged Arrow file: a stream without its end"),
        (arrow(pa.ipc.new_file)[:-30], "in.arrow: damaged Arrow file"),
        (arrow(pa.ipc.new_file)[:40], "in.arrow: damaged Arrow file"),
        (b"FEA1" + b"\0" * 40, "in.arrow: is a Feather file of version 1: write it as Parquet"),
    ],
    ids=["a CSV", "a stream that is cut", "a file that is cut", "the begin alone", "Feather of old"],
)
def test_arrow_files_that_are_refused(tmp_path, content, said):
    assert refused(tmp_path, "in.arrow", content).startswith(said)


@pytest.mark.parametrize(
    ("odd", "what"),
    [
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "intervals"),
        (
            pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1]), pa.array(["x"])]),
            "values of several types (a union)",
        ),
        (pa.RunEndEncodedArray.from_arrays([1], ["z"]), "run-end encoded values"),
        (pa.array([[1]], pa.list_view(pa.int64())), "list views"),
        (pa.array([[1]], pa.large_list_view(pa.int64())), "list views"),
        (pa.nulls(1, pa.decimal256(60, 2)), "decimals of 60 digits"),
        (pa.nulls(1, pa.decimal128(38, -1)), "decimals of 39 digits"),
    ],
    ids=str,
)
@pytest.mark.parametrize("holder", ["a column", "a struct"])
def test_types_that_no_reader_has_are_told_without_a_panic(tmp_path, capfd, holder, odd, what):
    column = odd if holder == "a column" else pa.StructArray.from_arrays([odd], names=["x"])
    table = pa.table({"name": ["shelf"], "odd": column})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    said = refused(tmp_path, "in.arrow", sink.getvalue().to_pybytes())
    assert said.startswith(f"in.arrow: column 'odd' holds {what}")
    assert capfd.readouterr().err == ""


LATIN = {b"Gr\xf6\xdfe": b"x", b"k": b"\xdf"}


def renamed(table: pa.Table, name: bytes) -> bytes:
    """The table's Arrow file, in which the name `qqq` is another one of three bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    return sink.getvalue().to_pybytes().replace(b"qqq", name)


@pytest.mark.parametrize("holder", ["a column", "a struct"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b"q\xffq", "column 2 has a name, or metadata, that are not UTF-8"),
        (b"q\0q", r"column 2 has the name 'q\x00q', with a NUL character"),
    ],
)
def test_a_name_that_no_frame_can_have_is_told_without_a_panic(tmp_path, capfd, holder, name, said):
    odd = pa.array([1])
    odd = odd if holder == "a column" else pa.StructArray.from_arrays([odd], names=["qqq"])
    table = pa.table({"name": ["shelf"], "qqq" if holder == "a column" else "odd": odd})
    assert refused(tmp_path, "in.arrow", renamed(table, name)).startswith(f"in.arrow: {said}")
    assert capfd.readouterr().err == ""


def test_metadata_of_another_encoding_are_passed_over_and_those_of_a_column_refused(tmp_path, capfd):
    table = pa.table({"name": ["shelf"]})
    path = tmp_path / "in.parquet"
    pq.write_table(table.replace_schema_metadata(LATIN), path)
    assert pl.concat(opened(tmp_path, "in.parquet").batches()).to_dicts() == [{"name": "shelf"}]
    pq.write_table(table.cast(pa.schema([pa.field("name", pa.string(), metadata=LATIN)])), path)
    with pytest.raises(UsageError, match="column 1 has a name, or metadata, that are not UTF-8"):
        opened(tmp_path, "in.parquet")
    assert capfd.readouterr().err == ""


def test_whole_numbers_of_128_bits_are_refused_with_what_to_do(tmp_path):
    wide = pl.DataFrame({"n": pl.Series([2**100], dtype=pl.Int128)})
    wide.write_parquet(tmp_path / "in.parquet")
    wide.write_ipc(tmp_path / "in.arrow", compat_level=pl.CompatLevel.newest())
    for name in ("in.parquet", "in.arrow"):
        with pytest.raises(UsageError, match="64 bits not implemented: cast them to decimals of 38 digits, or to text"):
            opened(tmp_path, name)


def test_days_round_numbers_and_dictionaries_of_lists_are_such(tmp_path):
    table = pa.table({
        "day": pa.array([86_400_000, None], pa.date64()),
        "hundreds": pa.array([Decimal(1200), None], pa.decimal128(5, -2)),
        "days": pa.array([[0], []], pa.list_(pa.date64())),
        "lists": pa.DictionaryArray.from_arrays([1, None], pa.array([["a"], ["b", None]])),
    })  # fmt: skip
    pa.feather.write_feather(table, str(tmp_path / "in.arrow"), compression="uncompressed")
    assert pl.concat(opened(tmp_path, "in.arrow").batches()).to_dict(as_series=False) == {
        "day": [dt.date(1970, 1, 2), None],
        "hundreds": [Decimal(1200), None],
        "days": [[dt.date(1970, 1, 1)], []],
        "lists": [["b", None], None],
    }


@pytest.mark.parametrize(
    ("dtype", "count"), [("timestamp", 2**62), ("timestamp", -(2**62)), ("duration", 2**62), ("zoned", 2**62)]
)
def test_seconds_that_are_too_many_are_refused_with_their_row(tmp_path, dtype, count):
    """polars 2.1.0 makes them 1970."""
    kinds = {"timestamp": pa.timestamp("s"), "zoned": pa.timestamp("s", "UTC"), "duration": pa.duration("s")}
    table = pa.table({"name": ["a", "b"], "when": pa.array([1, count], kinds[dtype])})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    said = refused(tmp_path, "in.arrow", sink.getvalue().to_pybytes())
    assert said.startswith("in.arrow: row 2: when: ")
    assert str(count) in said


def test_uuids_within_other_values_are_texts(tmp_path):
    keys = pa.array([bytes(range(16)), None], pa.uuid())
    text = "00010203-0405-0607-0809-0a0b0c0d0e0f"
    table = pa.table(
        {
            "list": pa.ListArray.from_arrays([0, 2, 2], keys),
            "struct": pa.StructArray.from_arrays(
                [keys, pa.array([1, 2])], names=["key", "n"], mask=pa.array([False, True])
            ),
            "fixed": pa.FixedSizeListArray.from_arrays(keys, 1),
            "no fixed": pa.FixedSizeListArray.from_arrays(keys, 1, mask=pa.array([True, False])),
            "values": pa.MapArray.from_arrays([0, 2, 2], pa.array(["a", "b"]), keys),
            "keys": pa.MapArray.from_arrays(pa.array([None, 0, 1]), keys[:1], pa.array([7])),
            "deep": pa.ListArray.from_arrays(
                [0, 1, 1], pa.MapArray.from_arrays([0, 1], keys[:1], pa.FixedSizeListArray.from_arrays(keys, 2))
            ),
        }
    )
    pa.feather.write_feather(table, str(tmp_path / "in.arrow"), compression="uncompressed")
    pq.write_table(table, tmp_path / "in.parquet")
    for name in ("in.arrow", "in.parquet"):
        assert pl.concat(opened(tmp_path, name).batches()).to_dict(as_series=False) == {
            "list": [[text, None], []],
            "struct": [{"key": text, "n": 1}, None],
            "fixed": [[text], [None]],
            "no fixed": [None, [None]],
            "values": [{"a": text, "b": None}, {}],
            "keys": [None, {text: 7}],
            "deep": [[{text: [text, None]}], []],
        }


def test_a_job_on_each_format(job, called, service, tmp_path):
    rows = [{"id": "1", "name": "shelf"}]
    path = job(rows, input={"path": "in.*"})
    (job.folder / "in.json").write_text(json.dumps(rows), encoding="utf-8")
    assert called("run", path).returncode == 0
    assert job.rows()[0]["id"] == "1"


def test_what_only_has_an_archives_name_is_refused_and_nothing_else_is_said(tmp_path):
    """Python 3.14 tells of a file that could not be closed when it was given up; older ones in development mode."""
    (tmp_path / "in.csv.gz").write_bytes(b"name\nx\n")
    code = f"""
from pathlib import Path
from batchgen.errors import UsageError
from batchgen.input.compression import open_decompressed
try:
    open_decompressed(Path({str(tmp_path)!r}) / "in.csv.gz")
except UsageError as error:
    print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert "take .gz from its name" in ended.stdout
    assert ended.stderr == ""
