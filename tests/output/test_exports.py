"""Exports by suffix: a workbook, JSON lines, chosen columns and rows; each cell what it was."""

import json
from datetime import date, datetime, time
from decimal import Decimal

import openpyxl
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.durability import fill, small_disk
from support.service import Raw, Status, error_body
from support.store import Store

import batchgen as package
from batchgen import commands
from batchgen.errors import UsageError
from batchgen.output.selection import Piece
from batchgen.output.xlsx_export import refuse_rows, write


def answer(text: str) -> bytes:
    return json.dumps({"choices": [{"text": text, "log_probs": None}]}).encode()


def products(count: int) -> list[dict[str, str]]:
    return [{"id": f"r{n}", "name": f"product {n}"} for n in range(count)]


def number(body) -> int:
    return int(body["prompt"].split()[-1].rstrip("."))


@pytest.fixture
def mixed(job, called, service):
    """A job that has run: rows 0 and 3 failed, 4 and 5 are pending."""
    service.script = lambda _, body: Status(400, error_body("x", "no")) if number(body) in (0, 3) else None
    path = job(products(6), until={"requests": 4}, limits={"concurrency": 1})
    assert called("run", path, "--quiet").returncode == 3
    return path


def sheet(path):
    """Cells with their types: `s` is a text, `n` a number, `f` a formula."""
    return openpyxl.load_workbook(path)["results"]


def cells(path) -> list[tuple]:
    return list(sheet(path).iter_rows(values_only=True))


# Which columns, which rows


def test_a_file_of_ones_own_is_replaced_by_fewer_texts_too(job, service, called):
    """The job's own results would stay."""
    target = job.folder / "mine.parquet"
    assert called("run", job(products(4))).returncode == 0
    assert called("export", job.folder / "job.yaml", "-o", target).returncode == 0
    path = job(products(4), prompt="Write much about {{ name }}.")
    called("run", path, "--limit", "1")
    job(products(4), prompt="Write much about {{ name }}.", until={"requests": 1}, limits={"concurrency": 1})
    assert called("run", path).returncode == 3
    called("export", path, "-o", target)
    assert sum(row["status"] == "ok" for row in job.rows(target)) == 2
    assert {name for name in job.files() if name.startswith("mine")} == {"mine.parquet"}


def test_an_export_of_a_limited_run_says_so(job, service, called):
    """Also where a whole run was before it."""
    path = job(products(4))
    called("run", path)
    assert "--limit" not in called("export", path, "-o", job.folder / "all.csv").stderr
    called("run", path, "--limit", "3")
    ended = called("export", path, "-o", job.folder / "some.csv")
    assert "3 rows: 3 ok" in ended.stdout
    assert "warning: only the rows of the last run, which had --limit 3; without it, a run has all" in ended.stderr


def test_a_workbook_has_every_row_and_no_log_probs(job, called, service):
    service.script = lambda _, body: Raw(answer(f"of {number(body)}"))
    path = job(products(30))
    assert called("run", path).returncode == 0
    ended = called("export", path, "-o", job.folder / "x.xlsx")
    assert (ended.returncode, ended.stderr) == (0, "")
    header, *rows = cells(job.folder / "x.xlsx")
    expected = job.rows()
    assert list(header) == [name for name in expected[0] if name != "log_probs"]
    assert [row[header.index("text")] for row in rows] == [row["text"] for row in expected]
    assert not list(job.folder.glob(".*.tmp"))


def test_further_choices_have_no_log_probs_in_a_workbook_either(job, called, service):
    """It would be refused: they are longer than a cell. A CSV has them, as it always had."""
    token = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
    one = {"text": "a", "log_probs": {"content": [token] * 1000, "refusal": None}}
    service.script = lambda *_: Raw(json.dumps({"choices": [one, {**one, "text": "b"}]}).encode())
    path, target = job(products(2)), job.folder / "x.xlsx"
    assert called("run", path, "--quiet").returncode == 0
    ended = called("export", path, "-o", target)
    assert (ended.returncode, ended.stderr) == (0, "")
    table = pl.read_excel(target, engine="openpyxl")
    assert [json.loads(cell) for cell in table["more_choices"]] == [[{"text": "b", "finish_reason": None}]] * 2
    assert called("export", path, "-o", job.folder / "y.csv").returncode == 0
    assert '""logprob""' in (job.folder / "y.csv").read_text().splitlines()[1].split('""text""')[1]


