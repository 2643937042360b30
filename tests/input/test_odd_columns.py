"""Columns of types that some reader or writer has not: no row of theirs is bought and then cannot be written."""

from __future__ import annotations

import csv
import datetime as dt
import json
import uuid
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchgen.input.texts import texts
from batchgen.output.input_columns import json_columns


def extension(dtype, cells):
    return pa.ExtensionArray.from_storage(dtype, pa.array(cells, dtype.storage_type))


def written(job, lines: list[str]) -> Any:
    path = job([], input={"path": "in.ndjson", "id": None})
    (job.folder / "in.ndjson").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "meta", ["{}", '{"a":{}}', "[{}]", '[[{"a":{}}],[]]', '{"a":{},"b":1.5,"c":"ü\\"<"}', "[" * 50 + "]" * 50]
)
def test_what_parquet_has_no_type_for_is_json_text(job, called, meta):
    path = written(job, [f'{{"name":"shelf","meta":{meta}}}', '{"name":"lamp"}'])
    said = "warning: column 'meta': of a type that Parquet does not have: JSON text in the results"
    planned = called("plan", path)
    assert said.removeprefix("warning: ") in planned.stdout
    ended = called("run", path)
    assert ended.returncode == 0, ended.stderr
    assert said in ended.stderr
    assert [row["meta"] and json.loads(row["meta"]) for row in job.rows()] == [json.loads(meta), None]


@pytest.mark.parametrize(
    "dtype",
    [
        pl.Array(pl.Categorical, 1), pl.List(pl.Enum(["a"])), pl.Map(pl.String, pl.Categorical), pl.List(pl.Null),
        pl.Array(pl.List(pl.String), 2), pl.Decimal(38, 10), pl.Float16, pl.Time, pl.Binary, pl.Map(pl.Date, pl.List(pl.Int8)),
    ],
)  # fmt: skip
def test_what_parquet_has_a_type_for_keeps_it(dtype):
    assert json_columns({"a": dtype() if isinstance(dtype, type) else dtype}) == []


def test_dictionaries_within_fixed_lists_and_maps_are_texts(job, called):
    frame = pl.DataFrame({
        "name": ["shelf", "lamp"],
        "sizes": pl.Series([["s"], ["m"]], dtype=pl.Array(pl.Categorical, 1)),
        "words": pl.Series([{"k": "v"}, None], dtype=pl.Map(pl.String, pl.Categorical)),
    })  # fmt: skip
    frame.write_parquet(job.folder / "in.parquet")
    ended = called("run", job([], input={"path": "in.parquet", "id": None}))
    assert ended.returncode == 0, ended.stderr
    table = job.table()
    assert table["sizes"].type == pa.list_(pa.field("element", pa.string()), 1)
    assert [(row["sizes"], row["words"]) for row in job.rows()] == [(["s"], [("k", "v")]), (["m"], None)]


WITHIN = {
    "narrow decimals": (pa.array([Decimal("1.50"), Decimal("-3.00")], pa.decimal32(5, 2)), ["1.50", "-3.00"]),
    "longer ones": (pa.array([Decimal("1.50"), Decimal("-3.00")], pa.decimal64(15, 2)), ["1.50", "-3.00"]),
    "JSON": (extension(pa.json_(), ['{"a":1}', "[]"]), ['{"a":1}', "[]"]),
    "truth in bytes": (extension(pa.bool8(), [1, 0]), ["1", "0"]),
    "another's type": (extension(pa.opaque(pa.int64(), "money", "a vendor"), [5, 7]), ["5", "7"]),
    "vectors": (extension(pa.fixed_shape_tensor(pa.int32(), [2]), [[1, 2], [3, 4]]), ["[1, 2]", "[3, 4]"]),
    "another's decimals": (
        extension(pa.opaque(pa.decimal32(5, 2), "money", "a vendor"), [Decimal("1.50"), Decimal("2.00")]), ["1.50", "2.00"],
    ),
    "times of Z": (
        pa.array([0, 1_000_000], pa.timestamp("us", "Z")), ["1970-01-01 00:00:00+00:00", "1970-01-01 00:00:01+00:00"],
    ),
}  # fmt: skip


