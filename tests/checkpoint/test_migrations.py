"""Checkpoints that earlier versions wrote, as real files: a run migrates them, everything else reads them as they are."""

import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support.durability import fill, small_disk

from batchgen._version import __version__
from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.migrations import MIGRATIONS
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import OK, SCHEMA_VERSION
from batchgen.errors import MachineRefused

DATA = Path(__file__).parent / "data"
FILES = sorted(path.stem for path in DATA.glob("*.sqlite"))
OLDER = [name for name in FILES if not name.startswith(f"schema-{SCHEMA_VERSION}-")]
NAMES = ["stove", "tent with tokens", "refused lamp", "useless rope", "mug with tokens", "kettle", "boots with tokens"]
ROWS = [{"id": str(n), "name": name} for n, name in enumerate([*NAMES, "compass"], 1)]
KEPT = [1, 2, 5, 6, 8]
"""Rows whose stored answers are sound."""
COMMANDS = {
    "plan": lambda said: said.json["todo"] == 2,
    "status": lambda said: said.json["failed"] == 2,
    "export": lambda said: "5 ok, 2 failed, 1 pending" in said.stdout,
    "report": lambda said: "wrote" in said.stdout,
}


def test_there_is_a_file_of_every_schema():
    assert {int(name.split("-")[1]) for name in FILES} == {*(schema for schema, _ in MIGRATIONS), SCHEMA_VERSION}


@pytest.fixture
def old(job):
    """Makes the job whose checkpoint a file is, with the file in its place."""

    def make(name: str, /, **sections) -> Path:
        job.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DATA / f"{name}.sqlite", job.checkpoint)
        job.checkpoint.chmod(0o600)
        return job(ROWS, endpoint={"name": "http://127.0.0.1:18765"}, **sections)

    return make


def stored(path: Path, columns: str = "*", table: str = "attempts") -> list[tuple]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"SELECT {columns} FROM {table} ORDER BY id").fetchall()