@pytest.mark.parametrize(
    ("status", "rows"),
    [
        (["failed"], "r0 r3: 2 rows: 0 ok, 2 failed, 0 pending"),
        (["ok"], "r1 r2: 2 rows: 2 ok, 0 failed, 0 pending"),
        (["pending", "failed"], "r0 r3 r4 r5: 4 rows: 0 ok, 2 failed, 2 pending"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "xlsx", "jsonl", "ndjson", "parquet"])
def test_rows_of_one_status(job, called, mixed, suffix, status, rows):
    target = job.folder / f"x.{suffix}"
    ended = called("export", mixed, "-o", target, *(f"--status={one}" for one in status))
    assert ended.returncode == 0, ended.stderr
    assert f"{' '.join(read(target)['id'])}: {ended.stdout.partition(': ')[2].strip()}" == rows


@pytest.mark.parametrize("suffix", ["csv", "xlsx", "jsonl", "parquet"])
def test_a_status_that_no_row_has(job, called, service, suffix):
    path, target = job([{"id": "r0", "name": "tent"}]), job.folder / f"x.{suffix}"
    assert called("run", path).returncode == 0
    ended = called("export", path, "-o", target, "--status", "failed")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "0 rows" in ended.stdout
    assert suffix == "jsonl" or read(target).height == 0


def read(path) -> pl.DataFrame:
    if path.suffix == ".csv":
        return pl.read_csv(path)
    if path.suffix == ".xlsx":
        header, *rows = cells(path)
        return pl.DataFrame(rows, schema=header, orient="row")
    return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_ndjson(path)


@pytest.mark.parametrize("suffix", ["csv", "xlsx", "jsonl", "parquet"])
def test_columns_as_they_are_asked_for(job, called, mixed, suffix):
    target = job.folder / f"x.{suffix}"
    assert called("export", mixed, "-o", target, "--columns", "status, id,error").returncode == 0
    assert read(target).columns == ["status", "id", "error"]


def test_what_is_no_column_is_refused_with_the_near_miss(job, called, mixed):
    for columns, said in [
        ("id,tetx", "columns: the results have no 'tetx'; did you mean 'text'?"),
        ("ID,text", "columns: the results have no 'ID'; did you mean 'id'?"),
        ("zzzzzz", "columns: the results have no 'zzzzzz'; there are id, name, text, model"),
        ("id,text,id", "columns: 'id' is given twice"),
    ]:
        ended = called("export", mixed, "-o", job.folder / "x.csv", "--columns", columns)
        assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr
    assert not (job.folder / "x.csv").exists()


def test_a_choice_never_takes_the_place_of_the_jobs_own_output(job, called, mixed):
    before = job.output.read_bytes()
    for own in ([], ["-o", job.output]):
        for choice in ("--columns=text", "--status=failed"):
            ended = called("export", mixed, *own, choice)
            assert ended.returncode == 2
            assert "name" in ended.stderr
    assert job.output.read_bytes() == before


def test_an_export_takes_no_place_of_another_job(job, called, mixed):
    theirs = job.output.with_name("theirs.parquet")
    other = job(products(6), name="other", output={"path": str(theirs)})
    assert called("run", other, "--quiet").returncode == 1
    before, mine = theirs.read_bytes(), job.folder / "mine.parquet"
    for choice in ([], ["--columns", "text"]):
        ended = called("export", mixed, "-o", theirs, *choice)
        assert ended.returncode == 2
        for words in (
            f"{theirs}: holds the results of the job other ({other})",
            "not of job",
            "export into another file",
        ):
            assert words in ended.stderr
    assert theirs.read_bytes() == before
    for _ in range(2):
        assert called("export", mixed, "-o", mine).returncode == 0, "its own export it replaces"
    other.unlink()
    assert called("export", mixed, "-o", theirs).returncode == 0, "the other job is gone"


@pytest.mark.parametrize("choice", [[], ["--status", "ok"]], ids=["whole", "a choice"])
def test_an_export_of_the_built_in_model_never_replaces_what_was_bought(job, called, mixed, choice):
    before = job.output.read_bytes()
    assert called("run", mixed, "--local").returncode == 3
    ended = called("export", mixed, "--local", "-o", job.output, *choice)
    assert ended.returncode == 2
    assert f"{job.output}: holds the results of the job job ({mixed}), not of job.local ({mixed})" in ended.stderr
    assert job.output.read_bytes() == before
    for _ in range(2):
        assert called("export", mixed, "--local", "-o", job.folder / "x.parquet", *choice).returncode == 0
    assert called("export", mixed, "-o", job.folder / "x.parquet", *choice).returncode == 0


def test_an_export_of_some_rows_never_replaces_all(job, called, service):
    path = job(products(4))
    assert called("run", path).returncode == 0
    assert called("run", path, "--limit", "2").returncode == 0
    before = job.output.read_bytes()
    for choice in ([], ["--columns", "text"]):
        ended = called("export", path, "-o", job.output, *choice)
        assert (ended.returncode, "and the last run had --limit 2: name another file" in ended.stderr) == (2, True)
    assert job.output.read_bytes() == before
    assert called("export", path, "-o", job.output.with_stem("job.first-2")).returncode == 0


@pytest.mark.parametrize("command", ["export", "report"])
@pytest.mark.parametrize("name", ["part-00000", "x", "below/x"])
@pytest.mark.parametrize("folder", ["job", "job.partial", "link", "job.first-2"])
def test_no_export_among_parts(job, called, service, folder, name, command):
    path = job([{"id": f"{n}", "name": f"shelf {n}"} for n in range(4)], output={"path": "out/job", "rows_per_file": 3})
    assert called("run", path, "--limit", "2").returncode == 0
    (job.folder / "out" / "link").symlink_to(job.folder / "out" / "job")
    before = job.files()
    where = job.folder / "out" / folder / f"{name}{'.parquet' if command == 'export' else '.html'}"
    ended = called(command, path, "-o", where)
    assert (ended.returncode, "a folder of results" in ended.stderr) == (2, True), ended.stderr
    assert {name for name in job.files() if ".sqlite" not in name} == {name for name in before if ".sqlite" not in name}
    assert called("run", path).returncode == 0


def test_parts_that_were_exported_one_by_one_are_no_folder_of_results(job, called, mixed):
    for number in range(3):
        assert called("export", mixed, "-o", job.folder / "all" / f"part-0000{number}.parquet").returncode == 0


@pytest.mark.parametrize("sections", [{"metrics": "out/job/job.prom"}, {"output": {"state": "out/job/state"}}])
def test_no_files_of_a_job_among_its_parts(job, called, service, sections):
    output = {"path": "out/job", "rows_per_file": 3, **sections.pop("output", {})}
    path = job([{"id": "1", "name": "shelf"}], output=output, **sections)
    for command in ("plan", "run"):
        ended = called(command, path)
        assert (ended.returncode, "a folder of results" in ended.stderr) == (2, True), ended.stderr
    assert service.requests == 0
    assert not any(name.startswith("out/job") for name in job.files()), "nor does it say there how it ended"


def test_no_job_among_the_parts_of_another(job, called, service):
    assert (
        called("run", job([{"id": "1", "name": "shelf"}], output={"path": "out/job", "rows_per_file": 3})).returncode
        == 0
    )
    output = {"path": "out/job/other.parquet", "state": "state"}
    for command in ("plan", "run"):
        ended = called(command, job([{"id": "2", "name": "shelf"}], name="other", output=output))
        assert (ended.returncode, "a folder of results" in ended.stderr) == (2, True), ended.stderr
    assert service.requests == 1


def test_from_python(job, called, mixed, pointing, tmp_path):
    done = commands.export(mixed, job.folder / "x.jsonl", columns=["id", "text"], status="ok,pending", environ=pointing)
    assert (done.rows, done.ok, done.failed, done.pending, done.reasons) == (4, 2, 0, 2, {})
    with pytest.raises(UsageError, match="status: there is no 'fine'; there are ok, failed, pending"):
        commands.export(mixed, job.folder / "x.jsonl", status=["fine"], environ=pointing)


# JSON lines


def test_a_line_of_json_is_the_row(job, called, service):
    table = pa.table(
        {
            "id": ["a", "b"],
            "name": ['say "hi",\nthen', "\u2028 é"],
            "price": pa.array([Decimal("19.90"), None], pa.decimal128(10, 2)),
            "large": pa.array([2**63 - 1, -(2**63)], pa.int64()),
            "narrow": pa.array([19.99, float("nan")], pa.float32()),
            "day": [date(2026, 1, 2), None],
            "tags": [["x", None], []],
            "deep": [{"a": Decimal("1.10")}, None],
            "raw": [b"\x00\xff", None],
        }
    )
    path = job(table, kind="parquet")
    assert called("run", path).returncode == 0
    assert called("export", path, "-o", job.folder / "x.jsonl").returncode == 0
    lines = (job.folder / "x.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    first, second = (json.loads(line, parse_float=Decimal) for line in lines)
    given = {name: first[name] for name in table.column_names}
    assert given == {
        "id": "a", "name": 'say "hi",\nthen', "price": Decimal("19.90"), "large": 2**63 - 1, "narrow": Decimal("19.99"),
        "day": "2026-01-02", "tags": ["x", None], "deep": {"a": Decimal("1.10")}, "raw": "AP8=",
    }  # fmt: skip
    assert (second["narrow"], second["price"], second["name"]) == (None, None, "\u2028 é")
    assert list(first) == [*table.column_names, *package.load(job.output).columns[len(table.column_names) :]]
    plain = [json.loads(line) for line in lines]
    assert [row["log_probs"] for row in plain] == [row["log_probs"] for row in job.rows()]
    assert [row["text"] for row in plain] == [row["text"] for row in job.rows()]


# Workbooks


def book(tmp_path, table: pa.Table):
    path = tmp_path / "x.xlsx"
    rows = pl.Series(range(1, table.num_rows + 1))
    with path.open("wb") as file:
        write(file, iter([Piece(rows, table)]), table.column_names)
    return sheet(path)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "@SUM(1)", "+49 170 1234", "-2+3", "{=A1}", " =1+1", "007", "1e5", "TRUE", "2026-01-02", "#N/A",
        "https://example.org", "<r><t>x</t></r>", "<r>&</r>", "<b>&amp;</b>", "_x0041_", " both ends ", "a\nb\tc", "é \N{PEACH}", "'x",
    ],
)  # fmt: skip
def test_a_text_stays_the_text(tmp_path, text):
    cell = book(tmp_path, pa.table({"text": [text]}))["A2"]
    assert (unescaped(cell.value), cell.data_type) == (text, "s")
    assert cell.hyperlink is None


