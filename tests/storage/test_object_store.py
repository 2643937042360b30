"""Input from object stores and output to them, against a real S3 server on the loopback."""

import datetime as dt
import gzip
import io
import json
import random
import signal
import threading
import time
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather
from support.service import PATIENCE
from support.store import BUCKET, SECRET, Refusal, Store
from support.workbook import write_workbook

import batchgen as library
from batchgen.storage import block_reader, manifest, object_store, settings
from batchgen.storage.location import SCHEMES, ObjectUrl
from batchgen.storage.settings import credentials

ROWS = [{"id": str(n), "name": f"shelf {n}"} for n in range(30)]
OUTPUT = f"s3://{BUCKET}/out/job.parquet"
LARGE = 18 << 20
"""Bytes of noise in an input's column that make an upload of several parts."""


@pytest.fixture(scope="module")
def shelf():
    with Store() as store:
        yield store


@pytest.fixture
def store(shelf, pointing):
    """Empty; the commands know its address."""
    shelf.empty()
    pointing.update(shelf.environ)
    return shelf


def encoded(kind: str, rows: list[dict[str, str]]) -> str | pa.Table:
    if kind == "csv":
        return "".join(f"{row['id']},{row['name']}\n" for row in [{"id": "id", "name": "name"}, *rows])
    return "".join(f"{json.dumps(row)}\n" for row in rows) if kind == "ndjson" else pa.Table.from_pylist(rows)


@pytest.mark.parametrize("kind", ["csv", "parquet", "ndjson"])
def test_a_job_from_a_store_into_a_store(job, store, called, kind):
    store.put(f"in/rows.{kind}", encoded(kind, ROWS))
    path = job(ROWS[:1], input={"path": f"s3://{BUCKET}/in/rows.{kind}"}, output={"path": OUTPUT})
    assert f"results   {OUTPUT}" in called("plan", path).stdout
    assert store.names() == [f"in/rows.{kind}"], "a plan leaves a trace"
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["path"]) == (0, 30, OUTPUT), ended.stderr
    table = store.table("out/job.parquet")
    assert table.column_names[:3] == ["id", "name", "text"]
    assert table["id"].to_pylist() == [row["id"] for row in ROWS]
    assert json.loads(table.schema.metadata[b"batchgen"])["job"] == "job"
    assert set(store.names()) == {f"in/rows.{kind}", "out/job.parquet"}
    assert job.files() >= {".batchgen/job.sqlite", ".batchgen/job.lock"}
    assert not [name for name in job.files() if "upload" in name or "out/" in name]

    store.put(f"in/rows.{kind}", encoded(kind, ROWS[:7]))
    ended = called("run", path, "--json")
    assert (ended.json["ok"], ended.json["sent"]) == (7, 0)
    assert store.table("out/job.parquet").num_rows == 7


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.json", "rows.xlsx", "rows.arrow"])
def test_other_formats_from_a_store(job, store, called, tmp_path, name):
    file = tmp_path / name
    if name.endswith(".gz"):
        file.write_bytes(gzip.compress(encoded("csv", ROWS).encode()))
    elif name.endswith(".json"):
        file.write_text(json.dumps(ROWS), encoding="utf-8")
    elif name.endswith(".xlsx"):
        write_workbook(file, Data=[["id", "name"], *([row["id"], row["name"]] for row in ROWS)])
    else:
        feather.write_feather(pa.Table.from_pylist(ROWS), str(file))
    store.put(f"in/{name}", file.read_bytes())
    planned = called("plan", job(ROWS[:1], input={"path": f"s3://{BUCKET}/in/{name}"}), "--json")
    assert (planned.returncode, planned.json["rows"]) == (0, 30), planned.stderr


def test_google_storage(job, store, called):
    """Its XML interface is S3's: the same server stands in for it."""
    store.put("in/rows.csv", encoded("csv", ROWS))
    output = {"path": f"gs://{BUCKET}/out", "rows_per_file": 20}
    path = job(ROWS[:1], input={"path": f"gs://{BUCKET}/in/*.csv"}, output=output)
    aws = dict.fromkeys(name for name in store.environ if name.startswith("AWS_"))
    ended = called("run", path, "--json", env={**aws, "STORAGE_EMULATOR_HOST": store.url.removeprefix("http://")})
    assert (ended.returncode, ended.json["ok"]) == (0, 30), ended.stderr
    parted = sorted(name for name in store.names() if name.startswith("out/part-"))
    assert [store.table(name).num_rows for name in parted] == [20, 10]


