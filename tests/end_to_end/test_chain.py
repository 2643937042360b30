"""Two jobs in a chain, as `jobs/judged.yaml` has it: answers first, then a judge over those that are there."""

import shutil
from pathlib import Path

import polars as pl
import pytest
from support.chat_server import ChatServer
from support.service import Status

ROOT = Path(__file__).parents[2]
ROWS = 30
"""Of the products: all of them would take the jobs' own 400 requests a minute."""


@pytest.fixture
def shop(tmp_path):
    for folder in ("jobs", "sample_data"):
        shutil.copytree(ROOT / folder, tmp_path / "shop" / folder)
    products = tmp_path / "shop" / "sample_data" / "products.csv"
    pl.read_csv(products, infer_schema=False)[:ROWS].write_csv(products)
    return tmp_path / "shop"


@pytest.fixture
def judge(shop, called):
    """Runs the second job at a server of chats."""
    with ChatServer("writer") as server:

        def run():
            return called("run", shop / "jobs" / "judged", "--json", env={"WRITER_BASE_URL": server.url})

        run.server = server
        yield run


def test_a_judge_over_the_articles_that_are_there(shop, service, called, judge):
    service.script = lambda n, _: Status(400) if n in {5, 19} else None
    assert called("run", shop / "jobs" / "seo").returncode == 1, "two rows failed"
    ended = judge()
    assert (ended.returncode, ended.json["rows"], ended.json["ok"]) == (0, ROWS - 2, ROWS - 2)
    articles = pl.read_parquet(shop / "out" / "seo.parquet").filter(pl.col("status") == "ok")
    judged = pl.read_parquet(shop / "out" / "judged.parquet")
    assert judged["article"].to_list() == articles["text"].to_list()
    prompts = sorted(body["messages"][0]["content"] for body in judge.server.bodies)
    assert prompts == sorted(
        f"Is this article about {name} good? Answer in one word, good or bad.\n\n{text}"
        for name, text in articles.select("name", "text").iter_rows()
    )
    assert {"text", "status", "written", "took_s"} <= set(judged.columns)


def test_an_article_that_changed_is_judged_anew_and_no_other(shop, service, called, judge):
    called("run", shop / "jobs" / "seo")
    assert judge().json["sent"] == ROWS
    products = shop / "sample_data" / "products.csv"
    rows = pl.read_csv(products, infer_schema=False)
    rows[:5].with_columns(features=pl.lit("none")).vstack(rows[5:]).write_csv(products)
    assert called("run", shop / "jobs" / "seo", "--json").json["sent"] == 5
    assert judge().json["sent"] == 5


def test_the_chain_before_its_first_link_says_what_is_missing(shop, called):
    ended = called("plan", shop / "jobs" / "judged")
    assert ended.returncode == 2
    assert f"{shop / 'out' / 'seo.parquet'}: no such input" in ended.stderr
