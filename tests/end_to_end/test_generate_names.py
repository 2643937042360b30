"""Tables under one name, and under names like each other: each call has its own rows back, or is refused."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import polars as pl
import pytest
from support.service import PATIENCE, Hold

import batchgen

ASKED = {"prompt": "Write about {{ name }}.", "model": "palmyra-x5", "max_tokens": 5, "quiet": True}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch, service):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WRITER_BASE_URL", service.url)
    monkeypatch.setenv("WRITER_API_KEY", service.key)


def rows(of: str, count: int = 3) -> list[dict[str, str]]:
    return [{"name": f"{of} {number}"} for number in range(count)]


def names(of: list[dict[str, str]]) -> list[str]:
    return [row["name"] for row in of]


def test_a_trial_on_the_built_in_model_leaves_a_run_of_that_name_its_table(service):
    service.script = lambda *_: Hold()
    ours, trial = rows("tent", 6), rows("trial")
    with ThreadPoolExecutor() as beside:
        run = beside.submit(batchgen.generate, ours, name="seo", **ASKED)
        service.wait(lambda there: there.requests)
        tried = batchgen.generate(trial, name="seo", local=True, **ASKED)
        service.release()
        frame = run.result(PATIENCE)
    assert tried["name"].to_list() == names(trial)
    assert frame["name"].to_list() == names(ours)
    assert frame["status"].to_list() == ["ok"] * 6


def test_calls_at_once_under_one_name(service):
    """One runs; the others are refused, or wait their turn where they come late. None has another's rows."""
    bar = Barrier(4)

    def generate(of: str) -> str:
        bar.wait(PATIENCE)
        try:
            frame = batchgen.generate(rows(of), name="seo", **ASKED)
        except batchgen.AlreadyRunning as error:
            return str(error)
        return "its own" if frame["name"].to_list() == names(rows(of)) else "another's"

    refused = "seo: a run of this name is at work: wait for its end, or give another name"
    with ThreadPoolExecutor() as at_once:
        for _ in range(3):
            ended = list(at_once.map(generate, ["tent", "lamp", "rope", "stove"]))
            assert set(ended) <= {"its own", refused}
            assert "its own" in ended


def test_a_name_that_looks_like_a_file_of_another(service):
    tables = {name: rows(name) for name in ("seo.input", "seo.first-2", "tables", "seo")}
    for _ in range(2):
        for name, table in tables.items():
            assert batchgen.generate(table, name=name, **ASKED)["name"].to_list() == names(table)
    for name, table in tables.items():
        assert pl.read_parquet(f".batchgen/{name}.parquet")["name"].to_list() == names(table)
    assert service.requests == 3 * len(tables), "nothing is bought twice"


def test_the_built_in_model_does_not_take_over_what_was_bought(service):
    ours = rows("tent")
    batchgen.generate(ours, name="seo.local", **ASKED)
    with pytest.raises(batchgen.UsageError, match=r"holds answers that were bought, of a job named seo\.local"):
        batchgen.generate(ours[:2], name="seo", local=True, **ASKED)
    assert batchgen.load(".batchgen/seo.local.parquet")["model"].to_list() == ["palmyra-x5-served"] * 3
    batchgen.generate(ours, name="lamp", local=True, **ASKED)
    with pytest.raises(batchgen.UsageError, match="holds the built-in model's answers, of a job named lamp"):
        batchgen.generate(ours, name="lamp.local", **ASKED)
    assert service.requests == 3
