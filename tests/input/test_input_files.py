"""Awkward input files, really written: read back exactly as they stand, or refused with file and line."""

import csv
import datetime as dt
import io
import json
import os
import re
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from batchgen.errors import InputChanged, UsageError
from batchgen.input import bounds, csv_format, csv_lines, csv_records, ndjson_format, parquet_steps
from batchgen.input.source import Source, open_source
from batchgen.job.sections import Input

BOM = b"\xef\xbb\xbf"


def opened(folder: Path, path: str, **spec: object) -> Source:
    return open_source(Input.model_validate({"path": path, **spec}, context={"folder": folder}))


def frame_of(source: Source) -> pl.DataFrame:
    """All rows; every batch has the columns and types that were promised."""
    frames = list(source.batches())
    for frame in frames:
        assert frame.schema == pl.Schema(source.columns)
        assert 0 < frame.height <= bounds.BATCH_ROWS
    source.verify()
    return pl.concat([pl.DataFrame(schema=source.columns), *frames])


def read(folder: Path, name: str, content: bytes, **spec: object) -> dict[str, list]:
    (folder / name).write_bytes(content)
    return frame_of(opened(folder, name, **spec)).to_dict(as_series=False)


def refused(folder: Path, name: str, content: bytes, **spec: object) -> str:
    """What is said of a file, without its folder."""
    with pytest.raises(UsageError) as told:
        read(folder, name, content, **spec)
    assert told.value.exit_code == 2
    assert "\n" not in str(told.value)
    return str(told.value).replace(f"{folder}/", "")


def numbered_rows(source: Source, start: int = 0) -> list[tuple]:
    """Each row with its number in the files before it."""
    batches = source.numbered(start)
    return [row for frame, numbers in batches for row in frame.select(numbers.alias("#"), pl.all()).rows()]


LINES = [f"{n},cell {n}" for n in range(60)]


@pytest.mark.parametrize(
    ("lines", "spec", "from_rows"),
    [
        pytest.param(LINES, {}, {0: 0, 20: 11, 59: 51}, id="plain"),
        pytest.param([*LINES[:40], '40,"two\nlines"', *LINES[41:]], {}, {59: 51}, id="a cell of two lines"),
        pytest.param([*LINES[:20], "", *LINES[21:]], {}, {58: 11}, id="from a blank line on another reader"),
        pytest.param([*LINES[:30], *[","] * 12, *LINES[42:], *[","] * 9], {}, {59: 50}, id="empty rows"),
        pytest.param(LINES, {"limit": 40}, {39: 31}, id="a limit"),
        pytest.param(LINES, {"shard": "2/3"}, {19: 0}, id="a shard is read from its beginning"),
        pytest.param(LINES, {"where": "n != '7'"}, {58: 0}, id="so is what a condition chooses"),
    ],
)
def test_what_was_read_once_can_be_read_again_from_near_any_row(tmp_path, monkeypatch, lines, spec, from_rows):
    monkeypatch.setattr(csv_lines, "BLOCK", 100)
    (tmp_path / "in.csv").write_text("n,text\n" + "".join(f"{line}\n" for line in lines))
    source = opened(tmp_path, "in.csv", **spec)
    assert source.start_of(10**6) == 0, "nothing was read yet"
    every = numbered_rows(source)
    told = source.notes
    for row in range(len(every)):
        start = source.start_of(row)
        assert 0 <= start <= row
        assert numbered_rows(source, start) == every[start:]
    assert source.notes == told
    assert {row: source.start_of(row) for row in from_rows} == from_rows


def test_of_several_files_all_are_read_again(tmp_path, monkeypatch):
    """The first may end in empty rows, which are none."""
    monkeypatch.setattr(csv_lines, "BLOCK", 100)
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("n,text\n" + "".join(f"{line}\n" for line in [*LINES, *[","] * 30]))
    source = opened(tmp_path, "*.csv")
    assert frame_of(source).height == 2 * len(LINES)
    assert source.start_of(100) == 0


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(ndjson_format, "BATCH_ROWS", 3)
    monkeypatch.setattr(csv_records, "BATCH_ROWS", 3)
    monkeypatch.setattr(csv_format, "BATCH_ROWS", 3)
    monkeypatch.setattr(parquet_steps, "BATCH_ROWS", 3)


