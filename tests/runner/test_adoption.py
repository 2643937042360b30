"""What was bought under another name is taken in, and serves: no word of it that does not hold."""

import json
import sqlite3
from contextlib import closing

import pytest
from support.service import Raw

ROWS = [{"id": str(n), "name": f"row {n}"} for n in range(3)]


def lines(ended) -> str:
    return " ".join(ended.stderr.split())


def renamed(job, path, **settings):
    """The same job under another name, and so with a checkpoint of its own; and the old one's."""
    new = path.with_name("newer.yaml")
    old = job(ROWS, **settings)
    new.write_bytes(old.read_bytes())
    job.output.unlink(missing_ok=True)
    return new


@pytest.mark.parametrize("fresh", [False, True], ids=["", "--fresh"])
def test_a_job_that_reuses_nothing_uses_what_it_took_in(fresh, job, called, service):
    path = job(ROWS, reuse=False, until={"requests": 2}, limits={"concurrency": 1})
    assert called("run", path).returncode == 3
    new = renamed(job, path, reuse=False)
    ended = called("run", new, "--adopt", job.checkpoint, *["--fresh"] * fresh, "--json")
    assert "took in 2 answers" in lines(ended)
    assert "would be bought again" not in lines(ended)
    assert (ended.returncode, ended.json["sent"], ended.json["ok"]) == (0, 1, 3)
    assert service.requests == 3
    assert called("run", new, "--json").json["sent"] == 3, "a run that follows a finished one reuses nothing"


def test_it_uses_them_also_where_the_first_run_was_refused(job, called, service):
    path = job(ROWS, reuse=False)
    assert called("run", path).returncode == 0
    new = path.with_name("newer.yaml")
    new.write_bytes(path.read_bytes())
    refused = called("run", new, "--adopt", job.checkpoint)
    assert (refused.returncode, "holds the results of the job job" in refused.stderr) == (2, True)
    job.output.unlink()
    assert called("plan", new, "--json").json["todo"] == 0
    assert called("run", new, "--json").json["sent"] == 0
    assert service.requests == 3


def test_it_uses_them_also_after_other_runs(job, called, service):
    path = job(ROWS, reuse=False)
    assert called("run", path).returncode == 0
    new = renamed(job, path, reuse=False, prompt="Write of {{ name }}.")
    assert called("run", new).returncode == 0
    new = renamed(job, path, reuse=False)
    ended = called("run", new, "--adopt", job.checkpoint, "--json")
    assert "took in 3 answers" in lines(ended)
    assert (ended.returncode, ended.json["sent"]) == (0, 0)
    assert service.requests == 6


def test_texts_that_failed_the_old_check_may_pass_the_new_one(job, called, service):
    texts = ["a text of some size", "short", "tiny"] * 3
    service.script = lambda *_: Raw(json.dumps({"choices": [{"text": texts.pop(0)}], "model": "m"}).encode())
    path = job(ROWS, check={"min_chars": 100, "retries": 2}, limits={"concurrency": 1})
    assert called("run", path).returncode == 1
    new = renamed(job, path, check={"min_chars": 10})
    ended = called("run", new, "--adopt", job.checkpoint, "--json")
    assert "took in 9 answers" in lines(ended)
    assert (ended.returncode, ended.json["sent"], ended.json["ok"]) == (0, 0, 3)
    assert [row["text"] for row in job.rows()] == ["a text of some size"] * 3


@pytest.mark.parametrize(
    ("check", "wanted"),
    [({"min_chars": 10}, 3), ({"min_chars": 5}, 4), ({}, 4), ({"min_chars": 50}, 2)],
    ids=["one passes", "both pass", "no check", "none passes"],
)
def test_texts_that_pass_the_new_check_are_offered(check, wanted, job, called, service):
    """They are paid for, as answers are: two of the four rows failed the old check."""
    texts = {"row 0": "a text of some size", "row 1": "short"}
    long = "a text that every check passes, since it has more than a hundred characters " * 2

    def script(_, body):
        text = texts.get(body["prompt"].removeprefix("Write about ").removesuffix("."), long)
        return Raw(json.dumps({"choices": [{"text": text}], "model": "m"}).encode())

    service.script = script
    rows = [*ROWS, {"id": "3", "name": "row 3"}]
    path = job(rows, check={"min_chars": 100, "retries": 0})
    assert called("run", path).returncode == 1
    job.output.unlink()
    new = job(rows, name="newer", check=check)
    for command in ("plan", "run"):
        ended = called(command, new, *["--limit", "4"] * (command == "run"))
        said = " ".join((ended.stdout + ended.stderr).split())
        assert f"holds answers to {wanted} of these 4 rows, which would be bought again" in said, said


def test_nothing_is_taken_in_twice(job, called, service):
    service.script = lambda *_: Raw(b'{"choices": [{"text": "short"}], "model": "m"}')
    path = job(ROWS, check={"min_chars": 100, "retries": 0})
    assert called("run", path).returncode == 1
    new = renamed(job, path, check={"min_chars": 50, "retries": 0})
    first = called("run", new, "--adopt", job.checkpoint, "--json")
    assert "took in 3 answers" in lines(first)
    assert "would be bought again" not in lines(first)
    assert first.json["sent"] == 3
    assert "took in 0 answers" in lines(called("run", new, "--adopt", job.checkpoint))
    with closing(sqlite3.connect(job.checkpoint.with_name("newer.sqlite"))) as db:
        assert db.execute("SELECT count(*) FROM attempts").fetchall() == [(9,)]
