"""The CSV export: every cell what it was, and none a formula."""

from __future__ import annotations

import csv
import json

import pytest
from support.service import Raw


def answer(text: str) -> bytes:
    return json.dumps({"choices": [{"text": text, "log_probs": None}]}).encode()


def exported(job, called, path, *options) -> list[dict[str, str]]:
    target = job.folder / "out.csv"
    ended = called("export", path, "-o", target, *options)
    assert ended.returncode == 0, ended.stderr
    assert target.read_bytes().startswith(b"\xef\xbb\xbf"), "Excel takes it for another encoding without"
    with target.open(encoding="utf-8-sig", newline="") as file:
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
    service.script = lambda *_: Raw(answer('=HYPERLINK("x")'))
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
    assert list(rows[0]) == [name for name in expected[0] if name != "log_probs"]
    assert rows[0]["finished_at"].startswith(expected[0]["finished_at"].date().isoformat())
    (asked,) = {row["log_probs"] for row in exported(job, called, path, "--columns", "log_probs")[:1]}
    assert json.loads(asked) == expected[0]["log_probs"]
    assert not list(job.folder.glob(".*.tmp"))


def test_a_cell_that_excel_cuts_is_told_with_its_row(job, service, called):
    emoji = "\N{TENT}"
    texts = ["x" * 32_767, "x" * 32_768, emoji * 32_767, "\N{PEACH}" * 16_383, "\N{PEACH}" * 16_384]
    service.script = lambda _, body: Raw(answer(texts[int(body["prompt"].split()[-1].rstrip("."))]))
    path = job([{"id": f"r{n}", "name": f"shelf {n}"} for n in range(5)])
    assert called("run", path).returncode == 0
    ended = called("export", path, "-o", job.folder / "x.csv")
    assert ended.returncode == 0
    assert "row 2: text has 32,768; row 5: text has 32,768\n" in ended.stderr
    assert [row["text"] for row in exported(job, called, path)] == texts


def test_a_file_of_another_kind(job, called):
    path = job([{"id": "r1", "name": "a"}])
    ended = called("export", path, "-o", job.folder / "out.txt")
    assert ended.returncode == 2
    assert "should end in .parquet, .csv, .xlsx, .jsonl or .ndjson" in ended.stderr