# CSV


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        pytest.param(b"a,b\n1,2\n3,4\n", {"a": ["1", "3"], "b": ["2", "4"]}, id="plain"),
        pytest.param(b"a,b\r\n1,2\r\n", {"a": ["1"], "b": ["2"]}, id="CRLF"),
        pytest.param(b"a,b\r1,2\r", {"a": ["1"], "b": ["2"]}, id="CR alone"),
        pytest.param(b"a,b\n1,2", {"a": ["1"], "b": ["2"]}, id="no line end at the end"),
        pytest.param(BOM + b"a,b\n1,2\n", {"a": ["1"], "b": ["2"]}, id="a byte order mark"),
        pytest.param(BOM + b'"a",b\n1,2\n', {"a": ["1"], "b": ["2"]}, id="a byte order mark before a quote"),
        pytest.param(b"a\n\xef\xbb\xbfx\n", {"a": ["\ufeffx"]}, id="a byte order mark within is text"),
        pytest.param(b"a,b\n007,1e3\n", {"a": ["007"], "b": ["1e3"]}, id="leading zeros and exponents stay text"),
        pytest.param(b"a,b\ntrue,null\n", {"a": ["true"], "b": ["null"]}, id="words that mean something elsewhere"),
        pytest.param(b"a,b\n 1 ,\t2\n", {"a": [" 1 "], "b": ["\t2"]}, id="white space stays"),
        pytest.param(b"a,b\n,\n1,\n", {"a": [None, "1"], "b": [None, None]}, id="empty cells are null"),
        pytest.param(b'a,b\n"",2\n', {"a": [None], "b": ["2"]}, id="quoted empty cells are null"),
        pytest.param(b'a\n""\nx\n', {"a": [None, "x"]}, id="a quoted empty cell alone is a row"),
        pytest.param(b'a,b\n"1,5","say ""hi"""\n', {"a": ["1,5"], "b": ['say "hi"']}, id="commas and quotes"),
        pytest.param(b'a,b\n5" nail,x"y"z\n', {"a": ['5" nail'], "b": ['x"y"z']}, id="quotes within a cell"),
        pytest.param(b'a,b\n"x\ny\r\nz",2\n', {"a": ["x\ny\r\nz"], "b": ["2"]}, id="line ends within a cell"),
        pytest.param(b"a,b\n\x00,x\x00y\n", {"a": ["\x00"], "b": ["x\x00y"]}, id="NUL"),
        pytest.param("a\nx\u2028y\u0085z\x0b\x0c\x1c\n".encode(), {"a": ["x\u2028y\u0085z\x0b\x0c\x1c"]}, id="other separators end no line"),
        pytest.param("Größe,名前\nü,🏕️\n".encode(), {"Größe": ["ü"], "名前": ["🏕️"]}, id="accents and emoji"),
        pytest.param(b"a,b\n\n1,2\n\r\n\n3,4\n\n", {"a": ["1", "3"], "b": ["2", "4"]}, id="blank lines are no rows"),
        pytest.param(b"\n\na\n1\n", {"a": ["1"]}, id="blank lines before the header"),
        pytest.param(b",a\n0,1\n1,2\n", {"column_1": ["0", "1"], "a": ["1", "2"]}, id="a column without a name, as pandas' index"),
        pytest.param(b"a, ,\n1,2,\n", {"a": ["1"], "column_2": ["2"]}, id="one named by a space, and one without a name or a cell"),
        pytest.param(b"a,,column_2\n1,2,3\n", {"a": ["1"], "column_2_": ["2"], "column_2": ["3"]}, id="the name is taken"),
        pytest.param(b"a,\n" + b"1,\n" * 9000 + b"1,2\n", {"a": ["1"] * 9001, "column_2": [None] * 9000 + ["2"]}, id="a cell far below"),
        pytest.param(b"a,b\n1,2\n,\n,\n", {"a": ["1"], "b": ["2"]}, id="rows of empty cells at the end"),
        pytest.param(b'a,b\n,\n1,2\n,\n\n,\n3,\n"",\n', {"a": [None, "1", None, None, "3"], "b": [None, "2", None, None, None]}, id="rows of empty cells within"),
        pytest.param(b"a,b\n1,2\n" + b",\n" * 9000 + b"3,4\n" + b",\n" * 9000, {"a": ["1", *[None] * 9000, "3"], "b": ["2", *[None] * 9000, "4"]}, id="many of them"),
        pytest.param(b'a\n1\n""\n', {"a": ["1", None]}, id="a single quoted empty cell at the end is a row"),
        pytest.param(b"a,b\n", {"a": [], "b": []}, id="a header alone"),
        pytest.param(b"a,b", {"a": [], "b": []}, id="a header without line end"),
        pytest.param(b"a b,A B, a\n1,2,3\n", {"a b": ["1"], "A B": ["2"], " a": ["3"]}, id="names that differ a little"),
        pytest.param(b"a\n{{ 7*7 }}\n", {"a": ["{{ 7*7 }}"]}, id="braces"),
        pytest.param(b"a\n=1+1\n", {"a": ["=1+1"]}, id="a formula"),
        pytest.param(b"a\n" + b"x" * 1_000_000 + b"\n", {"a": ["x" * 1_000_000]}, id="a cell of a megabyte"),
        pytest.param(b'a\n"' + b"x\n" * 50_000 + b'"\ny\n', {"a": ["x\n" * 50_000, "y"]}, id="a cell of 50,000 lines"),
        pytest.param(b"a;b\n1;2\n", {"a;b": ["1;2"]}, id="semicolons are text"),
    ],
)  # fmt: skip
def test_csv_as_it_stands(tmp_path, content, columns):
    assert read(tmp_path, "in.csv", content) == columns


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", r"in.csv: empty", id="nothing"),
        pytest.param(BOM, r"in.csv: empty", id="a byte order mark alone"),
        pytest.param(b"\n\r\n", r"in.csv: empty", id="blank lines alone"),
        pytest.param(b",,\n1,2,3\n", r"in.csv: empty", id="a header without a name"),
        pytest.param(b"a,b,a\n1,2,3\n", r"in.csv:1: two columns are named 'a': rename one in the file", id="two columns of a name"),
        pytest.param(b"a,b\n1,2\n3\n", r"in.csv:3: 1 field where the header has 2", id="a short line"),
        pytest.param(b"a,b\n1,2\n3,4,5\n", r"in.csv:3: 3 fields where the header has 2", id="a long line"),
        pytest.param(b"a,b\n1,2,\n", r"in.csv:2: 3 fields", id="a comma too many"),
        pytest.param(b"a,b\n  \n", r"in.csv:2: 1 field where", id="a line of spaces"),
        pytest.param(b'a,b\n"x\ny",2\n3\n', r"in.csv:4: 1 field", id="a short line after a cell of two lines"),
        pytest.param(b'a,b\n1,2\n"x,2\n3,4\n', r"in.csv:[34]: .*a quote was opened and never closed", id="a quote that is not closed"),
        pytest.param(b'a,b\n"x"y,2\n', r"in.csv:2: not valid CSV: text behind a closing quote; a quote within a cell is written twice", id="text after a quote"),
        pytest.param(b"a,b\n1,2\n3,\xff\n", r"in.csv:3: not UTF-8: byte 0xff", id="a byte that UTF-8 has not"),
        pytest.param(b"a,b\nGr\xf6\xdfe,2\n", r"in.csv:2: not UTF-8: byte 0xf6, '\u00f6' in Windows-1252", id="Latin-1"),
        pytest.param(b"a,b\n" + b"1,2\n" * 9000 + b"3,\xe9\n", r"in.csv:9002: not UTF-8: byte 0xe9", id="Latin-1, far below"),
        pytest.param(b"a\n1\n\xc3", r"in.csv:3: not UTF-8: byte 0xc3", id="half a character at the end"),
        pytest.param(b"a\n\xed\xa0\x80\n", r"in.csv:2: not UTF-8: byte 0xed", id="a surrogate"),
        pytest.param("a,b\n1,2\n".encode("utf-16"), r"in.csv: is UTF-16: set input.encoding: utf-16 .*or save it as UTF-8", id="UTF-16"),
        pytest.param("a,b\n1,2\n".encode("utf-32"), r"in.csv: is UTF-32: set input.encoding: utf-32 ", id="UTF-32"),
        pytest.param(b'[\n  {"name": "a"}\n]\n', r"in.csv: is JSON: rename it to .json", id="a list of objects"),
        pytest.param(b'{"name": "a"}\n{"name": "b"}\n', r"in.csv: is JSON: rename it to .ndjson, if", id="objects, one a line"),
        pytest.param("name,b\n1,2\n".encode("utf-16-le"), r"in.csv: is UTF-16, without a byte order mark", id="UTF-16 without a mark"),
        pytest.param(b"sep=\na,b\n1,2\n", r"in.csv:1: 'sep=' should name the separator of cells", id="a line for Excel that names nothing"),
        pytest.param(b"sep=x\naxb\n1x2\n", r"in.csv:1: 'sep=x' should name the separator of cells", id="a line for Excel that names a letter"),
        pytest.param(b"sep=;\na;b\n1;2;3\n", r"in.csv:3: 3 fields where the header has 2", id="a long line below a line for Excel"),
        pytest.param(b"List of May\nid,name\n1,a\n", r"in.csv:2: 2 fields where the header has 1$", id="a line that may be a name"),
        pytest.param(b"List,May\n\nid,name,price,place\n", r"in.csv:3: 4 fields where the header has 2 \(if the first line is a title, delete it", id="a title above the header"),
        pytest.param(b"a;b\n1;2,5\n", r"in.csv:2: 2 fields where the header has 1 \(the header is one column, 'a;b': is the file separated by semicolons", id="semicolons and decimal commas"),
        pytest.param(b"\x1f\x8b\x08\x00", r"in.csv: is compressed by gzip: unpack it first \(gunzip\), or rename it to end in .gz", id="gzip"),
        pytest.param(b"(\xb5/\xfd\x00", r"in.csv: is compressed by zstd: unpack it first \(unzstd\), or rename it to end in .zst", id="zstd"),
        pytest.param(b"PK\x03\x04\x14", r"in.csv: is an Excel workbook, or a zip archive", id="a workbook"),
        pytest.param(b"PAR1\x15\x04", r"in.csv: is a Parquet file: rename it to .parquet", id="Parquet"),
        pytest.param(b"<!DOCTYPE html>\n<html>", r"in.csv: is a web page", id="a web page"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", r"in.csv: is a pointer of Git LFS", id="a pointer"),
    ],
)  # fmt: skip
def test_csv_that_is_refused(tmp_path, content, said):
    assert re.match(said, refused(tmp_path, "in.csv", content))


def test_what_was_named_and_passed_over_is_told(tmp_path):
    """Once for all files, and only for what was read."""
    (tmp_path / "a.csv").write_text("name,,,\nx,1,,\n,,,\n,,,\n", encoding="utf-8")
    source = opened(tmp_path, "a.csv")
    named = f"{tmp_path}/a.csv:1: 1 column without a name, called column_2; input.rename gives them other names"
    assert source.notes == [named]
    for _ in range(2):
        assert frame_of(source).height == 1
        assert source.notes == [named, f"{tmp_path}/a.csv: 2 rows of empty cells at its end, skipped"]
    (tmp_path / "b.csv").write_text("name,\nx,1\n,\n", encoding="utf-8")
    source = opened(tmp_path, "*.csv")
    assert frame_of(source).height == 2
    assert [", and so in 1 other file" in note for note in source.notes] == [True, True]


def test_a_plan_and_a_run_tell_what_was_passed_over(job, called):
    path = job([], input={"path": "rows.csv", "id": None})
    (job.folder / "rows.csv").write_text(",name\n0,shelf\n,\n", encoding="utf-8")
    for command in ("plan", "run"):
        ended = called(command, path)
        assert ended.returncode == 0
        assert "1 column without a name, called column_1" in ended.stdout + ended.stderr
        assert "1 row of empty cells at its end, skipped" in ended.stdout + ended.stderr
    assert [(row["column_1"], row["name"]) for row in job.rows()] == [("0", "shelf")]


