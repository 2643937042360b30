"""Rows are shown as they were sent and answered: before a run, while it is at work, and after it."""

from __future__ import annotations

import json
import stat

import apsw
import pytest
from support.chat_server import ChatServer
from support.service import Hold, Raw, Status, expected_answer

PRICES = {"palmyra-x5": {"input": 1000.0, "output": 1000.0}}
"""A thousandth of a dollar a token."""
WORDS = "the words of row 2 are not for this model"
REFUSAL = Status(400, body={"tpe": "e", "errors": [{"description": WORDS}]})


def rows_of(count: int) -> list[dict[str, str]]:
    return [{"id": f"sku-{number}", "name": f"shelf {number}"} for number in range(1, count + 1)]


@pytest.fixture
def shown(called):
    """The rows that `show --json` shows."""

    def show(*arguments: object) -> list[dict]:
        ended = called("show", *arguments, "--json")
        assert ended.returncode == 0, ended.stderr
        return [json.loads(line) for line in ended.stdout.splitlines()]

    return show


def test_a_row_before_any_run_is_what_would_be_sent(job, shown, called):
    path = job(rows_of(3))
    before = job.files()
    (row,) = shown(path, "2")
    assert (row["row"], row["id"], row["status"], row["attempts"], row["text"]) == (2, "sku-2", "pending", [], None)
    assert row["prompt"] == "Write about shelf 2."
    assert row["request"] == {"model": "palmyra-x5", "prompt": "Write about shelf 2.", "max_tokens": 50}
    assert "job row 2 (sku-2): pending: not sent yet" in called("show", path, "2").stdout
    assert job.files() == before


def test_every_attempt_is_shown_with_outcome_status_words_and_cost(job, service, shown, called):
    lost = iter([Status(429), Raw(b'{"choices": []}'), None])
    service.script = lambda _, body: next(lost) if body["prompt"].endswith("shelf 2.") else None
    path = job(rows_of(3), prices=PRICES)
    called("run", path)
    before = job.files()
    (row,) = shown(path, "sku-2")
    assert [(one["outcome"], one["status"], one["possibly_billed"]) for one in row["attempts"]] == [
        ("busy", 429, False), ("unusable", 200, True), ("ok", 200, False),
    ]  # fmt: skip
    prompt, answer = row["attempts"][2]["prompt_tokens"], row["attempts"][2]["answer_tokens"]
    assert row["text"] == expected_answer("Write about shelf 2.")["text"]
    assert row["cost"] == pytest.approx((prompt + answer + prompt + 50) / 1000), "at most, of the one without an answer"
    assert row["latency_s"] == row["attempts"][2]["latency_s"]
    told = called("show", path, "2").stdout
    assert "2. unusable: " in told
    assert "at most: 1 request may have been billed without an answer" in told
    assert service.key not in told + json.dumps(row)
    assert job.files() == before, "no trace is left"


def test_failed_and_pending_rows_are_found(job, service, shown, called):
    service.script = lambda _, body: REFUSAL if body["prompt"][-2] in "27" else None
    path = job(rows_of(9), until={"requests": 7}, limits={"concurrency": 1})
    called("run", path)
    failed, pending = shown(path, "--failed"), shown(path, "--pending")
    assert [(row["row"], row["status"]) for row in failed] == [(2, "failed"), (7, "failed")]
    assert all(WORDS in row["error"] and WORDS in row["attempts"][0]["error"] for row in failed)
    assert [row["row"] for row in pending] == [8, 9]
    assert called("show", path, "--failed").stdout.count("\nprompt:\n") == 2


def test_no_such_rows_is_no_failure(job, service, called):
    path = job(rows_of(2))
    called("run", path)
    for asked, said in (("--failed", "no row failed"), ("--pending", "no row is pending")):
        assert said in called("show", path, asked).stdout
        assert called("show", path, asked, "--json").stdout == ""


def test_a_row_is_named_by_its_number_as_messages_write_it_or_by_its_id(job, shown):
    rows = [{"id": str(1000 - number), "name": f"shelf {number}"} for number in range(1, 1200)]
    path = job(rows)
    assert [row["row"] for row in shown(path, "1,100", "3")] == [3, 997, 1100], "3 is row 3, and the id of row 997"
    part = job(rows, input={"path": "rows.csv", "id": "id", "shard": "2/3"}, name="part")
    assert [row["row"] for row in shown(part, "1,100")] == [1100]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param(["10"], "the job has no row 10, and no row with this id: it has 3, from row 1 to row 3", id="a number"),
        pytest.param(["sku2"], "no row's id is 'sku2'; did you mean row 2 (sku-2)?", id="a near miss"),
        pytest.param(["zzz"], "no row's id is 'zzz'", id="nothing near"),
        pytest.param(["1", "SKU-3"], "did you mean row 3 (sku-3)?", id="one of two"),
        pytest.param([], "--failed or --pending", id="nothing"),
        pytest.param(["1", "--failed"], "one of the three", id="two of them"),
    ],
)  # fmt: skip
def test_what_is_no_row_is_told(asked, said, job, called):
    ended = called("show", job(rows_of(3)), *asked)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr


def test_a_job_without_ids_wants_a_number(job, called):
    path = job(rows_of(3), input=None)
    text = path.read_text().replace("input: null", "input: {path: rows.csv}")
    path.write_text(text)
    assert "the job has no input.id" in called("show", path, "sku-2").stderr
    assert called("show", path, "0004711").stderr.endswith(
        "the job has no row 0004711: it has 3, from row 1 to row 3; a row is found by its id where input.id names the "
        "column\n"
    )
    assert called("show", path, "2").returncode == 0


