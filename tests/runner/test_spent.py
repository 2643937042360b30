"""What was spent is told, of a run and of its job in all, and whose count it is."""

import json
import re
import sqlite3
from contextlib import closing

import pytest
from support.own_server import OwnServer
from support.service import PATIENCE, Raw, Reset, Status

PRICES = {"palmyra-x5": {"input": 1000.0, "output": 1000.0}}
"""A thousandth of a dollar a token, so that sums can be seen."""


def rows_of(count: int) -> list[dict[str, str]]:
    return [{"id": f"{number:02}", "name": f"shelf {number}"} for number in range(count)]


def used(told: dict[str, int]) -> int:
    return told["prompt_tokens"] + told["answer_tokens"]


def test_a_run_and_its_job_in_all_add_up_and_status_says_the_same(job, service, called):
    path = job(rows_of(12), prices=PRICES, until={"requests": 5}, report=True)
    nights = [called("run", path, "--json").json for _ in range(3)]
    assert [night["ok"] for night in nights] == [5, 10, 12]
    tokens = [used(night) for night in nights]
    assert all(abs(night["cost"] - used(night) / 1000) < 1e-9 for night in nights)
    assert [used(night["in_all"]) for night in nights] == [tokens[0], sum(tokens[:2]), sum(tokens)]
    assert abs(nights[2]["in_all"]["cost"] - sum(tokens) / 1000) < 1e-9
    assert nights[2]["in_all"]["counted"] == 0

    status = called("status", path)
    all_tokens, all_cost = f"{sum(tokens):,} tokens", f"${sum(tokens) / 1000:,.2f}"
    assert (
        f"{tokens[2]:,} tokens, ${tokens[2] / 1000:,.2f}; the job in all: {all_tokens}, {all_cost} (by estimate)"
        in (" ".join(status.stdout.split()))
    )
    assert called("status", path, "--json").json["in_all"] == nights[2]["in_all"]
    page = (job.folder / "out" / "job.report.html").read_text()
    assert f"{all_tokens}, {all_cost}" in page


def test_what_is_bought_again_for_a_damaged_answer_is_counted_once(job, service, called):
    """Two new rows in a first pass, and the damaged one in a second."""
    path = job(rows_of(10), prices=PRICES)
    assert called("run", path).returncode == 0
    with closing(sqlite3.connect(job.checkpoint, isolation_level=None)) as db:
        db.execute("UPDATE bodies SET body = x'00' WHERE id = 3")
    job(rows_of(12), prices=PRICES)
    night = called("run", path, "--json").json
    assert (night["ok"], night["sent"]) == (12, 3)
    assert night["cost"] == pytest.approx(used(night) / 1000)


def test_a_night_of_nothing_spends_nothing_and_still_tells_the_job(job, service, called):
    path = job(rows_of(3), prices=PRICES)
    first = called("run", path, "--json").json
    again = called("run", path)
    assert f"0 tokens; the job in all: {used(first):,} tokens" in again.stdout


def test_a_plan_of_nothing_says_that_it_costs_nothing(job, service, called):
    path = job(rows_of(3), prices=PRICES)
    called("run", path)
    told = " ".join(called("plan", path).stdout.split())
    assert "tokens none cost none: a run would send nothing" in told
    planned = called("plan", path, "--json").json
    assert (planned["todo"], planned["cost"], planned["tokens"]) == (0, 0, 0)


def test_a_plan_on_the_built_in_model_says_that_it_is_free(job, called):
    told = " ".join(called("plan", job(rows_of(3), prices=PRICES), "--local").stdout.split())
    assert "cost none: these requests are free time" in told


def test_what_the_service_counts_is_said_to_be_counted(job, called):
    with OwnServer() as own:
        endpoint = {"api": "openai", "url": f"{own.url}/v1"}
        path = job(rows_of(4), endpoint=endpoint, prices=PRICES)
        told = called("run", path, "--json").json
        assert (told["prompt_tokens"], told["counted"]) == (4000, 4)
        assert "(as the service counted)" in called("status", path).stdout


