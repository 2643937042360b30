"""Publishing: the old file or the new one, byte for byte, whatever happens; and answers that rotted on disk."""

import json
import os
import random
import resource
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from contextlib import closing

import pyarrow.parquet as pq
import pytest
from support.durability import (
    BATCHGEN,
    HUNG,
    Driver,
    Work,
    digest,
    environ,
    expected,
    fill,
    here,
    keys,
    prompts,
    run,
    service,
    small_disk,
    start,
)

from batchgen import commands
from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.schema import OK, Record

KILLS = 30


class Aim:
    """When to kill, in seconds of CPU time: later after a kill that came before the rename, sooner after one behind it."""

    def __init__(self, longest: float) -> None:
        self._dice = random.Random(11)
        self._longest = longest

    def cpu(self) -> float:
        return self._longest * self._dice.uniform(0.3, 1)

    def saw(self, *, new: bool) -> None:
        self._longest *= 0.8 if new else 1.25


@pytest.fixture(scope="module")
def driver():
    with closing(Driver()) as driving:
        yield driving


@pytest.fixture(scope="module")
def built_in():
    with service() as running:
        yield running


@pytest.fixture
def finished(tmp_path, driver, built_in):
    """A job that has run: its work and its prompts."""
    asked = prompts(400, f"kite of {tmp_path.name} with")
    work = Work(tmp_path).write(asked, concurrency=16)
    assert driver("run", work, built_in.url).exit_code == 0
    return work, asked


def test_killed_throughout_the_target_is_the_old_file_or_the_new_one(finished, driver, built_in):
    work, asked = finished
    old = work.result.read_bytes()
    with start(
        "run", work.job, "--limit", "150", "--quiet", url=built_in.url
    ) as process:  # another file, of fewer rows
        process.communicate(timeout=HUNG)
    few = next(work.result.parent.glob("*.first-150.parquet"))
    short = few.read_bytes()
    few.unlink()
    assert driver("run", work, built_in.url).summary["sent"] == 0
    assert len(short) < len(old)
    assert driver("export", work, built_in.url, target=str(work.result)).exit_code == 0
    new = work.result.read_bytes()
    assert driver("export", work, built_in.url, target=str(work.result)).exit_code == 0
    assert work.result.read_bytes() == new, "an export is not the same file twice: nothing can be told by its bytes"

    aim = Aim(0.1)
    seen: Counter[str] = Counter()
    for kill in range(KILLS):
        work.result.write_bytes(short)
        ended = driver("export", work, built_in.url, cpu=aim.cpu(), target=str(work.result))
        now = work.result.read_bytes()
        assert now in (short, new), f"kill {kill}: neither the old file nor the new one"
        assert pq.read_table(work.result).num_rows in (150, len(asked))
        assert ended.killed or now == new
        left = work.temporaries()
        assert len(left) <= 1, "stale temporaries gather"
        aim.saw(new=now == new)
        seen["old" if now == short else "new"] += 1
        seen["ended"] += not ended.killed
        seen["temporaries"] += len(left)
    sys.stdout.write(f"\n{KILLS} kills while publishing: {dict(seen)}\n")
    assert seen["temporaries"] > 0, "no kill hit the writing of the file: nothing was tested"
    assert seen["new"] > 0

    assert driver("run", work, built_in.url).summary["sent"] == 0
    assert not work.temporaries()
    assert [row["text"] for row in work.table()] == [expected(prompt) for prompt in asked]
    assert {path.name for path in work.result.parent.iterdir()} == {work.result.name, ".batchgen"}


def test_a_run_killed_while_it_publishes_leaves_the_old_file_or_a_whole_new_one(finished, driver, built_in):
    work, asked = finished
    before = work.table()
    aim = Aim(0.15)
    seen: Counter[str] = Counter()
    for _ in range(20):
        was = work.result.stat().st_ino
        driver("run", work, built_in.url, cpu=aim.cpu())
        new = work.result.stat().st_ino != was
        aim.saw(new=new)
        seen["new" if new else "old"] += 1
        assert work.table() == before
        assert len(work.temporaries()) <= 1
    assert seen["old"]
    assert seen["new"]
    assert built_in.settled()["prompts"].items() >= {digest(prompt): 1 for prompt in asked}.items()