def test_the_other_commands(job, store, called, monkeypatch, tmp_path):
    store.put("in/rows.csv", encoded("csv", ROWS))
    path = job(
        ROWS[:1],
        input={"path": f"s3://{BUCKET}/in/rows.csv"},
        output={"path": f"s3://{BUCKET}/{{date}}/{{name}}.parquet"},
    )
    ended = called("run", path, "--json")
    day, name = ended.json["path"].removeprefix(f"s3://{BUCKET}/").split("/")
    assert (len(day), name) == (10, "job.parquet")
    assert called("status", path, "--json").json["done"] == 30
    assert called("report", path).stdout == f"wrote {job.folder / '.batchgen' / 'job.report.html'}\n"
    assert called("export", path, "-o", f"s3://{BUCKET}/sheet.csv").returncode == 0
    assert store.get("sheet.csv").startswith(b"\xef\xbb\xbfid,name,text,")
    local = tmp_path / "local.parquet"
    assert called("export", path, "-o", local).returncode == 0
    assert called("export", path).returncode == 0
    for variable, value in store.environ.items():
        monkeypatch.setenv(variable, value)
    assert library.load(f"s3://{BUCKET}/{day}/job.parquet").equals(pl.read_parquet(local))
    store.put("in/rows.csv", encoded("csv", ROWS[:20]))
    assert "dropped 10" in called("prune", path, "--yes").stdout


def test_globs_and_folders_of_objects(job, store, called):
    for region, numbers in (("eu", range(10)), ("us%20west", range(10, 30))):
        store.put(f"in/region={region}/part-0.parquet", encoded("parquet", [ROWS[n] for n in numbers]))
    for hidden in ("_SUCCESS", "region=eu/.part.crc", "_temporary/0/part-0.parquet"):
        store.put(f"in/{hidden}", b"nothing to read")
    store.put("inland/part-0.parquet", b"another folder")
    for given in ("in", "in/", "in/*/*.parquet", "in/**/part-?.parquet"):
        path = job(ROWS[:1], input={"path": f"s3://{BUCKET}/{given}"}, prompt="{{ name }} in {{ region }}")
        ended = called("run", path, "--json")
        assert ended.returncode == 0, ended.stderr
        rows = job.rows()
        assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
        assert {row["region"] for row in rows} == {"eu", "us west"}
    for given, said in (
        ("in/*.csv", "no such input"),
        ("nowhere", "no such input"),
        ("in/_S*", "the suffix must be one of"),
    ):
        ended = called("run", job(ROWS[:1], input={"path": f"s3://{BUCKET}/{given}"}))
        assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr
    store.put("in/_delta_log/00000.json", b"{}")
    for given in ("in", "in/*/*.parquet", "in/region=eu", "in/region=eu/*.parquet"):
        ended = called("plan", job(ROWS[:1], input={"path": f"s3://{BUCKET}/{given}"}))
        assert ended.returncode == 2
        assert f"s3://{BUCKET}/in: is a table of Delta Lake" in ended.stderr


def test_the_data_of_an_iceberg_table_are_refused_as_the_table_is(job, store, called):
    store.put("in/data/k=1/rows.csv", encoded("csv", ROWS))
    path = job(ROWS[:1], input={"path": f"s3://{BUCKET}/in/data"})
    assert called("plan", path).returncode == 0
    store.put("in/metadata/v1.metadata.json", b"{}")
    for given in ("in", "in/data", "in/data/k=1"):
        ended = called("plan", job(ROWS[:1], input={"path": f"s3://{BUCKET}/{given}"}))
        assert (ended.returncode, f"s3://{BUCKET}/in: is a table of Apache Iceberg" in ended.stderr) == (2, True)


MARKERS = ["in/", "in/sub/", "in/sub/deep/", "in/sub_$folder$", "in/sub", "in/empty/", "in/v1.2/", "in_$folder$"]
"""What consoles, Hadoop and Azure's drivers leave for folders; none of it has a byte."""


@pytest.mark.parametrize("marker", MARKERS)
def test_markers_of_folders_are_passed_over(job, store, called, marker):
    for number in range(3):
        store.put(f"in/sub/deep/part-{number}.csv", encoded("csv", ROWS[10 * number :][:10]))
    store.put(marker, b"")
    for given in ("in", "in/**/*.csv", "in/sub/*/*"):
        path = job(ROWS[:1], input={"path": f"s3://{BUCKET}/{given}"})
        ended = called("plan", path, "--json")
        assert (ended.returncode, ended.json["rows"] if ended.stdout else None) == (0, 30), ended.stderr


def test_a_marker_in_the_place_of_a_folder_of_results(job, store, called, monkeypatch):
    """As Azure's drivers leave one. It hides no results: less does not replace more."""
    for variable, value in store.environ.items():
        monkeypatch.setenv(variable, value)
    path = job(ROWS, output={"path": f"s3://{BUCKET}/out/job", "rows_per_file": 8})
    store.put("out/job", b"")
    assert called("run", path).returncode == 0
    assert library.load(f"s3://{BUCKET}/out/job").height == 30
    store.put("out/job/sub/", b"")
    assert library.load(f"s3://{BUCKET}/out/job").height == 30
    assert called("export", path).returncode == 0


def test_an_empty_object_that_is_no_marker_is_told(job, store, called):
    for key in ("in/rows.csv", "in/more/rows.csv"):
        store.empty()
        store.put(key, b"")
        ended = called("plan", job(ROWS[:1], input={"path": f"s3://{BUCKET}/in"}))
        assert (ended.returncode, f"{key}: empty" in ended.stderr) == (2, True), ended.stderr


