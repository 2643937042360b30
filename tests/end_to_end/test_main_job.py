"""The main job, end to end: the real command line, real files, and a strict service that answers each prompt with
a text and log-probs of its own."""

import datetime as dt
import decimal
import json
import re
import shutil
import signal
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.service import (
    Gather,
    Hold,
    Raw,
    Service,
    Status,
    as_stored,
    completion,
    error_body,
    expected_answer,
    served_model,
    validate_answer,
)

TOP = pa.struct([("token", pa.string()), ("logprob", pa.float64()), ("bytes", pa.list_(pa.int32()))])
TOKEN = pa.struct([*TOP, ("top_logprobs", pa.list_(TOP))])
LOG_PROBS = pa.struct([("content", pa.list_(TOKEN)), ("refusal", pa.list_(TOKEN))])
RESULTS = pa.schema(
    [
        ("text", pa.string()),
        ("model", pa.string()),
        ("log_probs", LOG_PROBS),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("reasoning", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("attempts", pa.int32()),
        ("latency_s", pa.float64()),
        ("finished_at", pa.timestamp("us", "UTC")),
    ]
)
MORE_CHOICES = pa.list_(pa.struct([("text", pa.string()), ("log_probs", LOG_PROBS), ("finish_reason", pa.string())]))
REPO = Path(__file__).parents[2]


def products(count: int, start: int = 0) -> list[dict[str, str]]:
    return [{"id": f"{n:03}", "name": f"product {n}"} for n in range(start, start + count)]


def prompt_of(row) -> str:
    """By the default template of `Jobs`."""
    return f"Write about {row['name']}."


def assert_answered(rows) -> None:
    """Every row carries the text of its own prompt."""
    wrong = {row["id"]: row["error"] for row in rows if row["text"] != expected_answer(prompt_of(row))["text"]}
    assert wrong == {}
    assert {row["status"] for row in rows} <= {"ok"}


def assert_sent(service: Service, rows) -> None:
    """Exactly the prompts of these rows were asked, each as often as it stands there."""
    assert service.asked == Counter(prompt_of(row) for row in rows)


# 300 rows, three formats, streamed and not

AWKWARD = [
    "plain", "comma, comma", 'a "quoted" one', "it's", "line\nbreak", "line\r\nbreak", "  spaces  ", "\ttab", "accents: éàüñß",
    "emoji 🏕️👩‍🚒", "東京", "{{ 7*7 }}", "{% raw %}", "{# no comment #}", "a\\b\\n", "NUL \x00 here", "<b>&amp;</b>", "\u2028",
    "007", "1e5", "null", "NaN", "true", "=1+1", "\ufeffBOM", "percent % {name}",
]  # fmt: skip
TEMPLATE = "{{ id }}: {{ name }}{% if note %}\nNote: {{ note }}{% endif %}"


def awkward_rows() -> list[dict[str, str | None]]:
    rows = [
        {
            "id": f"{n:07}",
            "name": f"{AWKWARD[n % len(AWKWARD)]} {n}",
            "note": None if n % 3 else f"{n}: {AWKWARD[-n % 26]}",
        }
        for n in range(300)
    ]
    rows[17]["note"] = "long " * 200_000
    return rows


def awkward_prompt(row) -> str:
    return f"{row['id']}: {row['name']}" + (f"\nNote: {row['note']}" if row["note"] else "")


def typed_columns(count: int) -> dict[str, pa.Array]:
    """Columns that a Parquet input may bring, each with its type and with nulls."""
    every = range(count)
    day = dt.datetime(2026, 1, 31, 23, 59, 59, 123456)  # noqa: DTZ001  local, as many files have it
    return {
        "qty": pa.array([n if n % 5 else None for n in every], pa.int32()),
        "big": pa.array([2**64 - 1 - n for n in every], pa.uint64()),
        "price": pa.array([n * 0.1 if n % 7 else None for n in every], pa.float64()),
        "ratio": pa.array([n / 3 for n in every], pa.float32()),
        "flag": pa.array([[True, False, None][n % 3] for n in every], pa.bool_()),
        "day": pa.array([day.date() + dt.timedelta(n) for n in every], pa.date32()),
        "when": pa.array([day + dt.timedelta(n) for n in every], pa.timestamp("us")),
        "zoned": pa.array([day.replace(tzinfo=dt.UTC)] * count, pa.timestamp("us", "UTC")),
        "cost": pa.array([decimal.Decimal(n) / 100 for n in every], pa.decimal128(12, 2)),
        "blob": pa.array([bytes([n % 256, 0, 255]) for n in every], pa.binary()),
        "tags": pa.array([[None, [], ["a", None, "é"]][n % 3] for n in every], pa.list_(pa.string())),
        "size": pa.array([{"w": n, "h": None} if n % 2 else None for n in every], pa.struct({"w": pa.int64(), "h": pa.float64()})),
    }  # fmt: skip


def main_input(kind: str) -> tuple[list[dict], pa.Table | list[dict]]:
    """(rows as they must come back, what is written)."""
    rows = awkward_rows()
    if kind == "csv":
        return rows, rows
    if kind == "parquet":
        table = pa.Table.from_pylist(rows)
        for name, column in typed_columns(len(rows)).items():
            table = table.append_column(name, column)
        return table.to_pylist(), table
    for n, row in enumerate(rows):
        row.update(
            stars=n if n % 4 else None, share=n / 7, sure=n % 2 == 0, tags=["a", f"{n}"], size={"w": n, "s": "é"}
        )
    return rows, rows


def leaves(path: Path) -> list[tuple]:
    """Each leaf column of a Parquet file with its type, as any reader of Parquet sees it."""
    schema = pq.ParquetFile(path).schema
    columns = map(schema.column, range(len(schema)))
    return [(leaf.path, leaf.physical_type, str(leaf.logical_type), leaf.length) for leaf in columns]


def parallel(n: int, _: dict) -> Gather | None:
    """The first eight requests wait for one another."""
    return Gather(8) if n <= 8 else None


@pytest.mark.parametrize(("kind", "stream"), [("csv", False), ("parquet", True), ("ndjson", False)])
def test_every_row_has_its_own_text_and_log_probs(kind, stream, job, service, batchgen, called):
    expected, written = main_input(kind)
    path = job(written, kind=kind, prompt=TEMPLATE, request={"stream": stream})
    service.script = parallel

    ended = batchgen("run", path)

    assert (ended.returncode, service.violations) == (0, []), ended.stderr
    assert service.asked == Counter(map(awkward_prompt, expected))
    assert service.in_flight_max == 8

    table = job.table()
    width = len(table.schema) - len(RESULTS)
    assert pa.schema(list(table.schema)[width:]).equals(RESULTS)
    if kind == "parquet":
        own = leaves(job.folder / "rows.parquet")
        assert leaves(job.output)[: len(own)] == own
    if kind == "csv":
        assert [str(leaf[2]) for leaf in leaves(job.output)[:width]] == ["String"] * width
    assert table.select(range(width)).to_pylist() == expected

    requested = "palmyra-x5"
    for row in table.to_pylist():
        answer = expected_answer(awkward_prompt(row))
        assert row["text"] == answer["text"]
        assert repr(row["log_probs"]) == repr(None if stream else as_stored(answer["log_probs"]))  # -0.0 is not 0.0
        assert row["model"] == (requested if stream else served_model(requested))
        assert (row["status"], row["error"], row["attempts"]) == ("ok", None, 1)
        assert row["latency_s"] > 0
        assert abs(row["finished_at"] - dt.datetime.now(dt.UTC)) < dt.timedelta(hours=1)

    before = job.output.read_bytes()
    service.forget()
    again = called("run", path)
    assert (again.returncode, service.requests) == (0, 0)
    assert "nothing to send" in again.stderr
    assert "nothing sent" in again.stdout
    assert job.rows() == pq.ParquetFile(pa.BufferReader(before)).read().to_pylist()


def test_the_service_of_these_tests_keeps_the_contract():
    for n in range(200):
        validate_answer(completion({"model": "palmyra-x5", "prompt": f"prompt {n}"}))
    answers = [expected_answer(f"prompt {n}") for n in range(200)]
    assert len({answer["text"] for answer in answers}) == 200
    with pytest.raises(Exception, match="non-empty"):
        validate_answer({"choices": []})


def test_the_file_tells_its_job_and_no_secret(job, service, batchgen):
    assert batchgen("run", job(products(3), report=True)).returncode == 0
    about = json.loads(pq.read_schema(job.output).metadata[b"batchgen"])
    assert about["job"] == "job"
    assert about["settings"]["request"]["model"] == "palmyra-x5"
    assert about["version"]
    assert {column.compression for group in groups(job.output) for column in group} == {"ZSTD"}
    for file in job.files():
        assert service.key.encode() not in (job.folder / file).read_bytes(), file
    ours = {
        "out/job.parquet",
        "out/job.report.html",
        *(f"out/.batchgen/job.{suffix}" for suffix in ("sqlite", "lock", "flight", "publish")),
    }
    assert job.files() <= {"job.yaml", "rows.csv", *ours}


def groups(path: Path):
    footer = pq.read_metadata(path)
    for group in range(footer.num_row_groups):
        yield [footer.row_group(group).column(column) for column in range(footer.num_columns)]


# what is sent, and what comes back


def test_choices_past_the_first_are_kept(job, service, batchgen):
    rows = products(6)
    several = [
        expected_answer("several"),
        {"text": "second"},
        {"text": "", "log_probs": None},
        expected_answer("fourth"),
    ]
    raw = {
        prompt_of(rows[1]): {"choices": several, "model": "named"},
        prompt_of(rows[2]): {"choices": [{"text": ""}]},  # no model, no log_probs, and no text to speak of
        prompt_of(rows[3]): {"choices": [{"text": "more than asked", "new": 1}], "model": "named", "usage": {}},
    }
    service.script = lambda _, body: Raw(json.dumps(raw[body["prompt"]]).encode()) if body["prompt"] in raw else None

    assert batchgen("run", job(rows)).returncode == 0

    table = job.table()
    assert table.schema.field("more_choices").type == MORE_CHOICES
    found = table.to_pylist()
    rest = [{"text": c["text"], "log_probs": as_stored(c.get("log_probs")), "finish_reason": None} for c in several[1:]]
    assert repr(found[1]["more_choices"]) == repr(rest)
    assert [row["more_choices"] for row in found if row["id"] != "001"] == [None] * 5
    assert [row["text"] for row in found[1:4]] == [several[0]["text"], "", "more than asked"]
    assert [row["model"] for row in found[1:4]] == ["named", "palmyra-x5", "named"]
    assert {row["status"] for row in found} == {"ok"}


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_all_nine_fields_are_sent_as_the_job_and_the_row_have_them(kind, job, service, called):
    request = {
        "model": "palmyra-x5", "max_tokens": 9_000_000_000, "temperature": 0.7, "top_p": 0.9, "stop": ["\n\n", "."],
        "best_of": 1, "random_seed": -42, "stream": False,
    }  # fmt: skip
    own = {
        "model": "palmyra-x4", "max_tokens": "7", "temperature": "0", "top_p": "0.25", "stop": "END",
        "best_of": "2", "random_seed": "7", "stream": "true",
    }  # fmt: skip
    columns = {name: f"my_{name}" for name in own}
    rows = [
        {"id": "1", "name": "a", **dict.fromkeys(columns.values(), "")},
        {"id": "2", "name": "b", **{columns[name]: value for name, value in own.items()}},
    ]
    ended = called("run", job(rows, kind=kind, request=request, columns=columns, limits={"concurrency": 1}))
    assert ended.returncode == 0, ended.stderr
    typed = {
        "model": "palmyra-x4", "max_tokens": 7, "temperature": 0, "top_p": 0.25, "stop": "END",
        "best_of": 2, "random_seed": 7, "stream": True,
    }  # fmt: skip
    assert service.bodies == [{**request, "prompt": "Write about a."}, {**typed, "prompt": "Write about b."}]
    assert [row["model"] for row in job.rows()] == [served_model("palmyra-x5"), "palmyra-x4"]


def test_one_row_without_max_tokens_is_sent_without_it_and_warned_of(job, service, called):
    ended = called("run", job(products(1), request={"max_tokens": None}))
    assert service.bodies == [{"model": "palmyra-x5", "prompt": "Write about product 0."}]
    assert "max_tokens" in ended.stderr
    assert "100 tokens" in ended.stderr
    assert service.headers[0]["User-Agent"].startswith("batchgen/")
    assert_answered(job.rows())
    assert len(job.rows()) == 1


def test_no_rows_are_an_empty_file_of_the_right_shape(job, service, called):
    ended = called("run", job([]), "--json")
    assert (ended.returncode, service.requests, ended.json["rows"]) == (0, 0, 0)
    assert job.table().schema.names == ["id", "name", *RESULTS.names]
    assert pa.schema(list(job.table().schema)[2:]).equals(RESULTS)
    assert job.rows() == []


def test_the_files_of_a_glob_are_read_in_order(job, service, called):
    path = job(products(5), input={"path": "part-*.csv"})
    source = job.folder / "rows.csv"
    for number in (2, 1, 3):
        job.write(products(5, 5 * number))
        source.rename(job.folder / f"part-{number}.csv")
    assert called("run", path).returncode == 0
    assert [row["id"] for row in job.rows()] == [row["id"] for row in products(15, 5)]
    assert_answered(job.rows())


def test_columns_may_be_typed_and_renamed(job, service, called):
    rows = [{"id": "007", "text": "tent", "price": "69.00"}, {"id": "008", "text": "stove", "price": ""}]
    prompt = "{{ source }}{% if price %} at {{ '%.1f' | format(price) }}{% endif %}"
    path = job(rows, prompt=prompt, input={"schema": {"price": "Float64"}, "rename": {"text": "source"}})
    assert called("run", path).returncode == 0
    assert sorted(service.asked) == ["stove", "tent at 69.0"]
    assert job.table().schema.names[:4] == ["id", "source", "price", "text"]
    assert job.table()["price"].type == pa.float64()
    assert job.table()["id"].to_pylist() == ["007", "008"]
    assert job.table()["price"].to_pylist() == [69.0, None]


# the command line's manners


def test_limit_json_and_quiet(job, service, batchgen):
    path = job(products(10))

    first = batchgen("run", path, "--limit", 3, "--json")
    assert first.returncode == 0
    told = first.json
    expected = {
        "name": "job", "path": str(job.output.with_name("job.first-3.parquet")), "exit_code": 0, "rows": 3, "ok": 3, "reused": 0, "failed": 0, "pending": 0,
        "reasons": {}, "failures": [], "sent": 3, "retries": 0, "possibly_billed": 0, "interrupted": 0, "stopped": None,
    }  # fmt: skip
    assert {name: told[name] for name in expected} == expected
    assert told["seconds"] > 0
    few = job.rows(job.output.with_name("job.first-3.parquet"))
    assert_answered(few)
    assert len(few) == 3

    rest = batchgen("run", path, "--quiet")
    assert (rest.returncode, rest.stdout, rest.stderr) == (0, "", "")
    assert_sent(service, products(10))
    assert_answered(job.rows())
    assert len(job.rows()) == 10


def test_stdout_has_results_and_stderr_has_progress(job, service, batchgen):
    ended = batchgen("run", job(products(4), report=True))
    lines = ended.stdout.splitlines()
    assert len(lines) == 6
    assert "4 of 4 rows" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["reused", "failed", "time", "results", "report"]
    assert re.search(r"; 4 requests sent; \d+ tokens, \$0\.\d+ \(by estimate\)$", lines[3])
    assert "job.parquet" in lines[4]
    assert "job.report.html" in lines[5]
    assert "4 rows to send" in ended.stderr
    assert "4 of 4 rows (100 %)" in ended.stderr


def test_a_quiet_run_still_says_what_failed(job, service, batchgen):
    refused = Status(400, error_body("BadRequest", "no stoves"))
    service.script = lambda _, body: refused if "product 1." in body["prompt"] else None
    ended = batchgen("run", job(products(3)), "--quiet")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "row 2 (001)" in ended.stderr
    assert "no stoves" in ended.stderr


def test_plan_sends_nothing_needs_no_key_leaves_no_trace_and_agrees_with_the_run(job, service, batchgen, called):
    rows = products(20)
    path = job(rows)
    keyless = {"WRITER_API_KEY": None}

    before = job.files()
    plan = batchgen("plan", path, "--json", env=keyless).json
    assert job.files() == before
    assert not job.output.parent.exists()
    assert (plan["rows"], plan["todo"], plan["new"], plan["reused"]) == (20, 20, 20, 0)
    assert plan["path"] == str(job.output)
    assert plan["answer_tokens"] == 20 * 50
    assert plan["prompt_tokens"] == sum(-(-len(prompt_of(row)) // 4) for row in rows)
    assert plan["cost"] == pytest.approx((plan["prompt_tokens"] * 0.60 + plan["answer_tokens"] * 6.00) / 1e6)
    assert plan["prompts"][0] == prompt_of(rows[0])
    assert service.requests == 0

    bad = prompt_of(rows[4])
    service.script = lambda _, body: Status(400, error_body("BadRequest", "no")) if body["prompt"] == bad else None
    ran = batchgen("run", path, "--json").json
    assert ran["sent"] == plan["todo"] == service.requests
    spent = (ran["prompt_tokens"] * 0.60 + ran["answer_tokens"] * 6.00) / 1e6
    assert ran["cost"] == pytest.approx(spent)
    assert 0 < spent < plan["cost"]

    changed = [*rows[:3], rows[4], {"id": "005", "name": "another"}, *rows[6:], *products(2, 90)]
    job.write(changed)
    before = job.files()
    plan = called("plan", path, "--json", env=keyless).json
    counts = {name: plan[name] for name in ("rows", "todo", "new", "changed", "reused", "failed_before", "gone")}
    assert counts == {"rows": 21, "todo": 4, "new": 3, "changed": 1, "reused": 17, "failed_before": 1, "gone": 2}
    assert job.files() == before
    without = called("plan", path, "--no-retry-failed", env=keyless).stdout
    assert "21 rows, 3 to send" in without
    assert "Write about another." in without, "of what would be sent"

    service.forget()
    ran = called("run", path, "--json").json
    assert (ran["sent"], ran["reused"], ran["exit_code"]) == (plan["todo"], plan["reused"], 0)
    assert service.requests == plan["todo"]
    after = called("plan", path, "--json", env=keyless).json
    assert (after["todo"], after["reused"], after["seconds"], after["cost"]) == (0, 21, 0, 0)


def test_plan_knows_the_documented_limits_of_the_vendor(job, service, called):
    path = job(products(50), endpoint={"url": "https://api.writer.com"}, request={"max_tokens": 1000})
    plan = called("plan", path, "--json", env={"WRITER_API_KEY": None}).json
    assert (plan["limits"]["requests_per_minute"], plan["limits"]["tokens_per_minute"]) == (400, 25_000)
    assert plan["seconds"] == pytest.approx((plan["prompt_tokens"] + 50 * 1000) * 60 / 25_000)


# again: what is bought, and what is not


def test_rows_may_be_inserted_removed_reordered_and_edited(job, service, called):
    rows = products(40)
    path = job(rows)
    assert called("run", path).returncode == 0
    assert_sent(service, rows)

    edited = [{**row, "name": f"better {row['name']}"} for row in rows[30:33]]
    new = products(4, 100)
    changed = [new[0], *reversed(rows[10:30]), new[1], *edited, *rows[33:], new[2], *rows[:5], new[3]]
    job.write(changed)
    service.forget()
    ran = called("run", path, "--json").json
    assert_sent(service, [*edited, *new])
    assert (ran["rows"], ran["sent"], ran["reused"]) == (len(changed), 7, len(changed) - 7)
    assert [row["id"] for row in job.rows()] == [row["id"] for row in changed]
    assert_answered(job.rows())

    job.write(rows)
    service.forget()
    assert called("run", path).returncode == 0
    assert service.requests == 0
    assert [row["id"] for row in job.rows()] == [row["id"] for row in rows]
    assert_answered(job.rows())


def test_repeated_rows_are_each_bought_once(job, service, called):
    """Three rows of one prompt are three answers, and each row keeps its own."""
    names = ["tent", "stove", "tent", "map", "tent"]
    rows = [{"id": f"{n}", "name": name} for n, name in enumerate(names)]
    path = job(rows)
    service.script = lambda n, _: Raw(json.dumps({"choices": [{"text": f"answer {n}"}]}).encode())
    assert called("run", path).returncode == 0
    assert_sent(service, rows)
    texts = [row["text"] for row in job.rows()]
    assert len(set(texts)) == 5

    rows.insert(2, {"id": "9", "name": "tent"})
    job.write(rows)
    assert called("run", path, "--json").json["sent"] == 1
    assert_sent(service, rows)
    assert len({row["text"] for row in job.rows()}) == 6
    assert {row["text"] for row in job.rows()} > set(texts)


def test_another_model_parameter_or_endpoint_buys_anew(job, service, called):
    rows = products(2)
    first = called("run", job(rows), "--json").json
    assert (first["sent"], first["reused"]) == (2, 0)
    elsewhere = {"endpoint": {"url": service.url.replace("127.0.0.1", "localhost")}}
    for change in ({"request": {"model": "palmyra-x4"}}, {"request": {"temperature": 0.5}}, elsewhere):
        told = called("run", job(rows, **change), "--json").json
        assert (told["sent"], told["reused"]) == (2, 0), change
        assert_answered(job.rows())
        model = change.get("request", {}).get("model", "palmyra-x5")
        assert {row["model"] for row in job.rows()} == {served_model(model)}


def test_a_named_endpoint_may_move(job, service, called):
    path = job(products(2), endpoint={"name": "writer"})
    assert called("run", path).returncode == 0
    moved = {"WRITER_BASE_URL": service.url.replace("127.0.0.1", "localhost")}
    assert called("run", path, "--json", env=moved).json["sent"] == 0


def test_fresh_and_reuse_false_buy_anew_and_an_unfinished_run_goes_on(job, service, called):
    rows = products(12)
    path = job(rows)
    assert called("run", path).returncode == 0
    assert called("run", path, "--fresh", "--json").json["sent"] == 12
    assert service.asked == Counter(map(prompt_of, rows * 2))

    path = job(rows, reuse=False)
    service.forget()
    service.script = lambda n, _: Status(401, error_body("Unauthorized", "no")) if n > 6 else None
    assert called("run", path).returncode == 4
    service.script = None
    assert called("run", path, "--json").json["reused"] == 6
    assert service.served == Counter(map(prompt_of, rows))
    assert_answered(job.rows())


def test_failed_rows_are_tried_again_unless_told_not_to(job, service, called):
    rows = products(5)
    path = job(rows)
    bad = prompt_of(rows[3])
    service.script = lambda _, body: Status(422, error_body("BadRequest", "no")) if body["prompt"] == bad else None
    assert called("run", path).returncode == 1

    service.forget()
    left = called("run", path, "--no-retry-failed", "--json")
    assert (left.returncode, left.json["failed"], service.requests) == (1, 1, 0)
    assert job.rows()[3]["status"] == "failed"
    assert job.rows()[3]["text"] is None
    status = called("status", path, "--json").json
    assert [status[count] for count in ("rows", "done", "failed", "left")] == [5, 4, 1, 0]

    assert called("run", path).returncode == 0
    assert_sent(service, [rows[3]])
    assert_answered(job.rows())
    assert [row["attempts"] for row in job.rows()] == [1, 1, 1, 2, 1]


def test_texts_that_are_empty_are_told(job, service, called):
    """They are answers, and count as texts, unless the job checks them."""
    empty = Raw(json.dumps({"choices": [{"text": ""}], "model": "m"}).encode())
    service.script = lambda n, _: empty if n < 3 else None
    path = job(products(5), report=True)
    ended = called("run", path)
    assert ended.returncode == 0
    assert "2 texts are empty: see check.min_chars" in " ".join(ended.stdout.split())
    assert "2 are empty." in (job.folder / "out" / "job.report.html").read_text()
    again = called("run", path, "--json").json
    assert (again["ok"], again["empty"], again["sent"]) == (5, 2, 0)
    job(products(5), check={"min_chars": 1})
    checked = called("run", path, "--json").json
    assert (checked["ok"], checked["empty"], checked["sent"]) == (5, 0, 2)


def test_date_and_name_stand_in_the_path_and_a_resumed_run_keeps_its_date(job, service, batchgen):
    """Two time zones, 26 hours apart: it is never the same day in both."""
    west, east = {"TZ": "AAA+12"}, {"TZ": "BBB-14"}
    path = job(products(6), name="nightly", output={"path": "out/{date}/{name}.parquet"})

    service.script = lambda n, _: Status(402, error_body("PaymentRequired", "no")) if n > 3 else None
    stopped = batchgen("run", path, "--json", env=west).json
    first = Path(stopped["path"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", first.parent.name)
    assert first == job.folder / "out" / first.parent.name / "nightly.parquet"
    assert (job.folder / "out" / ".batchgen" / "nightly.sqlite").exists()

    service.script = None
    resumed = batchgen("run", path, "--json", env=east).json
    assert (resumed["path"], resumed["exit_code"]) == (str(first), 0)
    assert_answered(job.rows(first))

    later = batchgen("run", path, "--json", env=east).json
    assert (later["path"] > str(first), later["sent"]) == (True, 0)
    assert_answered(job.rows(Path(later["path"])))


# while it runs


def held_after(count: int):
    return lambda n, _: Hold() if n > count else None


def until_says(process, words: str) -> None:
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"it never said {words!r}")


def test_status_and_export_work_while_it_runs_and_a_second_run_does_not(job, service, batchgen, called, start, ended):
    rows = products(20)
    path = job(rows, limits={"concurrency": 4})
    nothing = called("status", path)
    assert nothing.returncode == 5
    assert "has not run" in nothing.stderr

    service.script = lambda _, body: Hold() if body["prompt"] == prompt_of(rows[7]) else None
    running = start("run", path, "--json")
    service.wait(lambda s: s.served.total() == 19)
    keyless = {"WRITER_API_KEY": None}
    while (now := called("status", path, "--json", env=keyless).json)["done"] < 19:
        assert now["state"] == "running"  # the last COMMIT is still to come
    assert (now["state"], now["rows"], now["failed"], now["left"]) == ("running", 20, 0, 1)

    copy = job.folder / "copy.parquet"
    exported = batchgen("export", path, "-o", copy, env=keyless)
    assert exported.returncode == 0, exported.stderr
    assert "19 ok, 0 failed, 1 pending" in exported.stdout
    part = job.rows(copy)
    assert_answered(part[:7] + part[8:])
    assert (part[7]["status"], part[7]["text"], part[7]["log_probs"], part[7]["attempts"]) == ("pending", None, None, 0)
    assert not job.output.exists()

    second = batchgen("run", path)
    assert second.returncode == 75
    assert "another run" in second.stderr

    service.release()
    assert ended(running).returncode == 0
    assert_answered(job.rows())
    assert_sent(service, rows)
    after = batchgen("status", path).stdout
    assert "finished" in after
    assert "20: 20 have their text, 0 failed, 0 left" in after


def test_a_signal_lets_what_is_in_flight_end_and_the_next_run_goes_on(job, service, batchgen, start, ended):
    rows = products(20)
    path = job(rows, limits={"concurrency": 4})
    service.script = held_after(8)
    running = start("run", path, "--json")
    service.wait(lambda s: len(s.bodies) == 12)  # four held; a slot is free only when its answer is committed
    running.send_signal(signal.SIGTERM)
    until_says(running, "no new requests")
    service.release()
    stopped = ended(running)
    assert stopped.returncode == 3
    assert (stopped.json["ok"], stopped.json["pending"], stopped.json["possibly_billed"]) == (12, 8, 0)
    assert "SIGTERM" in stopped.json["stopped"]
    part = job.rows()
    assert Counter(row["status"] for row in part) == {"ok": 12, "pending": 8}
    assert_answered([row for row in part if row["status"] == "ok"])

    again = batchgen("run", path, "--json").json
    assert (again["sent"], again["reused"], again["exit_code"], again["interrupted"]) == (8, 12, 0, 0)
    assert service.served == Counter(map(prompt_of, rows))
    assert_answered(job.rows())


@pytest.mark.parametrize("how", ["two signals", "kill -9"])
def test_what_was_in_flight_when_it_was_given_up_is_told_and_sent_again(how, job, service, batchgen, start, ended):
    rows = products(20)
    path = job(rows, limits={"concurrency": 4})
    service.script = held_after(8)
    running = start("run", path, "--json")
    service.wait(lambda s: len(s.bodies) == 12)  # four held; a slot is free only when its answer is committed
    if how == "two signals":
        running.send_signal(signal.SIGINT)
        until_says(running, "no new requests")
        running.send_signal(signal.SIGINT)
        assert ended(running).returncode == 3
        assert Counter(row["status"] for row in job.rows()) == {"ok": 8, "pending": 12}
    else:
        running.kill()
        assert ended(running).returncode == -signal.SIGKILL
    assert service.served.total() == 8

    service.script = None
    again = batchgen("run", path, "--json")
    told = again.json
    assert (told["sent"], told["reused"], told["interrupted"], told["exit_code"]) == (12, 8, 4, 0)
    assert "4 in flight" in again.stderr
    assert service.served == Counter(map(prompt_of, rows))
    assert_answered(job.rows())
    assert Counter(row["attempts"] for row in job.rows()) == {1: 16, 2: 4}


# the built-in model


def test_a_local_trial_touches_neither_the_service_nor_the_real_results(job, service, batchgen, called):
    for folder in ("jobs", "sample_data"):
        shutil.copytree(REPO / folder, job.folder / folder)
    path = job.folder / "jobs" / "seo.yaml"
    keyless = {"WRITER_API_KEY": None}

    trial = batchgen("run", path, "--local", "--json", env=keyless)
    assert trial.returncode == 0, trial.stderr
    output = job.folder / "out" / "seo.local.parquet"
    assert trial.json["path"] == str(output)
    rows = job.rows(output)
    assert len(rows) == trial.json["sent"] > 200
    assert {(row["status"], row["model"]) for row in rows} == {("ok", "local-ngram")}
    assert all(row["text"] and row["log_probs"]["content"] for row in rows)
    assert any(row["sku"].startswith("000") for row in rows)

    assert service.requests == 0

    text = yaml.safe_load(path.read_text(encoding="utf-8"))
    del text["limits"]
    path.write_text(yaml.safe_dump(text), encoding="utf-8")
    real = called("run", path, "--limit", 5, "--json")
    assert (real.json["sent"], real.json["reused"], service.requests) == (5, 0, 5)
    few = job.rows(job.folder / "out" / "seo.first-5.parquet")
    assert {row["model"] for row in few} == {served_model("palmyra-x5")}
    assert job.rows(output) == rows
    assert not [name for name in job.files() if name.endswith(".tmp")]
