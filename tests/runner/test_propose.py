"""`init --input`: the job that it writes reads the file, loads, and plans at once."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.workbook import write_workbook

from batchgen.input.source import open_source
from batchgen.job.load import read_job

TABLE = "SKU,First Name,price\n001,Jörg,19.99\n002,Al,5.25\n"


@pytest.mark.parametrize(
    ("name", "content", "keys"),
    [
        ("in.csv", TABLE.encode(), {"id": "SKU", "schema": {"price": "Float64"}}),
        ("in.csv", TABLE.replace(",", ";").encode("cp1252"), {"separator": ";", "encoding": "cp1252", "id": "SKU"}),
        ("in.csv", TABLE.replace(",", "\t").encode("utf-16"), {"separator": "\t", "encoding": "utf-16"}),
        ("in.csv", b"sep=;\nSKU;b\n1;2\n2;2\n", {"id": "SKU", "schema": {"b": "Int64"}}),
        ("in.tsv", TABLE.replace(",", "\t").encode(), {"id": "SKU"}),
        ("in.txt", TABLE.replace(",", "|").encode(), {"separator": "|", "id": "SKU"}),
        ("in.csv.gz", gzip.compress(TABLE.encode(), mtime=0), {"id": "SKU"}),
        ("in.csv", b"n,a\n1,x\n1,x\n", {"schema": {"n": "Int64"}}),
        ("in.csv", b"zip,p,q,r\n01,1.10,1e3,\n02,2.5,5,7\n", {"id": "zip", "schema": {"r": "Int64"}}),
        ("in.csv", b"text,Status,row\na,b,1\nc,d,1\n", {"rename": {"text": "source_text", "Status": "source_Status", "row": "row_"}}),
        ("in.csv", b"error,Reasoning\na,b\nc,d\n", {"rename": {"error": "source_error", "Reasoning": "source_Reasoning"}}),
        ("in.csv", b"a\nx\nx\n", {}),
        ("in.csv", b"a,,\nx,,\ny,,\n", {"separator": None, "id": "a"}),
        ("in.csv", b"question\nWhat, and why?\nWho, and when?\nWhat, who, when?\n", {"separator": ";"}),
        ("in.csv", b"\"it's {{ x }}\",\"a#b\"\n1,\n2,y\n", {"id": "it's {{ x }}"}),
        ("in.csv", b"id," + b"long" * 300_000 + b"\n1,2\n2,2\n", {"id": "id"}),
        ("in.ndjson", b'{"id": 7, "tags": ["a", null], "o": {"x": 1}}\n{"id": 8}\n', {"id": "id"}),
        ("in.json", json.dumps([{"id": 1, "naïve": None}, {"id": 2, "naïve": "x"}]).encode(), {"id": "id"}),
        ("Größe & Co (1).csv", b"id,a\n1,2\n", {"id": "id"}),
    ],
)  # fmt: skip
def test_the_job_reads_the_file_and_plans(tmp_path, called, monkeypatch, name, content, keys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    ended = called("init", "--input", name, "jobs/new")
    assert ended.returncode == 0, ended.stderr
    job = tmp_path / "jobs" / "new.yaml"
    assert ended.stdout == "wrote jobs/new.yaml\nnext: batchgen run jobs/new.yaml --local\n"
    given = yaml.safe_load(job.read_text(encoding="utf-8"))["input"]
    assert given["path"] == f"../{name}"
    assert {key: given.get(key) for key in keys} == keys
    planned = called("plan", "jobs/new.yaml", "--json")
    assert planned.returncode == 0, planned.stderr
    assert planned.json["rows"] == sum(batch.height for batch in open_source(read_job(job).input).batches())


@pytest.mark.parametrize("name", ["~x.csv", "~root", "a[1].csv", "{date}.csv", "#1.csv", "- a: b.csv", "a*.csv"])
def test_a_file_of_an_odd_name_beside_its_job(tmp_path, called, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / name
    if name.endswith(".csv"):
        file.write_bytes(b"id,a\n1,2\n")
    else:
        file.mkdir()
        (file / "in.csv").write_bytes(b"id,a\n1,2\n")
    assert called("init", "new", "--input", name).stdout == "wrote new.yaml\nnext: batchgen run new.yaml --local\n"
    planned = called("plan", "new.yaml", "--json")
    assert (planned.returncode, planned.stderr) == (0, "")
    assert planned.json["rows"] == 1


def test_a_path_that_seems_to_be_a_home_folder(tmp_path, called, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~x.csv").write_bytes(b"id,a\n1,2\n")
    called("init", "new", "--input", "~x.csv")
    job = tmp_path / "new.yaml"
    job.write_text(job.read_text(encoding="utf-8").replace("./~x.csv", "~x.csv"), encoding="utf-8")
    said = "names the home folder of an unknown user; a file of that name is ./~x.csv"
    assert said in called("plan", "new.yaml").stderr


def test_the_next_command_can_be_typed(tmp_path, called, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = called("init", "my jobs/new").stdout
    assert told.endswith("next: batchgen run 'my jobs/new.yaml' --local\n")
    assert "batchgen plan 'my jobs/new.yaml'" in (tmp_path / "my jobs" / "new.yaml").read_text(encoding="utf-8")


def test_names_stand_in_the_job_as_they_are_read(tmp_path, called, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Größen.csv").write_text("Größe;Länge\n1;2\n2;2\n", encoding="utf-8")
    write_workbook(tmp_path / "in.xlsx", Deckblatt=[["Bericht"]], Übersicht=[["id", "b"], [1, "x"]])
    for name, keys in (
        ("Größen.csv", ['path: "Größen.csv"', 'id: "Größe"', 'schema: {"Länge": "Int64"}', 'row["Länge"]']),
        ("in.xlsx", ['sheet: "Übersicht"']),
    ):
        assert called("init", "--input", name, "job").returncode == 0
        written = (tmp_path / "job.yaml").read_text(encoding="utf-8")
        assert [key for key in keys if key not in written] == []
        (tmp_path / "job.yaml").unlink()


def test_what_a_plan_would_warn_of_is_said_at_once(tmp_path, called, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_workbook(tmp_path / "in.xlsx", merged="A3:A4", One=[["List of May", None, None], ["id", "a", "b"], [1, 2, 3]])
    ended = called("init", "--input", "in.xlsx")
    first, second = ended.stderr.splitlines()
    assert first.startswith(f"warning: {tmp_path}/in.xlsx: A1: 2 columns without a name")
    assert (
        second == f"warning: {tmp_path}/in.xlsx: merged cells (A3:A4): the first holds the value, the others are empty"
    )
    assert [f"warning: {one}" for one in called("plan", "in", "--json").json["warnings"]] == [first, second]


def test_of_a_workbook_and_of_parquet(tmp_path, called, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_workbook(
        tmp_path / "in.xlsx", Empty=[], Cover=[["Report"], ["of May"]], One=[["id", "b"], [1, "x"]], Two=[["id"]]
    )
    assert called("init", "--input", "in.xlsx").returncode == 0
    assert read_job(tmp_path / "in.yaml").input.sheet == "One"
    assert called("plan", "in.yaml").returncode == 0
    table = pa.table({
        "id": [1, 2],
        "raw": [b"\xff", b""],
        "when": pa.array([1, 10**18], pa.timestamp("us")),
        "long": pa.array([1, 2**62], pa.duration("ms")),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "p.parquet")
    assert called("init", "--input", "p.parquet").returncode == 0
    assert "{{ id }}" in read_job(tmp_path / "p.yaml").prompt
    assert called("plan", "p.yaml").returncode == 0


def test_of_a_table_without_rows(tmp_path, called, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"id": pa.array([], pa.int64()), "raw": pa.array([], pa.binary())}), tmp_path / "p.parquet")
    assert called("init", "--input", "p.parquet").returncode == 0
    assert called("plan", "p.yaml").returncode == 0


@pytest.mark.parametrize("name", ["letters.yaml", "letters.yml"])
def test_a_suffix_behind_the_name_is_no_part_of_it(tmp_path, called, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert called("init", name).stdout.splitlines()[:2] == ["wrote letters.yaml", "wrote letters.csv"]
    assert called("plan", "letters").returncode == 0


def test_who_names_the_input_as_the_job_is_told_how(tmp_path, called, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text("a\n1\n")
    ended = called("init", "in.csv")
    assert ended.returncode == 2
    assert "in.csv: is an input: `batchgen init --input in.csv` writes a job for it" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("mark", [";", "|", "\t"])
def test_one_column_of_texts_that_have_marks_in_them_is_a_table(tmp_path, called, monkeypatch, mark):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text(f"prompt\nWrite a{mark} b{mark} c\nWrite d{mark} e{mark} f\n")
    assert called("init", "--input", "in.csv").returncode == 0
    assert "- prompt: {{ prompt }}" in read_job(tmp_path / "in.yaml").prompt
    assert "Write a" in called("plan", "in.yaml").stdout


def test_a_name_may_have_a_folder_before_it(tmp_path, called, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = called("init", "a/b/letters")
    assert ended.stdout.splitlines()[:2] == ["wrote a/b/letters.yaml", "wrote a/b/letters.csv"]
    assert called("plan", "a/b/letters.yaml").returncode == 0
    assert called("init", "a/b/letters").returncode == 2
    assert "a job's name is letters" in called("init", "a/").stderr
    assert "a job's name is letters" in called("init", "a/b c").stderr
    (tmp_path / "file").write_text("")
    assert called("init", "file/x").returncode == 2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.xlsx", b"id;name\n1;a\n", "in.xlsx: not an Excel workbook"),
        (
            "in.csv",
            b"School,Women,School\nA,1,2\nB,3,4\n",
            "in.csv:1: two columns are named 'School': rename one in the file",
        ),
        (
            "in.csv",
            b",time,temp\n0,2026-07-29,03:14,18.1\n1,2026-07-29,03:15,18.1\n",
            "4 fields where the header has 3",
        ),
        ("in.csv", b",,\n,,\n1,2,3\n", "in.csv: empty: a CSV file begins with a line of column names"),
        ("in.xlsx", b"\xd0\xcf\x11\xe0" + b"\0" * 600, "in.xlsx: is an old Excel workbook, or one with a password"),
        ("in.csv", b"", "in.csv: empty"),
        (
            "in.csv",
            b"Report\n\nid,name,price\n1,a,2\n",
            "in.csv:1: one column, where the lines below have 3, separated by commas: if it is a title",
        ),
        (
            "in.csv",
            "Bericht für Mai\nid;name;Preis\n1;a;2,5\n2;b;3,5\n".encode("cp1252"),
            "in.csv:1: one column, where the lines below have 3, separated by semicolons",
        ),
        ("in.csv", b"a,b\n1,2\n3\n", "in.csv:3: 1 field where the header has 2"),
        ("in.xls", b"", "save it as .xlsx"),
        ("in.csv.zst", b"a", "is not compressed by zstd"),
    ],
)
def test_a_file_that_cannot_be_read_leaves_no_job(tmp_path, called, monkeypatch, name, content, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    ended = called("init", "--input", name)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert not list(tmp_path.glob("*.yaml"))
    assert called("init").returncode == 2
    assert "no such input" in called("init", "--input", "nowhere.csv").stderr
    ended = called("init", "--input", "https://example.com/in.csv")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "https://example.com/in.csv: should be a path on this machine, or begin with s3://" in ended.stderr