def test_a_header_of_very_many_columns(tmp_path):
    """In a second; it was two minutes, growing with the square."""
    names = [f"c{n}" for n in range(100_000)]
    assert read(tmp_path, "in.csv", ",".join(names).encode() + b"\n").keys() == dict.fromkeys(names).keys()


def test_a_csv_cell_beyond_the_cap(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_records, "MAX_CELL", 2 << 20)
    assert read(tmp_path, "in.csv", b"a\n" + b"x" * (2 << 20) + b"\n")["a"] == ["x" * (2 << 20)]
    said = refused(tmp_path, "in.csv", b"a\n1\n" + b"x" * ((2 << 20) + 1) + b"\n")
    assert said == "in.csv:3: a cell is larger than 2 MiB"


def test_batches_of_wide_rows_are_short(tmp_path, monkeypatch):
    monkeypatch.setattr(ndjson_format, "BATCH_BYTES", 1000)
    monkeypatch.setattr(csv_lines, "BLOCK", 1000)
    (tmp_path / "in.csv").write_bytes(b"a\n" + (b"x" * 400 + b"\n") * 10)
    (tmp_path / "in.ndjson").write_bytes(b'{"a":"' + b"x" * 400 + b'"}\n' + (b'{"a":"' + b"x" * 400 + b'"}\n') * 9)
    for name in ("in.csv", "in.ndjson"):
        heights = [frame.height for frame in opened(tmp_path, name).batches()]
        assert sum(heights) == 10
        assert max(heights) <= 3


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", '"', '""', ",", "\n", "\r", "\r\n", " ", "\x00", "\ufeff", "'", "\\", '",\n"', ";", "\t"]
)


@st.composite
def tables(draw) -> tuple[list[str], list[list[str]], bool, str, int]:
    named = TEXTS.filter(lambda text: text.strip() and "\0" not in text)
    names = draw(st.lists(named, min_size=1, max_size=4, unique=True))
    rows = draw(st.lists(st.lists(TEXTS, min_size=len(names), max_size=len(names)), max_size=10))
    marked = draw(st.booleans()) or names[0].startswith("\ufeff")  # a mark that is text needs one before it
    # with lines that end in LF, Python's writer before 3.13 leaves a CR within a cell unquoted
    end, quoting = draw(st.sampled_from([("\r\n", csv.QUOTE_MINIMAL), ("\r\n", csv.QUOTE_ALL), ("\n", csv.QUOTE_ALL)]))
    return names, rows, marked, end, quoting