def test_stale_temporaries_go_and_others_stay(finished, driver, built_in):
    work, _ = finished
    folder, name = work.result.parent, work.result.name
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait(HUNG)
    stale = folder / f".{name}.{dead.pid}.tmp"
    living = folder / f".{name}.{os.getpid()}.tmp"
    others = [
        folder / f".other.parquet.{dead.pid}.tmp",
        folder / f".{name}.tmp",
        folder / f".{name}.x.tmp",
        folder / f".{name}.x.{dead.pid}.tmp",
    ]
    for path in (stale, living, *others):
        path.write_bytes(b"half a file")
    assert driver("run", work, built_in.url).exit_code == 0
    assert not stale.exists()
    assert living.exists()
    assert all(path.exists() for path in others)


@pytest.fixture
def two_disks(tmp_path, driver, built_in):
    """A finished job whose results lie on a small disk of their own, and its checkpoint elsewhere."""
    asked = prompts(300, "kayak")
    work = Work(tmp_path, output="out/{name}/result.parquet").write(asked, concurrency=16)
    work.output = f"out/{work.name}/result.parquet"
    work.result.parent.mkdir(parents=True)
    with small_disk(work.result.parent, 1 << 20) as disk:
        assert driver("run", work, built_in.url).exit_code == 0
        yield work, asked, disk


def test_a_full_disk_leaves_the_old_file_and_no_temporary(two_disks, driver, built_in):
    work, asked, disk = two_disks
    old = work.result.read_bytes()
    assert len(old) > 24_000

    def check(code: int, said: str) -> None:
        assert code == 5, said
        assert str(work.result.parent) in said
        assert "space" in said
        assert work.result.read_bytes() == old
        assert {path.name for path in disk.iterdir()} == {work.result.name, "filler"}

    for leave in (0, 4096, 8192, 20_000):  # no file at all, no write of it, or no end of it
        filler = fill(disk, leave)
        for what in ("run", "export"):
            ended = driver(what, work, built_in.url, target=str(work.result))
            check(ended.exit_code, ended.error)
    code, _, said = run(work, built_in.url)
    check(code, said)
    assert "Traceback" not in said
    filler.unlink()
    summary = here(work, built_in.url)
    assert (summary.exit_code, summary.sent, summary.reused) == (0, 0, len(asked))
    assert [row["text"] for row in work.table()] == [expected(prompt) for prompt in asked]


def test_a_disk_that_fills_between_answers_and_publishing_costs_no_answer(tmp_path, driver, built_in):
    """The answers are bought and saved first; then there is no room for the file."""
    asked = prompts(300, "canoe")
    work = Work(tmp_path, output="out/{name}/result.parquet").write(asked, concurrency=16)
    work.output = f"out/{work.name}/result.parquet"
    work.result.parent.mkdir(parents=True)
    with small_disk(work.result.parent, 1 << 18) as disk:
        filler = fill(disk, 8192)
        ended = driver("run", work, built_in.url)
        assert ended.exit_code == 5, ended.error
        assert "checkpoint" in ended.error
        assert [path.name for path in disk.iterdir()] == [filler.name]
        filler.unlink()
        summary = driver("run", work, built_in.url).summary
        assert (summary["exit_code"], summary["reused"], summary["sent"]) == (0, len(asked), 0)
    assert all(built_in.ledger()["prompts"][digest(prompt)] == 1 for prompt in asked)


