"""`batchgen try`: a few rows, sent and shown. What they buy is the job's, and nothing else of the job is touched."""

from __future__ import annotations

import json
import signal
import time

import pytest
from support.service import PATIENCE, Hold, Raw, Status, expected_answer

from batchgen.runner import opening

COUNT = 12


def rows_of(count: int = COUNT, **columns) -> list[dict]:
    made = [{"id": f"r{n}", "name": f"shelf {n}"} for n in range(count)]
    return [{**row, **{key: value(n) for key, value in columns.items()}} for n, row in enumerate(made)]


def objects(ended) -> list[dict]:
    return [json.loads(line) for line in ended.stdout.splitlines()]


def text_of(n: int) -> str:
    return expected_answer(f"Write about shelf {n}.")["text"]


def test_the_first_rows_are_sent_and_a_run_does_not_buy_them_again(job, service, called):
    path = job(rows_of())
    tried = called("try", path, "-n", "3", "--json")
    shown = objects(tried)
    assert tried.returncode == 0
    assert [(one["row"], one["id"], one["prompt"]) for one in shown] == [
        (n + 1, f"r{n}", f"Write about shelf {n}.") for n in range(3)
    ]
    assert [(one["text"], one["status"], one["messages"]) for one in shown] == [
        (text_of(n), "ok", None) for n in range(3)
    ]
    assert all(one["cost"] > 0 and one["prompt_tokens"] and not one["counted"] for one in shown)
    more = objects(called("try", path, "-n", "2", "--json"))
    assert [one["id"] for one in more] == ["r3", "r4"]
    ended = called("run", path, "--json").json
    assert [ended[key] for key in ("ok", "reused", "sent")] == [COUNT, 5, COUNT - 5]
    assert max(service.asked.values()) == 1


def test_it_leaves_the_last_results_and_the_report_alone(job, called):
    path = job(rows_of(2), report=True)
    assert called("run", path).returncode == 0
    page = job.folder / "out" / "job.report.html"
    before = job.files(), job.output.read_bytes(), page.read_bytes()
    job.write(rows_of())
    assert len(objects(called("try", path, "--json"))) == 5
    assert (job.files(), job.output.read_bytes(), page.read_bytes()) == before
    told = called("status", path, "--json").json
    assert [told[key] for key in ("rows", "done", "left")] == [COUNT, 7, COUNT - 7]
    assert called("export", path).returncode == 0
    assert [row["status"] for row in job.rows()] == ["ok"] * 7 + ["pending"] * 5


def test_a_first_trial_writes_no_results(job, called):
    path = job(rows_of())
    assert called("try", path).returncode == 0
    assert not job.output.exists()
    assert not [name for name in job.files() if name.endswith((".parquet", ".html"))]


def test_more_than_there_are_is_all(job, called):
    assert len(objects(called("try", job(rows_of(3)), "-n", str(2**64), "--json"))) == 3


def test_random_ones_are_any_and_a_few(job, called):
    path = job(rows_of(200))
    shown = objects(called("try", path, "-n", "6", "--random", "--json"))
    assert len({one["id"] for one in shown}) == 6
    assert [one["row"] for one in shown] == sorted(one["row"] for one in shown) != [*range(1, 7)]


def test_the_first_are_those_that_a_run_sends_first(job, called):
    path = job(rows_of(margin=lambda n: n), priority="margin")
    assert [one["id"] for one in objects(called("try", path, "-n", "2", "--json"))] == ["r11", "r10"]


def test_nothing_is_left_to_try(job, service, called):
    path = job(rows_of(2))
    assert called("run", path).returncode == 0
    asked = service.requests
    tried = called("try", path)
    assert (tried.returncode, service.requests) == (0, asked)
    assert "nothing to try" in tried.stdout
    assert called("try", path, "--json").stdout == ""


@pytest.mark.parametrize(
    ("answer", "code", "status", "told"),
    [
        pytest.param(
            Status(400, {"tpe": "e", "errors": [{"description": "too odd"}]}), 1, "failed", "too odd", id="fails"
        ),
        pytest.param(Status(401), 4, "pending", "key", id="the service refuses the run"),
        pytest.param(Raw(b'{"choices":[{"text":"no."}],"model":"m"}'), 1, "failed", "unfit", id="an unfit text"),
    ],
)
def test_what_goes_wrong_is_shown_with_the_exit_code_of_a_run(job, service, called, answer, code, status, told):  # noqa: PLR0917
    path = job(rows_of(), limits={"concurrency": 1}, check={"min_chars": 10, "retries": 0})
    service.script = lambda _, body: answer if body["prompt"].endswith("shelf 1.") else None
    tried = called("try", path, "-n", "2", "--json")
    shown = objects(tried)
    assert (tried.returncode, shown[0]["status"], shown[1]["status"]) == (code, "ok", status)
    assert told in str(shown[1]["error"]) + tried.stderr
    assert (shown[1]["text"] == "no.") == (status == "failed" and told == "unfit")
    assert told in called("try", path, "-n", "1").stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"prompt": "Write about {{ nam }}."}, "nam", id="the prompt"),
        pytest.param(
            {"rows": [*rows_of(7), {"id": "r1", "name": "again"}]}, "repeats", id="a row far behind the first"
        ),
        pytest.param({"notify": {"url_env": "NOWHERE"}}, "NOWHERE", id="who is to be told"),
        pytest.param({"input": {"path": "rows.csv", "id": "id", "limit": 0}}, "limit", id="the job file"),
    ],
)
def test_all_that_a_run_checks_is_checked_before_anything_is_sent(job, service, called, change, said):
    path = job(change.pop("rows", rows_of()), **change)
    tried = called("try", path)
    assert (tried.returncode, service.requests) == (2, 0)
    assert said in tried.stderr