def schema(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA user_version").fetchone()[0]


@pytest.mark.parametrize("name", FILES)
def test_a_run_buys_only_what_has_no_sound_answer(name, old, job, service, called):
    path = old(name)
    ended = called("run", path, "--json")
    assert ended.returncode == 0, ended.stderr
    assert ended.json["reused"] == len(KEPT)
    assert {int(row["id"]) for row in job.rows() if row["text"].startswith("An answer to")} == set(KEPT)
    assert service.served.total() == len(ROWS) - len(KEPT)
    assert [bool(row["log_probs"]) for row in job.rows() if int(row["id"]) in KEPT] == [False, True, True, False, False]
    assert schema(job.checkpoint) == SCHEMA_VERSION
    assert called("run", path, "--json").json["sent"] == 0


@pytest.mark.parametrize("name", OLDER)
def test_the_file_is_kept_as_it_was_beside_the_migrated_one(name, old, job, called):
    before = stored(DATA / f"{name}.sqlite")
    ended = called("run", old(name))
    kept = job.checkpoint.with_name("job.sqlite.schema-1")
    assert f"migrated from schema 1 to {SCHEMA_VERSION}; as it was: {kept}" in ended.stderr
    assert (schema(kept), stored(kept)) == (1, before)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stored(job.checkpoint, "id, key, outcome, attempts")[:12] == [
        (row[0], row[1], row[2], row[4]) for row in before
    ]


def test_the_way_back_and_forth_again(old, job, called):
    """As docs/upgrading.md has it."""
    path = old("schema-1-5c2635a")
    assert called("run", path, "--json").json["sent"] == 3
    newer = job.checkpoint.with_name("newer.sqlite")
    job.checkpoint.rename(newer)
    job.checkpoint.with_name("job.sqlite.schema-1").rename(job.checkpoint)
    assert stored(job.checkpoint) == stored(DATA / "schema-1-5c2635a.sqlite")
    ended = called("run", path, "--adopt", newer, "--json")
    assert (ended.json["sent"], ended.json["ok"]) == (1, 8)  # the one whose own answer is damaged
    assert "attempts that were committed are missing" in ended.stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", FILES)
def test_what_only_reads_changes_nothing(name, command, old, job, called):
    path = old(name)
    ended = called(command, path, *(["--json"] if command in ("plan", "status") else []))
    assert ended.returncode == 0, ended.stderr
    assert COMMANDS[command](ended), ended.stdout
    assert job.checkpoint.read_bytes() == (DATA / f"{name}.sqlite").read_bytes()
    assert not list(job.checkpoint.parent.glob("*schema*"))


def test_what_a_killed_run_left_in_the_log_is_migrated_too(tmp_path):
    (tmp_path / "there").mkdir()
    origin, path = tmp_path / "c.sqlite", tmp_path / "there" / "c.sqlite"
    shutil.copy(DATA / "schema-1-5c2635a.sqlite", origin)
    with closing(sqlite3.connect(origin, isolation_level=None)) as db:
        db.execute("UPDATE runs SET outcome = NULL WHERE id = 2")
        shutil.copy(origin, path)
        shutil.copy(f"{origin}-wal", f"{path}-wal")
    with closing(Reader(path)) as reader:
        assert reader.latest().outcome is None
    Checkpoint(path).close()
    assert stored(path, "outcome", "runs") == [("finished",), (None,)]
    assert stored(path.with_name("c.sqlite.schema-1"), "outcome", "runs") == [("finished",), (None,)]


@pytest.mark.parametrize("name", OLDER)
def test_a_kill_amid_the_migration_leaves_the_file_as_it_was(name, tmp_path):
    path = tmp_path / "c.sqlite"
    shutil.copy(DATA / f"{name}.sqlite", path)
    code = f"""
import os, signal
from pathlib import Path
from batchgen.checkpoint import checkpoint, migrations
schema, step = migrations.MIGRATIONS[0]
migrations.MIGRATIONS[0] = schema, lambda db: (step(db), os.kill(os.getpid(), signal.SIGKILL))
checkpoint.Checkpoint(Path({str(path)!r}))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert (schema(path), stored(path)) == (1, stored(DATA / f"{name}.sqlite"))
    Checkpoint(path).close()
    with closing(Reader(path)) as reader:
        assert len(reader.records(reader.ids_of(OK))) == len(KEPT)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        path = disk / "c.sqlite"
        shutil.copy(DATA / "schema-1-5c2635a.sqlite", path)
        filler = fill(disk)
        before = path.read_bytes()
        with pytest.raises(MachineRefused, match="full"):
            Checkpoint(path)
        assert path.read_bytes() == before
        filler.unlink()
        Checkpoint(path).close()
        assert schema(path) == SCHEMA_VERSION


@pytest.mark.parametrize(
    ("statement", "writer"),
    [
        pytest.param("INSERT INTO schemas VALUES (99, '9.8.7')", "batchgen 9.8.7", id="it says which version wrote it"),
        pytest.param("DROP TABLE schemas", "a later version of batchgen", id="it says none"),
    ],
)
@pytest.mark.parametrize("command", ["run", "status", "salvage"])
def test_a_later_versions_file_is_refused_with_that_versions_name(command, statement, writer, old, job, called):
    path = old("schema-2-20ea67c")
    Checkpoint(job.checkpoint).close()
    with closing(sqlite3.connect(job.checkpoint, isolation_level=None)) as db:
        db.execute(statement)
        db.execute("PRAGMA user_version = 99")
    before = job.checkpoint.read_bytes()
    ended = called(command, path)
    assert ended.returncode == 5
    assert f"written by {writer} (schema 99); this is batchgen {__version__}" in ended.stderr
    assert job.checkpoint.read_bytes() == before


def test_the_version_that_brought_a_file_to_its_schema_stands_in_it(tmp_path):
    path = tmp_path / "c.sqlite"
    for _ in range(2):
        Checkpoint(path).close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT * FROM schemas").fetchall() == [(SCHEMA_VERSION, __version__)]


@pytest.mark.parametrize("name", FILES)
def test_salvage_saves_what_is_sound(name, old, job, called):
    path = old(name)
    ended = called("salvage", path)
    assert ended.stdout.startswith("11 attempts saved, 1 lost; run the job again")
    assert job.checkpoint.with_name("job.sqlite.damaged").exists()
    assert len(stored(job.checkpoint, table="runs")) == 2
    assert called("run", path, "--json").json["reused"] == len(KEPT)


@pytest.mark.parametrize("name", FILES)
def test_its_answers_can_be_taken_in(name, old, job, called):
    path = old(name, name="other")
    assert called("run", path, "--adopt", job.checkpoint, "--json").json["reused"] == len(KEPT)
    assert job.checkpoint.read_bytes() == (DATA / f"{name}.sqlite").read_bytes()


def test_the_way_out_of_a_damaged_file_names_the_job(old, job, called):
    path = old("schema-2-20ea67c")
    job.checkpoint.write_bytes(job.checkpoint.read_bytes()[:9000])
    assert f"`batchgen salvage {path}`" in called("run", path).stderr
    local = job.checkpoint.with_name("job.local.sqlite")
    local.write_bytes(b"not a database" * 1000)
    assert f"`batchgen salvage --local {path}`" in called("status", "--local", path).stderr