def test_a_limit_on_the_size_of_files_is_told_too(finished, built_in):
    """As a full disk, where nothing may be mounted: a write that fails in the middle of the file."""
    work, _ = finished
    old = work.result.read_bytes()
    limit = len(old) // 2

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    target = work.result.parent / "other.parquet"
    target.write_bytes(b"the old file")
    with subprocess.Popen(
        [BATCHGEN, "export", work.job, "-o", target],
        preexec_fn=limited,  # noqa: PLW1509  no other thread here
        env=environ(built_in.url),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        err = process.communicate(timeout=HUNG)[1]
    assert process.returncode == 5, err
    assert "Traceback" not in err
    assert target.read_bytes() == b"the old file"
    assert not work.temporaries()


def test_a_symlink_in_its_place_is_replaced_and_not_followed(finished, driver, built_in, tmp_path):
    work, _ = finished
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    work.result.unlink()
    work.result.symlink_to(precious)
    assert driver("run", work, built_in.url).exit_code == 0
    assert not work.result.is_symlink()
    assert pq.read_table(work.result).num_rows == 400
    assert precious.read_text() == "mine"


def test_a_symlink_at_the_temporarys_place_is_not_followed(finished, driver, built_in, tmp_path):
    """Whose name holds the process's number: all that might come next are taken."""
    work, _ = finished
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    with subprocess.Popen([sys.executable, "-c", ""]) as last:
        last.wait(HUNG)
    for pid in range(last.pid, last.pid + 200):
        (work.result.parent / f".{work.result.name}.{pid}.tmp").symlink_to(precious)
    driver("run", work, built_in.url)
    assert precious.read_text() == "mine"
    assert pq.read_table(work.result).num_rows == 400


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(finished, built_in, umask):
    work, _ = finished
    work.result.unlink()
    before = os.umask(umask)
    try:
        here(work, built_in.url)
    finally:
        os.umask(before)
    assert stat.S_IMODE(work.result.stat().st_mode) == 0o666 & ~umask


# Answers of all lengths


def with_tokens(text: str, count: int) -> bytes:
    token = {"token": text, "logprob": -0.5, "bytes": [32, 97], "top_logprobs": []}
    said = {"choices": [{"text": text, "log_probs": {"content": [token] * count, "refusal": None}}], "model": "m"}
    return json.dumps(said).encode()


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_answers_of_all_lengths_stand_in_their_rows_whatever_is_read_beside(tmp_path, monkeypatch, seed, cores):
    chance = random.Random(seed)
    monkeypatch.setattr("batchgen.output.publish.CORES", cores)
    monkeypatch.setattr("batchgen.checkpoint.reader.BYTES_PER_READ", 40_000)
    monkeypatch.setattr("batchgen.checkpoint.reader.RECORDS_PER_READ", 8)
    monkeypatch.setattr("batchgen.output.publish.BYTES_PER_READ", 40_000)
    lengths = [length for length in chance.choices((None, 0, 60, 600), k=24) for _ in range(chance.randint(1, 12))]
    work = Work(tmp_path).write(prompts(len(lengths), "of all lengths"))
    work.checkpoint.parent.mkdir(parents=True)
    answered = [n for n, length in enumerate(lengths) if length is not None]
    chance.shuffle(answered)
    named = keys(prompts(len(lengths), "of all lengths"))
    with closing(Checkpoint(work.checkpoint)) as checkpoint:
        run = checkpoint.start_run(1, "2026-01-01", 0, len(lengths), len(lengths))
        checkpoint.add(
            [
                Record(
                    key=named[n],
                    outcome=OK,
                    final=True,
                    attempts=1,
                    finished_at=1,
                    name=str(n),
                    body=with_tokens(f"text {n}", lengths[n]),
                )
                for n in answered
            ]
        )
        checkpoint.end_run(run, 2, "stopped", None)
    commands.export(work.job, str(work.result), environ=environ())
    rows = work.table()
    assert [row["n"] for row in rows] == list(range(len(lengths)))
    for n, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        assert (row["status"], row["text"]) == (("pending", None) if length is None else ("ok", f"text {n}"))
        said = None if length is None else [token["token"] for token in row["log_probs"]["content"]]
        assert said == (None if length is None else [f"text {n}"] * length)


# Answers that rotted


def rot(work: Work, key: bytes, how: str) -> None:
    """One flipped bit in a stored answer, by SQLite, so that its own structure stays whole."""
    with closing(sqlite3.connect(work.checkpoint, isolation_level=None)) as db:
        db.create_function("flipped", 1, lambda body: bytes([*body[:40], body[40] ^ 1, *body[41:]]))
        (at,) = db.execute("SELECT id FROM attempts WHERE key = ? ORDER BY id DESC LIMIT 1", (key,)).fetchone()
        statement = {
            "body": "UPDATE bodies SET body = flipped(body) WHERE id = ?",
            "gone": "DELETE FROM bodies WHERE id = ?",
            "name": "UPDATE attempts SET name = 'x' WHERE id = ?",
            "choices": "UPDATE attempts SET choices = 2 WHERE id = ?",
            "attempts": "UPDATE attempts SET attempts = 7 WHERE id = ?",
            "outcome": "UPDATE attempts SET outcome = 'oj' WHERE id = ?",
            "outcome's letters": "UPDATE attempts SET outcome = CAST(x'ef6b' AS TEXT) WHERE id = ?",
            "final": "UPDATE attempts SET final = 0, outcome = 'oj' WHERE id = ?",
            "key": "UPDATE attempts SET key = x'00112233445566778899aabbccddeeff' WHERE id = ?",
            "short key": "UPDATE attempts SET key = x'00' WHERE id = ?",
        }[how]
        assert db.execute(statement, (at,)).rowcount == 1


@pytest.mark.parametrize("size", ["as it came", "compressed"])
@pytest.mark.parametrize("how", ["body", "gone", "name", "choices", "attempts"])
def test_a_damaged_answer_is_named_and_bought_again_and_no_other(tmp_path, driver, built_in, caplog, how, size):
    asked = prompts(20, f"{how} {size}")
    tokens = 2 if size == "as it came" else 60
    request = {"model": "palmyra-x5", "max_tokens": tokens, "random_seed": 7}
    work = Work(tmp_path).write(asked, more={"request": request})
    assert driver("run", work, built_in.url).exit_code == 0
    with closing(sqlite3.connect(work.checkpoint)) as db:
        sql = "SELECT key, cast(name AS INTEGER) FROM attempts JOIN bodies USING (id) WHERE (size IS NULL) = ?"
        key, bad = db.execute(sql, (size == "as it came",)).fetchone()
    good = work.table()
    rot(work, key, how)

    assert driver("export", work, built_in.url, target=str(work.result)).error is None
    assert [row["status"] for row in work.table()] == ["ok"] * 20, "less replaces no more"
    partial = pq.read_table(work.result.with_name(f"{work.result.stem}.partial.parquet")).to_pylist()
    assert [row["status"] for row in partial] == ["pending" if n == bad else "ok" for n in range(20)]
    assert partial[bad]["text"] is None

    with caplog.at_level("WARNING", "batchgen"):
        summary = here(work, built_in.url)
    assert (summary.exit_code, summary.sent, summary.reused, summary.ok) == (0, 1, 19, 20)
    assert f"row {bad + 1} ({bad})" in caplog.text
    assert "damaged" in caplog.text
    ledger = built_in.ledger()["prompts"]
    assert [ledger[digest(prompt)] for prompt in asked] == [2 if n == bad else 1 for n in range(20)]
    assert [row["text"] for row in work.table()] == [row["text"] for row in good]

    summary = driver("run", work, built_in.url).summary
    assert (summary["exit_code"], summary["sent"], summary["reused"]) == (0, 0, 20)


@pytest.mark.parametrize("retry_failed", [True, False], ids=["", "no-retry-failed"])
@pytest.mark.parametrize("how", ["outcome", "outcome's letters", "final", "key", "short key"])
def test_damage_that_hides_an_answer_costs_that_row_alone(tmp_path, driver, built_in, how, retry_failed):
    asked = prompts(20, f"{how} {retry_failed}")
    work = Work(tmp_path).write(asked)
    assert driver("run", work, built_in.url).exit_code == 0
    rot(work, keys(asked)[5], how)
    summary = here(work, built_in.url, retry_failed=retry_failed)
    assert (summary.exit_code, summary.sent, summary.reused) == (0, 1, 19)
    ledger = built_in.ledger()["prompts"]
    assert [ledger[digest(prompt)] for prompt in asked] == [2 if n == 5 else 1 for n in range(20)]
    assert [row["text"] for row in work.table()] == [expected(prompt) for prompt in asked]


def test_the_command_line_names_a_damaged_answer(tmp_path, driver, built_in):
    asked = prompts(9, "named by the command line")
    work = Work(tmp_path).write(asked)
    assert driver("run", work, built_in.url).exit_code == 0
    rot(work, keys(asked)[6], "gone")
    code, summary, said = run(work, built_in.url)
    assert (code, summary["sent"], summary["reused"], summary["ok"]) == (0, 1, 8, 9), said
    assert "row 7 (6): its stored answer is damaged" in said
    assert here(work, built_in.url).sent == 0


def test_every_answer_damaged_is_bought_again(tmp_path, driver, built_in):
    asked = prompts(700, "rot")
    work = Work(tmp_path).write(asked, concurrency=16)
    assert driver("run", work, built_in.url).exit_code == 0
    with closing(sqlite3.connect(work.checkpoint, isolation_level=None)) as db:
        db.execute("UPDATE bodies SET body = x'00'")
    ended = driver("run", work, built_in.url)
    assert ended.error is None
    assert (ended.summary["ok"], ended.summary["sent"], ended.summary["reused"]) == (700, 700, 0)
    assert [row["text"] for row in work.table()] == [expected(prompt) for prompt in asked]


def test_a_damaged_answer_that_may_not_be_bought_now_stays_pending(tmp_path, driver, built_in):
    """What is bought again is limited as all else: here to nothing."""
    asked = prompts(10, "damaged and limited")
    work = Work(tmp_path).write(asked)
    assert driver("run", work, built_in.url).exit_code == 0
    rot(work, keys(asked)[4], "body")
    job = json.loads(work.job.read_text())
    work.job.write_text(json.dumps({**job, "until": {"tokens": 1}}))
    ended = driver("run", work, built_in.url)
    assert (ended.exit_code, ended.summary["pending"], ended.summary["ok"]) == (3, 1, 9)
    work.job.write_text(json.dumps(job))
    ended = driver("run", work, built_in.url)
    assert (ended.exit_code, ended.summary["sent"], ended.summary["ok"]) == (0, 1, 10)