def test_billed_answers_of_no_use_are_in_the_cost(job, service, called):
    """Five purchases that brought nothing cost as much as they may have."""
    service.script = lambda _, body: Raw(b'{"choices": []}') if body["prompt"].endswith("shelf 1.") else None
    path = job(rows_of(8), prices=PRICES, retry={"attempts": 5, "max_wait": 0.05}, report=True)
    told = called("run", path, "--json").json
    assert (told["ok"], told["failed"]) == (7, 1)
    assert told["cost"] > used(told) / 1000 + 0.01
    page = (job.folder / "out" / "job.report.html").read_text()
    assert f"${told['cost']:,.2f}" in page


def test_the_tokens_of_answers_that_fail_the_check_count(job, called):
    """A thousand tokens of prompts each, by the service's own count, and a row that is asked for three times."""
    with OwnServer() as own:
        endpoint = {"api": "openai", "url": f"{own.url}/v1"}
        path = job(rows_of(4), endpoint=endpoint, prices=PRICES, check={"matches": "never", "retries": 2})
        told = called("run", path, "--json").json
    assert (told["failed"], told["sent"]) == (4, 12)
    assert (told["prompt_tokens"], told["counted"]) == (12 * 1000, 12)
    assert told["cost"] == pytest.approx(used(told) / 1000)


def test_a_killed_runs_spending_is_not_lost(job, service, start, called):
    path = job(rows_of(60), prices=PRICES, limits={"concurrency": 4, "requests_per_minute": 240})
    run = start("run", path)
    service.wait(lambda service: sum(service.served.values()) >= 16)
    run.kill()
    run.wait()
    status = called("status", path, "--json").json
    assert status["state"] == "killed"
    assert status["usage"]["answers"] > 0, "of what was committed with the last answers"
    assert re.search(r"spent +[\d,]+ tokens", called("status", path).stdout)


@pytest.mark.usefixtures("impatient")
def test_a_request_that_never_left_is_counted_nowhere(job, called):
    path = job(rows_of(4), retry={"attempts": 2, "max_wait": 0.1}, report=True)
    down = {"WRITER_BASE_URL": "http://127.0.0.1:9"}
    told = called("run", path, "--json", env=down).json
    assert (told["sent"], called("status", path, "--json", env=down).json["sent"]) == (0, 0)
    assert "0 requests in" in (job.folder / "out" / "job.report.html").read_text()


def test_the_last_line_of_progress_counts_as_the_summary_does(job, service, called):
    """Two requests leave again over new connections, since the kept ones were closed, and one that was refused."""
    wanted = {2: Reset(), 5: Reset(), 7: Status(500)}
    service.script = lambda n, _: wanted.get(n)
    ended = called("run", job(rows_of(8), limits={"concurrency": 1}), "--json", "--log-format", "json")
    (last,) = [line for line in map(json.loads, ended.stderr.splitlines()) if "seconds_left" in line][-1:]
    assert ended.json["retries"] == 3
    assert (last["sent"], last["retries"]) == (ended.json["sent"], 3)


def test_each_stored_answer_of_a_killed_run_is_counted(job, service, start, called):
    """However soon after an answer the process dies."""
    path = job(rows_of(90), prices=PRICES, limits={"concurrency": 4})
    for until in (25, 50, 75):
        process = start("run", path, "--quiet")
        service.wait(lambda service, until=until: service.requests >= until)
        process.kill()
        process.wait(PATIENCE)
        with closing(sqlite3.connect(job.checkpoint)) as db:
            (stored,) = db.execute("SELECT count(*) FROM attempts WHERE outcome = 'ok'").fetchone()
        in_all = called("status", path, "--json").json["in_all"]
        assert in_all["answers"] == stored > 0
        assert in_all["cost"] > used(in_all) / 1000 - 1e-9, "what was in flight may have been billed"
    ended = called("run", path, "--json").json
    assert (ended["ok"], ended["in_all"]["answers"]) == (90, 90)


