"""Killed at any moment, a hundred times, against the built-in server's own ledger of what it billed."""

import json
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from support.durability import (
    HUNG,
    Driver,
    Ended,
    Service,
    Work,
    digest,
    expected,
    keys,
    prompts,
    records,
    run,
    service,
    start,
)

from batchgen.checkpoint.in_flight import leftovers
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import INTERRUPTED, OK

CONCURRENCY = 16
ROWS = 400
COPIES = 5
"""So many rows repeat the first one, word for word: the same request, bought for each."""
SCENARIOS = 6
KILLS = 18
"""For each scenario, at least."""
LATER = 1.1
"""How much later each kill comes than the one before, so that one comes amid the answers on any machine."""


@dataclass
class Night:
    """One job under fire: what the ledger says, what is stored, what was in flight, kill by kill."""

    work: Work
    service: Service
    asked: list[str]
    kills: int = 0
    rebought: int = 0
    recorded: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[bytes] = field(default_factory=Counter)
    billed: int = 0
    stored: dict[bytes, bytes] = field(default_factory=dict)
    marks: set[tuple[bytes, int]] = field(default_factory=set)
    runs: int = 0

    def __post_init__(self):
        self.prompt_of = dict(zip(keys(self.asked), self.asked, strict=True))

    def attempts(self, outcome: str):
        with closing(sqlite3.connect(self.work.checkpoint)) as db:
            sql = "SELECT count(*) FROM attempts WHERE outcome = ?"
            return db.execute(sql, (outcome,)).fetchone()[0], db.execute("SELECT count(*) FROM runs").fetchone()[0]

    def look(self, *, killed: bool) -> str:
        """What must hold after each end of a run, whatever ended it. Returns what the run was at."""
        if not self.work.begun():
            self.kills += killed
            self.moments["planning"] += killed
            return "planning"
        with closing(Reader(self.work.checkpoint)) as reader:
            ok = [record for record in records(reader) if record.outcome == OK]
            sent = reader.attempts_of(list(self.prompt_of))
        now = {record.key: record.body for record in ok}
        assert len(now) == len(ok), "an answer was stored, and bought again"
        assert self.stored.items() <= now.items(), "an answer that was committed is gone or another"
        fresh = set(leftovers(self.work.state("flight"))) - self.marks
        fresh = {(key, attempt) for key, attempt in fresh if attempt > sent.get(key, 0)}
        assert fresh <= {(key, attempt) for key in self.prompt_of for _, attempt in fresh}
        assert len(fresh) <= CONCURRENCY
        assert killed or not fresh

        ledger = self.service.settled()["prompts"]
        billed = sum(ledger.get(digest(prompt), 0) for prompt in set(self.asked))
        lost = (billed - self.billed) - (len(now) - len(self.stored))
        assert lost <= len(fresh), "billed, not stored, and not even marked as in flight"
        runs = self.attempts(OK)[1]
        moment = "publishing" if len(now) == len(self.asked) else "sending"
        moment = moment if runs > self.runs else "planning"
        self.moments[moment] += killed
        self.kills += killed
        self.rebought += lost
        self.in_flight.update(key for key, _ in fresh)
        self.marks |= fresh
        self.billed, self.stored, self.runs = billed, now, runs
        return moment

    def check_end(self, summary: dict) -> None:
        """What must hold once a run came to its end."""
        copies = Counter(self.asked)
        ledger = self.service.settled()["prompts"]
        flown = Counter()
        for key, times in self.in_flight.items():
            flown[self.prompt_of[key]] += times
        for prompt, count in copies.items():
            assert count <= ledger[digest(prompt)] <= count + flown[prompt], prompt
        assert self.rebought == self.billed - len(self.asked)
        assert self.rebought <= self.kills * CONCURRENCY
        assert self.attempts(INTERRUPTED)[0] == len(self.marks) >= self.rebought

        assert (summary["ok"], summary["rows"], summary["exit_code"]) == (len(self.asked), len(self.asked), 0)
        assert summary["ok"] == summary["reused"] + summary["sent"]
        table = self.work.table()
        assert [row["n"] for row in table] == list(range(len(self.asked)))
        for row, prompt, key in zip(table, self.asked, keys(self.asked), strict=True):
            assert (row["ask"], row["status"], row["error"]) == (prompt, "ok", None)
            assert row["text"] == expected(prompt)
            assert row["attempts"] == 1 + self.in_flight[key]
        assert not self.work.temporaries()


def asked_by(about: str) -> list[str]:
    unique = prompts(ROWS - COPIES, about)
    return [*unique, *unique[:1] * COPIES]


@pytest.fixture(scope="module")
def built_in():
    with service() as running:
        yield running


@pytest.fixture(scope="module")
def driver():
    with closing(Driver()) as driving:
        yield driving


