"""Which rows go first, and which cannot go at all: told before anything is sent, kept whatever the order."""

from __future__ import annotations

import datetime as dt
import itertools

import polars as pl
import pytest
from support.service import expected_answer

from batchgen.runner import tasks

COUNT = 40


def rows_of(count: int, **columns: object) -> list[dict]:
    made = [{"id": f"r{n}", "name": f"shelf {n}"} for n in range(count)]
    return [{**row, **{name: value(n) for name, value in columns.items()}} for n, row in enumerate(made)]


def sent(service) -> list[int]:
    """Watches the order in which rows are asked for."""
    order: list[int] = []

    def watch(_: int, body: dict) -> None:
        order.append(int(body["prompt"].removesuffix(".").split()[-1]))

    service.script = watch
    return order


MARGINS = [(n * 7919) % 1000 - 500 for n in range(COUNT)]
BY_MARGIN = sorted(range(COUNT), key=lambda n: (-MARGINS[n], n))


@pytest.mark.parametrize("portion", [tasks.PORTION_BYTES, 5000], ids=["at once", "in portions of five rows"])
@pytest.mark.parametrize("kind", ["csv", "parquet", "ndjson"])
def test_the_highest_go_first_and_the_results_stand_in_input_order(job, service, called, monkeypatch, kind, portion):
    monkeypatch.setattr(tasks, "PORTION_BYTES", portion)
    path = job(rows_of(COUNT, margin=lambda n: MARGINS[n]), kind=kind, limits={"concurrency": 1}, priority="margin")
    order = sent(service)
    assert called("run", path).returncode == 0
    assert order == BY_MARGIN
    found = job.rows()
    assert [row["id"] for row in found] == [f"r{n}" for n in range(COUNT)]
    assert [row["text"] for row in found] == [expected_answer(f"Write about {row['name']}.")["text"] for row in found]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(["2", "10", "", "-1"], [1, 0, 3, 2], id="a CSV's texts are numbers, and empty cells are last"),
        pytest.param(["1e3", " 7 ", "7.5", "0"], [0, 2, 1, 3], id="numbers of any spelling"),
        pytest.param(["5", "5", "9", "5"], [2, 0, 1, 3], id="equals stand in input order"),
    ],
)
def test_priorities_of_a_csv(job, service, called, values, expected):
    path = job(rows_of(4, margin=lambda n: values[n]), limits={"concurrency": 1}, priority="margin")
    order = sent(service)
    assert called("run", path).returncode == 0
    assert order == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([dt.date(2026, 1, 2), dt.date(2026, 5, 1), None], [1, 0, 2], id="dates: the latest first"),
        pytest.param([False, True, None], [1, 0, 2], id="truth values"),
        pytest.param([1.5, float("nan"), 2.5], [2, 0, 1], id="no number is last"),
        pytest.param([2**62, 2**62 + 1, 5], [1, 0, 2], id="integers that no double tells apart"),
    ],
)
def test_priorities_of_a_parquet_file(job, service, called, values, expected):
    rows = [{"id": f"r{n}", "name": f"shelf {n}", "margin": value} for n, value in enumerate(values)]
    path = job(rows, limits={"concurrency": 1}, input={"path": "rows.parquet"}, priority="margin")
    pl.DataFrame(rows).write_parquet(job.folder / "rows.parquet")
    order = sent(service)
    assert called("run", path).returncode == 0
    assert order == expected


def test_random_is_a_sample_and_the_next_run_goes_on_with_it(job, service, called):
    rows = rows_of(200)
    order = sent(service)
    path = job(rows, limits={"concurrency": 1}, order="random", until={"requests": 100})
    assert called("run", path).returncode == 3
    assert order != sorted(order)
    assert 30 <= sum(n < 100 for n in order) <= 70
    first = list(order)
    assert called("run", path).returncode == 0
    assert sorted(order) == list(range(200))
    job(rows, limits={"concurrency": 1}, order="random", output={"path": "again/job.parquet"})
    assert called("run", path).returncode == 0
    assert order[200:] == order[:200]
    assert first == order[200:300]


def test_random_among_equals(job, service, called):
    path = job(rows_of(60, tier=lambda n: n % 2), limits={"concurrency": 1}, priority="tier", order="random")
    order = sent(service)
    assert called("run", path).returncode == 0
    assert [n % 2 for n in order] == [1] * 30 + [0] * 30
    assert order[:30] != sorted(order[:30])


def test_a_night_that_is_cut_off_did_the_most_important_rows(job, service, called):
    path = job(
        rows_of(COUNT, margin=lambda n: MARGINS[n]),
        limits={"concurrency": 4},
        priority="margin",
        until={"requests": 12},
    )
    assert called("run", path).returncode == 3
    done = {row["id"] for row in job.rows() if row["status"] == "ok"}
    assert done == {f"r{n}" for n in BY_MARGIN[:12]}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"priority": "margn"}, "priority: the input has no column 'margn'; did you mean margin?", id="a typo"),
        pytest.param({"priority": "name"}, "row 1: priority: name is 'shelf 0', which is not a number", id="a column of words"),
        pytest.param({"order": "shuffled"}, "order: ", id="an order that is none"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_order_that_cannot_be(job, service, called, command, settings, said):
    ended = called(command, job(rows_of(3, margin=lambda n: n), **settings))
    assert ended.returncode == 2
    assert said in ended.stderr
    assert service.requests == 0


# Rows that can never fit


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_row_that_no_minute_grants_is_refused_by_name(job, service, called, command):
    rows = rows_of(30)
    rows[7]["name"] = "x" * 4000
    ended = called(command, job(rows, limits={"tokens_per_minute": 1000}))
    assert ended.returncode == 2
    assert "1 of 30 rows cannot be sent" in ended.stderr
    assert "row 8 (r7): 1,054" in ended.stderr
    assert "limits.tokens_per_minute" in ended.stderr
    assert service.requests == 0


def test_a_row_that_just_fits_goes(job, service, called):
    rows = rows_of(2)  # it is the last: a minute's tokens are paid for by a minute's gap
    rows[1]["name"] = "x" * (4 * 950 - len("Write about ."))
    assert called("run", job(rows, limits={"tokens_per_minute": 1000})).returncode == 0


def test_an_answer_that_is_there_is_no_row_to_be_sent(job, service, called):
    rows = rows_of(2)
    rows[0]["name"] = "x" * 4000
    assert called("run", job(rows)).returncode == 0
    ended = called("run", job(rows, limits={"tokens_per_minute": 1000}))
    assert ended.returncode == 0, ended.stderr
    assert service.requests == 2


def test_every_portion_is_as_large_as_it_may_be(monkeypatch):
    monkeypatch.setattr(tasks, "PORTION_BYTES", 10_000)
    rows = pl.DataFrame({"prompt_tokens": [100, 2000, 50, 50, 3000, 1, 1, 1]})
    order = pl.Series([4, 0, 1, 2, 3, 5, 6, 7])
    portions = [list(portion) for portion in tasks._portions(rows, order)]
    assert list(itertools.chain.from_iterable(portions)) == list(order)
    sizes = [
        sum(tasks.TASK_BYTES + tasks.TOKEN_BYTES * rows["prompt_tokens"][at] for at in portion) for portion in portions
    ]
    assert len(sizes) == 2
    assert max(sizes) <= tasks.PORTION_BYTES + max(tasks.TASK_BYTES + tasks.TOKEN_BYTES * rows["prompt_tokens"])