def noisy(rows: int) -> pa.Table:
    chance = random.Random(rows)
    noise = [chance.randbytes(LARGE // rows) for _ in range(rows)]
    return pa.table({"id": [str(n) for n in range(rows)], "name": [f"n{n}" for n in range(rows)], "noise": noise})


def test_an_upload_that_fails_costs_nothing_and_leaves_the_old_object(job, store, called, service):
    path = job(noisy(20), kind="parquet", output={"path": OUTPUT})
    store.put("out/job.parquet", b"the old object")
    store.script = lambda request: Refusal(403, "AccessDenied") if request.part == 2 else None
    ended = called("run", path)
    assert ended.returncode == 5, ended.stderr
    assert f"{OUTPUT}: cannot be written: the store refuses (403 AccessDenied)" in ended.stderr
    assert "Every answer is in the checkpoint" in ended.stderr
    assert SECRET not in ended.stderr
    assert store.get("out/job.parquet") == b"the old object"
    assert store.unfinished() == 0
    assert not [name for name in job.files() if "upload" in name]
    store.script = lambda _: None
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["sent"], ended.json["reused"]) == (0, 0, 20)
    assert store.table("out/job.parquet").num_rows == 20


def test_killed_while_it_uploads(job, store, start, called):
    path = job(noisy(20), kind="parquet", output={"path": OUTPUT})
    store.put("out/job.parquet", b"the old object")
    reached, over = threading.Event(), threading.Event()

    def held(request):
        if request.part == 3:
            reached.set()
            over.wait(PATIENCE)

    store.script = held
    process = start("run", path)
    assert reached.wait(PATIENCE)
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    over.set()
    assert store.get("out/job.parquet") == b"the old object"
    assert [name for name in job.files() if "upload" in name]
    store.script = lambda _: None
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["sent"], ended.json["reused"]) == (0, 0, 20)
    assert store.table("out/job.parquet").num_rows == 20
    assert not [name for name in job.files() if "upload" in name]


def test_a_folder_of_parts_in_a_store(job, store, called, monkeypatch):
    output = {"path": f"s3://{BUCKET}/out/job", "rows_per_file": 8}
    path = job(ROWS, output=output)
    for variable, value in store.environ.items():
        monkeypatch.setenv(variable, value)
    for rows, count in ((30, 4), (8, 1), (9, 2)):
        job.write(ROWS[:rows])
        ended = called("run", path, "--json")
        assert (ended.returncode, ended.json["path"]) == (0, output["path"]), ended.stderr
        keys = sorted(store.names())
        manifest = json.loads(store.get(keys[0]))
        assert (len(keys), manifest["rows"]) == (count + 1, rows), "stale parts"
        assert [f"out/job/{name}" for name in manifest["parts"]] == keys[1:]
        assert [store.table(key).num_rows for key in keys[1:]] == [*[8] * (count - 1), (rows - 1) % 8 + 1]
        assert library.load(output["path"])["id"].to_list() == [row["id"] for row in ROWS[:rows]]
    job.write(ROWS)
    before = sorted(store.names())
    store.script = lambda request: Refusal(403, "AccessDenied") if "part-00001" in request.path else None
    assert called("export", path).returncode == 5
    assert sorted(store.names()) == before, "what was uploaded in vain stays"
    store.script = lambda request: Refusal(403, "AccessDenied") if request.method == "DELETE" else None
    assert called("export", path).returncode == 0
    store.script = lambda _: None
    assert len(store.names()) == 1 + 2 + 4, "the old parts could be removed"
    assert library.load(output["path"])["id"].to_list() == [row["id"] for row in ROWS], "a part counts twice"


def test_of_parts_that_no_manifest_lists_only_stale_ones_of_the_same_folder_go(job, store, called, monkeypatch):
    """A recent one may be being uploaded, and what lies deeper is another's."""
    path = job(ROWS[:8], output={"path": f"s3://{BUCKET}/out/job", "rows_per_file": 8})
    assert called("run", path).returncode == 0
    (before,) = (name for name in store.names() if "part-" in name)
    unlisted, deeper = "out/job/part-00007-theirs.parquet", before.replace("out/job", "out/job/deeper")
    for name in (unlisted, deeper, "out/job/notes.parquet"):
        store.put(name, store.get(before))
    assert called("export", path).returncode == 0
    left = {*store.names()}
    assert {unlisted, deeper, "out/job/notes.parquet"} < left
    assert before not in left
    monkeypatch.setattr("batchgen.output.draft.STALE", dt.timedelta(days=-1))
    assert called("export", path).returncode == 0
    left = {*store.names()}
    assert {deeper, "out/job/notes.parquet"} < left
    assert unlisted not in left
    assert len(left) == 2 + 2, "the manifest, and the part that it lists"