def unescaped(text: str) -> str:
    """openpyxl leaves the format's own escapes as they stand."""
    return openpyxl.utils.escape.unescape(text)


def test_a_text_that_could_be_a_formula_stays_one_when_it_is_edited(tmp_path):
    found = book(tmp_path, pa.table({"text": ["=1+1", "a=b"]}))
    assert [found[at].quotePrefix for at in ("A2", "A3")] == [True, False]


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        pytest.param(pa.scalar(7), "n", 7, id="a whole number"),
        pytest.param(pa.scalar(999_999_999_999_999), "n", 999_999_999_999_999, id="of 15 digits"),
        pytest.param(pa.scalar(2**63 - 1), "s", "9223372036854775807", id="of more, which Excel rounds"),
        pytest.param(pa.scalar(0.5), "n", 0.5, id="a fraction"),
        pytest.param(pa.scalar(19.99, pa.float32()), "n", 19.99, id="a fraction of 32 bits, by its own digits"),
        pytest.param(pa.scalar(0.1, pa.float16()), "n", 0.1, id="and of 16"),
        pytest.param(pa.scalar(time(23, 59, 59, 999_999), pa.time64("us")), "s", "23:59:59.999999", id="a time of day"),
        pytest.param(pa.scalar(time(10, 0), pa.time64("us")), "s", "10:00:00", id="a whole second"),
        pytest.param(pa.scalar(float("inf")), "s", "inf", id="infinity"),
        pytest.param(pa.scalar(Decimal("19.90"), pa.decimal128(10, 2)), "n", 19.9, id="a decimal"),
        pytest.param(pa.scalar(Decimal("1234567890123456.78"), pa.decimal128(20, 2)), "s", "1234567890123456.78", id="a long one"),
        pytest.param(pa.scalar(1).cast(pa.bool_()), "b", True, id="a truth value"),
        pytest.param(pa.scalar(date(2026, 1, 2)), "d", datetime(2026, 1, 2), id="a day"),  # noqa: DTZ001
        pytest.param(pa.scalar(date(1900, 3, 1)), "d", datetime(1900, 3, 1), id="the first day that all count alike"),  # noqa: DTZ001
        pytest.param(pa.scalar(date(1900, 2, 28)), "s", "1900-02-28", id="the day before"),
        pytest.param(pa.scalar(10_000_000, pa.date32()), "s", "+29349-01-26", id="a distant day"),
        pytest.param(pa.scalar([1, None]), "s", "[1,null]", id="a list"),
        pytest.param(pa.scalar(b"\x00\xff"), "s", "AP8=", id="bytes"),
        pytest.param(pa.scalar(90_000_000, pa.duration("us")), "s", "PT1M30S", id="a duration"),
        pytest.param(pa.scalar(None, pa.string()), "n", None, id="a null"),
    ],
)  # fmt: skip
def test_a_cell_has_its_type(tmp_path, value, kind, shown):
    cell = book(
        tmp_path, pa.table({"it": pa.array([value.as_py()] if value.type != pa.date32() else [value], value.type)})
    )["A2"]
    assert (cell.data_type, cell.value) == (kind, shown)


