"""What `batchgen plan` says of `until`: which of its bounds may end the run before the last row."""

import datetime as dt

import pytest

ROWS = [{"id": f"r{n}", "name": f"shelf {n}"} for n in range(40)]
"""At 60 requests a minute: 40 s. With 50 tokens an answer: at most 2,000 out, and $0.012."""
EARLY = "may end it before all rows are done; the next run goes on"
NOT_NOW = f"{dt.datetime.now().astimezone() + dt.timedelta(hours=12):%H:%M}"


@pytest.mark.parametrize(
    ("until", "said"),
    [
        pytest.param({}, None, id="no bound"),
        pytest.param(
            {"requests": 40, "tokens": 9000, "cost": 5, "after": "1h", "at": NOT_NOW}, None, id="enough of everything"
        ),
        pytest.param({"requests": 39}, f"`requests` {EARLY}", id="a request too few"),
        pytest.param({"tokens": 2000}, f"`tokens` {EARLY}", id="answers alone may take as many tokens"),
        pytest.param({"cost": 0.01}, f"`cost` {EARLY}", id="less than the rows may cost"),
        pytest.param({"after": "39s"}, f"`after` {EARLY}", id="a second less than the rates allow"),
        pytest.param({"cost": 0.01, "after": "39s"}, f"`after` or `cost` {EARLY}", id="two of them"),
    ],
)
def test_a_bound_that_may_end_the_run_early_is_told(job, called, until, said):
    path = job(ROWS, until=until, limits={"concurrency": 8, "requests_per_minute": 60})
    lines = [line.split(maxsplit=1) for line in called("plan", path).stdout.splitlines()]
    assert [line[1] for line in lines if line and line[0] == "until"] == ([said] if said else [])


def test_a_run_of_more_than_a_day_passes_any_time_of_day(job, called):
    path = job(ROWS, until={"at": NOT_NOW}, limits={"concurrency": 8, "requests_per_minute": 0.02})
    assert f"`at` {EARLY}" in called("plan", path).stdout


def test_nothing_ends_a_run_that_has_nothing_to_send(job, called):
    path = job(ROWS[:2])
    assert called("run", path).returncode == 0
    job(ROWS[:2], until={"requests": 1})
    assert "until" not in called("plan", path).stdout


def test_scripts_read_the_bounds_as_the_job_has_them(job, called):
    path = job(ROWS, until={"cost": 5, "at": "06:00"})
    assert called("plan", path, "--json").json["until"] == {
        "after": None,
        "at": "06:00",
        "requests": None,
        "tokens": None,
        "cost": 5,
    }
