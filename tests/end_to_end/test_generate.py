"""A table in, the table with answers out: from the libraries that people have, resumed by name, and stopped in order."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.service import Status, error_body

import batchgen

ROWS = [{"name": f"tent {n}", "price": n / 4} for n in range(6)]
ASKED = {"prompt": "Write about {{ name }} for {{ price }}.", "model": "palmyra-x5", "max_tokens": 50, "name": "seo"}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch, service):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WRITER_BASE_URL", service.url)
    monkeypatch.setenv("WRITER_API_KEY", service.key)


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(lambda: ROWS, id="a list of dicts"),
        pytest.param(lambda: pl.DataFrame(ROWS), id="polars"),
        pytest.param(lambda: pl.DataFrame(ROWS).lazy(), id="polars, lazily"),
        pytest.param(lambda: pd.DataFrame(ROWS), id="pandas"),
        pytest.param(lambda: pa.Table.from_pylist(ROWS), id="pyarrow"),
        pytest.param(lambda: duckdb.sql("SELECT 'tent ' || n AS name, n / 4 AS price FROM range(6) t(n)"), id="DuckDB"),
    ],
)
def test_a_table_of_any_library(table, service):
    frame = batchgen.generate(table(), **ASKED, quiet=True)
    assert frame.columns[:4] == ["name", "price", "text", "model"]
    assert frame["name"].to_list() == [row["name"] for row in ROWS]
    assert frame["status"].to_list() == ["ok"] * 6
    prompts = [f"Write about tent {n} for {n / 4}." for n in range(6)]
    assert sorted(service.served) == sorted(prompts)
    again = batchgen.generate(table(), **ASKED, quiet=True)
    assert again.equals(frame)
    assert len(service.bodies) == 6, "nothing is bought twice"
    edited = [*ROWS[:5], {"name": "lamp", "price": 1.0}]
    assert batchgen.generate(edited, **ASKED, quiet=True)["name"].to_list()[-1] == "lamp"
    assert service.bodies[6:] == [{"model": "palmyra-x5", "prompt": "Write about lamp for 1.0.", "max_tokens": 50}]


@pytest.mark.parametrize("name", ["data [2026]", "what?", "*"])
def test_a_folder_whose_name_looks_like_a_pattern(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    frame = batchgen.generate(ROWS, **ASKED, quiet=True)
    assert frame["status"].to_list() == ["ok"] * 6
    results = tmp_path / name / ".batchgen" / "seo.parquet"
    parts = tmp_path / name / "parts"
    parts.mkdir()
    frame.write_parquet(parts / "part-00001.parquet")
    assert [batchgen.load(path).height for path in (results, str(results), parts)] == [6, 6, 6]


def test_the_settings_of_a_job_for_another_table(job, service, monkeypatch):
    path = job([{"id": "1", "name": "x"}], limits={"concurrency": 2}, check={"min_chars": 1})
    frame = batchgen.generate(ROWS[:2], job=path, max_tokens=7, quiet=True)
    assert frame["status"].to_list() == ["ok"] * 2
    first = min(service.bodies, key=lambda body: body["prompt"])  # two may be in flight
    assert first == {"model": "palmyra-x5", "prompt": "Write about tent 0.", "max_tokens": 7}
    assert not job.output.exists()
    (kept,) = [path.name for path in (job.folder.parent / ".batchgen").glob("*.sqlite")]
    assert kept == "job.sqlite"


def test_messages_and_columns(service):
    schema = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
    frame = batchgen.generate(
        ROWS[:3], messages=[{"user": "Rate {{ name }}."}], model="palmyra-x5", name="rate", local=True, quiet=True,
        max_tokens=100, response_format="json_schema", check={"json_schema": schema}, output={"columns": True},
    )  # fmt: skip
    assert frame["score"].dtype == pl.Int64
    assert frame["score"].null_count() == 0
    assert service.requests == 0


WRONG = [
    pytest.param("a text", {}, "frame: should be a table", id="no table"),
    pytest.param([1, 2], {}, "frame: a list should hold a dict for each row", id="a list of numbers"),
    pytest.param([], {}, "frame: has no columns", id="an empty list"),
    pytest.param(
        pd.DataFrame([["a", "b"]], columns=["name", "name"]),
        {},
        "frame: column 'name' is there twice",
        id="a column twice",
    ),
    pytest.param(
        pd.DataFrame({"name": ["a", 1]}),
        {},
        "frame: column 'name' holds values of several kinds",
        id="text and numbers",
    ),
    pytest.param(
        pd.DataFrame({"x": [1], "name": [object()]}),
        {},
        "frame: column 'name' holds values of several kinds, or Python objects",
        id="objects",
    ),
    pytest.param(
        pd.DataFrame({"name": pd.period_range("2026-01", periods=2, freq="M")}),
        {},
        "column 'name' holds periods",
        id="months",
    ),
    pytest.param(
        [{"x": 1, "name": [1, 2]}, {"name": "a"}],
        {},
        "frame: column 'name' holds values of several kinds",
        id="lists and text",
    ),
    pytest.param(
        pa.table([["a"], ["b"]], names=["name", "name"]), {}, "frame: column 'name' is there twice", id="twice in Arrow"
    ),
    pytest.param(
        [{"name": "a", 1: 2}], {}, "frame: a dict has the key 1: a column's name", id="a name that is no text"
    ),
    pytest.param(
        [{"name": 10**38}], {}, "frame: column 'name' holds whole numbers of more than 38 digits", id="a huge number"
    ),
    pytest.param(pd.Series(["a"]), {}, "not pandas.Series", id="a column alone"),
    pytest.param(
        ROWS, {"input": {"path": "rows.csv"}}, "input.path: a table has no such setting", id="a file beside the table"
    ),
    pytest.param(
        ROWS, {"output": {"path": "out.parquet"}}, "output.path: a table has no such setting", id="a place of its own"
    ),
    pytest.param(ROWS, {"name": None}, "name: missing", id="no name"),
    pytest.param(ROWS, {"name": "a/b"}, "name: '/' is not allowed in it", id="a name that is a path"),
    pytest.param(ROWS, {"name": ".seo"}, "name: '.' is not allowed at its beginning", id="a hidden name"),
    pytest.param(ROWS, {"name": "seo\n"}, r"name: '\\n' is not allowed in it", id="a name of two lines"),
    pytest.param(ROWS, {"prompt": "{{ nam }}"}, "did you mean", id="a column that is none"),
    pytest.param(ROWS, {"limit_": {}}, "limit_: unknown key; did you mean limit?", id="a section that is none"),
    pytest.param(ROWS, {"modle": "x"}, "modle: unknown key; did you mean model?", id="a request's field that is none"),
    pytest.param(ROWS, {"lokal": True}, "lokal: unknown key; did you mean local?", id="a keyword that is none"),
    pytest.param(ROWS, {"limits": {"concurrency": 0}}, "limits.concurrency: ", id="a wrong setting"),
    pytest.param([{"o": object()}], {}, "column 'o' holds Python objects", id="objects"),
    pytest.param(
        duckdb.sql("SELECT 'tent' AS name, INTERVAL 1 DAY AS i"),
        {},
        "frame: column 'i' holds intervals",
        id="intervals",
    ),
    pytest.param(
        pa.table({"d": pa.array([Decimal("1" * 50)], pa.decimal256(60))}),
        {},
        "frame: column 'd' holds decimals of 60 digits",
        id="long decimals",
    ),
    pytest.param(
        pd.DataFrame({"d": pd.Series([Decimal("1" * 50)], dtype=pd.ArrowDtype(pa.decimal256(60)))}),
        {},
        "frame: column 'd' holds values",
        id="long decimals of pandas",
    ),
    pytest.param(ROWS, {"output": "x.parquet"}, "output: should be a dict of settings", id="a path for a section"),
    pytest.param(ROWS, {"input": "x.csv"}, "input: should be a dict of settings", id="a file for a section"),
    pytest.param(ROWS, {"request": "palmyra-x5"}, "request: should be a dict of settings", id="a model for a section"),
    pytest.param(ROWS, {"job": 5}, "a job should be a file's path, a Job, or a dict of settings, not int", id="no job"),
]


@pytest.mark.parametrize(("table", "more", "said"), WRONG)
def test_what_is_wrong_is_said_before_anything_is_sent(table, more, said, service):
    with pytest.raises(batchgen.UsageError, match=said.replace("(", r"\(")):
        batchgen.generate(table, **{**ASKED, **more}, quiet=True)
    assert service.requests == 0


@pytest.mark.parametrize("path", ["nope", "none/nope.parquet", Path("nope.parquet")])
def test_results_that_are_not_there_are_an_error_of_batchgens(path):
    for kind in (batchgen.UsageError, FileNotFoundError):
        with pytest.raises(kind, match=f"^{path}: no such file"):
            batchgen.load(path)


@pytest.mark.parametrize("path", ["seo.yaml", "mixed", "empty", "no*.parquet"])
def test_what_is_no_results_is_an_error_of_batchgens(path, tmp_path):
    for folder in ("mixed", "empty"):
        (tmp_path / folder).mkdir()
    for name in ("seo.yaml", "mixed/seo.parquet", "mixed/seo.report.html"):
        (tmp_path / name).write_text("name: seo\n", "utf-8")
    with pytest.raises(batchgen.UsageError, match="no results that can be read: a run returns where its results are"):
        batchgen.load(tmp_path / path)


def test_dicts_without_keys_are_json_text_as_those_of_a_job_file(service):
    frame = batchgen.generate([{"name": "tent", "price": 1, "meta": {}}], **ASKED, quiet=True)
    assert frame["meta"].to_list() == ["{}"]


def test_a_refusal_of_the_service_is_raised_and_what_came_before_is_kept(service):
    service.script = lambda n, _: None if n <= 2 else Status(401, error_body("Unauthorized", "no such key"))
    with pytest.raises(batchgen.ServiceRefused, match="check the key"):
        batchgen.generate(ROWS, **ASKED, limits={"concurrency": 1}, quiet=True)
    service.forget()
    frame = batchgen.generate(ROWS, **ASKED, limits={"concurrency": 1}, quiet=True)
    assert (frame["status"].to_list(), len(service.bodies)) == (["ok"] * 6, 4)


def test_dir_shows_the_api_and_each_name_is_there_and_explained():
    code = "import batchgen, sys; print(*dir(batchgen)); assert 'polars' not in sys.modules"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"generate", "run", "plan", "status", "export", "report", "load", "read_job", "UsageError"} <= set(names)
    assert all(getattr(batchgen, name).__doc__ for name in names if name != "__version__")


def test_the_commands_take_a_dict_and_a_job(job, service):
    path = job(ROWS, kind="ndjson", input={"path": "rows.ndjson", "id": "name"})
    settings = {**batchgen.read_job(path).settings(), "name": "mine"}
    assert batchgen.plan(settings).plan.todo == 6
    assert batchgen.run(settings, quiet=True).ok == 6
    assert batchgen.status(settings).done == 6
    assert batchgen.run(batchgen.read_job(path), quiet=True, adopt=True).name == "job"
    with pytest.raises(batchgen.UsageError, match="name: missing"):
        batchgen.plan({"prompt": "x"})


def test_a_job_of_paths_and_one_that_nobody_read(job):
    path = job(ROWS, kind="ndjson", input={"path": "rows.ndjson", "id": "name"})
    settings = {**batchgen.read_job(path).settings(), "name": "mine"}
    settings["input"] = {**settings["input"], "path": Path(settings["input"]["path"])}
    assert batchgen.plan(settings).plan.todo == 6
    with pytest.raises(batchgen.UsageError, match="Job: is what `read_job` returns"):
        batchgen.Job(**settings)


def test_an_index_that_has_a_name_is_a_column(service):
    """And one without a name is pandas' own count of the rows, also where some of them were left out."""
    frame = pd.DataFrame(ROWS).set_index("name")
    assert batchgen.generate(frame, **ASKED, quiet=True)["name"].to_list() == [row["name"] for row in ROWS]
    some = pd.DataFrame(ROWS)[lambda table: table.price > 1]
    assert batchgen.generate(some, **ASKED, quiet=True).columns[:3] == ["name", "price", "text"]
    assert len(service.bodies) == 6


