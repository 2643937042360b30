"""Folders as input: every file below, in the order of the paths; partitions become columns."""

import gzip
import json
import os
import re

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchgen.errors import UsageError
from batchgen.input.source import open_source
from batchgen.job.sections import Input
from batchgen.output.column_names import refuse_collisions


def opened(folder, path: str, **spec):
    return open_source(Input.model_validate({"path": path, **spec}, context={"folder": folder}))


def rows(source) -> list[dict]:
    return pl.concat([*source.batches()]).to_dicts()


@pytest.fixture
def folder(tmp_path):
    """`folder(**{"a/b.parquet": [1, 2]})`: files that hold so many numbers, as a column `n`."""

    def write(files: dict[str, list[int] | str]):
        for name, numbers in files.items():
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(numbers, str):
                path.write_text(numbers)
            elif path.suffix == ".parquet":
                pq.write_table(pa.table({"n": numbers}), path)
            elif path.suffix == ".csv":
                path.write_text("".join(f"{n}\n" for n in ["n", *numbers]))
            else:
                path.write_text("".join(f"{json.dumps({'n': n})}\n" for n in numbers))
        return tmp_path

    return write


@pytest.mark.parametrize("path", ["*.csv", "[ab].csv", "**/*.csv", "in/b/../*.csv", "../in/*.csv"])
@pytest.mark.parametrize("name", ["data [2026]", "a?", "*"])
def test_a_jobs_folder_whose_name_looks_like_a_pattern(folder, name, path):
    """Its name is part of every path in the job file."""
    at = folder({"a.csv": [1], "b.csv": [2]})
    (at / name).mkdir()
    (at / "in").rename(at / name / "in")
    within = at / name if path.startswith("in") else at / name / "in"
    assert rows(opened(within, path)) == [{"n": "1"}, {"n": "2"}]


HIDDEN = {
    "_SUCCESS": "", "region=eu/.part.crc": "x", "_temporary/0/part-9.parquet": "x", ".ipynb/a.txt": "x", "_x.parquet": "x",
}  # fmt: skip


@pytest.mark.parametrize("path", ["in", "in/*/*.parquet", "in/**/*.parquet", "in/region=*/*"])
def test_partitions_are_columns_of_text(folder, path):
    at = folder(
        {
            "region=us/part-0.parquet": [5],
            "region=eu/part-10.parquet": [1, 2],
            "region=eu/part-2.parquet": [3, 4],
            "region=007/part-0.parquet": [0],
            "region=a%2Fb c/part-0.parquet": [6],
            "region=__HIVE_DEFAULT_PARTITION__/part-0.parquet": [7],
            **HIDDEN,
        }
    )
    source = opened(at, path)
    assert source.columns == {"n": pl.Int64, "region": pl.String}
    found = [(row["n"], row["region"]) for row in rows(source)]
    assert found == [(0, "007"), (7, None), (6, "a/b c"), (1, "eu"), (2, "eu"), (3, "eu"), (4, "eu"), (5, "us")]
    source.verify()
    limited = opened(at, path, limit=4, rename={"region": "area"}, id="area")
    assert [row["area"] for row in rows(limited)] == ["007", None, "a/b c", "eu"]


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_folders_of_other_formats(folder, kind):
    at = folder({f"year=2025/b.{kind}": [1], f"year=2024/a.{kind}": [2]})
    source = opened(at, "in", schema={"year": "Int32"})
    assert source.columns["year"] == pl.Int32
    assert [(int(row["n"]), row["year"]) for row in rows(source)] == [(2, 2024), (1, 2025)]