def test_control_characters_are_shown_and_told(tmp_path, caplog):
    table = pa.table({"a=": ["\x00x\x1f", "fine\r\n", "\x0c", "\uffff"], "b": ["", "\x1b[0m", "", ""]})
    found = book(tmp_path, table)
    assert [found[at].value for at in ("A2", "A4", "A5", "B3")] == ["␀x␟", "␌", "\N{REPLACEMENT CHARACTER}", "␛[0m"]
    assert "shown by their pictures: row 1: a=; row 3: a=; row 4: a=; row 2: b" in caplog.text


def test_a_text_that_no_cell_holds_is_refused_with_its_row(job, called, service):
    service.script = lambda _, body: Raw(answer("x" * (32_768 if number(body) == 2 else 32_767)))
    path = job(products(4))
    assert called("run", path).returncode == 0
    target = job.folder / "x.xlsx"
    target.write_bytes(b"the old file")
    ended = called("export", path, "-o", target)
    assert ended.returncode == 2
    assert "row 3: text has 32,768 characters, and a cell of a workbook 32,767: export a .csv" in ended.stderr
    assert target.read_bytes() == b"the old file"
    assert not list(job.folder.glob(".*.tmp"))
    assert called("export", path, "-o", target, "--columns", "id,status").returncode == 0
    assert len(cells(target)) == 5