def test_a_table_without_rows(service):
    for empty in (pd.DataFrame(ROWS[:0], columns=["name", "price"]), pl.DataFrame(ROWS).clear()):
        frame = batchgen.generate(empty, **ASKED, quiet=True)
        assert (frame.height, frame.columns[:4]) == (0, ["name", "price", "text", "model"])
    assert service.requests == 0


def test_rows_that_send_the_same_are_bought_once(service):
    rows = [*ROWS[:3], *ROWS[:3]]
    frame = batchgen.generate(rows, **ASKED, duplicates="once", quiet=True)
    assert frame["text"].to_list()[:3] == frame["text"].to_list()[3:]
    assert frame["status"].to_list() == ["ok"] * 6
    assert service.requests == 3


def test_settings_of_the_input_choose_among_the_rows(service):
    frame = batchgen.generate(ROWS, **ASKED, input={"where": "price >= 1", "id": "name"}, quiet=True)
    assert frame["name"].to_list() == ["tent 4", "tent 5"]
    assert service.requests == 2


def test_answers_beside_are_named_once_and_as_python_takes_them(service, caplog):
    for name in "abcde":
        batchgen.generate(ROWS[:2], **{**ASKED, "name": name}, quiet=True)
    offers = [record.getMessage() for record in caplog.records if "would be bought again" in record.getMessage()]
    assert all("holds answers to 2 of these 2 rows" in offer and "--adopt" not in offer for offer in offers)
    assert len(offers) == 1 + 2 + 3 + 3
    caplog.clear()
    batchgen.generate(ROWS[:2], **{**ASKED, "name": "f"}, local=True, quiet=True)
    batchgen.generate(ROWS[:2], **{**ASKED, "name": "g"}, local=True, quiet=True)
    assert caplog.records == [], "the built-in model's cost nothing"
