"""Mistakes that must be told before the first request, with exit 2 and a message that says where and what to do."""

import datetime as dt
import os
import shutil

import pyarrow as pa
import pytest


def products(count: int) -> list[dict[str, str]]:
    return [{"id": f"{n:04}", "name": f"product {n}"} for n in range(1, count + 1)]


@pytest.fixture
def refused(service, called, batchgen):
    """Gives a command that must be refused; returns what it said on stderr."""

    def check(*arguments, says: tuple[str, ...], env=None, process: bool = False) -> str:
        ended = (batchgen if process else called)(*arguments, env=env)
        assert (ended.returncode, ended.stdout, service.requests) == (2, "", 0), ended.stderr
        for words in says:
            assert words in ended.stderr
        assert "Traceback" not in ended.stderr
        return ended.stderr

    return check


# the key

SECRET = "sk-do-not print-me"


@pytest.mark.parametrize(
    ("key", "says"),
    [(None, "no key"), ("  \n", "no key"), (SECRET, "holds a space"), ("sk-ü", "holds a space or a character")],
    ids=["missing", "blank", "spaces", "umlaut"],
)
def test_the_key(key, says, job, refused):
    env = {"WRITER_API_KEY": key}
    said = refused("run", job(products(3)), env=env, says=("WRITER_API_KEY", says), process=key in (None, SECRET))
    assert "do-not" not in said
    assert "print-me" not in said
    assert "sk-ü" not in said
    assert not job.output.parent.exists()


def test_a_key_in_the_job_file_is_not_echoed(job, refused):
    path = job(products(3), endpoint={"key_env": "sk-do-not-print-me"})
    assert "print-me" not in refused("run", path, says=("job.yaml:", "endpoint.key_env", "NAME"))


# the job file


def test_every_mistake_of_a_job_file_is_told_with_its_place(job, refused):
    path = job(products(3))
    lines = path.read_text(encoding="utf-8").splitlines()
    at = lines.index("  max_tokens: 50")
    lines[at : at + 1] = ["  max_token: 50", "  temperature: hot"]
    path.write_text("\n".join([*lines, "promt: x"]), encoding="utf-8")
    last = len(lines) + 1
    says = (
        f"{path}:{at + 1}:3: request.max_token: unknown key; did you mean max_tokens?",
        f"{path}:{at + 2}:3: request.temperature: ",
        f"{path}:{last}:1: promt: unknown key; did you mean prompt?",
    )
    refused("run", path, says=says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: a\nname: b\n", (":2:1", "name")),
        ("input: {path: rows.csv\nprompt: x\n", ("not valid YAML",)),
        ("just text", ("a mapping",)),
    ],
    ids=["repeated key", "no YAML", "text"],
)
def test_a_job_file_that_is_none(text, says, job, refused):
    path = job(products(3))
    path.write_text(text, encoding="utf-8")
    refused("run", path, says=(str(path), *says))


def test_a_job_file_that_is_not_there(job, refused):
    refused("run", job.folder / "jobb.yaml", says=("jobb.yaml", "No such file"))


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"prompt": "About {{ nmae }}"}, ("prompt: line 1 of the text: ", "'nmae'", "did you mean name?")),
        ({"prompt": "About {{ name }"}, ("prompt: line 1 of the text: ",)),
        ({"columns": {"max_tokens": "budgett"}}, ("job.yaml: columns.max_tokens", "'budgett'", "id, name")),
        ({"input": {"path": "row.csv"}}, ("error: /", "row.csv: no such input", "did you mean", "rows.csv")),
        ({"input": {"id": "sku"}}, ("job.yaml: input.id: the input has no column 'sku'",)),
        ({"input": {"schema": {"x": "Date"}}}, ("job.yaml: input.schema: the input has no column 'x'",)),
        ({"input": {"where": "x > 1"}}, ("job.yaml: input.where: the input has no column 'x'",)),
        ({"priority": "x"}, ("job.yaml: priority: the input has no column 'x'",)),
        ({"endpoint": {"ca_file": "no.pem"}}, ("job.yaml: endpoint.ca_file: ", "no.pem: cannot be read")),
    ],
    ids=["unknown name", "template", "columns", "no input", "no id", "type", "condition", "priority", "certificates"],
)
def test_a_job_that_does_not_fit_its_input(sections, says, job, refused):
    refused("run", job(products(3), **sections), says=says)