def test_two_levels_and_a_folder_below_that_is_no_key(folder):
    at = folder({"y=2/m=1/old/a.parquet": [1], "y=1/m=12/a.parquet": [2]})
    assert rows(opened(at, "in")) == [{"n": 2, "y": "1", "m": "12"}, {"n": 1, "y": "2", "m": "1"}]
    assert rows(opened(at, "in/y=1/m=12/a.parquet")) == [{"n": 2}], "what is given is no partition"
    assert rows(opened(at, "in/y=1/*/a.parquet")) == [{"n": 2, "m": "12"}]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"a.parquet": [1], "b.csv": [1]},
            r"in: the files are of several formats: \.csv, \.parquet; to read one of them, give the glob .*in/\*\.csv",
        ),
        ({"a.parquet": [1], "notes.txt": "x"}, r"in/notes\.txt: a \.txt file is read only with .*in/\*\.parquet"),
        ({"a.parquet": [1], "read.me": "x"}, r"in/read\.me: the suffix must be one of .*in/\*\.parquet"),
        ({"_SUCCESS": ""}, r"in: a folder without a file to read"),
        ({"a.csv": [1], "b/c.csv": "n,m\n1,2\n"}, r"b/c\.csv: its columns \(n, m\) differ from those of a\.csv"),
        ({"a=1/x.csv": [1], "b=1/x.csv": [1]}, r"b=1/x\.csv: its folders name b=, and those of .*a=1/x\.csv a="),
        ({"a=1/x.csv": [1], "x.csv": [1]}, r"in/x\.csv: its folders name no column, and those of .* a="),
        ({"n=1/x.csv": [1]}, r"n=1/x\.csv: 'n' is a column of the file, and also of a folder: n= too"),
    ],
)
def test_what_no_folder_can_mean_is_told(folder, files, said):
    at = folder(files)
    with pytest.raises(UsageError, match=said):
        opened(at, "in")


def test_a_file_and_its_compressed_copy_are_told(folder):
    at = folder({"a.csv": [1], "b/a.csv": [2], "b/c.csv": [3]})
    for name in ("a.csv", "b/c.csv"):
        file = at / "in" / name
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    source = opened(at, "in")
    assert [row["n"] for row in rows(source)] == ["1", "1", "2", "3", "3"]
    (said,) = source.notes
    assert said.startswith(f"{at}/in/a.csv.gz and a.csv are both read, and so in 1 other file: if they hold the same")
    (at / "in" / "a.csv").unlink()
    (at / "in" / "b" / "c.csv").unlink()
    assert opened(at, "in").notes == []


def test_types_are_for_partitions_and_csv_alone(folder):
    at = folder({"y=x/a.parquet": [1]})
    with pytest.raises(UsageError, match=r"input\.schema types the columns of CSV files"):
        opened(at, "in", schema={"n": "Int32"})
    with pytest.raises(UsageError, match="row 1: y: 'x' is not a valid Int32"):
        rows(opened(at, "in", schema={"y": "Int32"}))
    with pytest.raises(UsageError, match=r"input\.id: the input has no column 'z'"):
        opened(at, "in", id="z")


def test_a_partition_named_as_a_result_collides(folder):
    source = opened(folder({"text=1/a.parquet": [1]}), "in")
    with pytest.raises(UsageError, match=re.escape("input: {rename: {text: source_text}}")):
        refuse_collisions(list(source.columns), {})


def test_a_change_of_any_file_is_noticed(folder):
    at = folder({"a/x.csv": [1], "b/x.csv": [1]})
    source = opened(at, "in")
    (at / "in" / "b" / "x.csv").write_text("n\n2\n")
    with pytest.raises(UsageError, match="changed while the job was at work"):
        source.verify()


def test_a_job_on_a_folder(job, called, service):
    for region in ("eu", "us"):
        (job.folder / "in" / f"region={region}").mkdir(parents=True)
        pq.write_table(
            pa.table({"id": [region], "name": ["shelf"]}), job.folder / "in" / f"region={region}" / "0.parquet"
        )
    path = job([{"id": "1"}], input={"path": "in"}, prompt="{{ name }} in {{ region }}")
    ended = called("run", path)
    assert ended.returncode == 0, ended.stderr
    assert set(service.asked) == {"shelf in eu", "shelf in us"}
    assert job.table().column_names[:3] == ["id", "name", "region"]
    for output in ("in/out.parquet", "in/new/out.parquet"):
        ended = called("run", job([{"id": "1"}], input={"path": "in"}, output={"path": output}))
        assert (ended.returncode, "is in the input's folder" in ended.stderr) == (2, True), ended.stderr


@pytest.fixture
def fed(job):
    """A job that reads a folder, or what fits a glob."""
    (job.folder / "in" / "sub").mkdir(parents=True)
    for name in ("in/a.csv", "in/sub/b.csv"):
        (job.folder / name).write_text("id,name\n1,shelf\n", encoding="utf-8")

    def write(path: str, **sections):
        return job([{"id": "1"}], input={"path": path, "id": None}, **sections)

    return write


