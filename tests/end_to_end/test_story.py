"""One long story: edits of the input and the job, kills, damage, pruning and runs in any order, held against the
server's ledger after every step. What is answered is never bought again; what a kill cost was in flight."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.durability import Driver, Service, Work, expected, here, keys, service

from batchgen import commands
from batchgen.errors import MachineRefused

CONCURRENCY = 4


class Story:
    """One job's life, and what the test knows of it. Told by dice: a kill falls where it falls, so a story cannot
    be told twice, and its steps are printed where it ends badly."""

    def __init__(self, folder: Path, server: Service, driver: Driver, dice: random.Random) -> None:
        self.work, self.server, self.driver, self.dice = Work(folder), server, driver, dice
        self.asked = [self.word() for _ in range(dice.randint(8, 20))]
        self.done: set[bytes] = set()
        self.seed = 1

    def word(self) -> str:
        return f"Write about shelf {self.dice.randrange(12)}."

    def place(self) -> int:
        return self.dice.randrange(len(self.asked))

    # the input and the job change

    def insert(self):
        self.asked.insert(self.place(), self.word())

    def remove(self):
        if len(self.asked) > 1:
            self.asked.pop(self.place())

    def edit(self):
        self.asked[self.place()] = self.word()

    def reorder(self):
        self.dice.shuffle(self.asked)

    def change_a_parameter(self):
        self.seed = 3 - self.seed

    # the job runs

    def write(self) -> set[bytes]:
        """The keys of the input as it is now."""
        self.work.write(self.asked, concurrency=CONCURRENCY, seed=self.seed)
        return set(keys(self.asked, self.seed))

    def billed(self) -> int:
        return self.server.settled()["billed"]

    def stored(self) -> set[bytes]:
        return set(self.work.answers())

    def run(self):
        wanted = self.write()
        missing = wanted - self.done
        before = self.billed()
        planned = commands.plan(self.work.job, environ={"WRITER_BASE_URL": self.server.url}).plan
        ended = here(self.work, self.server.url)
        assert ended.exit_code == 0
        assert self.billed() - before == ended.sent == planned.todo == len(missing), (
            "exactly what was missing is bought"
        )
        assert (ended.reused, planned.reused) == (len(wanted & self.done),) * 2
        self.done |= missing
        self.all_is_there()

    def kill(self):
        wanted = self.write()
        before = self.billed()
        ended = self.driver("run", self.work, self.server.url, cpu=self.dice.uniform(0, 0.12))
        bought = self.billed() - before
        stored = self.stored()
        assert self.done <= stored, "nothing that was stored is lost"
        new = stored - self.done
        assert new <= wanted
        assert 0 <= bought - len(new) <= (CONCURRENCY if ended.killed else 0), "what is lost was in flight"
        self.done |= new

    def fresh(self):
        if not self.work.begun():
            return
        wanted = self.write()
        before = self.billed()
        ended = here(self.work, self.server.url, fresh=True)
        assert ended.exit_code == 0
        assert self.billed() - before == len(wanted), "everything is bought anew"
        self.done = wanted  # answers of before are not reused any more
        self.forget_the_rest()
        self.all_is_there()

    def forget_the_rest(self) -> None:
        """What lies under the floor is dropped, so that `stored` is what may be reused."""
        commands.prune(self.work.job, lambda _: True, environ={"WRITER_BASE_URL": self.server.url})
        assert self.stored() == self.done

    def prune(self):
        if not self.work.begun():
            return
        wanted = self.write()
        commands.prune(self.work.job, lambda _: True, environ={"WRITER_BASE_URL": self.server.url})
        self.done &= wanted
        assert self.stored() == self.done

    def damage(self):
        """A bit of a stored answer that the input uses flips."""
        wanted = self.write()
        if not wanted & self.done:
            return
        key = self.dice.choice(sorted(wanted & self.done))
        with closing(sqlite3.connect(self.work.checkpoint)) as db, db:
            (id_,) = db.execute("SELECT max(id) FROM attempts WHERE key = ? AND outcome = 'ok'", (key,)).fetchone()
            (body,) = db.execute("SELECT body FROM bodies WHERE id = ?", (id_,)).fetchone()
            at, bit = self.dice.randrange(len(body)), 1 << self.dice.randrange(8)
            flipped = body[:at] + bytes([body[at] ^ bit]) + body[at + 1 :]
            db.execute("UPDATE bodies SET body = ? WHERE id = ?", (flipped, id_))
        before = self.billed()
        ended = here(self.work, self.server.url)
        assert ended.exit_code == 0
        assert self.billed() - before == len(wanted - self.done) + 1, "the damaged row is bought again"
        self.done |= wanted
        self.all_is_there()

    def export(self):
        if not self.work.begun():
            return
        self.write()
        try:
            done = commands.export(
                self.work.job, self.work.folder / "export.parquet", environ={"WRITER_BASE_URL": self.server.url}
            )
        except MachineRefused as error:
            assert "has not run yet" in str(error)  # noqa: PT017
        else:
            assert done.rows == len(self.asked)
            assert done.ok == len(set(keys(self.asked, self.seed)) & self.done)

    def all_is_there(self) -> None:
        table = self.work.table()
        assert [row["ask"] for row in table] == self.asked
        assert [row["text"] for row in table] == [expected(ask, self.seed) for ask in self.asked]
        assert not self.work.temporaries()


STEPS = [
    "insert",
    "remove",
    "edit",
    "reorder",
    "change_a_parameter",
    "run",
    "kill",
    "kill",
    "fresh",
    "prune",
    "damage",
    "export",
]


@pytest.fixture(scope="module")
def driver():
    driver = Driver()
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def server():
    with service() as server:
        yield server


@pytest.mark.parametrize("number", range(int(os.environ.get("STORIES", "6"))))
def test_any_story_ends_well(tmp_path, server, driver, number):
    story = Story(tmp_path, server, driver, random.Random(number))
    for step in story.dice.choices(STEPS, k=25):
        print(step)  # noqa: T201  told where it ends badly
        getattr(story, step)()