@given(tables())
@settings(max_examples=125, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_of_texts_is_read_as_it_was_written(tmp_path, small_batches, table):
    names, rows, marked, end, quoting = table
    with (tmp_path / "in.csv").open("w", encoding="utf-8-sig" if marked else "utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=end, quoting=quoting)
        writer.writerows([names, *rows])
    frame = frame_of(opened(tmp_path, "in.csv"))
    assert frame.columns == names
    while len(names) > 1 and rows and not any(rows[-1]):
        rows.pop()
    assert frame.rows() == [tuple(cell or None for cell in row) for row in rows]


@pytest.mark.usefixtures("small_batches")
@given(
    header=st.sampled_from(["a,b", "a"]),
    lines=st.lists(
        st.sampled_from(
            [
                "1,2",
                "3,",
                ",",
                '"5","6"',
                "7",
                "8,9,0",
                "",
                " ",
                '1"2,3',
                "é,\ufeff",
                "\ufeff,x",
                "\x00,\t",
                "x^2",
                "x^n,'",
            ]
        )
        | st.sampled_from(
            [
                '"a\nb,",c',
                '"","\n\n"',
                '"a""b",',
                ',""""',
                '"5" ,6',
                '5, "6"',
                '"a"b,',
                '"open',
                '"\r\n",""',
                '"7"',
                '""',
            ]
        )
    ),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    block=st.integers(1, 80),
)
@example(header="a", lines=["7", "", "7"], end="\n", block=40)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_that_are_read_at_once_are_read_as_line_by_line(tmp_path, monkeypatch, header, lines, end, block):
    """Blocks of a few bytes, with and without quotes: the rows, or what is said, are those of the exact reader alone."""
    path = tmp_path / "in.csv"
    path.write_bytes(end.join([header, *lines]).encode())

    def outcome() -> object:
        try:
            return frame_of(opened(tmp_path, "in.csv")).rows()
        except UsageError as told:
            return str(told)

    with monkeypatch.context() as patch:
        patch.setattr(csv_lines, "BLOCK", block)
        mixed = outcome()
        patch.setattr(csv_records, "_at_once", lambda *_: None)
        patch.setattr(csv_lines, "BLOCK", 1 << 20)
        assert mixed == outcome()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_well_placed_quotes_need_no_reading_line_by_line(tmp_path, monkeypatch, end):
    """Of ten blocks, each of which would end within a cell."""
    rows = [(f"{n}", f'a "good" one,{end * 3}and {n}', "" if n % 2 else "x") for n in range(1000)]
    with (tmp_path / "in.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("n", "text", "more"), *rows])
    monkeypatch.setattr(csv_lines, "BLOCK", (tmp_path / "in.csv").stat().st_size // 10)
    monkeypatch.delattr(csv_records, "_frame")
    assert frame_of(opened(tmp_path, "in.csv")).rows() == [tuple(cell or None for cell in row) for row in rows]


@pytest.mark.parametrize(
    ("block", "bare"),
    [
        (b'1,"a, b"\n', b'1,"\n'),
        (b'"a\nb","c"\r\n', b'","\r\n'),
        (b'1,"say ""a"""\n', b'1,"\n'),
        (b'"",""', b'"",""'),
        (b'5" disk,z\n"p",q\n', None),
        (b'1, "a"\n', None),
        (b'"a"b,1\n', None),
        (b'"a" ,1\n', None),
        (b'1,"never closed\n2,3\n', None),
    ],
)  # fmt: skip
def test_quotes_where_they_belong_leave_what_separates(block, bare):
    assert csv_records._emptied(block, ",") == bare


@pytest.mark.parametrize("magic", ["x\x01", "x^", "x\u0680"])
def test_a_cell_may_begin_as_compressed_data_do(tmp_path, magic):
    """As zlib's do: polars would inflate them."""
    assert read(tmp_path, "in.csv", f"a\n{magic}2\n".encode()) == {"a": [f"{magic}2"]}
    assert read(tmp_path, "in.csv", f'a,b\n{magic}2,"1"\n'.encode()) == {"a": [f"{magic}2"], "b": ["1"]}


@pytest.mark.parametrize("magic", [b"\x1f\x8b", b"(\xb5/\xfd"])
def test_compressed_data_are_no_csv(tmp_path, magic):
    """gzip's and zstd's, behind a header."""
    assert refused(tmp_path, "in.csv", b"a\n" + magic + b"2\n").startswith("in.csv:2: not UTF-8")


@given(st.lists(st.sampled_from([b'""', b'"', b",", b"\n", b"\r\n", b"a"]), max_size=14).map(b"".join))
@settings(max_examples=250, deadline=None)
def test_many_quotes_and_few_tell_the_same_of_where_cells_end(block):
    """Two ways to look for it, of which the one for many quotes takes a fifth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_records, "QUOTE_EVERY", 0)
        few = csv_records._emptied(block, ",")
    many = csv_records._emptied(block, ",")
    assert (many is None) == (few is None)
    assert (many or b"").replace(b'"', b"") == (few or b"").replace(b'"', b"")


@given(st.binary(max_size=120))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_table_or_refused_with_the_file(tmp_path, small_batches, content):
    for name in ("in.csv", "in.ndjson", "in.parquet"):
        (tmp_path / name).write_bytes(content)
        try:
            frame_of(opened(tmp_path, name))
        except UsageError as told:
            assert str(told).startswith(str(tmp_path / name))  # noqa: PT017  most are refused, some are not


# Types of CSV columns


@pytest.mark.parametrize(
    ("dtype", "cell", "value"),
    [
        ("Int64", "007", 7),
        ("Int64", "-5", -5),
        ("Int8", "127", 127),
        ("UInt64", "18446744073709551615", 2**64 - 1),
        ("Float64", "12.50", 12.5),
        ("Float64", "1e3", 1000.0),
        ("Float64", "7", 7.0),
        ("Boolean", "true", True),
        ("Boolean", "FALSE", False),
        ("Date", "2024-02-29", dt.date(2024, 2, 29)),
        ("Datetime", "2024-02-29T13:05:07", dt.datetime(2024, 2, 29, 13, 5, 7)),  # noqa: DTZ001  without a zone
        ("Datetime", "2024-02-29 13:05:07", dt.datetime(2024, 2, 29, 13, 5, 7)),  # noqa: DTZ001
        ("Datetime", "2024-02-29 13:05:07.123456000", dt.datetime(2024, 2, 29, 13, 5, 7, 123456)),  # noqa: DTZ001
        ("String", "007", "007"),
    ],
)
def test_a_typed_column(tmp_path, dtype, cell, value):
    content = f"a,b\n{cell},x\n,y\n".encode()
    assert read(tmp_path, "in.csv", content, schema={"a": dtype}) == {"a": [value, None], "b": ["x", "y"]}


def test_a_typed_column_without_a_value(tmp_path):
    types = dict.fromkeys(["a", "b", "c", "d"], "Date") | {"b": "Datetime", "c": "Boolean", "d": "Int8"}
    assert read(tmp_path, "in.csv", b"a,b,c,d,e\n,,,,1\n", schema=types) == {
        "a": [None],
        "b": [None],
        "c": [None],
        "d": [None],
        "e": ["1"],
    }


@pytest.mark.parametrize(
    ("dtype", "cell"),
    [
        ("Int64", "5.5"),
        ("Int64", "1e3"),
        ("Int64", "many"),
        ("Int64", "9223372036854775808"),
        ("Int8", "128"),
        ("UInt8", "-1"),
        ("Float64", "12.50 EUR"),
        ("Float64", '"12,50,1"'),
        ("Float64", "1e400"),
        ("Boolean", "yes"),
        ("Boolean", "1"),
        ("Date", "2024-02-30"),
        ("Date", "soon"),
        ("Datetime", "2024-02-29T25:00:00"),
        ("Datetime", "soon"),
        ("Date", "24-02-29"),
        ("Datetime", "24-02-29 13:05:07"),
        ("Datetime", "2024-02-29 23:59:60"),
        ("Datetime", "2024-02-29T13:05:07.123456789"),
    ],
)
@pytest.mark.parametrize("before", [0, 5], ids=["in the first row", "batches below"])
def test_a_cell_that_is_not_of_its_type(tmp_path, small_batches, dtype, cell, before):
    content = b"a,b\n" + b",x\n" * before + f"{cell},x\n".encode()
    value = cell.strip('"')
    said = refused(tmp_path, "in.csv", content, schema={"a": dtype})
    place = f"in.csv: row {before + 1}: a: {value!r} is not a valid {dtype}"
    written = {"Boolean": "true or false", "Date": "2026-01-31", "Datetime": "2026-01-31 22:00:00"}
    if dtype not in written:
        assert said == place
    else:
        as_text = "without a type in input.schema it is text as it stands"
        assert said == f"{place}, which is written {written[dtype]}; {as_text}"


@pytest.mark.parametrize("dtype", ["Float64", "Float32"])
@pytest.mark.parametrize(
    "cell",
    [
        "12345678901234567890",
        "9007199254740993",
        "0.12345678901234567890",
        "3.1415926535897932385",
        "1e-400",
        "7" * 500,
    ],
)
def test_a_number_of_more_digits_than_its_type_holds(tmp_path, small_batches, dtype, cell):
    content = b"a,b\n1.5,x\n" + f"{cell},x\n".encode()
    said = refused(tmp_path, "in.csv", content, schema={"a": dtype})
    if len(cell) == 500:
        assert said == f"in.csv: row 2: a: {cell!r} is not a valid {dtype}"
        return
    as_text = "without a type in input.schema it is text as it stands"
    assert said == f"in.csv: row 2: a: {cell!r} has more digits than a {dtype} holds; {as_text}"


def test_a_number_of_more_digits_than_32_bits_hold(tmp_path):
    said = refused(tmp_path, "in.csv", b"a;b\n16777217;x\n", separator=";", decimal=",", schema={"a": "Float32"})
    assert "row 1: a: '16777217' has more digits than a Float32 holds" in said
    said = refused(tmp_path, "in.csv", b"a;b\n1,23456789;x\n", separator=";", decimal=",", schema={"a": "Float32"})
    assert "row 1: a: '1,23456789' has more digits than a Float32 holds" in said


@pytest.mark.parametrize(
    ("dtype", "cells"),
    [
        ("Float64", "0.1 0.30000000000000004 1e22 100000000000000000000000 5e-324 1.50000000000000000000 -0 +.5 1E-7"),
        ("Float64", "0.1000000000000000055511151231257827 1.7976931348623157e308 123456789012345680 0.0000001 nan"),
        ("Float32", "19.99 16777216 3.4028235e38 19.989999771118164 19.98999977111816 1e-45 0.00000010000 nan"),
    ],
)
def test_numbers_whose_digits_a_float_keeps_are_read(tmp_path, dtype, cells):
    (tmp_path / "in.csv").write_text("\n".join(["a", *cells.split()]))
    read = frame_of(opened(tmp_path, "in.csv", schema={"a": dtype}))["a"]
    meant = pl.Series([float(cell) for cell in cells.split()], dtype=getattr(pl, dtype))
    assert read.equals(meant.alias("a"))


AGAIN = (
    "is the line of column names again, as where files were joined by `cat`: delete such lines, or give input.path the "
    "files themselves, as a folder or a glob"
)


@pytest.mark.parametrize("before", [0, 7, 2000], ids=["at once", "batches below", "blocks below"])
@pytest.mark.parametrize("cells", ["x,1,", '"x\n",1,'], ids=["plain", "behind line ends in cells"])
@pytest.mark.parametrize(
    ("header", "again"),
    [
        ("a,b,c", "a,b,c"),
        ("a,b,c", '"a","b","c"'),
        ("a,b,c", "\ufeffa,b,c"),
        ("a,b,", "a,b,"),
        ("a,,", "a,,"),
        (",b,c", ",b,c"),
    ],
)
def test_a_repeated_header_is_no_row(tmp_path, monkeypatch, header, again, cells, before):
    monkeypatch.setattr(csv_lines, "BLOCK", 10_000)
    content = "\n".join([header, *[cells] * before, again, "y,2,", ""])
    line = 2 + before * (1 + cells.count("\n"))
    assert refused(tmp_path, "in.csv", content.encode(), schema={"b": "Int64"} if "b" in header else {}) == (
        f"in.csv:{line}: {AGAIN}"
    )


def test_rows_that_resemble_the_header_are_rows(tmp_path):
    (tmp_path / "in.csv").write_text("a,b,c\na,b,\na,b,C\nb,b,c\n,b,c\n")
    assert frame_of(opened(tmp_path, "in.csv")).rows() == [
        ("a", "b", None),
        ("a", "b", "C"),
        ("b", "b", "c"),
        (None, "b", "c"),
    ]


def test_a_single_column_may_have_its_name_as_a_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_lines, "BLOCK", 100)
    (tmp_path / "a.csv").write_text("word\nverb\nword\n" + "noun\n" * 100 + "word\n")
    (tmp_path / "b.csv").write_text('word\n"word"\n')
    source = opened(tmp_path, "a.csv")
    assert frame_of(source)["word"].to_list() == ["verb", "word", *["noun"] * 100, "word"]
    told = "if files were joined by `cat`, delete such lines"
    assert source.notes == [f"{tmp_path}/a.csv: 2 rows are the column's name again: {told}"]
    list(source.numbered(source.start_of(90)))
    both = opened(tmp_path, "*.csv")
    assert frame_of(both).height == 104
    assert both.notes == [f"{tmp_path}/a.csv: 2 rows are the column's name again, and so in 1 other file: {told}"]


@pytest.mark.parametrize("path", ["IN.CSV", "*.CSV", "*", "IN.*"])
def test_types_are_for_csv_files_whatever_their_path_looks_like(tmp_path, path):
    (tmp_path / "IN.CSV").write_bytes(b"a\n7\n")
    assert frame_of(opened(tmp_path, path, schema={"a": "Int64"})).to_dict(as_series=False) == {"a": [7]}


def test_types_are_for_csv_files_alone(tmp_path):
    assert "this input has its own types" in refused(tmp_path, "in.ndjson", b'{"a":"7"}\n', schema={"a": "Int64"})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"schema": {"prize": "Float64"}}, "input.schema: the input has no column 'prize'; did you mean price?"),
        ({"rename": {"prize": "x"}}, "input.rename: the input has no column 'prize'; did you mean price?"),
        ({"id": "zzz"}, "input.id: the input has no column 'zzz'; its columns: sku, price"),
        ({"rename": {"price": "sku"}}, "in.csv: input.rename gives two columns the name 'sku'"),
        ({"id": "sku", "rename": {"sku": "number"}}, "input.id: the input has no column 'sku'"),
        (
            {"rename": {"sku": "a\0b"}},
            "in.csv: the name of column 'a\\x00b' has a NUL character, which no table can hold",
        ),
    ],
)
def test_columns_that_are_not_there(tmp_path, spec, said):
    assert refused(tmp_path, "in.csv", b"sku,price\n1,2\n", **spec).startswith(said)


@pytest.mark.parametrize("spec", [{"id": "sku"}, {"where": "price > 1"}])
def test_a_file_without_rows_may_be_why_a_column_is_not_there(tmp_path, spec):
    """JSON says nothing of its columns then."""
    assert "its columns: none (is it empty?)" in refused(tmp_path, "in.json", b"[]", **spec)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.csv", b"a,b\0\n1,2\n", "in.csv: the name of column 'b\\x00' has a NUL character"),
        (
            "in.csv",
            "a,b\n1,2\n".encode("utf-16-le"),
            "has a NUL character, which no table can hold: set input.encoding",
        ),
        ("in.ndjson", b'{"a": 1}\n{"a\\u0000b": 1}\n', "in.ndjson:2: the key 'a\\x00b' has a NUL character"),
        ("in.ndjson", b'{"a": {"b": [{"\\u0000": 1}]}}\n', "in.ndjson:1: the key '\\x00' has a NUL character"),
        ("in.json", b'[{"a": {"\\u0000": 1}}]', "in.json: row 1: the key '\\x00' has a NUL character"),
    ],
)
def test_a_name_that_no_results_can_have_is_refused(tmp_path, name, content, said):
    assert said in refused(tmp_path, name, content)


def test_columns_get_other_names(tmp_path):
    spec = {"rename": {"text": "source_text", "b": "text"}, "schema": {"b": "Int8"}, "id": "source_text"}
    assert read(tmp_path, "in.csv", b"text,b\nx,7\n", **spec) == {"source_text": ["x"], "text": [7]}
    assert read(tmp_path, "in.csv", b"a,b\nx,7\n", rename={"a": "b", "b": "a"}) == {"b": ["x"], "a": ["7"]}


# Several files, limits


def write_parts(folder: Path) -> None:
    for part, rows in (("b", "4\n5\n"), ("a", "1\n2\n3\n"), ("c", "6\n")):
        (folder / f"part-{part}.csv").write_text(f"n\n{rows}", encoding="utf-8")


def test_a_globs_files_are_read_in_the_order_of_their_names(tmp_path):
    write_parts(tmp_path)
    (tmp_path / "part-d.csv").mkdir()
    assert frame_of(opened(tmp_path, "part-*.csv"))["n"].to_list() == ["1", "2", "3", "4", "5", "6"]


def test_a_glob_through_folders(tmp_path):
    for folder in ("x", "x/y"):
        (tmp_path / folder).mkdir()
        write_parts(tmp_path / folder)
    assert frame_of(opened(tmp_path, "**/part-a.csv")).height == 6


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 2**63 - 1, 10**30])
def test_a_limit_counts_over_all_files(tmp_path, small_batches, limit):
    write_parts(tmp_path)
    assert frame_of(opened(tmp_path, "part-*.csv", limit=limit))["n"].to_list() == list("123456"[:limit])


@pytest.mark.parametrize("name", ["in.csv", "in.ndjson", "in.parquet"])
@pytest.mark.parametrize("limit", [1, 3, 4, 10])
def test_a_limit_in_every_format(tmp_path, small_batches, name, limit):
    frame = pl.DataFrame({"n": [str(n) for n in range(10)]})
    {"in.csv": frame.write_csv, "in.ndjson": frame.write_ndjson, "in.parquet": frame.write_parquet}[name](
        tmp_path / name
    )
    assert_frame_equal(frame_of(opened(tmp_path, name, limit=limit)), frame.head(limit))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        pytest.param(
            "n,m\n1,2\n", "part-c.csv: its columns (n, m) differ from those of part-a.csv", id="a column more"
        ),
        pytest.param("m\n1\n", "part-c.csv: its columns (m) differ from those of part-a.csv", id="another name"),
        pytest.param("", "part-c.csv: empty", id="nothing"),
        pytest.param("n\n1,2\n", "part-c.csv:2: 2 fields where the header has 1", id="a long line"),
    ],
)
def test_files_that_do_not_agree(tmp_path, other, said):
    write_parts(tmp_path)
    (tmp_path / "part-c.csv").write_text(other, encoding="utf-8")
    with pytest.raises(UsageError) as told:
        frame_of(opened(tmp_path, "part-*.csv"))
    assert str(told.value).replace(f"{tmp_path}/", "").startswith(said)


def test_the_same_columns_in_another_order_do_not_agree(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("y,x\n2,1\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"b\.csv: its columns \(y, x\) differ from those of a\.csv"):
        opened(tmp_path, "*.csv")


def test_files_whose_types_do_not_agree(tmp_path):
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"x": ["1"]}).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(UsageError, match=r"b\.parquet: x is String here and Int64 in a\.parquet"):
        opened(tmp_path, "*.parquet")


PARTED = {
    "a column that is null throughout one": (b'{"x":null,"y":1}\n', b'{"x":7,"y":2}\n', {"x": [None, 7], "y": [1, 2]}),
    "the keys in another order": (b'{"x":1,"y":2}\n', b'{"y":3,"x":4}\n', {"x": [1, 4], "y": [2, 3]}),
    "a key less": (b'{"x":1,"y":2}\n', b'{"y":3}\n', {"x": [1, None], "y": [2, 3]}),
    "an empty one": (b"", b'{"x":1}\n', {"x": [1]}),
    "whole numbers and fractions": (b'{"x":1}\n', b'{"x":0.5}\n', {"x": [1.0, 0.5]}),
    "numbers and texts": (b'{"x":1.0}\n', b'{"x":"1"}\n', {"x": ["1.0", "1"]}),
    "fields of an object": (b'{"x":{"a":1}}\n', b'{"x":{"b":"t"}}\n', {"x": [{"a": 1, "b": None}, {"a": None, "b": "t"}]}),
    "empty lists": (b'{"x":[]}\n', b'{"x":["t"]}\n', {"x": [[], ["t"]]}),
}  # fmt: skip


@pytest.mark.parametrize("case", PARTED)
def test_ndjson_in_several_files_is_what_it_is_in_one(tmp_path, case):
    first, second, columns = PARTED[case]
    (tmp_path / "a.ndjson").write_bytes(first)
    (tmp_path / "b.ndjson").write_bytes(second)
    assert frame_of(opened(tmp_path, "*.ndjson")).to_dict(as_series=False) == columns
    assert read(tmp_path, "whole.jsonl", first + second) == columns


def test_ndjson_files_whose_values_do_not_go_together(tmp_path):
    (tmp_path / "a.ndjson").write_bytes(b'{"x":1}\n')
    (tmp_path / "b.ndjson").write_bytes(b'\n{"x":[1]}\n')
    with pytest.raises(UsageError, match=r"b\.ndjson:2: x is a list, and a whole number in line 1 of .*a\.ndjson"):
        opened(tmp_path, "*.ndjson")


def test_files_of_one_format_may_have_either_of_its_names(tmp_path):
    (tmp_path / "a.ndjson").write_text('{"x": 1}\n', encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"x": 2}\n', encoding="utf-8")
    assert frame_of(opened(tmp_path, ".")).to_dict(as_series=False) == {"x": [1, 2]}


@pytest.mark.parametrize(
    ("encoding", "cell", "said"),
    [
        pytest.param(
            "latin-1", b"\x84Zelt\x93", "a has the control character '\\x84', '„' in Windows-1252", id="quotes"
        ),
        pytest.param("iso8859-15", b"5 \x80", "a has the control character '\\x80', '€' in Windows-1252", id="a euro"),
        pytest.param("latin-1", b"Gr\xf6\xdfe", None, id="letters"),
        pytest.param("latin-1", b"\x81", None, id="what Windows-1252 has not either"),
        pytest.param("cp1252", b"\x84Zelt\x93", None, id="the right name"),
    ],
)
def test_a_file_that_is_called_latin_1_and_seems_to_be_windows_is_read_with_a_warning(tmp_path, encoding, cell, said):
    (tmp_path / "a.csv").write_bytes(b"a\nx\n" + cell + b"\n")
    source = opened(tmp_path, "a.csv", encoding=encoding)
    assert [row["a"] for batch in source.batches() for row in batch.to_dicts()] == ["x", cell.decode(encoding)]
    hint = [] if said is None else [f"{tmp_path}/a.csv: {said}: if that is meant, set input.encoding: cp1252"]
    assert source.notes == hint


def test_files_of_several_formats(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n", encoding="utf-8")
    (tmp_path / "b.ndjson").write_text('{"x": "1"}\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"several formats: \.csv, \.ndjson"):
        opened(tmp_path, "[ab].*")


@pytest.mark.parametrize("name", ["a[1].csv", "a*.csv", "a?.csv", "{a}.csv", "a b.csv", "%7E.csv"])
def test_a_file_whose_name_looks_like_a_pattern(tmp_path, name):
    assert read(tmp_path, name, b"x\n1\n") == {"x": ["1"]}


@pytest.mark.parametrize("name", ["a[1].parquet", "a*.parquet"])
def test_a_parquet_file_whose_name_looks_like_a_pattern(tmp_path, name):
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / name)
    assert frame_of(opened(tmp_path, name)).to_dict(as_series=False) == {"x": [1]}


def test_paths_that_lead_nowhere(tmp_path):
    (tmp_path / "products.csv").write_text("a\n", encoding="utf-8")
    for path, said in (
        ("product.csv", r"product\.csv: no such input; did you mean .*products\.csv\?"),
        ("PRODUCTS.csv", r"PRODUCTS\.csv: no such input; did you mean .*products\.csv\?"),
        ("zzz-*.csv", r"no such input"),
        ("no/such/in.csv", r"there is no folder .*no/such"),
    ):
        with pytest.raises(UsageError, match=said):
            opened(tmp_path, path)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("in", ".csv, .tsv, .tab, .txt, .ndjson, .jsonl, .json, .parquet, .pq, .xlsx, .xlsm, .arrow, .feather, .ipc"),
        ("in.csv.bz2", "; unpack it first (bunzip2)"),
        ("in.xls", "; save it as .xlsx"),
        ("in.orc", "; write it as Parquet"),
    ],
)
def test_a_file_that_is_named_by_no_format(tmp_path, name, advice):
    said = refused(tmp_path, name, b"a\n1\n")
    assert "the suffix must be one of .csv, .tsv" in said
    assert advice in said


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.ndjson", b"\x1f\x8b\x08\x00\n", "in.ndjson: is compressed by gzip"),
        ("in.ndjson", '{"a":1}\n'.encode("utf-16"), "in.ndjson: is UTF-16: set input.encoding: utf-16"),
        ("in.jsonl", b'[{"a":1}]\n', "a list of objects must end in .json"),
        ("in.parquet", b"\x1f\x8b\x08" * 9, "in.parquet: is compressed by gzip"),
        ("in.parquet", b"version https://git-lfs.github.com/spec/v1\n", "in.parquet: is a pointer of Git LFS"),
    ],
)
def test_a_file_that_is_something_else(tmp_path, name, content, said):
    assert said in refused(tmp_path, name, content)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("NAME", "did you mean Name?"),
        ("Na\u200bme", "did you mean Name? (they look alike: 'Na\\u200bme' was asked for, and the column is 'Name')"),
        ("Gro\u0308\u00dfe", "did you mean Gr\u00f6\u00dfe? (they look alike: 'Gro\\u0308\\xdfe' was asked for"),
    ],
)
def test_a_name_that_differs_by_what_cannot_be_seen(tmp_path, asked, said):
    """It was offered as if it were another: did you mean the same?"""
    assert said in refused(tmp_path, "in.csv", "Name,Gr\u00f6\u00dfe\nx,y\n".encode(), id=asked)


# NDJSON


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        pytest.param(b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}\n', {"a": [1, 2], "b": ["x", "y"]}, id="plain"),
        pytest.param(b'{"a":1}', {"a": [1]}, id="no line end at the end"),
        pytest.param(b'{"a":1}\r\n{"a":2}\r\n', {"a": [1, 2]}, id="CRLF"),
        pytest.param(BOM + b'{"a":1}\n', {"a": [1]}, id="a byte order mark"),
        pytest.param(b'\n\n{"a":1}\n \n\n{"a":2}\n\n', {"a": [1, 2]}, id="blank lines are no rows"),
        pytest.param(b' {"a" : 1 } \n', {"a": [1]}, id="white space"),
        pytest.param(b'{"a":1}\n{"b":2}\n{}\n', {"a": [1, None, None], "b": [None, 2, None]}, id="missing keys are null"),
        pytest.param(b'{"b":1,"a":2}\n{"a":3,"b":4}\n', {"b": [1, 4], "a": [2, 3]}, id="keys in any order"),
        pytest.param(b'{"a":null}\n{"a":null}\n', {"a": [None, None]}, id="nothing but nulls"),
        pytest.param(b'{"a":1}\n{"a":null}\n{"a":2.5}\n', {"a": [1.0, None, 2.5]}, id="whole numbers and fractions"),
        pytest.param(b'{"a":1}\n{"a":"x"}\n', {"a": ["1", "x"]}, id="numbers and texts"),
        pytest.param(b'{"a":1.0}\n{"a":"x"}\n{"a": 1e2 }\n{"a":null}\n{}\n', {"a": ["1.0", "x", "1e2", None, None]}, id="numbers beside texts stay as they stand"),
        pytest.param(b'{"a":"\\u00fc"}\n{"a":{"x": [1.50, "\\u00fc"]}}\n', {"a": ["\u00fc", '{"x": [1.50, "\\u00fc"]}']}, id="objects beside texts stay as they stand"),
        pytest.param(b'{"a":"x"}\n{"a":123456789012345678901}\n{"a":true}\n', {"a": ["x", "123456789012345678901", "true"]}, id="a number beyond 64 bits beside a text"),
        pytest.param(b'{"a":[1,"x",true]}\n', {"a": [["1", "x", "true"]]}, id="whole numbers and texts in a list"),
        pytest.param(b'{"a":0.30000000000000004}\n{"a":1.10}\n{"a":0.10000000000000000555}\n', {"a": [0.1 + 0.2, 1.1, 0.1]}, id="all digits of floats"),
        pytest.param(b'{"a":"x","b":{"a":":"},"c":"\\":\\\\"}\n', {"a": ["x"], "b": [{"a": ":"}], "c": ['":\\']}, id="colons and backslashes"),
        pytest.param(b'{"a":"007"}\n{"a":"2024-01-02"}\n', {"a": ["007", "2024-01-02"]}, id="texts stay texts"),
        pytest.param(b'{"a":9007199254740993}\n', {"a": [9007199254740993]}, id="a number beyond floats"),
        pytest.param(b'{"a":-9223372036854775808}\n', {"a": [-(2**63)]}, id="the least number"),
        pytest.param(b'{"a":[]}\n{"a":["x",null]}\n{"a":null}\n', {"a": [[], ["x", None], None]}, id="lists"),
        pytest.param(b'{"a":{"x":1}}\n{"a":{"y":"t"}}\n', {"a": [{"x": 1, "y": None}, {"x": None, "y": "t"}]}, id="objects"),
        pytest.param(b'{"a":"x\\u0000y\\n\\"\\\\ \\ud83c\\udfd5"}\n', {"a": ['x\x00y\n"\\ 🏕']}, id="escapes"),
        pytest.param('{"a":"x\u2028\u0085y"}\n'.encode(), {"a": ["x\u2028\u0085y"]}, id="other separators end no line"),
        pytest.param(b'{"a":""}\n', {"a": [""]}, id="an empty text is a text"),
        pytest.param(b'{"a":"{{ 7*7 }}"}\n', {"a": ["{{ 7*7 }}"]}, id="braces"),
        pytest.param(b'{"a":"' + b"x" * 1_000_000 + b'"}\n', {"a": ["x" * 1_000_000]}, id="a text of a megabyte"),
        pytest.param(b'{"a":true}\n{"a":false}\n', {"a": [True, False]}, id="booleans"),
        pytest.param(b"", {}, id="nothing"),
        pytest.param(b"\n\n", {}, id="blank lines alone"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("batch", [1, 4096], ids=["a row a batch", "all in a batch"])
def test_ndjson_as_it_stands(tmp_path, monkeypatch, batch, content, columns):
    monkeypatch.setattr(ndjson_format, "BATCH_ROWS", batch)
    assert read(tmp_path, "in.ndjson", content) == columns


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param(b'{"a":1}\n{"a":\n', 2, id="an object cut short"),
        pytest.param(b'{"a":1}\n\n\nnot json\n', 4, id="a line that is no JSON, after blank lines"),
        pytest.param(b"[1]\n", 1, id="a list"),
        pytest.param(b'{"a":1}\n5\n', 2, id="a number"),
        pytest.param(b'{"a":1}\nnull\n', 2, id="null"),
        pytest.param(b'{"a":1} {"a":2}\n', 1, id="two objects in a line"),
        pytest.param(b'{"a":1},\n{"a":2}\n', 1, id="a comma between"),
        pytest.param(b"[\n", 1, id="a JSON array over many lines"),
        pytest.param(b'{"a":NaN}\n', 1, id="not a number"),
        pytest.param(b'{"a":1}\n{"a":"\\ud800"}\n', 2, id="a lone surrogate"),
        pytest.param(b'{"a":1}\n{"a":"\\udc00 and more"}\n', 2, id="a lone surrogate and more"),
        pytest.param(b'{"a":1}\n{"a":"\xff"}\n', 2, id="invalid UTF-8"),
        pytest.param(b'{"a":1}\n{"a":' + b"[" * 5000 + b"\n", 2, id="nested absurdly deep"),
        pytest.param(b'{"a":1}\n' * 20 + b"{'a':1}\n", 21, id="Python's quotes, further below"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("batch", [1, 4096], ids=["a row a batch", "all in a batch"])
def test_ndjson_that_is_refused(tmp_path, monkeypatch, batch, content, line):
    monkeypatch.setattr(ndjson_format, "BATCH_ROWS", batch)
    assert refused(tmp_path, "in.ndjson", content).startswith(f"in.ndjson:{line}: not a JSON object that can be read: ")


@pytest.mark.parametrize("batch", [1, 4096], ids=["a row a batch", "all in a batch"])
def test_ndjson_that_is_nested_absurdly_deep_is_refused(tmp_path, monkeypatch, batch):
    monkeypatch.setattr(ndjson_format, "BATCH_ROWS", batch)
    """How deep is too deep to be read is the interpreter's to say; what it reads is too deep for a column."""
    said = refused(tmp_path, "in.ndjson", b'{"a":1}\n{"a":' + b"[" * 5000 + b"]" * 5000 + b"}\n")
    assert said.startswith("in.ndjson:2: ")
    assert "not a JSON object that can be read" in said or "more than 60 deep" in said


def test_an_ndjson_line_far_below_is_named(tmp_path):
    content = b'{"a":1}\n' * 5000 + b"\n" + b"{'a':1}\n"
    assert refused(tmp_path, "in.ndjson", content).startswith("in.ndjson:5002: ")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"a":true}\n{"a":1}\n', id="a boolean and a number"),
        pytest.param(b'{"a":{"x":1}}\n{"a":5}\n', id="an object and a number"),
        pytest.param(b'{"a":[1]}\n{"a":5}\n', id="a list and a number"),
        pytest.param(b'{"a":[1]}\n{"a":{"x":1}}\n', id="a list and an object"),
        pytest.param(b'{"a":18446744073709551616}\n', id="a number of 65 bits"),
        pytest.param(b'{"a":' + b"9" * 45 + b"}\n", id="a number of 45 digits"),
        pytest.param(b'{"a":9007199254740993}\n{"a":0.5}\n', id="a number that a float cannot hold"),
        pytest.param(b'{"a":{"x":9007199254740993}}\n{"a":{"x":0.5}}\n', id="one in an object"),
        pytest.param(b'{"a":[0.5,9007199254740993]}\n', id="one in a list"),
        pytest.param(b'{"a":0.1234567890123456789}\n', id="more digits than a float has"),
        pytest.param(b'{"a":[[12345678901234567.5]]}\n', id="more digits than a float has, in lists"),
        pytest.param(b'{"a":12345678901234567.5}\n', id="more digits than a float has, before the point"),
        pytest.param(b'{"a":123456789.123456789}\n', id="more digits than a float has, on both sides of the point"),
        pytest.param(b'{"a":1e-400}\n', id="next to nothing"),
        pytest.param(b'{"a":[1.0,"x"]}\n', id="a fraction and a text in a list"),
        pytest.param(b'{"a":[{"x":1},"x"]}\n', id="an object and a text in a list"),
        pytest.param(b'{"a":[1,{"x":1}]}\n', id="a number and an object in a list"),
        pytest.param(b'{"a":' + b"[" * 70 + b"]" * 70 + b"}\n", id="lists within lists"),
        pytest.param(b'{"a":' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}\n", id="objects within objects"),
        pytest.param(b'{"a":1,"a":2}\n', id="a key that is there twice"),
        pytest.param(b'{"b":{"a":1,"c":2,"a":2}}\n', id="a key that is there twice, in an object"),
        pytest.param(b'{"a" :1,"a":2}\n', id="a key that is there twice, with a blank"),
        pytest.param(b'{"b":"\\":","c\\\\":1,"a":1,"a":2}\n', id="a key that is there twice, among backslashes"),
    ],
)
def test_ndjson_whose_types_do_not_go_together(tmp_path, content):
    assert re.match(r"in\.ndjson:.*\ba\b", refused(tmp_path, "in.ndjson", content))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param(["1", "[1]", "1.5"], "2: a is a list, and a whole number in line 1", id="a fraction comes last"),
        pytest.param(
            ["1.5", "1", '{"b":1}'], "3: a is an object, and a fraction in line 1", id="numbers of both kinds"
        ),
        pytest.param(
            ["0.1", "0.1000000000000000055511151231257827", "{}"],
            "3: a is an object, and a fraction in line 1",
            id="a fraction that a float rounds",
        ),
        pytest.param(["[1]", '["x"]', "[0.5]"], "3: a[] is a fraction, and a text in line 2", id="in lists"),
        pytest.param(["[true]", "[1]"], "2: a[] is a whole number, and true or false in line 1", id="true and 1"),
    ],
)
def test_the_first_value_that_cannot_share_a_column_is_named(tmp_path, values, said):
    content = "".join(f'{{"a":{value}}}\n' for value in values).encode()
    assert refused(tmp_path, "in.ndjson", content).startswith(f"in.ndjson:{said}: such values cannot share a column")