@pytest.mark.parametrize(
    ("path", "sections", "key"),
    [
        ("in", {"metrics": "in/job.prom"}, "metrics"),
        ("in", {"metrics": "in/sub/job.prom"}, "metrics"),
        ("in/sub/../", {"metrics": "in/job.prom"}, "metrics"),
        ("in/*", {"metrics": "in/job.prom"}, "metrics"),
        ("in", {"output": {"state": "in"}}, "output.state"),
        ("in", {"output": {"state": "in/state"}}, "output.state"),
        ("in/**", {"output": {"state": "in"}}, "output.state"),
        ("in/*", {"output": {"path": "in/job.parquet"}}, "output.path"),
    ],
)
def test_what_the_job_writes_is_never_its_input(fed, called, service, path, sections, key):
    """It is refused by the first run, not by every later one alone."""
    given = fed(path, **sections)
    for command in ("plan", "run"):
        ended = called(command, given)
        assert ended.returncode == 2, ended.stderr
        assert f"would be read as input: choose another {key}" in ended.stderr
    assert service.requests == 0
    assert not list(given.parent.rglob("*.prom")), "nor does it say there how it ended"


@pytest.mark.parametrize(
    ("path", "sections"),
    [
        ("in", {"output": {"state": "in/.batchgen"}, "metrics": "in/_metrics/job.prom"}),
        ("in/*.csv", {"output": {"state": "in"}, "metrics": "in/job.prom"}),
        ("in/*", {"output": {"state": "in/state"}, "metrics": "in/sub/job.prom"}),
        ("in/*", {"output": {"path": "in/parts", "rows_per_file": 9}}),
        ("in/a.csv", {"output": {"path": "in/job.parquet", "state": "in"}, "metrics": "in/job.prom"}),
        ("in/*.csv", {"output": {"path": "in/job.csv.parquet"}}),
    ],
)
def test_what_is_not_read_may_lie_beside_the_input(job, fed, called, path, sections):
    given = fed(path, **sections)
    (job.folder / "in" / "_metrics").mkdir()
    for command in ("plan", "run", "run", "plan"):
        ended = called(command, given)
        assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(("path", "command", "name"), [
    ("in", "report", "in/r.html"), ("in/*", "report", "in/r.html"), ("in", "export", "in/x.csv"), ("in/*", "export", "in/x.csv"),
])  # fmt: skip
def test_nothing_is_written_for_the_next_run_to_read(job, fed, called, path, command, name):
    given = fed(path)
    assert called("run", given).returncode == 0
    ended = called(command, given, "-o", job.folder / name)
    assert (ended.returncode, "would be read as input" in ended.stderr) == (2, True), ended.stderr
    assert not (job.folder / name).exists()
    assert called("plan", given).returncode == 0


HINTED = {
    "beside each other": ({"a.csv": [1], "b.csv": [2], "read.me": ""}, "in/*.csv"),
    "deeper": ({"a.csv": [1], "sub/b.csv": [2], "sub/deep/c.csv": [3], "read.me": ""}, "in/**/*.csv"),
    "all of them deeper": ({"x=1/a.csv": [1], "x=2/b.csv": [2], "x=1/read.me": ""}, "in/**/*.csv"),
    "endings that no glob names together": ({"a.csv": [1], "b.CSV": [2], "read.me": ""}, None),
    "two endings of a format": ({"a.ndjson": [1], "b.jsonl": [2], "read.me": ""}, None),
}


@pytest.mark.parametrize("case", HINTED)
def test_a_glob_that_is_proposed_leaves_no_row_out(folder, case):
    files, hint = HINTED[case]
    at = folder(files)
    with pytest.raises(UsageError, match="the suffix must be one of") as refused:
        opened(at, "in")
    proposed = re.search(r"give the glob (\S+)$", str(refused.value))
    assert (proposed and proposed[1]) == (hint and f"{at}/{hint}")
    if proposed:
        wanted = [number for numbers in files.values() if not isinstance(numbers, str) for number in numbers]
        assert sorted(int(row["n"]) for row in rows(opened(at, proposed[1]))) == wanted