def test_the_rest_of_a_stopped_run_is_not_compared_by_its_counts(job, service, called):
    rows = rows_of(12)
    page = job.folder / "out" / "job.report.html"
    called("run", job(rows, report=True))
    edited = [{**row, "name": f"{row['name']}!"} for row in rows]
    called("run", job(edited, report=True, until={"requests": 9}))
    called("run", job(edited, report=True))
    text = page.read_text()
    assert "Beside the last good run" in text
    assert "went on with one that was stopped" in text
    assert "answers a second" in text or "characters a text" in text
    assert "\N{MINUS SIGN}75 %" not in text


def test_status_says_the_figures_that_the_run_says(job, service, start, called):
    """From the run itself, not reckoned anew: what the limits grant of the rest is in it."""
    path = job(rows_of(300), limits={"concurrency": 4, "requests_per_minute": 1200}, report=False)
    run = start("run", path, "--log-format", "json")
    service.wait(lambda service: sum(service.served.values()) >= 60)
    status = called("status", path, "--json").json
    run.kill()
    run.wait()
    assert status["state"] == "running"
    assert status["left_s"] > 0.5 * status["left"] / 20, "of 20 a second no more are granted"
    assert status["rate"] < 40


def test_the_lines_of_progress_say_what_the_run_and_its_job_have_spent(job, service, called):
    path = job(rows_of(12), prices=PRICES, until={"requests": 5})
    first = called("run", path, "--json").json
    ended = called("run", path, "--json")
    second, last = ended.json, ended.stderr.splitlines()[-1]
    told = [f"{used(one):,} tokens, ${one['cost']:,.2f}" for one in (second, second["in_all"])]
    assert f"; {told[0]}; the job in all: {told[1]} (by estimate)" in last
    objects = [json.loads(line) for line in called("run", path, "--log-format", "json").stderr.splitlines()]
    third = objects[-2]
    assert (third["done"], third["prompt_tokens"] > 0, third["cost"] > 0) == (2, True, True)
    assert first["cost"] > 0


@pytest.mark.parametrize("most", [1, 7, 5_000], ids=lambda most: f"of at most {most:,} tokens")
def test_an_estimate_is_at_most_what_the_plan_says(job, service, called, most):
    """The service counts nothing, and its texts have some 24 tokens by our estimate."""
    request = {"model": "palmyra-x5", "max_tokens": most}
    path = job(rows_of(30), prices=PRICES, request=request, until={"cost": 30 * (most + 30) / 1000})
    planned = called("plan", path, "--json").json
    ended = called("run", path, "--json").json
    assert (ended["exit_code"], ended["ok"]) == (0, 30)
    assert used(ended) <= planned["tokens"]
    assert ended["cost"] <= planned["cost"]
    assert ended["answer_tokens"] == 30 * most or most > 24


def test_a_trial_says_what_its_candidates_cost(job, service, called):
    path = job(rows_of(3), prices=PRICES, request={"model": "palmyra-x5", "max_tokens": 50, "best_of": 4})
    row = json.loads(called("try", path, "-n", "1", "--json").stdout)
    assert row["prompt_tokens"] + row["completion_tokens"] == used(called("status", path, "--json").json["in_all"])
    assert row["cost"] == pytest.approx((row["prompt_tokens"] + row["completion_tokens"]) / 1000)


def test_candidates_that_are_not_sent_are_in_the_cost_and_the_budget(job, service, called):
    """Of `best_of: 4` four answers are made and billed, and one comes."""
    one = called("run", job(rows_of(30), prices=PRICES), "--json").json
    four = {"request": {"model": "palmyra-x5", "max_tokens": 50, "best_of": 4}, "prices": PRICES}
    all_ = called("run", job(rows_of(30), name="four", output={"path": "out/four.parquet"}, **four), "--json").json
    assert all_["answer_tokens"] == 4 * one["answer_tokens"]
    assert all_["cost"] == pytest.approx(used(all_) / 1000)
    most = all_["cost"] / 2
    cut = job(rows_of(30), name="cut", output={"path": "out/cut.parquet"}, until={"cost": most}, **four)
    stopped = called("run", cut, "--json").json
    assert stopped["exit_code"] == 3
    assert stopped["cost"] <= most + 8 * 0.21
