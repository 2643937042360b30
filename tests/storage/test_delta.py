"""Tables of Delta Lake: read at their newest version by their list of files, or refused by what their files are not."""

import base64
import json
import string
import struct
import sys

import polars as pl
import pyarrow as pa
import pytest

from batchgen.errors import UsageError
from batchgen.input.source import open_source
from batchgen.job.sections import Input

deltalake = pytest.importorskip("deltalake")

LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase + "!#$%&()*+-;<=>?@^_`{|}~"
Z85 = string.digits + string.ascii_lowercase + string.ascii_uppercase + ".-:+=^!/*?&<>()[]{}@%$#"
SECOND_ROW = struct.pack("<IQIIIHHIHxx", 1681511377, 1, 0, 12346, 1, 0, 0, 16, 1)
"""A bitmap array of Delta's protocol: one Roaring bitmap, which holds the number 1."""
DELETED = {
    "storageType": "i",
    "pathOrInlineDv": base64.b85encode(SECOND_ROW).decode().translate(str.maketrans(LETTERS, Z85)),
    "sizeInBytes": len(SECOND_ROW) - 2,
    "cardinality": 1,
}


def opened(table, **spec):
    return open_source(Input.model_validate({"path": str(table), **spec}, context={"folder": table.parent}))


def rows(table, **spec):
    return pl.concat(opened(table, **spec).batches()).to_dicts()


def refused(table) -> str:
    with pytest.raises(UsageError) as told:
        opened(table)
    assert "\n" not in str(told.value)
    return str(told.value).replace(f"{table}: ", "")


@pytest.fixture
def table(tmp_path):
    """A table of three versions: the first's rows were overwritten, and then one was deleted."""
    path = tmp_path / "table"
    deltalake.write_deltalake(path, pa.table({"n": [1, 2]}))
    deltalake.write_deltalake(path, pa.table({"n": [3, 4, 5]}), mode="overwrite")
    deltalake.DeltaTable(path).delete("n = 4")
    return path


def test_the_rows_in_force_are_read(table):
    assert len(list(table.glob("*.parquet"))) == 3
    assert rows(table) == [{"n": 3}, {"n": 5}]


def test_a_newer_version_is_no_change_of_what_is_read(table):
    source = opened(table)
    deltalake.write_deltalake(table, pa.table({"n": [6]}), mode="overwrite")
    source.verify()
    assert pl.concat(source.batches()).to_dicts() == [{"n": 3}, {"n": 5}]
    assert rows(table) == [{"n": 6}]
    deltalake.DeltaTable(table).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert rows(table) == [{"n": 6}]


def test_partitions_are_columns_as_their_folders_name_them(tmp_path):
    table = tmp_path / "table"
    given = pa.table({"n": [1, 2, 3], "area": ["a b/ü%", "eu", None], "day": pa.array([0, 1, 2], pa.date32())})
    deltalake.write_deltalake(table, given, partition_by=["area", "day"])
    deltalake.DeltaTable(table).delete("area = 'eu'")
    assert rows(table, schema={"day": "Date"}) == pl.DataFrame(given).sort("n", descending=True)[[0, 2]].to_dicts()


def test_a_job_on_a_table(job, called, service, table):
    ended = called("run", job([], input={"path": str(table), "id": None}, prompt="number {{ n }}"))
    assert ended.returncode == 0, ended.stderr
    assert sorted(body["prompt"] for body in service.bodies) == ["number 3", "number 5"]
    assert [row["n"] for row in job.rows()] == [3, 5]


@pytest.mark.parametrize("part", ["*.parquet", "../*/*.parquet", ".."])
def test_what_is_given_by_another_name_is_refused(table, part):
    assert "is a table of Delta Lake, whose files hold rows that were overwritten" in refused(table / part)


def add_to_log(table, **action):
    *_, last = sorted(table.glob("_delta_log/*.json"))
    log = [json.loads(line) for line in last.read_text().splitlines()]
    for line in log:
        for key, more in action.items():
            if key in line:
                line[key] |= more
    last.write_text("".join(json.dumps(line) + "\n" for line in log))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"add": {"deletionVector": DELETED}}, "with deletion vectors: such a table is not read; export it to Parquet first"),
        ({"metaData": {"configuration": {"delta.columnMapping.mode": "name"}}}, "with column mapping: such a table is not read"),
        ({"protocol": {"readerFeatures": ["typeWidening"], "writerFeatures": ["typeWidening"]}}, "with the feature typeWidening"),
        ({"add": {"path": "s3://elsewhere/rows.parquet"}}, "with files elsewhere (a shallow clone)"),
        ({"add": {"path": "gone.parquet"}}, "gone.parquet: is missing, and the table's log names it"),
        ({"metaData": {"schemaString": "none"}}, "is a table of Delta Lake that deltalake cannot read ("),
    ],
    ids=str,
)  # fmt: skip
def test_a_table_whose_files_are_not_its_rows_is_refused(tmp_path, changed, said):
    table = tmp_path / "table"
    on = {"delta.enableDeletionVectors": "true"}
    deltalake.write_deltalake(table, pa.table({"n": [1, 2]}), configuration=on)
    add_to_log(table, **changed)
    assert said in refused(table)


def test_a_partition_that_no_folder_names_is_refused(tmp_path):
    table = tmp_path / "table"
    deltalake.write_deltalake(table, pa.table({"n": [1], "area": ["eu"]}), partition_by=["area"])
    (file,) = table.glob("*/*.parquet")
    file.rename(table / "rows.parquet")
    add_to_log(table, add={"path": "rows.parquet"})
    assert "with partitions that no folder names: such a table is not read" in refused(table)


def test_a_table_without_rows_in_force(table):
    deltalake.DeltaTable(table).delete()
    assert "a folder without a file to read" in refused(table)


def test_without_the_package_the_table_is_refused_with_how_to_get_it(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "deltalake", None)
    assert refused(table).startswith("is a table of Delta Lake, whose files hold rows that were overwritten or deleted")
    assert refused(table).endswith("; or read it as it is: pip install 'batchgen-writer[delta]'")
