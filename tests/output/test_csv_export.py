"""The CSV export: every cell what it was, and none a formula."""

from __future__ import annotations

import csv
import json

import pytest


def exported(job, called, path) -> list[dict[str, str]]:
    target = job.folder / "out.csv"
    ended = called("export", path, "-o", target)
    assert ended.returncode == 0, ended.stderr
    with target.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        pytest.param("=1+1", "'=1+1", id="a formula"),
        pytest.param("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0", id="a command"),
        pytest.param("@SUM(1)", "'@SUM(1)", id="an at sign"),
        pytest.param("+49 170 1234", "'+49 170 1234", id="a telephone number"),
        pytest.param("-2+3", "'-2+3", id="a difference"),
        pytest.param(" =1+1", "' =1+1", id="after a space"),
        pytest.param("\t=1+1", "'\t=1+1", id="after a tab"),
        pytest.param("|x", "'|x", id="a pipe"),
        pytest.param("-5", "-5", id="a negative number"),
        pytest.param("+1.5e3", "+1.5e3", id="a number with a sign"),
        pytest.param("007", "007", id="leading zeros"),
        pytest.param("a=b", "a=b", id="an equals sign within"),
        pytest.param('say "hi",\nthen go', 'say "hi",\nthen go', id="quotes, commas and line ends"),
    ],
)
def test_no_cell_is_a_formula(job, called, cell, shown):
    path = job([{"id": "r1", "name": cell}])
    assert called("run", path).returncode == 0
    (row,) = exported(job, called, path)
    assert row["name"] == shown


def test_no_answer_and_no_header_is_a_formula(job, service, called):
    from support.service import Raw  # noqa: PLC0415  its answers alone are of interest here

    service.script = lambda *_: Raw(json.dumps({"choices": [{"text": '=HYPERLINK("x")', "log_probs": None}]}).encode())
    path = job([{"id": "r1", "name": "a", "=x()": "1"}])
    assert called("run", path).returncode == 0
    (row,) = exported(job, called, path)
    assert row["text"] == '\'=HYPERLINK("x")'
    assert "'=x()" in row


def test_every_row_and_column_is_there(job, called):
    path = job([{"id": f"r{n}", "name": f"shelf {n}"} for n in range(30)])
    assert called("run", path).returncode == 0
    rows, expected = exported(job, called, path), job.rows()
    assert [row["text"] for row in rows] == [row["text"] for row in expected]
    assert list(rows[0]) == list(expected[0])
    assert json.loads(rows[0]["log_probs"]) == expected[0]["log_probs"]
    assert rows[0]["finished_at"].startswith(expected[0]["finished_at"].date().isoformat())
    assert not list(job.folder.glob(".*.tmp"))


def test_a_file_that_is_neither(job, called):
    path = job([{"id": "r1", "name": "a"}])
    ended = called("export", path, "-o", job.folder / "out.xlsx")
    assert ended.returncode == 2
    assert "should end in .parquet or .csv" in ended.stderr
