"""A row may have several texts that were paid for. The newest that serves by the present check is used, and none is
bought while there is one."""

import json
import sqlite3
from contextlib import closing

import pytest
from support.service import Raw

ROWS = [{"id": "1", "name": "row"}]
OF_5, OF_13, OF_19 = "short", "of middling l", "a text of some size"
assert [len(OF_5), len(OF_13), len(OF_19)] == [5, 13, 19]


@pytest.fixture
def says(service):
    """Makes the service answer with these texts, in order; it fails where more are asked for."""

    def these(*texts: str) -> None:
        left = list(texts)
        service.script = lambda *_: Raw(json.dumps({"choices": [{"text": left.pop(0)}], "model": "m"}).encode())

    return these


def check(chars: int, retries: int = 0) -> dict:
    return {"check": {"min_chars": chars, "retries": retries}}


def damage_newest(job):
    with closing(sqlite3.connect(job.checkpoint, isolation_level=None)) as db:
        db.execute("UPDATE bodies SET body = x'00' WHERE id = (SELECT max(id) FROM bodies)")


def serves(called, job, text: str, **settings) -> None:
    """Fails unless this stored text is the row's, by all commands, and nothing is bought for it."""
    path = job(ROWS, **settings)
    shown = called("show", path, "1", "--json").json
    planned = called("plan", path, "--json").json
    assert (planned["todo"], planned["reused"], planned["gone"]) == (0, 1, 0)
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["sent"], ended.json["ok"]) == (0, 0, 1)
    assert [(row["status"], row["text"]) for row in job.rows()] == [("ok", text)]
    assert (shown["status"], shown["text"]) == ("ok", text)


def test_of_the_texts_of_one_run_any_may_serve(job, called, says):
    says(OF_19, OF_5, OF_5)
    assert called("run", job(ROWS, **check(20, retries=2))).returncode == 1
    serves(called, job, OF_19, **check(10))


def test_the_newest_that_serves_is_used(job, called, says):
    says(OF_13, OF_19, OF_5)
    assert called("run", job(ROWS, **check(20, retries=2))).returncode == 1
    serves(called, job, OF_19, **check(10))
    serves(called, job, OF_5, **check(5))


def test_an_answer_of_before_hides_no_newer_text(job, called, says):
    says(OF_5, OF_13)
    assert called("run", job(ROWS)).returncode == 0
    assert called("run", job(ROWS, **check(20))).returncode == 1
    serves(called, job, OF_13, **check(10))


def test_a_text_of_before_a_fresh_run_serves_where_the_new_one_does_not(job, called, says):
    says(OF_19, OF_5)
    assert called("run", job(ROWS)).returncode == 0
    assert called("run", job(ROWS), "--fresh").returncode == 0
    serves(called, job, OF_5)
    path = job(ROWS, **check(10))
    assert called("prune", path, "--yes").stdout == "nothing dropped\n", "it may serve"
    serves(called, job, OF_19, **check(10))
    assert "dropped 1" in called("prune", job(ROWS), "--yes").stdout, "it does not: the newer one does"
    serves(called, job, OF_5)


def test_a_fresh_run_takes_none_of_before(job, called, says):
    says(OF_19, OF_5, OF_13)
    assert called("run", job(ROWS, **check(10))).returncode == 0
    ended = called("run", job(ROWS, **check(10)), "--fresh", "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["failed"]) == (1, 0, 1)
    ended = called("run", job(ROWS, **check(10)), "--fresh", "--json")
    assert (ended.returncode, ended.json["sent"]) == (0, 1)


@pytest.mark.parametrize("settings", [{}, check(10)], ids=["without a check", "with a check"])
def test_damage_to_one_text_voids_no_other(settings, job, called, says):
    says(OF_19, OF_13)
    assert called("run", job(ROWS, **settings)).returncode == 0
    assert called("run", job(ROWS, **settings), "--fresh").returncode == 0
    damage_newest(job)
    ended = called("run", job(ROWS, **settings), "--json")
    assert (ended.returncode, ended.json["sent"]) == (0, 0)
    assert "its stored answer is damaged" in ended.stderr
    serves(called, job, OF_19, **settings)


def test_where_all_texts_are_damaged_one_is_bought(job, called, says):
    says(OF_19, OF_13, OF_5)
    path = job(ROWS)
    assert called("run", path).returncode == 0
    assert called("run", path, "--fresh").returncode == 0
    with closing(sqlite3.connect(job.checkpoint, isolation_level=None)) as db:
        db.execute("UPDATE bodies SET body = x'00'")
    assert called("run", path, "--json").json["sent"] == 1
    serves(called, job, OF_5)


def test_rows_that_share_their_texts_are_shown_as_they_are_used(job, called, says):
    says(OF_19, OF_5, OF_5)
    twins = [{"id": str(n), "name": "row"} for n in (1, 2)]
    assert called("run", job(twins, duplicates="once", **check(20, retries=2))).returncode == 1
    path = job(twins, duplicates="once", **check(10))
    assert "no row failed" in called("show", path, "--failed").stdout
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["sent"], ended.json["ok"]) == (0, 0, 2)