def test_a_wrong_file_among_those_of_a_glob_gets_no_glob_within_the_glob(folder):
    at = folder({"a.csv": [1], "read.me": ""})
    with pytest.raises(UsageError) as refused:
        opened(at, "in/*")
    assert "give the glob" not in str(refused.value)


def test_hadoops_stubs_that_were_copied_to_a_disk_are_passed_over(folder):
    at = folder({"sub/a.csv": [1], "sub_$folder$": "", "b.csv": [2]})
    for path in ("in", "in/*"):
        assert {row["n"] for row in rows(opened(at, path))} <= {"1", "2"}


# Links


def numbers(source) -> list[int]:
    return [int(row["n"]) for row in rows(source)]


@pytest.mark.parametrize("path", ["in", "in/**/*.csv"])
@pytest.mark.parametrize(
    ("links", "read"),
    [
        pytest.param({"all": "."}, [1, 2], id="back to the folder itself"),
        pytest.param({"a": ".", "b": ".", "2/c": ".."}, [1, 2], id="many that lead back"),
        pytest.param({"latest": "2"}, [1, 2], id="sideways"),
        pytest.param({"0": "2"}, [1, 2], id="sideways, to what comes later"),
        pytest.param({"2/zz.csv": "../1/a.csv"}, [1, 2], id="a file's other name"),
        pytest.param({"3": "../out"}, [1, 2, 3], id="to another folder"),
        pytest.param({"3": "../out", "4": "../out"}, [1, 2, 3], id="to another folder, twice"),
        pytest.param({".nowhere": "gone", "_self": "_self"}, [1, 2], id="that lead nowhere, and are passed over"),
    ],
)
def test_every_file_is_read_once_whatever_links_there_are(folder, path, links, read):
    at = folder({"1/a.csv": [1], "2/a.csv": [2], "../out/a.csv": [3]})
    for name, target in links.items():
        (at / "in" / name).symlink_to(target)
    assert numbers(opened(at, path)) == read


@pytest.mark.parametrize("path", ["in", "in/*.csv", "in/**/*.csv", "in/b.csv"])
@pytest.mark.parametrize("target", ["../gone/b.csv", "b.csv"], ids=["to what is gone", "to itself"])
def test_a_link_that_leads_nowhere_is_refused_and_loses_no_rows(folder, path, target):
    at = folder({"a.csv": [1]})
    (at / "in" / "b.csv").symlink_to(target)
    with pytest.raises(UsageError, match=f"in/b.csv: links to {target}, which is not there"):
        opened(at, path)
    assert numbers(opened(at, "in/a*")) == [1]


@pytest.mark.parametrize("path", ["in/*.csv", "in/**/*.csv"])
def test_a_file_that_the_glob_knows_by_a_link_alone_is_read(folder, path):
    at = folder({"a.csv": [1], "raw/b.2026": "n\n2\n"})
    (at / "in" / "b.csv").symlink_to("raw/b.2026")
    assert numbers(opened(at, path)) == [1, 2]


def test_partitions_are_named_by_their_folders_and_not_by_links(folder):
    at = folder({"day=1/a.csv": [1], "day=2/a.csv": [2]})
    (at / "in" / "day=0").symlink_to("day=2")
    assert rows(opened(at, "in")) == [{"n": "1", "day": "1"}, {"n": "2", "day": "2"}]
    assert rows(opened(at, "in/day=[02]/*")) == [{"n": "2", "day": "2"}]
    assert rows(opened(at, "in/day=0/*")) == [{"n": "2"}], "where it alone is asked for"


def test_a_pipe_is_no_file_and_is_not_waited_for(folder):
    os.mkfifo(folder({"a.csv": [1]}) / "in" / "pipe.csv")
    with pytest.raises(UsageError, match=r"pipe.csv: is not a regular file$"):
        opened(folder({}), "in/pipe.csv")
    assert rows(opened(folder({}), "in")) == [{"n": "1"}]


# Tables of files, of which not all are in force

DUCKLAKE = "ducklake-01a227dc-30aa-7f69-a018-6a57fd887886"