def test_no_key_no_trial(job, service, called):
    tried = called("try", job(rows_of()), env={"WRITER_API_KEY": None})
    assert (tried.returncode, service.requests) == (2, 0)


def test_a_run_at_work_holds_the_job(job, service, start, called):
    path = job(rows_of())
    service.script = lambda *_: Hold()
    run = start("run", path)
    service.wait(lambda here: here.in_flight > 0)
    assert called("try", path).returncode == 75
    service.release()
    run.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_in_order(job, service, start, called, number):
    path = job(rows_of(), limits={"concurrency": 2})
    service.script = lambda n, _: Hold() if n > 1 else None
    tried = start("try", path, "--json")
    service.wait(lambda here: here.in_flight == 2)
    tried.send_signal(number)
    service.release()
    out, err = tried.communicate(timeout=PATIENCE)
    assert tried.returncode == 3
    shown = [json.loads(line) for line in out.splitlines()]
    assert [one["status"] for one in shown].count("ok") >= 2
    assert "pending" in [one["status"] for one in shown]
    assert signal.Signals(number).name in err
    service.script = None
    ended = called("run", path, "--json").json
    assert ended["sent"] + ended["reused"] == COUNT
    assert max(service.served.values()) == 1


def test_a_job_that_reuses_nothing_reuses_its_trial(job, called):
    path = job(rows_of(4), reuse=False)
    assert called("run", path, "--json").json["sent"] == 4
    assert len(objects(called("try", path, "-n", "2", "--json"))) == 2
    assert called("run", path, "--json").json["sent"] == 2
    assert called("run", path, "--json").json["sent"] == 4


def test_the_next_run_has_a_date_of_its_own_and_an_unfinished_one_keeps_its(job, called, monkeypatch):
    days = iter(["2026-01-05"])
    path = job(rows_of(), output={"path": "out/{date}.parquet"}, until={"requests": 2}, limits={"concurrency": 1})
    for room in ("runner.trial", "runner.run"):
        monkeypatch.setattr(f"batchgen.{room}.today", lambda: day)
    day = next(days)
    assert called("try", path, "-n", "1").returncode == 0
    day = "2026-01-06"
    assert called("run", path).returncode == 3
    assert (job.folder / "out" / "2026-01-06.parquet").exists()
    day = "2026-01-07"
    assert called("try", path, "-n", "1").returncode == 0
    assert called("run", path).returncode == 3
    assert {name for name in job.files() if name.endswith(".parquet")} == {"out/2026-01-06.parquet"}


def test_rows_that_share_an_answer_are_tried_as_one(job, service, called):
    path = job([{"id": f"r{n}", "name": name} for n, name in enumerate("aabbcc")], duplicates="once")
    shown = objects(called("try", path, "-n", "2", "--json"))
    assert [one["id"] for one in shown] == ["r0", "r2"]
    ended = called("run", path, "--json").json
    assert [ended[key] for key in ("ok", "reused", "sent")] == [6, 4, 1]


def test_a_chat_on_the_built_in_model(job, service, called):
    messages = [{"system": "Be short."}, {"user": "Write about {{ name }}."}]
    path = job(rows_of(), prompt=None, messages=messages)
    tried = called("try", path, "-n", "1", "--local", "--json")
    (shown,) = objects(tried)
    assert shown["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Write about shelf 0."},
    ]
    assert (shown["status"], shown["prompt"], service.requests) == ("ok", None, 0)
    assert shown["finish_reason"] in {"stop", "length"}
    plain = called("try", path, "-n", "1", "--local").stdout
    assert "system: Be short." in plain


@pytest.mark.parametrize("command", ["run", "try"])
def test_a_deadline_that_passes_while_the_rows_are_checked_has_come(job, called, service, monkeypatch, command):
    path = job(rows_of(), until={"after": "1s"})
    plan_after = opening.plan_after

    def slow(*given, **named):
        time.sleep(1.1)
        return plan_after(*given, **named)

    monkeypatch.setattr(opening, "plan_after", slow)
    ended = called(command, path)
    assert (ended.returncode, service.requests) == (3, 0), ended.stderr
    assert "the deadline has come" in ended.stdout + ended.stderr