def test_a_budget_without_a_price_is_refused_by_plan_too_and_leaves_no_run_behind(job, refused, called):
    path = job(products(3), until={"cost": 1}, request={"model": "nobody's"})
    refused("run", path, says=("until.cost", "nobody's", "prices"))
    status = called("status", path)
    assert (status.returncode, "killed" in status.stdout) == (5, False)
    refused("plan", path, says=("until.cost", "nobody's", "prices"))


@pytest.mark.parametrize("arguments", [["status"], ["status", "--watch"], ["export"], ["report"], ["prune", "--yes"]])
def test_a_job_that_has_not_run_is_told_the_command_that_runs_it(arguments, job, called):
    path = job(products(3))
    name, *options = arguments
    ended = called(name, path, *options)
    assert (ended.returncode, ended.stdout) == (5, "")
    assert ended.stderr.endswith(f"the job has not run yet: `batchgen run {path}` runs it\n")
    local = called(name, path, "--local", *options)
    assert local.stderr.endswith(f"`batchgen run --local {path}` runs it\n")


def test_a_long_value_is_cut_within_its_quotes(job, refused):
    path = job([{"id": "1", "budget": "much " * 40}], prompt="x", columns={"max_tokens": "budget"})
    refused("plan", path, says=(f"not '{('much ' * 40)[:57]}…': row 1 (1)",))


def test_a_job_that_has_run_on_the_built_in_model_alone_is_told_where_to_look(job, called):
    path = job(products(3))
    assert called("run", path, "--local", "--quiet").returncode == 0
    assert called("status", path).stderr.endswith(
        f"`batchgen run {path}` runs it; its run on the built-in model is seen with --local\n"
    )
    assert called("status", path, "--local").returncode == 0


# the rows


def test_a_missing_cell_in_row_4812_costs_nothing(job, refused):
    rows = products(5000)
    rows[4811]["name"] = ""
    says = ("name is missing or empty", "row 4,812 (4812)", "1 of 5,000 rows")
    said = refused("run", job(rows), says=says, process=True)
    assert "row 4,811" not in said
    assert not job.output.exists()


def test_of_many_missing_cells_the_first_are_named_and_all_are_counted(job, refused):
    rows = products(60)
    for row in rows[10:50]:
        row["name"] = ""
    says = ("40 of 60 rows", "row 11 (0011), row 12 (0012)", "row 15 (0015)")
    assert "row 50" not in refused("plan", job(rows), says=says)


def test_values_that_a_field_does_not_take(job, refused):
    rows = [
        {**row, "budget": budget, "heat": heat}
        for row, budget, heat in zip(
            products(7), ["", "12", "many", "1.5", "0", "9", "9"], ["", "0.5", "", "", "", "hot", "nan"], strict=True
        )
    ]
    says = (
        "5 of 7 rows",
        *(f"row {n} (000{n})" for n in (3, 4, 5, 6, 7)),
        "max_tokens (column budget)",
        "'many'",
        "temperature (column heat)",
        "'hot'",
    )
    said = refused("run", job(rows, columns={"max_tokens": "budget", "temperature": "heat"}), says=says)
    assert "row 1 " not in said
    assert "row 2 " not in said


def test_an_id_that_stands_twice(job, refused):
    rows = products(10)
    rows[7]["id"] = rows[2]["id"]
    refused("run", job(rows), says=("input.id", "0003", "row 3", "row 8"))


def test_a_typed_column_that_holds_something_else(job, refused):
    rows = [{**row, "price": "12.5" if n else "twelve"} for n, row in enumerate(products(3))]
    refused("run", job(rows, input={"schema": {"price": "Float64"}}), says=("row 1", "price", "'twelve'", "Float64"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"id,name\n1,a\n2,b,c\n", "rows.csv:3: 3 fields where the header has 2"),
        (b"id,name\n1,caf\xe9\n", "rows.csv:2: not UTF-8"),
        (b"id,name,name\n1,a,b\n", "two columns are named 'name'"),
        (b'id,name\n1,"a\n', "a quote was opened and never closed"),
    ],
    ids=["empty", "ragged", "latin-1", "repeated column", "open quote"],
)
def test_an_input_that_cannot_be_read(content, says, job, refused):
    path = job([])
    (job.folder / "rows.csv").write_bytes(content)
    refused("run", path, says=("rows.csv", says))


# names and places


@pytest.mark.parametrize("name", ["text", "status", "more_choices"])
def test_an_input_column_with_a_results_name(name, job, refused):
    rows = [{**row, name: "x"} for row in products(3)]
    refused("plan", job(rows), says=(f"named {name}", f"input: {{rename: {{{name}: source_{name}}}}}"))