def test_a_hundred_kills_lose_nothing_and_buy_again_only_what_was_in_flight(tmp_path, driver, built_in):
    dice = random.Random(20)
    total, moments = Counter(), Counter()
    longest = 0.1
    for number in range(SCENARIOS):
        folder = tmp_path / str(number)
        folder.mkdir()
        asked = asked_by(f"lamp of night {number} with")
        night = Night(Work(folder).write(asked, concurrency=CONCURRENCY), built_in, asked)
        told = None
        while night.kills < KILLS or told is None:
            waiting = [mark for mark in night.marks if not recorded(night.work, mark)]
            early = 1 if number % 2 else KILLS // 3  # where sending is quick, nothing may be in flight any more by then
            spare = told is None and night.kills >= (early if waiting else KILLS)  # one run comes to its end
            cpu = None if spare else longest * dice.uniform(0.6, 1)
            ended: Ended = driver("run", night.work, built_in.url, cpu=cpu)
            moment = night.look(killed=ended.killed)
            longest *= {"planning": 1.1, "sending": 1.0, "publishing": 0.95}[moment]  # to hit each, on any machine
            if not ended.killed:
                assert ended.error is None
                assert ended.summary["interrupted"] >= len(waiting)
                told = max(told or 0, ended.summary["interrupted"])
                night.check_end(ended.summary)
            assert night.kills < 20 * KILLS
        total.update(kills=night.kills, rebought=night.rebought, in_flight=len(night.marks), told=told)
        moments += night.moments
    sys.stdout.write(f"\n{dict(total)}, at {dict(moments)}\n")
    assert total["kills"] >= SCENARIOS * KILLS
    assert total["rebought"] > 0, "no kill hit a request in flight: nothing was tested"
    assert total["told"] > 0
    assert all(moments[moment] >= 3 for moment in ("planning", "sending", "publishing")), moments


def recorded(work: Work, mark: tuple[bytes, int]) -> bool:
    key, attempt = mark
    with closing(sqlite3.connect(work.checkpoint)) as db:
        sql = "SELECT count(*) FROM attempts WHERE key = ? AND attempts = ? AND outcome = ?"
        return bool(db.execute(sql, (key, attempt, INTERRUPTED)).fetchone()[0])


def test_the_real_command_line_killed_while_it_sends(tmp_path, built_in):
    asked = asked_by("kettle with")
    work = Work(tmp_path).write(asked, concurrency=4)
    night = Night(work, built_in, asked)
    dice = random.Random(3)
    stored = 0
    for _ in range(4):
        with start("run", work.job, "--quiet", url=built_in.url) as process:
            wanted = stored + dice.randrange(1, 40)
            while process.poll() is None and billed(built_in, asked) < wanted:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=HUNG)
        night.look(killed=process.returncode == -signal.SIGKILL)
        stored = night.billed
    assert night.moments["sending"] > 0
    waiting = len({mark for mark in night.marks if not recorded(work, mark)})
    code, summary, _ = run(work, built_in.url)
    night.look(killed=False)
    assert code == 0
    assert summary["interrupted"] >= waiting
    night.check_end(summary)


def billed(running: Service, asked: list[str]) -> int:
    ledger = running.ledger()["prompts"]
    return sum(ledger.get(digest(prompt), 0) for prompt in set(asked))


def test_a_run_that_ends_while_planning_does_not_hide_what_the_kill_before_it_may_have_cost(tmp_path, driver, built_in):
    """Somebody must be told; the run that recorded it ended before it could say so."""
    asked = asked_by("clock with")
    work = Work(tmp_path).write(asked, concurrency=CONCURRENCY)
    night = Night(work, built_in, asked)
    while not night.marks:
        assert len(night.stored) < len(asked), "never killed in flight"
        driver("run", work, built_in.url, cpu=0.02 * LATER**night.kills)
        night.look(killed=True)
    in_flight = len(night.marks)
    good = work.input.read_text()
    work.input.write_text(good.replace(json.dumps(asked[-1]), "null"))
    assert driver("run", work, built_in.url).exit_code == 2
    work.input.write_text(good)
    assert driver("run", work, built_in.url).summary["interrupted"] == in_flight


def test_status_and_export_of_a_killed_run(tmp_path, driver, built_in):
    asked = asked_by("teapot with")
    work = Work(tmp_path).write(asked, concurrency=CONCURRENCY)
    cpu = 0.02
    while not (0 < len(work.answers()) < len(asked)):
        driver("run", work, built_in.url, cpu=cpu)
        cpu *= LATER
    done = len(work.answers())
    with start("status", work.job, "--json") as process:
        status = json.loads(process.communicate(timeout=HUNG)[0])
    assert (status["state"], status["rows"], status["done"]) == ("killed", len(asked), done)
    driver("export", work, built_in.url, target=str(work.result))
    table = work.table()
    assert Counter(row["status"] for row in table) == {"ok": done, "pending": len(asked) - done}
    assert all(row["text"] == (expected(row["ask"]) if row["status"] == "ok" else None) for row in table)


def test_kills_of_a_job_whose_rows_share_answers_buy_none_of_them_twice(tmp_path, driver, built_in):
    dice = random.Random(5)
    asked = dice.choices(prompts(100, "vase with"), k=ROWS)
    work = Work(tmp_path).write(asked, concurrency=CONCURRENCY, more={"duplicates": "once"})
    key_of = {prompt: keys([prompt])[0] for prompt in asked}
    marks: set[tuple[bytes, int]] = set()
    cpu, stored, kills = 0.02, {}, 0
    while (ended := driver("run", work, built_in.url, cpu=cpu if kills < KILLS else None)).killed:
        now = work.answers()
        assert all(len(records) == 1 for records in now.values()), "an answer was stored, and bought again"
        assert stored.keys() <= now.keys() <= set(key_of.values())
        marks |= set(leftovers(work.state("flight"))) if work.state("flight").exists() else set()
        stored, kills, cpu = now, kills + 1, cpu * LATER
    assert kills, "never killed"
    assert (ended.summary["ok"], ended.summary["rows"], ended.exit_code) == (ROWS, ROWS, 0)
    ledger = built_in.settled()["prompts"]
    flown = Counter(key for key, _ in marks)
    for prompt, key in key_of.items():
        assert 1 <= ledger[digest(prompt)] <= 1 + flown[key], prompt
    assert [(row["ask"], row["text"]) for row in work.table()] == [(prompt, expected(prompt)) for prompt in asked]
    assert len(work.answers()) == len(key_of)
