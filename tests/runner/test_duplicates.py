"""Rows that send the same request: each its own answer, or one for all of them, and nothing is lost on the way between."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import closing

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.service import Raw, Status, expected_answer

from batchgen.checkpoint.index import State
from batchgen.checkpoint.reader import Reader
from batchgen.runner.duplicates import first_of_each, share_answers, with_occurrence_keys

NAMES = ["stove", "lamp", "stove", "desk", "stove", "lamp"]
WITHOUT = ("id", "name")


def rows_of(names: list[str], **columns) -> list[dict]:
    made = [{"id": f"r{n}", "name": name} for n, name in enumerate(names)]
    return [{**row, **{key: value(n) for key, value in columns.items()}} for n, row in enumerate(made)]


def asked(service) -> list[str]:
    """The names that were asked for, in order, from now on."""
    names: list[str] = []
    service.script = lambda _, body: names.append(body["prompt"].removeprefix("Write about ").removesuffix("."))
    return names


@pytest.fixture
def once(job):
    def write(names: list[str], *, duplicates: str = "once", columns=None, **sections):
        return job(rows_of(names, **(columns or {})), duplicates=duplicates, **sections)

    return write


def answering(text: str) -> Raw:
    return Raw(json.dumps({"choices": [{"text": text}], "model": "m"}).encode())


def answers_of(job) -> list[dict]:
    return [{key: value for key, value in row.items() if key not in WITHOUT} for row in job.rows()]


def test_rows_that_send_the_same_share_one_answer(job, once, service, called):
    path = once(NAMES)
    names = asked(service)
    ended = called("run", path, "--json")
    assert (ended.returncode, Counter(names)) == (0, Counter({"stove": 1, "lamp": 1, "desk": 1}))
    assert (ended.json["rows"], ended.json["ok"], ended.json["reused"], ended.json["sent"]) == (6, 6, 0, 3)
    found = answers_of(job)
    assert found[0] == found[2] == found[4]
    assert found[1] == found[5]
    assert [row["text"] for row in found] == [expected_answer(f"Write about {name}.")["text"] for name in NAMES]
    assert all(row["log_probs"] and row["model"] and row["attempts"] == 1 for row in found)
    again = called("run", path, "--json")
    assert (again.json["sent"], again.json["ok"], again.json["reused"]) == (0, 6, 6)


def test_a_job_without_a_word_of_it_buys_each(job, service, called):
    path = job(rows_of(NAMES))
    assert called("run", path, "--json").json["sent"] == len(NAMES)


def test_the_plan_says_how_many_requests_are_saved(once, called):
    path = once(NAMES)
    planned = called("plan", path, "--json").json
    assert [planned[key] for key in ("rows", "todo", "saved", "new")] == [6, 3, 3, 6]
    assert "3 requests saved" in called("plan", path).stdout
    assert called("plan", once(NAMES, duplicates="each"), "--json").json["saved"] == 0


def test_the_plan_says_how_many_requests_could_be_saved(once, called):
    said = (
        f"repeated  {len(NAMES) - len({*NAMES})} requests that an earlier row makes, too: `duplicates: once` buys one"
    )
    assert said in called("plan", once(NAMES, duplicates="each")).stdout
    assert "repeated" not in called("plan", once(NAMES)).stdout
    assert "repeated" not in called("plan", once([*{*NAMES}], duplicates="each")).stdout


def test_status_and_report_count_rows(job, once, service, called):
    path = once(NAMES, report=True)
    service.script = lambda _, body: Status(400) if "lamp" in body["prompt"] else None
    assert called("run", path).returncode == 1
    told = called("status", path, "--json").json
    assert [told[key] for key in ("rows", "done", "failed", "left", "sent")] == [6, 4, 2, 0, 3]
    page = (job.folder / "out" / "job.report.html").read_text()
    assert called("report", path).returncode == 0
    assert "6 rows" in page


@pytest.mark.parametrize("first", ["each", "once"])
def test_a_failure_is_shared_and_tried_again_for_all(job, once, service, called, first):
    path = once(NAMES, duplicates=first)
    service.script = lambda _, body: Status(400) if "lamp" in body["prompt"] else None
    assert called("run", path).returncode == 1
    path = once(NAMES)
    service.script = None
    kept = called("run", path, "--no-retry-failed", "--json").json
    assert [kept[key] for key in ("ok", "failed", "sent")] == [4, 2, 0]
    errors = [row["error"] for row in job.rows()]
    assert errors[1] == errors[5] is not None
    tried = called("run", path, "--json").json
    assert [tried[key] for key in ("ok", "failed", "sent")] == [6, 0, 1]


@pytest.mark.parametrize("answered", [pytest.param(n, id=f"of occurrence {n}") for n in range(3)])
def test_an_answer_of_any_occurrence_serves_all(job, once, service, called, answered):
    path = once(["stove"] * 3, duplicates="each", columns={"margin": lambda n: int(n == answered)}, priority="margin",
                limits={"concurrency": 1}, until={"requests": 1})  # fmt: skip
    assert called("run", path).returncode == 3
    assert [row["status"] == "ok" for row in job.rows()] == [n == answered for n in range(3)]
    once(["stove"] * 3, columns={"margin": lambda _: 1})
    ended = called("run", path, "--json").json
    assert [ended[key] for key in ("ok", "reused", "sent")] == [3, 3, 0]
    once(["stove"] * 3, duplicates="each", columns={"margin": lambda _: 1})
    ended = called("run", path, "--json").json
    assert [ended[key] for key in ("ok", "reused", "sent")] == [3, 1, 2]


def test_the_way_to_once_and_back_keeps_every_answer(job, once, service, called):
    path = once(NAMES, duplicates="each")
    assert called("run", path, "--json").json["sent"] == 6
    for duplicates in ("once", "each", "once"):
        ended = called("run", once(NAMES, duplicates=duplicates), "--json").json
        assert [ended[key] for key in ("ok", "reused", "sent")] == [6, 6, 0]
    assert called("prune", path, "--yes").stdout == "nothing dropped\n"


def test_the_first_occurrence_keeps_what_was_bought_once(job, once, service, called):
    path = once(NAMES)
    assert called("run", path, "--json").json["sent"] == 3
    names = asked(service)
    ended = called("run", once(NAMES, duplicates="each"), "--json").json
    assert [ended[key] for key in ("ok", "reused", "sent")] == [6, 3, 3]
    assert Counter(names) == {"stove": 2, "lamp": 1}


def test_a_request_goes_when_the_first_of_its_rows_is_due(job, once, service, called):
    margins = [1, 5, 2, 4, 9, 0]
    path = once(NAMES, columns={"margin": lambda n: margins[n]}, priority="margin", limits={"concurrency": 1})
    names = asked(service)
    assert called("run", path).returncode == 0
    assert names == ["stove", "lamp", "desk"]


@pytest.mark.parametrize("order", ["input", "random"])
def test_a_run_that_was_stopped_goes_on(job, once, service, called, order):
    names = [f"shelf {n % 7}" for n in range(40)]
    path = once(names, order=order, until={"requests": 3}, limits={"concurrency": 1})
    for left in (4, 1):
        ended = called("run", path, "--json").json
        assert (ended["sent"], ended["pending"]) == (3, sum(row["status"] == "pending" for row in job.rows()))
        assert len({row["name"] for row in job.rows() if row["status"] == "pending"}) == left
        told = called("status", path, "--json").json
        assert (told["done"], told["left"]) == (ended["ok"], ended["pending"])
    assert called("run", path, "--json").json["sent"] == 1


def test_the_first_rows_and_shards_share_within_themselves(job, once, service, called):
    path = once(NAMES)
    assert called("run", path, "--limit", "3", "--json").json["sent"] == 2
    assert called("run", path, "--json").json["sent"] == 1
    for shard, sent in (("1/2", 1), ("2/2", 2)):  # stove stove stove | lamp desk lamp
        path = once(NAMES, input={"shard": shard}, name=f"part{shard[0]}")
        ended = called("run", path, "--json").json
        assert [ended[key] for key in ("rows", "ok", "sent")] == [3, 3, sent]


def test_a_check_is_heard_by_all_who_share(job, once, service, called):
    path = once(NAMES, check={"not_matches": "lamp", "retries": 0})
    service.script = lambda _, body: answering(body["prompt"])
    ended = called("run", path, "--json").json
    assert [ended[key] for key in ("ok", "failed", "sent")] == [4, 2, 3]
    ended = called("run", once(NAMES), "--json").json
    assert [ended[key] for key in ("ok", "failed", "sent")] == [6, 0, 0]


def test_a_gate_takes_no_shared_answer_for_a_duplicate(job, once, called):
    path = once(NAMES, gate={"max_duplicates": "0%", "min_rows": 6, "min_done": "100%"})
    assert called("run", path).returncode == 0


def test_a_fresh_run_buys_anew_once(job, once, service, called):
    path = once(NAMES)
    assert called("run", path).returncode == 0
    ended = called("run", path, "--fresh", "--json").json
    assert [ended[key] for key in ("ok", "reused", "sent")] == [6, 0, 3]


def test_an_answer_that_many_share_does_not_fill_the_memory(job, once, service, called):
    """Batches are by the bytes that their rows need, not by those of different answers."""
    path = once(["stove"] * 50 + ["lamp"])
    service.script = lambda _, body: answering(random.Random(body["prompt"]).randbytes(500_000).hex())
    assert called("run", path).returncode == 0
    assert len({row["text"] for row in job.rows()}) == 2
    with closing(Reader(job.checkpoint)) as reader:
        batches = list(reader.record_batches([1] * 50 + [2]))
    assert [id_ for batch in batches for id_ in batch.ids] == [1] * 50 + [2]
    assert max(len(batch.ids) for batch in batches) < 6


bodies = st.lists(st.tuples(st.integers(0, 6), st.sampled_from(State)), max_size=20)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # many share this machine
@given(bodies)
def test_all_rows_of_one_body_have_what_the_furthest_has(drawn):
    size = len(drawn)
    rows = pl.DataFrame(
        {"hi": [(body % 2) << 63 for body, _ in drawn], "lo": [body for body, _ in drawn]},
        schema={"hi": pl.UInt64, "lo": pl.UInt64},
    )
    first = first_of_each(rows)
    groups = {body: [at for at in range(size) if drawn[at][0] == body] for body, _ in drawn}
    if first is None:
        assert len(groups) == size
        return
    assert first.to_list() == [groups[body][0] for body, _ in drawn]
    known = with_occurrence_keys(rows).with_columns(
        record=pl.Series(range(1, size + 1), dtype=pl.Int64),
        state=pl.Series([state for _, state in drawn], dtype=pl.UInt8),
        attempts=pl.Series(range(size), dtype=pl.UInt32),
    )
    found = share_answers(known, first)
    best = {body: max(group, key=lambda at: (drawn[at][1], -at)) for body, group in groups.items()}
    assert found["answered_by"].to_list() == [best[body] for body, _ in drawn]
    assert found["record"].to_list() == [best[body] + 1 for body, _ in drawn]
    assert found["sharing"].to_list() == [len(groups[body]) for body, _ in drawn]
    assert found["hi"].equals(known["hi"])