def test_values_within_others_are_sent_and_written_as_the_file_has_them(job, called, service):
    """Each is read and told at the start, and no run that has bought its rows ends since nobody can write them."""
    holders = {
        "column": lambda cells: cells,
        "list": lambda cells: pa.ListArray.from_arrays([0, 1, 2], cells),
        "fixed": lambda cells: pa.FixedSizeListArray.from_arrays(cells, 1),
        "struct": lambda cells: pa.StructArray.from_arrays([cells], names=["x"]),
        "map": lambda cells: pa.MapArray.from_arrays([0, 1, 2], pa.array(["k", "k"]), cells),
    }
    columns = {f"{kind} in a {how}": holders[how](cells) for kind, (cells, _) in WITHIN.items() for how in holders}
    items = {"column": "", "list": "[0]", "fixed": "[0]", "struct": ".x", "map": ".k"}
    shown = [f'{{{{ row["{kind} in a {how}"]{items[how]} }}}}' for kind in WITHIN for how in holders]
    table = pa.table({"name": ["shelf", "lamp"], **columns})
    ended = called("run", job(table, kind="parquet", input={"id": None}, prompt="\n".join(shown)))
    assert ended.returncode == 0, ended.stderr
    assert list(service.asked) == [
        "\n".join(cells[at] for _, cells in WITHIN.values() for _ in holders) for at in (0, 1)
    ]
    assert job.table().num_rows == 2


# As texts, in CSV and for rows' names

ODD = {
    "durations": (pa.array([90_061_500, -1], pa.duration("ms")), ["P1DT1H1M1.5S", "-PT0.001S"]),
    "long durations": (pa.array([2**62, None], pa.duration("ms")), ["P53375995583DT15H36M27.904S", ""]),
    "JSON": (pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1}', "[]"])), ['{"a":1}', "[]"]),
    "truth in bytes": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8())), ["1", "0"]),
    "UUIDs": (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(int=n).bytes for n in (1, 2)], pa.binary(16))),
        [str(uuid.UUID(int=n)) for n in (1, 2)],
    ),
    "bytes": (pa.array([b"\xff", b""]), ["/w==", ""]),
    "another's bytes": (extension(pa.opaque(pa.binary(), "shape", "a vendor"), [b"\xff", b""]), ["/w==", ""]),
    "dates before year 1 and after 9999": (
        pa.array([-719_163, 2_932_897], pa.date32()), ["+0000-12-31", "'+10000-01-01"],
    ),
    "DuckDB's infinities": (
        pa.array([2**31 - 1, -(2**31) + 1], pa.date32()), ["'+5881580-07-11", "-5877641-06-24"],
    ),
    "moments without end": (
        pa.array([2**63 - 1, 0], pa.timestamp("us")), ["'+294247-01-10 04:00:54.775807", "1970-01-01 00:00:00"],
    ),
    "moments of a zone": (
        pa.array([2**62, 0], pa.timestamp("us", "Europe/Berlin")),
        ["'+148108-07-06 14:00:27.387904+00:00", "1970-01-01 01:00:00+01:00"],
    ),
    "maps with struct keys": (
        pa.MapArray.from_arrays([0, 1, 1], pa.array([{"a": 1}]), pa.array(["x"])), ['[{"key":{"a":1},"value":"x"}]', "[]"],
    ),
    "maps with dates": (
        pa.MapArray.from_arrays([0, 1, 1], pa.array([dt.date(2024, 1, 2)]), pa.array([None], pa.int8())),
        ['{"2024-01-02":null}', "{}"],
    ),
    "decimals in lists": (pa.array([[Decimal("12.50")], [None]]), ["[12.50]", "[null]"]),
    "narrow and missing numbers in structs": (
        pa.array([{"x": 19.99}, {"x": float("nan")}], pa.struct([("x", pa.float32())])), ['{"x":19.99}', '{"x":null}'],
    ),
    "dates in structs": (
        pa.array([{"x": dt.date(2024, 1, 2), "y": dt.timedelta(1)}, None]), ['{"x":"2024-01-02","y":"P1D"}', ""],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_the_csv_export_writes_any_column(job, called, kind):
    column, told = ODD[kind]
    told = [f"'{text}" if text.startswith(("+0", "-5", "-P")) else text for text in told]
    path = job(pa.table({"name": ["shelf", "lamp"], "odd": column}), kind="parquet", input={"id": None})
    assert called("run", path).returncode == 0
    ended = called("export", path, "-o", job.folder / "out.csv")
    assert ended.returncode == 0, ended.stderr
    with (job.folder / "out.csv").open(encoding="utf-8", newline="") as file:
        assert [row["odd"] for row in csv.DictReader(file, strict=True)] == told


@pytest.mark.parametrize("kind", [kind for kind, (column, _) in ODD.items() if not column.null_count])
def test_any_column_may_name_rows(job, called, kind):
    path = job(pa.table({"name": ["shelf", None], "odd": ODD[kind][0]}), kind="parquet", input={"id": "odd"})
    ended = called("plan", path)
    assert ended.returncode == 2
    assert f"name is missing or empty: row 2 ({ODD[kind][1][1].removeprefix(chr(39))})" in ended.stderr


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("dates before year 1 and after 9999", "column 'odd' holds a date or time beyond the years 1 to 9999"),
        ("DuckDB's infinities", "column 'odd' holds a date or time beyond the years 1 to 9999"),
        ("moments of a zone", "column 'odd' holds a date or time beyond the years 1 to 9999"),
        ("maps with struct keys", "column 'odd' holds maps whose keys are lists or structs"),
        ("bytes", "column 'odd' holds bytes, not text"),
        ("another's bytes", "column 'odd' holds bytes, not text"),
    ],
)
def test_what_a_prompt_cannot_hold_is_told_by_its_column(job, called, kind, said):
    path = job(
        pa.table({"name": ["a", "b"], "odd": ODD[kind][0]}), kind="parquet", input={"id": None}, prompt="{{ odd }}"
    )
    ended = called("plan", path)
    assert ended.returncode == 2
    assert said in ended.stderr