@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_output_folder_that_cannot_be_written(command, job, refused):
    path = job(products(3), output={"path": "/dev/null/x/job.parquet"})
    refused(command, path, says=("/dev/null", "cannot be written"), process=True)


def test_an_output_that_is_a_folder(job, refused):
    path = job(products(3))
    job.output.mkdir(parents=True)
    refused("run", path, says=("job.parquet", "folder"))


@pytest.mark.parametrize("place", ["rows.parquet", "link/rows.parquet"])
def test_an_output_that_is_the_input(place, job, refused):
    (job.folder / "link").symlink_to(job.folder)
    path = job(products(3), kind="parquet", output={"path": place})
    before = (job.folder / "rows.parquet").read_bytes()
    refused("run", path, says=("rows.parquet", "input"))
    assert (job.folder / "rows.parquet").read_bytes() == before


def test_an_output_that_is_one_of_the_inputs_on_this_date(job, refused):
    today = dt.datetime.now().astimezone().date()
    path = job([], input={"path": "*-*-*.parquet"}, output={"path": "{date}.parquet"})
    inputs = [job.folder / f"{day}.parquet" for day in (today, today + dt.timedelta(1))]  # midnight may pass meanwhile
    for rows, file in zip((products(6)[:3], products(6)[3:]), inputs, strict=True):
        job.write(rows, "parquet")
        (job.folder / "rows.parquet").rename(file)
    before = [file.read_bytes() for file in inputs]
    refused("run", path, says=("input",))
    assert [file.read_bytes() for file in inputs] == before


def test_an_input_of_bytes(job, refused):
    table = pa.table({"id": ["1"], "name": pa.array([b"\x00"], pa.binary())})
    refused("run", job(table, kind="parquet"), says=("prompt", "'name'", "bytes"))


# the service's address and models


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://192.0.2.1", "should be https"),
        ("api.writer.com", "such as https://api.writer.com"),
        ("http://user:secret@127.0.0.1", "must not hold a user name or password"),
        ("https://api.writer.com/v1", "should be https://api.writer.com: each request adds its path by itself"),
        ("http://127.0.0.1/v1/completions", "should end before /v1/completions"),
    ],
    ids=["plain http", "no scheme", "password", "what other clients want", "one call's"],
)
def test_an_address_that_is_none_or_not_safe(url, says, job, refused):
    said = refused("run", job(products(3)), env={"WRITER_BASE_URL": url}, says=("WRITER_BASE_URL", says))
    assert "secret" not in said


def test_a_model_that_the_vendor_removed(job, refused, called):
    vendor = {"url": "https://api.writer.com"}
    old = {"model": "palmyra-med"}
    path = job(products(3), endpoint=vendor, request=old)
    refused("plan", path, says=("palmyra-med", "2026-07-13", "palmyra-x5", "allow_removed_models: true"))

    allowed = called("plan", job(products(3), endpoint={**vendor, "allow_removed_models": True}, request=old), "--json")
    assert allowed.returncode == 0, allowed.stderr
    assert any("palmyra-med" in warning and "palmyra-x5" in warning for warning in allowed.json["warnings"])


# the command line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--limit", "0"], "--limit"),
        (["--limit", "ten"], "--limit"),
        (["--limit", str(2**63)], "limit: should be a number of rows"),
        (["--freesh"], "--fresh"),
        (["second.yaml"], "second.yaml"),
    ],
    ids=["limit 0", "limit ten", "limit of 64 bits", "unknown option", "two jobs"],
)  # fmt: skip
def test_the_command_line(arguments, says, job, refused):
    refused("run", job(products(3)), *arguments, says=(says,))


# places


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("output", [{"path": "rows.csv/job.parquet"}, {"path": "out/job.parquet", "state": "rows.csv"}])
def test_a_file_in_the_place_of_a_folder_is_called_so(command, output, job, refused):
    refused(command, job(products(3), output=output), says=("rows.csv: cannot be written: is not a folder",))


def test_a_folder_whose_name_is_not_utf_8(job, refused, tmp_path):
    """It was found out in the middle of the run, by SQLite."""
    path = job(products(3))
    elsewhere = tmp_path / os.fsdecode(b"f\xe9tes")
    try:
        shutil.copytree(path.parent, elsewhere / "job")
    except OSError:
        pytest.skip("this file system takes no such name")
    for command in ("plan", "run"):
        refused(command, elsewhere / "job" / path.name, says=("output.path", "the name of a folder is not UTF-8"))