@pytest.mark.parametrize("room", [8192, 100_000], ids=["for nothing", "for some rows"])
def test_a_full_folder_for_temporary_files_is_named(job, batchgen, service, tmp_path, room):
    service.script = lambda _, body: Raw(answer(f"of {number(body)} " * 2000))
    path = job(products(40))
    assert batchgen("run", path).returncode == 0
    with small_disk(tmp_path / "tmp", 1 << 20) as disk:
        fill(disk, room)
        ended = batchgen("export", path, "-o", job.folder / "x.xlsx", env={"TMPDIR": str(disk)})
    assert ended.returncode == 5
    assert ended.stderr == (
        f"error: {job.folder}/x.xlsx: cannot be written: No space left on device in {disk}, where a workbook is put "
        "together (TMPDIR names another folder). Every answer is in the checkpoint; run the command again, or "
        "`batchgen export`, when that is fixed\n"
    )
    assert not {name for name in job.files() if "xlsx" in name}


def test_a_full_folder_of_a_workbook_is_named(job, batchgen, service, tmp_path):
    service.script = lambda _, body: Raw(answer(f"of {number(body)} " * 2000))
    path = job(products(40))
    assert batchgen("run", path).returncode == 0
    with small_disk(tmp_path / "out", 1 << 20) as disk:
        fill(disk)
        ended = batchgen("export", path, "-o", disk / "x.xlsx")
        assert not list(disk.glob("*xlsx*"))
    assert ended.returncode == 5
    assert ended.stderr.startswith(f"error: {disk}/x.xlsx: cannot be written: No space left on device. Every answer")


def test_rows_that_do_not_fit_into_a_sheet_are_refused():
    refuse_rows(1_048_575)
    with pytest.raises(UsageError, match="1,048,576 rows and a header do not fit into a sheet"):
        refuse_rows(1_048_576)


def test_columns_that_do_not_fit_into_a_sheet_are_refused(tmp_path):
    names = [f"c{n}" for n in range(16_385)]
    with (
        pytest.raises(UsageError, match="16,385 columns, and a sheet 16,384"),
        (tmp_path / "x.xlsx").open("wb") as file,
    ):
        write(file, iter([]), names)


# Where to


def test_in_a_store(mixed, called, monkeypatch):
    with Store() as store:
        for variable, value in store.environ.items():
            monkeypatch.setenv(variable, value)
        for suffix in ("csv", "xlsx", "jsonl", "parquet"):
            ended = called("export", mixed, "-o", f"s3://shelf/x.{suffix}", "--columns", "id,text", "--status", "ok")
            assert ended.returncode == 0, ended.stderr
            assert f"s3://shelf/x.{suffix}: 2 rows" in ended.stdout
        assert package.load("s3://shelf/x.parquet")["id"].to_list() == ["r1", "r2"]


def test_a_parquet_export_says_where_it_came_from(job, called, mixed):
    assert called("export", mixed, "-o", job.folder / "x.parquet", "--columns", "text").returncode == 0
    assert json.loads(pq.read_schema(job.folder / "x.parquet").metadata[b"batchgen"])["job"] == "job"