def test_a_librarys_panic_is_a_line(job, called, monkeypatch):
    """Which is no Exception."""
    path = job([{"id": "1", "name": "shelf"}])
    far = pl.Series([2**31 - 1]).cast(pl.Int32).cast(pl.Date)
    monkeypatch.setattr("batchgen.runner.prepare.prepare", lambda *_: far.cast(pl.String))
    ended = called("plan", path)
    assert ended.returncode == 5
    assert (
        "error: a library gave up (PanicException: out-of-range date); nothing that was finished is lost"
        in ended.stderr
    )


def test_nested_texts_are_json_without_loss():
    column = pl.Series([{"a": [dt.datetime(2024, 1, 2, 3, 4, 5, 6)], "b": b"\xff", "c": 'q"'}])  # noqa: DTZ001
    assert texts(column).to_list() == ['{"a":["2024-01-02 03:04:05.000006"],"b":"/w==","c":"q\\""}']
    assert texts(pl.Series(["t", None])).to_list() == ["t", None]


def test_a_result_keeps_its_uuid_and_its_zone(job, called):
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(int=7).bytes], pa.binary(16)))
    when = pa.array([1], pa.timestamp("ms", "Asia/Kolkata"))
    path = job(pa.table({"name": ["a"], "key": ids, "when": when}), kind="parquet", input={"id": "key"})
    assert called("run", path).returncode == 0
    schema = pq.read_schema(job.output)
    assert (schema.field("key").type, schema.field("when").type) == (pa.uuid(), when.type)


def test_intervals_of_parquet_are_bytes_and_that_is_said(job, called):
    path = job([], input={"path": "in.parquet", "id": None}, prompt="{{ n }}")
    rows = "SELECT 1 AS n, INTERVAL '2 days' AS \"a.b\", [INTERVAL '1 month'] AS b"
    duckdb.sql(f"COPY ({rows}) TO '{job.folder / 'in.parquet'}'")
    said = "in.parquet: column 'a.b' and 1 other: intervals of Parquet, read as the 12 bytes of each"
    assert said in called("plan", path).stdout
    ended = called("run", path)
    assert (ended.returncode, said in ended.stderr) == (0, True), ended.stderr
    assert job.rows()[0]["a.b"] == bytes([0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0])


def write_enums(table: pa.Table, path: Any) -> None:
    """Writes texts as Parquet's enums, by their number in the footer: no library here writes any."""
    pq.write_table(table, path, store_schema=False)
    held, (string, enum) = path.read_bytes(), (b"\x25\x00\x4c\x1c\x00\x00", b"\x25\x08\x4c\x4c\x00\x00")
    path.write_bytes(held.replace(string, enum))
    assert pq.read_schema(path).field("label").type == pa.binary()


def test_enums_of_parquet_are_text(job, called):
    path = job(
        [], input={"path": "in.parquet", "id": "label", "where": "label <> 'ham'"}, prompt="{{ label }}: {{ tags }}"
    )
    labels, tags = ["spam", "ham", "egg"], [[{"tag": "a"}, {"tag": "b"}], None, []]
    write_enums(pa.table({"label": labels, "n": [1, 2, 3], "tags": tags}), job.folder / "in.parquet")
    planned = called("plan", path)
    assert "| spam: [{'tag': 'a'}, {'tag': 'b'}]" in planned.stdout, planned.stdout + planned.stderr
    assert called("run", path).returncode == 0
    assert [(row["label"], row["n"], row["tags"]) for row in job.rows()] == [("spam", 1, tags[0]), ("egg", 3, [])]
    assert pq.read_schema(job.output).field("label").type == pa.string()


def test_enums_that_are_not_utf8_are_refused_with_their_row(job, called):
    path = job([], input={"path": "in.parquet", "id": None}, prompt="{{ label }}")
    write_enums(pa.table({"label": pa.array([b"spam", b"\xff"]).view(pa.string())}), job.folder / "in.parquet")
    ended = called("plan", path)
    assert (ended.returncode, "in.parquet: row 2: label: not UTF-8" in ended.stderr) == (2, True), ended.stderr