@pytest.mark.parametrize("content", [b"{}\n{}\n", b'{"":1}\n'], ids=["no keys", "a key without a name"])
def test_ndjson_without_a_column_is_refused(tmp_path, content):
    assert refused(tmp_path, "in.ndjson", content).startswith("in.ndjson")


def test_an_ndjson_line_beyond_the_cap(tmp_path, monkeypatch):
    monkeypatch.setattr(ndjson_format, "MAX_CELL", 1 << 20)
    content = b'{"a":1}\n{"a":"' + b"x" * (1 << 20) + b'"}\n'
    assert refused(tmp_path, "in.ndjson", content) == "in.ndjson:2: a line is longer than 1 MiB"


SCALARS = {
    "texts": TEXTS,
    "whole numbers": st.integers(-(2**63), 2**63 - 1),
    "fractions": st.floats(allow_nan=False, allow_infinity=False),
    "booleans": st.booleans(),
}
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5).filter(
    str.strip
)


@pytest.mark.parametrize("kind", SCALARS)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_values_of_one_type_are_read_as_they_were_written(tmp_path, small_batches, kind, data):
    names = data.draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    objects = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, SCALARS[kind])), min_size=1, max_size=8))
    (tmp_path / "in.ndjson").write_text("".join(json.dumps(o) + "\n" for o in objects), encoding="utf-8")
    assert frame_of(opened(tmp_path, "in.ndjson")).to_dicts() == objects


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
    max_leaves=6,
)  # fmt: skip