@pytest.mark.parametrize(
    ("files", "path", "said"),
    [
        ({"_delta_log/00.json": "{}", "a.parquet": [1]}, "in", "in: is a table of Delta Lake"),
        ({"_delta_log/00.json": "{}", "a.parquet": [1]}, "in/*.parquet", "in: is a table of Delta Lake"),
        ({"_delta_log/00.json": "{}", "a=1/a.parquet": [1]}, "in/a=1", "in: is a table of Delta Lake"),
        ({"_delta_log/00.json": "{}", "a=1/b=2/c=3/a.parquet": [1]}, "in/a=1/b=2/c=3", "in: is a table of Delta Lake"),
        ({"_delta_log/09.checkpoint.parquet": "", "a.parquet": [1]}, "in", "in: is a table of Delta Lake"),
        ({"metadata/v1.metadata.json": "{}", "data/a.parquet": [1]}, "in", "in: is a table of Apache Iceberg"),
        ({"metadata/v1.metadata.json": "{}", "data/a.parquet": [1]}, "in/data", "in: is a table of Apache Iceberg"),
        ({".hoodie/hoodie.properties": "", "a.parquet": [1]}, "in/**/*.parquet", "in: is a table of Apache Hudi"),
        ({"t/_delta_log/00.json": "{}", "t/a.parquet": [1]}, "in", "in/t: is a table of Delta Lake"),
        ({"t/_delta_log/00.json": "{}", "t/a.parquet": [1]}, "in/*/*.parquet", "in/t: is a table of Delta Lake"),
        ({"t/_delta_log/00.json": "{}", "t/k=1/a.parquet": [1]}, "in/**/*.parquet", "in/t: is a table of Delta Lake"),
        ({"manifest/manifest-list-0-0": "", "bucket-0/a.parquet": [1]}, "in", "in: is a table of Apache Paimon"),
        ({"manifest/manifest-list-0-0": "", "bucket-0/a.parquet": [1]}, "in/bucket-0", "in: is a table of Apache P"),
        (
            {"t/manifest/manifest-list-0-0": "", "t/k=1/j=2/bucket-0/a.parquet": [1]},
            "in/t/k=1/j=2/bucket-0",
            "in/t: is",
        ),
        ({f"t/{DUCKLAKE}-delete.parquet": "", f"t/{DUCKLAKE}.parquet": [1]}, "in", "in/t: is a table of DuckLake"),
        (
            {f"t/{DUCKLAKE}-delete.parquet": "", f"t/{DUCKLAKE}.parquet": [1]},
            "in/t/*.parquet",
            "in/t: is a table of Duck",
        ),
        ({"a.csv": "n", f"t/k=1/{DUCKLAKE}.parquet": [1]}, "in/t", "in/t: is a table of DuckLake"),
        ({"db/t/metadata/1.metadata.json": "{}", "db/t/data/a.parquet": [1]}, "in", "in/db/t: is a table of Apache"),
    ],
)
def test_a_table_that_holds_overwritten_rows_is_refused_by_name(folder, files, path, said):
    at = folder(files)
    with pytest.raises(UsageError, match=f"{said}.*export it to Parquet first"):
        opened(at, path)
    assert rows(opened(at, f"in/{list(files)[1]}")) == [{"n": 1}], "a file by its own name"


def test_a_table_behind_a_link_is_refused_and_one_beside_the_files_is_not(folder):
    at = folder({"a.parquet": [1], "t/_delta_log/00.json": "{}", "t/b.parquet": [2]})
    assert rows(opened(at, "in/*.parquet")) == [{"n": 1}]
    (at / "all").mkdir()
    (at / "all" / "linked").symlink_to("../in/t")
    with pytest.raises(UsageError, match="all/linked: is a table of Delta Lake"):
        opened(at, "all")


@pytest.mark.parametrize("name", ["Text", "STATUS", "more_Choices"])
def test_names_that_differ_from_a_results_by_case_collide(name):
    with pytest.raises(UsageError, match=re.escape(f"input: {{rename: {{{name}: source_{name}}}}}")):
        refuse_collisions(["id", name], {})


def test_a_name_that_a_rename_gave_collides_and_the_advice_renames_what_the_file_has():
    with pytest.raises(UsageError, match=re.escape("input: {rename: {a: id, b: source_Text, text: source_text}}")):
        refuse_collisions(["id", "Text", "text"], {"a": "id", "b": "Text"})