REFUSALS = {
    "no such bucket": ({"path": "s3://nowhere-at-all/job.parquet"}, {}, None, "there is no bucket s3://nowhere-at-all"),
    "refused": ({"path": OUTPUT}, {}, Refusal(403, "InvalidAccessKeyId"), "refuses (403 InvalidAccessKeyId): check AWS_"),
    "a wrong clock": ({"path": OUTPUT}, {}, Refusal(403, "RequestTimeTooSkewed"), "refuses (403 RequestTimeTooSkewed): this machine's clock is wrong"),
    "no address": ({"path": OUTPUT}, {"AWS_ENDPOINT_URL": "nowhere at all"}, None, "AWS_ENDPOINT_URL: should be an address"),
    "no profile": ({"path": OUTPUT}, {"AWS_ACCESS_KEY_ID": None, "AWS_PROFILE": "night"}, None, "AWS_PROFILE: the profile 'night' holds no keys"),
    "no Google": ({"path": "gs://shelf/job.parquet"}, {"GOOGLE_APPLICATION_CREDENTIALS": "/no.json"}, None, "check GOOGLE_APPLICATION_CREDENTIALS"),
    "no Azure": ({"path": "az://shelf/job.parquet"}, {}, None, "no credentials were found: set AZURE_STORAGE_ACCOUNT_NAME"),
    "another region": ({"path": OUTPUT}, {}, Refusal(301, "PermanentRedirect"), "the bucket is in another region: set AWS_REGION"),
    "another region, named": ({"path": OUTPUT}, {}, Refusal(400, "AuthorizationHeaderMalformed", said="<Region>eu-west-1</Region>"), "the bucket is in the region eu-west-1: set AWS_REGION"),
    "may not": ({"path": OUTPUT}, {}, Refusal(403, "AccessDenied"), "refuses (403 AccessDenied): these credentials may not write there"),
    "nobody there": ({"path": OUTPUT}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, None, "the store cannot be reached (Connection refused)"),
    "no such host": ({"path": OUTPUT}, {"AWS_ENDPOINT_URL": "http://store.invalid"}, None, "the store cannot be reached (failed to lookup address information"),
    "a bad checksum": ({"path": OUTPUT}, {"AWS_CHECKSUM_ALGORITHM": "crc"}, None, 'a setting of the store is wrong ("crc" is not a valid checksum algorithm): check AWS_CHECKSUM_ALGORITHM'),
    "a bad flag": ({"path": OUTPUT}, {"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "maybe"}, None, 'a setting of the store is wrong (failed to parse "maybe" as boolean)'),
    "a connection string without a key": ({"path": "az://shelf/job.parquet"}, {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;BlobEndpoint=http://127.0.0.1:9/a"}, None, "no credentials were found: set AccountKey or SharedAccessSignature in AZURE_STORAGE_CONNECTION_STRING"),
    "half a connection string": ({"path": "az://shelf/job.parquet"}, {"AZURE_STORAGE_CONNECTION_STRING": f"{SECRET}"}, None, "AZURE_STORAGE_CONNECTION_STRING: should be NAME=VALUE;"),
    "no SAS": ({"path": "az://shelf/job.parquet"}, {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_SAS_TOKEN": SECRET}, None, "the store cannot be used (Missing component in SAS query pair): check"),
    "a bad key": ({"path": "abfs://shelf@account.dfs.core.windows.net/job.parquet"}, {"AZURE_STORAGE_ACCOUNT_KEY": f"!{SECRET}"}, None, "check AZURE_STORAGE_ACCOUNT_NAME"),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSALS)
def test_what_cannot_be_written_is_told_before_anything_is_spent(job, store, called, service, why):
    output, env, refusal, said = REFUSALS[why]
    store.script = lambda _: refusal
    ended = called("run", job(ROWS, output=output), env=env)
    assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr
    assert SECRET not in ended.stderr
    assert service.requests == 0


def test_an_input_that_cannot_be_read_is_told(job, store, called):
    store.put("in/rows.csv", "id,name\n1\n")
    for given, said in (
        (f"s3://{BUCKET}/in/rows.csv", f"s3://{BUCKET}/in/rows.csv:2: 1 field where the header has 2"),
        (f"s3://{BUCKET}/in/row.csv", "no such input"),
        ("s3://nowhere-at-all/in/rows.csv", "there is no bucket s3://nowhere-at-all"),
    ):
        ended = called("plan", job(ROWS, input={"path": given}))
        assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr


def test_a_password_in_an_address_is_never_shown(job, store, called):
    for section in ("input", "output"):
        ended = called("plan", job(ROWS, **{section: {"path": f"s3://me:{SECRET}@shelf/rows.parquet"}}))
        assert ended.returncode == 2
        assert "credentials come from the environment" in ended.stderr
        assert SECRET not in ended.stderr


def test_an_object_that_is_replaced_while_the_job_is_at_work(job, store, called, service):
    """By one of the same size, within the same second: only its ETag tells."""
    store.put("in/rows.csv", encoded("csv", ROWS))
    path = job(ROWS[:1], input={"path": f"s3://{BUCKET}/in/rows.csv"}, output={"path": OUTPUT})

    def meanwhile(number, _):
        if number == len(ROWS):
            store.put("in/rows.csv", encoded("csv", [*ROWS[:-1], {"id": "29", "name": "shelf XX"}]))

    service.script = meanwhile
    ended = called("run", path)
    assert (ended.returncode, "the input changed while the job was at work" in ended.stdout) == (3, True), ended.stdout
    assert pl.DataFrame(store.table("out/job.parquet"))["status"].to_list() == ["ok"] * 29 + ["pending"]
    service.script = None
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["ok"]) == (0, 30)
    assert ended.json["sent"] <= 1


@pytest.mark.parametrize(
    ("deaf", "mute"),
    [
        pytest.param(set(), set(), id="by If-Match"),
        pytest.param({"HTTP_IF_MATCH"}, set(), id="a store that does not hear it"),
        pytest.param({"HTTP_IF_MATCH"}, {"etag"}, id="a store without ETags, by the size"),
        pytest.param({"HTTP_IF_MATCH"}, {"etag", "last-modified"}, id="and without dates"),
    ],
)
def test_two_versions_are_never_read_as_one(store, monkeypatch, deaf, mute):
    for variable, value in store.environ.items():
        monkeypatch.setenv(variable, value)
    store.deaf, store.mute = deaf, mute
    size = block_reader.BLOCK_BYTES + 1
    store.put("in/rows.csv", b"a" * size)
    with object_store.head(ObjectUrl(f"s3://{BUCKET}", "in/rows.csv")).open() as file:
        assert file.read() == b"a" * size, "what did not change seems to"
    seen = object_store.head(ObjectUrl(f"s3://{BUCKET}", "in/rows.csv"))
    with seen.open() as file:
        assert file.read(10) == b"a" * 10
        store.put("in/rows.csv", b"b" * (size if mute == set() else size + 1))
        with pytest.raises(OSError, match="was replaced while it was read"):
            file.read()


@pytest.mark.parametrize("mute", [set(), {"etag"}], ids=["by its ETag", "by its date, where there is none"])
def test_a_change_between_two_readings_is_noticed(job, store, called, mute, service):
    """Of the same size, on a store that does not hear If-Match."""
    store.deaf, store.mute = {"HTTP_IF_MATCH"}, mute
    store.put("in/rows.csv", encoded("csv", ROWS))
    path = job(ROWS[:1], input={"path": f"s3://{BUCKET}/in/rows.csv"}, output={"path": OUTPUT})

    def meanwhile(number, _):
        if number == len(ROWS):
            time.sleep(1.1 if mute else 0)  # a date is told in seconds
            store.put("in/rows.csv", encoded("csv", [*ROWS[:-1], {"id": "29", "name": "shelf XX"}]))

    service.script = meanwhile
    ended = called("run", path)
    assert (ended.returncode, "the input changed while the job was at work" in ended.stdout) == (3, True), ended.stdout


def test_results_that_are_published_anew_while_they_are_loaded(store, monkeypatch):
    """Rows of one publication, never a mixture; where it never ends, that is told."""
    for variable, value in store.environ.items():
        monkeypatch.setenv(variable, value)
    store.deaf = {"HTTP_IF_MATCH"}
    tables = [pa.table({"text": [f"{letter}{n}" for n in range(9)]}) for letter in "abcdef"]
    store.put("out/job.parquet", tables[0])
    left = iter(tables[1:3])

    def meanwhile(request):
        if request.method == "GET" and request.path.endswith(".parquet") and (table := next(left, None)):
            store.put("out/job.parquet", table)

    store.script = meanwhile
    assert library.load(OUTPUT)["text"].to_list() == tables[2]["text"].to_pylist()
    left = iter(tables)
    with pytest.raises(OSError, match="was replaced while it was read"):
        library.load(OUTPUT)


@pytest.mark.parametrize("rows", [pytest.param(40, id="7 MB"), pytest.param(130, id="22 MB")])
def test_a_csv_object_is_read_once_and_its_header_in_one_request(job, store, called, rows):
    lines = "\n".join(f"{n},{'some words ' * 16}" for n in range(rows * 1000))
    content = f"id,name\n{lines}\n".encode()
    store.put("in/rows.csv", content)
    path = job(ROWS[:1], input={"path": f"s3://{BUCKET}/in/rows.csv"}, prompt="{{ id }}", output={"path": OUTPUT})
    store.requests.clear()
    assert called("plan", path).returncode == 0
    got = [one.range for one in store.requests if one.method == "GET" and one.path.endswith("rows.csv")]
    assert sum(end - start for start, end in got) < 1.2 * len(content), got


KINDS_OF_PARQUET = {
    "one row group": {"use_dictionary": False},
    "many row groups": {"use_dictionary": False, "row_group_size": 40},
    "dictionaries": {"use_dictionary": True, "row_group_size": 300},
}


@pytest.mark.parametrize("kind", KINDS_OF_PARQUET)
def test_an_object_is_read_in_few_large_requests(job, store, called, monkeypatch, kind):
    """By a plan, which opens it and reads it once, and by `load`."""
    chance = random.Random(1)
    columns = {f"c{at}": [chance.randbytes(2500).hex() for _ in range(600)] for at in range(4)}
    sink = io.BytesIO()
    pq.write_table(
        pa.table({"id": [str(n) for n in range(600)], **columns}), sink, compression="none", **KINDS_OF_PARQUET[kind]
    )
    size = sink.tell()
    store.put("in/rows.parquet", sink.getvalue())
    path = job(ROWS[:1], input={"path": f"s3://{BUCKET}/in/rows.parquet"}, prompt="{{ id }}", output={"path": OUTPUT})

    def asked():
        got = [one.range for one in store.requests if one.method == "GET" and one.path.endswith("rows.parquet")]
        return len(got), sum(end - start for start, end in got)

    store.requests.clear()
    assert called("plan", path).returncode == 0
    requests, read = asked()
    assert (requests < 20, read < 1.2 * size) == (True, True), (requests, read, size)
    for variable, value in store.environ.items():
        monkeypatch.setenv(variable, value)
    store.requests.clear()
    assert library.load(f"s3://{BUCKET}/in/rows.parquet").height == 600
    requests, read = asked()
    assert (requests < 5, read) == (True, size)


def test_a_job_neither_reads_what_it_writes_nor_writes_what_it_reads(job, store, called):
    store.put("in/rows.csv", encoded("csv", ROWS))
    store.put("in/a.parquet", encoded("parquet", ROWS))
    for given, output, said in (
        ("in/a.parquet", {"path": f"s3://{BUCKET}/in/a.parquet"}, "is also the input"),
        ("in/a.parquet", {"path": f"s3://{BUCKET}/in", "rows_per_file": 9}, "is also the input"),
        ("in", {"path": f"s3://{BUCKET}/in/new/b.parquet"}, "is in the input's folder"),
    ):
        if given == "in":
            store.empty()
            store.put("in/a.parquet", encoded("parquet", ROWS))
        ended = called("run", job(ROWS[:1], input={"path": f"s3://{BUCKET}/{given}"}, output=output))
        assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr


OF_THE_PROFILE = "endpoint_url = {url}"
OF_S3_ALONE = "endpoint_url = http://127.0.0.1:9\nservices = here\n[services here]\nsts =\n  endpoint_url = no\ns3 =\n  endpoint_url = {url}"


@pytest.mark.parametrize("endpoint", [OF_THE_PROFILE, OF_S3_ALONE])
def test_a_profile_of_aws_own_tools(job, store, called, tmp_path, endpoint):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        f"[night]\naws_access_key_id = k\naws_secret_access_key = {SECRET}\n"
    )
    (tmp_path / ".aws" / "config").write_text(
        f"[profile night]\nregion = us-east-1\n{endpoint.format(url=store.url)}\n"
    )
    unset = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"))
    path = job(ROWS, output={"path": OUTPUT})
    ended = called("run", path, env={**unset, "AWS_PROFILE": "night"})
    assert ended.returncode == 0, ended.stderr
    assert store.table("out/job.parquet").num_rows == 30
    assert SECRET.encode() not in b"".join(p.read_bytes() for p in job.folder.rglob("*") if p.is_file())


def test_a_list_of_parts_that_is_none_is_told():
    with pytest.raises(OSError, match="is not a list of parts"):
        manifest.read(b'{"parts": 7}', "s3://shelf/_manifest.json")


def test_a_store_that_answers_a_range_with_all_of_it_is_named(job, store, called):
    store.put("in/rows.csv", encoded("csv", ROWS))
    store.deaf = {"HTTP_RANGE"}
    ended = called("plan", job(ROWS[:1], input={"path": f"s3://{BUCKET}/in/rows.csv"}))
    assert (ended.returncode, "does not answer a Range request with that part" in ended.stderr) == (2, True), (
        ended.stderr
    )


@pytest.mark.parametrize("key", ["in/a//b.csv", "in/a\tb.csv", "in/./b.csv"])
def test_a_key_that_cannot_be_read_is_named(job, store, called, key):
    store.put("in/rows.csv", encoded("csv", ROWS))
    store.put(key, encoded("csv", ROWS))
    ended = called("plan", job(ROWS[:1], input={"path": f"s3://{BUCKET}/in"}))
    assert ended.returncode == 2
    shown = key.replace("\t", "\\t")
    assert "an object's name cannot be read (" in ended.stderr
    assert f'Path "{shown}"' in ended.stderr
    assert "AWS_ACCESS_KEY_ID" not in ended.stderr


@pytest.mark.parametrize(
    ("text", "account", "endpoint"),
    [
        pytest.param("BlobEndpoint=https://acc.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x%3D", "acc", "https://acc.blob.core.windows.net", id="a SAS without an account, an address with a slash"),
        pytest.param("DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=aGVsbG8=;EndpointSuffix=core.chinacloudapi.cn", "acc", "https://acc.blob.core.chinacloudapi.cn", id="another cloud"),
        pytest.param("AccountName=acc;AccountKey=aGVsbG8=;BlobEndpoint=http://127.0.0.1:10000/acc/", "acc", "http://127.0.0.1:10000/acc", id="an emulator's"),
        pytest.param("BlobEndpoint=http://127.0.0.1:10000/acc;SharedAccessSignature=sv=1&sig=x", "acc", "http://127.0.0.1:10000/acc", id="an emulator's, by SAS"),
        pytest.param(" accountname=acc ; ACCOUNTKEY=aGVsbG8= ;", "acc", None, id="names of any case"),
        pytest.param("UseDevelopmentStorage=true", "devstoreaccount1", None, id="the emulator"),
    ],
)  # fmt: skip
def test_connection_strings_of_azure(text, account, endpoint):
    said = settings.settings("az://shelf", {"AZURE_STORAGE_CONNECTION_STRING": text})
    assert (said["account_name"], said.get("endpoint")) == (account, endpoint)


@pytest.mark.parametrize(
    "address",
    ["s3://", "s3://a b/c", "s3:///c", "s3://b/../c", "s3://b/a/./c", "http://b/c", "s3://u:p@b/c", "az://c@a.b/d"],
)
def test_what_is_no_address(address):
    with pytest.raises(ValueError, match="should be"):
        ObjectUrl.parse(address)


def test_an_address_speaks_as_a_path_does():
    url = ObjectUrl.parse("abfs://box@account.dfs.core.windows.net/out/seo.local.parquet/")
    path = Path("out/seo.local.parquet")
    assert (url.name, url.stem, url.suffix) == (path.name, path.stem, path.suffix)
    assert str(url.with_name("x.csv")) == "abfs://box@account.dfs.core.windows.net/out/x.csv"
    assert url.parts == path.parts


def denied(method: str):
    """A bucket of which a policy grants all but this. Where nothing may be listed, what is missing is denied, too."""

    def script(request):
        is_listing = request.method == "GET" and request.path.strip("/") == BUCKET
        refused = is_listing if method == "LIST" else request.method == method
        return Refusal(403, "AccessDenied") if refused else None

    return script


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (Refusal(403, "AccessDenied"), "these credentials may not delete there"),
        (Refusal(500, "InternalError"), "the store answers 500 InternalError: it may stay"),
    ],
)
def test_a_single_file_needs_no_store_that_deletes(job, store, called, refusal, said):
    store.script = lambda request: refusal if request.method == "DELETE" else None
    ended = called("run", job(ROWS, output={"path": OUTPUT}))
    assert ended.returncode == 0, ended.stderr
    assert said in ended.stderr
    assert set(store.names()) == {"out/job.parquet", "out/.job.parquet.probe"}
    ended = called("run", job(ROWS, output={"path": f"s3://{BUCKET}/out"}, input={"path": OUTPUT}))
    assert "probe" not in ended.stderr, "it is read as input"


def test_a_bucket_that_may_not_be_listed(job, store, called, service):
    """Told before anything is sent, where publishing lists; a single file needs none of it."""
    store.script = denied("LIST")
    parts_of = {"path": f"s3://{BUCKET}/out/job", "rows_per_file": 8}
    for output, gate in ((parts_of, {}), ({"path": OUTPUT}, {"max_drift": "30%"})):
        path = job(ROWS, output=output, gate=gate)
        ended = called("run", path)
        assert (ended.returncode, service.requests) == (2, 0), ended.stderr
        assert "cannot be listed: the store refuses (403 AccessDenied): these credentials may not list" in ended.stderr
        ended = called("plan", path)
        assert ended.returncode == 0
        assert "a run would be refused here" in " ".join((ended.stdout + ended.stderr).split())
    ended = called("run", job(ROWS, output={"path": OUTPUT}, gate={"max_failed": "2%"}))
    assert ended.returncode == 0, ended.stderr


def test_an_upload_outlives_a_minute_of_refusals(job, store, called, monkeypatch):
    """Played at a fiftieth of its waits: as many refusals as a minute of the shortest ones has."""
    patience = object_store.PATIENT_RETRIES
    least = patience["backoff"]["init_backoff"].total_seconds()
    assert patience["retry_timeout"].total_seconds() > 120
    assert patience["max_retries"] * least > 60, "the tries may be used up within the minute"
    shortest = dt.timedelta(seconds=least / 50)
    quick = {"init_backoff": shortest, "max_backoff": shortest * 2, "base": 2}
    monkeypatch.setattr(object_store, "PATIENT_RETRIES", {**patience, "backoff": quick})
    monkeypatch.setattr(object_store, "QUICK_RETRIES", {**object_store.QUICK_RETRIES, "backoff": quick})
    path = job(noisy(20), kind="parquet", output={"path": OUTPUT})
    left = {"PUT": 60, "HEAD": 5, "POST": 5}

    def busy(request):
        if not request.path.endswith("job.parquet") or not left.get(request.method):
            return None
        left[request.method] -= 1
        return Refusal(503, "SlowDown")

    store.script = busy
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["ok"], set(left.values())) == (0, 20, {0}), ended.stderr
    assert f"warning: {OUTPUT}: the store answers 503 SlowDown; trying again until " in ended.stderr
    assert store.table("out/job.parquet").num_rows == 20


def test_a_store_that_is_busy_when_it_is_first_asked_is_waited_for_and_that_is_said(store, monkeypatch, caplog):
    for variable, value in store.environ.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(object_store, "_has_answered", set())
    quick = {"init_backoff": dt.timedelta(milliseconds=10), "max_backoff": dt.timedelta(milliseconds=20), "base": 2}
    monkeypatch.setattr(object_store, "PATIENT_RETRIES", {**object_store.PATIENT_RETRIES, "backoff": quick})
    store.put("in/rows.csv", b"id\n1\n")
    left = iter(range(2 * object_store.QUICK_RETRIES["max_retries"]))
    store.script = lambda _: Refusal(503, "SlowDown") if next(left, None) is not None else None
    assert object_store.head(ObjectUrl(f"s3://{BUCKET}", "in/rows.csv")).size == 5
    assert f"s3://{BUCKET}/in/rows.csv: the store answers 503; trying again until " in caplog.text


def test_a_wait_for_a_store_ends_with_ctrl_c(job, store, start, ended):
    store.script = lambda _: Refusal(503, "SlowDown")
    process = start("plan", job(ROWS[:1], input={"path": f"s3://{BUCKET}/in/rows.csv"}))
    while not any(request.path.endswith("in/rows.csv") for request in store.requests):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert ended(process).returncode == 3, "it waited until the store's library came back"


def test_each_scheme_takes_the_credentials_of_its_own_store():
    """And a new one those of no other, until it says whose."""
    begin = {scheme: credentials(f"{scheme}://name", {}).split("_")[0] for scheme in SCHEMES}
    assert begin == {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE", "abfs": "AZURE", "abfss": "AZURE"}
    with pytest.raises(KeyError):
        credentials("oss://name", {})


ADDRESSES = ["localhost:9000", " ", "http://", "http:/127.0.0.1:9", "http://host:port", "http://host:99999", " http://h", "http://h:9/ x", "http://[::1", "http://xn--a", "http://1.2.3.4.5", "://x", "//h", "file:///etc", "http://%zz"]  # fmt: skip
VARIABLES = {
    "AWS_ENDPOINT_URL": "s3",
    "AWS_ENDPOINT_URL_S3": "s3",
    "AWS_ENDPOINT": "s3",
    "AWS_METADATA_ENDPOINT": "s3",
    "AZURE_STORAGE_ENDPOINT": "az",
    "AZURE_AUTHORITY_HOST": "az",
    "AZURE_MSI_ENDPOINT": "az",
    "BlobEndpoint": "az",
    "STORAGE_EMULATOR_HOST": "gs",
    "endpoint_url": "s3",
}


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_address_that_is_none_is_told_by_its_name(job, called, tmp_path, variable, monkeypatch):
    """Wherever it is said. The library would panic at most of these."""
    unset = dict.fromkeys(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"])
    for address in ADDRESSES:
        if variable == "STORAGE_EMULATOR_HOST" and address in ("localhost:9000", "//h"):
            continue
        env = {**unset, variable: f"{address}"}
        if variable == "BlobEndpoint":
            env = {
                "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=a;AccountKey=aGVsbG8=;BlobEndpoint={address or 'x'}"
            }
        elif variable == "endpoint_url":
            (tmp_path / ".aws").mkdir(exist_ok=True)
            (tmp_path / ".aws" / "credentials").write_text(
                f"[default]\naws_access_key_id=a\naws_secret_access_key=b\nendpoint_url={address.strip() or 'x'}\n"
            )
            env = unset
        if variable in ("BlobEndpoint", "endpoint_url") and address in (" ", " http://h"):
            continue  # blanks around a part are nothing there
        ended = called("plan", job(ROWS[:1], input={"path": f"{VARIABLES[variable]}://shelf/rows.csv"}), env=env)
        assert ended.returncode == 2, (address, ended.stderr)
        assert ended.stderr.startswith("error: ")
        assert (variable in ended.stderr, ended.stderr.count("\n")) == (True, 1), ended.stderr


def test_a_variable_that_is_set_to_nothing_is_not_set(job, store, called):
    store.put("in/rows.csv", encoded("csv", ROWS))
    path = job(ROWS[:1], input={"path": f"s3://{BUCKET}/in/rows.csv"})
    for number in range(20):
        store.put(f"in/more/{number}.csv", encoded("csv", ROWS))
    everything = job(ROWS[:1], input={"path": f"s3://{BUCKET}/in", "id": None}, name="everything")
    empty = dict.fromkeys(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_METADATA_ENDPOINT", "AWS_SESSION_TOKEN"], "")
    for planned in (path, everything):
        ended = called("plan", planned, env={**empty, "AWS_PROFILE": ""})
        assert ended.returncode == 0, ended.stderr