@given(st.lists(st.fixed_dictionaries({"a": VALUES, "b": st.just("text")}), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_objects_are_rows_or_refused(tmp_path, small_batches, objects):
    (tmp_path / "in.ndjson").write_text("".join(json.dumps(o) + "\n" for o in objects), encoding="utf-8")
    try:
        frame = frame_of(opened(tmp_path, "in.ndjson"))
    except UsageError as told:
        assert str(told).startswith(str(tmp_path / "in.ndjson"))  # noqa: PT017  which mixtures are refused is open
    else:
        assert frame["b"].to_list() == ["text"] * len(objects)


# Parquet

ALL_TYPES = pl.DataFrame(
    {
        "i8": pl.Series([1, None, -128], dtype=pl.Int8),
        "i64": pl.Series([1, None, -(2**63)], dtype=pl.Int64),
        "u64": pl.Series([1, None, 2**64 - 1], dtype=pl.UInt64),
        "f32": pl.Series([0.5, None, 1.5], dtype=pl.Float32),
        "f64": pl.Series([0.1, None, -1e300], dtype=pl.Float64),
        "text": pl.Series(["007", None, 'x\x00\n,"ü🏕️'], dtype=pl.String),
        "bytes": pl.Series([b"\xff", None, b""], dtype=pl.Binary),
        "flag": pl.Series([True, None, False], dtype=pl.Boolean),
        "day": pl.Series([dt.date(2024, 2, 29), None, dt.date(1900, 1, 1)], dtype=pl.Date),
        "clock": pl.Series([dt.time(13, 5), None, dt.time(0)], dtype=pl.Time),
        "moment": pl.Series([dt.datetime(2024, 2, 29, 13), None, None], dtype=pl.Datetime("us")),  # noqa: DTZ001
        "utc": pl.Series([dt.datetime(2024, 2, 29, 13), None, None], dtype=pl.Datetime("ms")).dt.replace_time_zone("UTC"),  # noqa: DTZ001
        "price": pl.Series([Decimal("1.50"), None, Decimal("-0.01")], dtype=pl.Decimal(10, 2)),
        "list": pl.Series([["a", None], None, []], dtype=pl.List(pl.String)),
        "struct": pl.Series([{"x": 1, "y": ["z"]}, None, {"x": None, "y": None}], dtype=pl.Struct({"x": pl.Int64, "y": pl.List(pl.String)})),
        "word": pl.Series(["red", None, "blue"], dtype=pl.Categorical),
        "none": pl.Series([None, None, None], dtype=pl.Null),
    }
)  # fmt: skip


@pytest.mark.parametrize("column", ALL_TYPES.columns)
def test_a_parquet_column_keeps_its_type_and_values(tmp_path, small_batches, column):
    frame = pl.concat([ALL_TYPES.select(column)] * 3)
    frame.write_parquet(tmp_path / "in.parquet", row_group_size=2)
    expected = frame.cast({pl.Categorical: pl.String})  # a dictionary is a way to store texts
    assert_frame_equal(frame_of(opened(tmp_path, "in.parquet")), expected)


def test_a_parquet_file_without_rows(tmp_path):
    ALL_TYPES.clear().write_parquet(tmp_path / "in.pq")
    source = opened(tmp_path, "in.pq")
    assert frame_of(source).height == 0
    assert source.columns["i8"] == pl.Int8


def test_parquet_rows_stay_in_order_across_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_steps, "BATCH_ROWS", 100)
    pl.DataFrame({"n": range(5000)}).write_parquet(tmp_path / "in.parquet", row_group_size=333)
    assert frame_of(opened(tmp_path, "in.parquet"))["n"].to_list() == list(range(5000))


def test_many_small_row_groups_make_few_frames_and_none_is_too_large(tmp_path):
    """Texts that are all different, so that one of them may be as long as all, for all that the footer says."""
    rows = pl.DataFrame({"n": [f"{n:06d} {'word ' * 20}" for n in range(20_000)]})
    pq.write_table(rows.to_arrow(), tmp_path / "in.parquet", row_group_size=500)
    frames = list(opened(tmp_path, "in.parquet").batches())
    assert_frame_equal(pl.concat(frames), rows)
    assert max(frame.height for frame in frames) == 4096
    assert len(frames) <= 8, "not one for each row group, or for a few"


def test_parquet_that_is_refused(tmp_path):
    buffer = io.BytesIO()
    pl.DataFrame({"n": [f"{n} and some text" for n in range(5000)]}).write_parquet(buffer)
    whole = buffer.getvalue()
    for content in (b"", b"PAR1", b"a,b\n1,2\n", whole[:-1], whole[: len(whole) // 2]):
        assert refused(tmp_path, "in.parquet", content).startswith("in.parquet: not a readable Parquet file: ")


def test_parquet_that_is_damaged_within(tmp_path):
    buffer = io.BytesIO()
    pl.DataFrame({"n": [f"{n} and some text" for n in range(5000)]}).write_parquet(buffer)
    whole = buffer.getvalue()
    content = whole[:50] + bytes(len(whole) // 2) + whole[50 + len(whole) // 2 :]
    assert refused(tmp_path, "in.parquet", content).startswith("in.parquet: damaged Parquet: ")


# Files that change while a job is at work


def replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    times = path.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.rename(path)


CHANGES = {
    "a row more": lambda path: path.write_bytes(path.read_bytes() + b"9,9\n"),
    "a row fewer": lambda path: path.write_bytes(b"a,b\n1,2\n"),
    "another value of the same length": lambda path: (path.write_bytes(b"a,b\n1,2\n3,5\n"), os.utime(path, ns=(1, 1))),
    "touched": lambda path: os.utime(path, ns=(1, 1)),
    "a column more": lambda path: path.write_bytes(b"a,b,c\n1,2,3\n3,4,5\n"),
    "a column fewer": lambda path: path.write_bytes(b"a\n1\n3\n"),
    "replaced by its copy of the same age": replaced,
    "emptied": lambda path: path.write_bytes(b""),
    "removed": Path.unlink,
    "a folder in its place": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_is_noticed(tmp_path, change):
    path = tmp_path / "in.csv"
    path.write_bytes(b"a,b\n1,2\n3,4\n")
    source = opened(tmp_path, "in.csv")
    frame_of(source)
    CHANGES[change](path)
    with pytest.raises(UsageError, match=r"in\.csv: (changed while|cannot be read)"):
        source.verify()


@pytest.mark.parametrize("change", ["a column more", "a column fewer", "emptied", "removed", "a folder in its place"])
@pytest.mark.parametrize("name", ["in.csv", "in.ndjson", "in.parquet"])
def test_a_file_that_changed_is_read_or_refused(tmp_path, change, name):
    """Between two passes anything may happen to it: whether it can be read or not, it changed."""
    path = tmp_path / name
    frame = pl.DataFrame({"a": ["1", "3"], "b": ["2", "4"]})
    {"in.csv": frame.write_csv, "in.ndjson": frame.write_ndjson, "in.parquet": frame.write_parquet}[name](path)
    source = opened(tmp_path, name)
    CHANGES[change](path)
    with pytest.raises(InputChanged, match=re.escape(name)):  # noqa: PT012  either of the two may say it
        list(source.batches())
        source.verify()


def test_a_file_that_did_not_change(tmp_path):
    write_parts(tmp_path)
    source = opened(tmp_path, "part-*.csv")
    assert_frame_equal(frame_of(source), frame_of(source))
    source.verify()
