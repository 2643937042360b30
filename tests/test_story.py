"""One long story: edits of the input and the job, kills, damage, pruning and runs in any order, held against the
server's ledger after every step. What is answered is never bought again; what a kill cost was in flight."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from durability import Driver, Service, Work, expected, here, keys, service
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from batchgen import commands
from batchgen.errors import MachineRefused

CONCURRENCY = 4
WORDS = st.sampled_from([f"Write about shelf {n}." for n in range(12)])
SEEDS = st.sampled_from([1, 2])


class Story(RuleBasedStateMachine):
    server: Service
    driver: Driver

    def __init__(self) -> None:
        super().__init__()
        self.work = Work(Path(tempfile.mkdtemp(prefix="story")))
        self.done: set[bytes] = set()
        self.seed = 1

    def teardown(self) -> None:
        shutil.rmtree(self.work.folder)

    # the input and the job change

    @initialize(asked=st.lists(WORDS, min_size=8, max_size=20))
    def begin(self, asked):
        self.asked = asked

    @rule(word=WORDS, at=st.integers(0, 30))
    def insert(self, word, at):
        self.asked.insert(at, word)

    @precondition(lambda self: len(self.asked) > 1)
    @rule(at=st.integers(0, 30))
    def remove(self, at):
        self.asked.pop(at % len(self.asked))

    @rule(at=st.integers(0, 30), word=WORDS)
    def edit(self, at, word):
        self.asked[at % len(self.asked)] = word

    @rule(order=st.randoms(use_true_random=False))
    def reorder(self, order):
        order.shuffle(self.asked)

    @rule(seed=SEEDS)
    def change_a_parameter(self, seed):
        self.seed = seed

    # the job runs

    def write(self) -> set[bytes]:
        """The keys of the input as it is now."""
        self.work.write(self.asked, concurrency=CONCURRENCY, seed=self.seed)
        return set(keys(self.asked, self.seed))

    def billed(self) -> int:
        return self.server.settled()["billed"]

    def stored(self) -> set[bytes]:
        return set(self.work.answers())

    @rule()
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

    @rule(after=st.floats(0, 0.12))
    def kill(self, after):
        wanted = self.write()
        before = self.billed()
        ended = self.driver("run", self.work, self.server.url, after)
        bought = self.billed() - before
        stored = self.stored()
        assert self.done <= stored, "nothing that was stored is lost"
        new = stored - self.done
        assert new <= wanted
        assert 0 <= bought - len(new) <= (CONCURRENCY if ended.killed else 0), "what is lost was in flight"
        self.done |= new

    @precondition(lambda self: self.work.result.exists())
    @rule()
    def fresh(self):
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

    @precondition(lambda self: self.work.begun())
    @rule()
    def prune(self):
        wanted = self.write()
        commands.prune(self.work.job, lambda _: True, environ={"WRITER_BASE_URL": self.server.url})
        self.done &= wanted
        assert self.stored() == self.done

    @precondition(lambda self: self.done)
    @rule(choice=st.integers(0, 1000))
    def damage(self, choice):
        with closing(sqlite3.connect(self.work.checkpoint)) as db, db:
            ids = [id_ for (id_,) in db.execute("SELECT max(id) FROM attempts WHERE outcome = 'ok' GROUP BY key")]
            id_ = ids[choice % len(ids)]
            (body,) = db.execute("SELECT body FROM bodies WHERE id = ?", (id_,)).fetchone()
            at = choice % len(body)
            db.execute(
                "UPDATE bodies SET body = ? WHERE id = ?",
                (body[:at] + bytes([body[at] ^ 4]) + body[at + 1 :], id_),
            )
            (key,) = db.execute("SELECT key FROM attempts WHERE id = ?", (id_,)).fetchone()
        wanted = self.write()
        before = self.billed()
        ended = here(self.work, self.server.url)
        assert ended.exit_code == 0
        spoiled = {key} & wanted
        assert self.billed() - before == len(wanted - self.done) + len(spoiled), "the damaged row is bought again"
        self.done = (self.done - {key}) | wanted
        self.all_is_there()

    @precondition(lambda self: self.work.begun())
    @rule()
    def export(self):
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


def test_any_story_ends_well():
    with service() as server:
        driver = Driver()
        try:
            Story.server, Story.driver = server, driver
            count = int(os.environ.get("STORIES", "10"))
            run_state_machine_as_test(
                Story,
                # a kill falls where it falls: a story cannot be told again, so there is nothing to shrink
                settings=settings(max_examples=count, stateful_step_count=25, deadline=None, phases=[Phase.generate]),
            )
        finally:
            driver.close()