def test_rows_left_out_of_the_job_are_told(job, called):
    path = job(rows_of(9), input={"path": "rows.csv", "id": "id", "where": "id <> 'sku-4'"})
    assert "no row 4, and no row with this id: it has 8, from row 1 to row 9 (input.where leaves others out)" in (
        called("show", path, "4").stderr
    )
    assert (
        "no row's id is 'sku-4' (input.where leaves others out); did you mean" in called("show", path, "sku-4").stderr
    )
    assert "row 5 (sku-5)" in called("show", path, "5").stdout
    job(rows_of(9), input={"path": "rows.csv", "id": "id", "where": "id <> 'sku-4'", "limit": 5})
    assert "(input.where and input.limit leave others out)" in called("show", path, "4").stderr


def test_rows_that_send_the_same_have_their_own_answers(job, service, shown, called):
    service.script = lambda number, _: REFUSAL if number == 2 else None
    path = job([{"id": str(n), "name": "one"} for n in "abc"], limits={"concurrency": 1})
    called("run", path)
    assert [row["status"] for row in shown(path, "a", "b", "c")] == ["ok", "failed", "ok"]


def test_it_works_while_the_job_runs(job, service, start, shown):
    service.script = lambda _, body: Hold() if body["prompt"].endswith("shelf 3.") else None
    path = job(rows_of(4), limits={"concurrency": 2})
    run = start("run", path)
    service.wait(lambda service: sum(service.served.values()) >= 3)
    for _ in range(100):
        if [row["row"] for row in shown(path, "--pending")] == [3]:
            break
    assert [row["status"] for row in shown(path, "1", "3")] == ["ok", "pending"]
    service.release()
    run.wait()
    assert shown(path, "3")[0]["status"] == "ok"


def test_it_works_where_nothing_can_be_written(job, service, called, batchgen):
    path = job(rows_of(2))
    called("run", path)
    folders = [job.checkpoint.parent, job.checkpoint.parent.parent, job.folder]
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert "row 2 (sku-2): ok" in batchgen("show", path, "2").stdout
    finally:
        for folder in reversed(folders):
            folder.chmod(stat.S_IRWXU)


def test_texts_that_a_check_does_not_pass_are_shown_and_the_check_is_todays(job, service, shown, called):
    sections = {"check": {"min_chars": 100_000, "retries": 1}}
    called("run", job(rows_of(1), **sections))
    (row,) = shown(job(rows_of(1), **sections), "1")
    assert (row["status"], [one["outcome"] for one in row["attempts"]]) == ("failed", ["unfit", "unfit"])
    assert row["text"] == expected_answer("Write about shelf 1.")["text"]
    (row,) = shown(job(rows_of(1)), "1")
    assert (row["status"], row["error"]) == ("ok", None)


def test_chats_show_their_messages_choices_and_the_services_count(job, called, shown):
    with ChatServer("openai") as own:
        path = job(
            rows_of(1),
            prompt=None,
            messages=[{"system": "You write."}, {"user": "About {{ name }}."}],
            endpoint={"api": "openai", "url": f"{own.url}/v1"},
            request={"model": "palmyra-x5", "max_tokens": 50, "n": 2},
            prices=PRICES,
        )
        text = path.read_text().replace("prompt: null\n", "")
        path.write_text(text)
        assert called("run", path).returncode == 0
        (row,) = shown(path, "1")
    assert row["messages"] == row["request"]["messages"]
    assert [message["role"] for message in row["messages"]] == ["system", "user"]
    assert row["prompt"] == "system: You write.\n\nuser: About shelf 1."
    assert len(row["more_choices"]) == 1
    assert row["attempts"][0]["counted"]
    assert row["cost"] == pytest.approx((row["prompt_tokens"] + row["completion_tokens"]) / 1000)
    assert "choice 2:" in called("show", path, "1").stdout


def test_a_damaged_attempt_is_told(job, service, called, shown):
    path = job(rows_of(2))
    called("run", path)
    with apsw.Connection(str(job.checkpoint)) as db:
        db.execute("UPDATE attempts SET latency = 99 WHERE name = 'sku-2'")
    (row,) = shown(path, "2")
    assert [(one["outcome"], one["error"]) for one in row["attempts"]] == [
        ("damaged", "what the checkpoint holds of it is damaged")
    ]
    assert row["text"] is None


def test_a_summary_and_a_report_say_how_every_failed_row_is_shown(job, service, called):
    service.script = lambda *_: REFUSAL
    path = job(rows_of(9), report=True)
    ended = called("run", path)
    assert f"and 4 more: batchgen show {path} --failed" in ended.stdout
    assert f"batchgen show {path} --failed" in (job.folder / "out" / "job.report.html").read_text()


def test_rows_that_share_an_answer_are_shown_with_it(job, service, called):
    """`duplicates: once`: what was sent for one of them is the others' answer, or failure."""
    rows = [{"id": f"sku-{n}", "name": name} for n, name in enumerate(("tent", "lamp", "tent", "lamp"), 1)]
    service.script = lambda _, body: Status(400) if "lamp" in body["prompt"] else None
    path = job(rows, duplicates="once")
    assert called("run", path).returncode == 1
    assert service.requests == 2
    shown = [json.loads(line) for line in called("show", path, "1", "2", "3", "4", "--json").stdout.splitlines()]
    assert [row["status"] for row in shown] == ["ok", "failed", "ok", "failed"]
    assert [row["status"] for row in shown] == [row["status"] for row in job.rows()]
    assert shown[0]["text"] == shown[2]["text"] == job.rows()[2]["text"]
    assert [len(row["attempts"]) for row in shown] == [1, 1, 1, 1]
    failed = [json.loads(line)["row"] for line in called("show", path, "--failed", "--json").stdout.splitlines()]
    assert failed == [2, 4]
    assert called("show", path, "--pending", "--json").stdout == ""
