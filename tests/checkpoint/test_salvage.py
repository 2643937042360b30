"""A salvage that is killed, or for which there is no room, loses nothing: it can be done again."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from support.durability import fill, small_disk, within
from test_checkpoint import LARGE, made, record
from test_migrations import DATA

from batchgen.checkpoint.checkpoint import PAGE_BYTES, Checkpoint
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.salvage import salvage, summary
from batchgen.checkpoint.schema import OK
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import MachineRefused

IN_FILE, IN_LOG = 60, 20
"""Attempts that a killed run has left in the database, and in its log."""
KILLED = """
import errno, os, shutil, signal, sys
from pathlib import Path
from batchgen.checkpoint.salvage import salvage

source, folder, has_links = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "with links"
def hook(event, arguments):
    global left
    if event == "os.link" and not has_links:
        raise PermissionError(errno.EPERM, "Operation not permitted")
    if event in ("os.rename", "os.remove", "os.link"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

for step in range(int(sys.argv[4])):
    path = shutil.copytree(source, folder / str(step)) / "job.sqlite"
    if (child := os.fork()) == 0:
        left = step
        sys.addaudithook(hook)
        salvage(path)
        sys.exit()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != -signal.SIGKILL:
        sys.exit(code)
sys.exit("it never ends")
"""
"""Salvages copies of a file: each in a process that is killed before its first step, its second, and so on, until one
comes to its end."""
MAX_STEPS = 30
ANSWERS = 200


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> Path:
    """A file with a page of zeros, and its log, which holds attempts that the file lacks."""
    path = tmp_path_factory.mktemp("damaged") / "job.sqlite"
    with closing(Checkpoint(path)) as checkpoint:
        checkpoint.add([record(n, LARGE) for n in range(IN_FILE)])
    pid = os.fork()
    if pid == 0:
        Checkpoint(path).add([record(n) for n in range(IN_FILE, IN_FILE + IN_LOG)])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // (2 * PAGE_BYTES) * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))
    return path


@pytest.fixture(scope="module")
def damaged_at(tmp_path_factory) -> Callable[[Path, int, bytes], Path]:
    """Copies a sound file into a folder, and writes the bytes there."""
    sound = tmp_path_factory.mktemp("sound") / "job.sqlite"
    with closing(Checkpoint(sound)) as checkpoint:
        checkpoint.add([record(n, LARGE) for n in range(IN_FILE)])
        checkpoint.put_row("owner", ("job", "job.yaml"))

    def write(folder: Path, at: int, damage: bytes) -> Path:
        path = copied(sound, folder)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(damage)
        return path

    return write


def copied(path: Path, folder: Path) -> Path:
    """Copies a file and its log, without the shared memory, as after a power loss."""
    folder.mkdir()
    shutil.copy(path, folder / "job.sqlite")
    with suppress(FileNotFoundError):
        shutil.copy(f"{path}-wal", folder / "job.sqlite-wal")
    return folder / "job.sqlite"


def kept(path: Path) -> list[bytes]:
    with closing(Reader(path)) as reader:
        return [record.key for record in reader.records(reader.ids_of(OK)).values()]


@pytest.fixture(scope="module")
def saved(damaged, tmp_path_factory) -> list[bytes]:
    """The keys that a salvage saves which nothing disturbs."""
    path = copied(damaged, tmp_path_factory.mktemp("saved") / "there")
    salvage(path)
    keys = kept(path)
    assert IN_FILE / 2 < len(keys) < IN_FILE + IN_LOG
    assert {record(n).key for n in range(IN_FILE, IN_FILE + IN_LOG)} <= {*keys}
    return keys


@pytest.mark.parametrize("is_there", [True, False], ids=["an empty file", "no file"])
def test_a_log_without_its_database_is_kept_and_salvaged(is_there, tmp_path):
    """SQLite would remove it when the file is opened, even by who only reads."""
    path = tmp_path / "job.sqlite"
    if (pid := os.fork()) == 0:
        checkpoint = Checkpoint(path)
        checkpoint.add([record(n) for n in range(IN_LOG)])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    log = path.with_name("job.sqlite-wal")
    held = log.read_bytes()
    path.unlink()
    if is_there:
        path.touch(0o600)
    for opened in (Reader, Checkpoint):
        with pytest.raises(MachineRefused, match=r"and its log, job.sqlite-wal, holds"):
            opened(path)
        assert log.read_bytes() == held
    assert salvage(path) == (IN_LOG, 0)
    assert kept(path) == [record(n).key for n in range(IN_LOG)]
    assert path.with_name("job.sqlite.damaged-wal").read_bytes() == held


def test_what_is_no_log_of_ours_is_kept_by_a_salvage(tmp_path):
    path = tmp_path / "job.sqlite"
    path.with_name("job.sqlite-wal").write_bytes(bytes(5000))
    assert salvage(path) == (0, None)
    assert path.with_name("job.sqlite.damaged-wal").read_bytes() == bytes(5000)


def killed_salvages(damaged: Path, folder: Path, links: str) -> list[Path]:
    """What a salvage leaves that is killed before its first step, its second, and so on."""
    source, left = copied(damaged, folder / "source").parent, folder / "left"
    left.mkdir()
    subprocess.run([sys.executable, "-c", KILLED, source, left, links, str(MAX_STEPS)], check=True)
    *killed, _ = sorted(left.iterdir(), key=lambda one: int(one.name))
    assert len(killed) > 4
    return [one / "job.sqlite" for one in killed]


@pytest.mark.parametrize("links", ["with links", "without links"])
def test_a_kill_at_any_step_loses_nothing(links, damaged, saved, tmp_path):
    for path in killed_salvages(damaged, tmp_path, links):
        salvage(path)
        assert kept(path) == saved
        originals = [one for one in path.parent.glob("*.damaged*") if not one.name.endswith(("-wal", "-shm"))]
        again = [copied(one, path.parent / f"again {one.name}") for one in originals]
        for one in again:
            salvage(one)
        assert all(kept(one) == saved for one in again), "the damaged file and its log are kept as a pair"
        assert not list(path.parent.glob(".job.sqlite*")), "nothing is left beside them"


def test_a_run_that_follows_a_kill_finds_all_or_refuses(damaged, saved, tmp_path):
    for path in killed_salvages(damaged, tmp_path, "with links"):
        with suppress(MachineRefused), StateFiles(path).open_for_run() as (checkpoint, _):
            assert checkpoint.missing_attempts == 0
            assert checkpoint.last_id == IN_FILE + IN_LOG
        salvage(path)
        assert kept(path) == saved


def test_a_second_salvage_keeps_what_the_first_one_kept(damaged, tmp_path):
    path = copied(damaged, tmp_path / "there")
    salvage(path)
    first = path.with_name("job.sqlite.damaged").read_bytes()
    with path.open("r+b") as file:
        file.write(bytes(100))
    before = path.read_bytes()
    salvage(path)
    assert path.with_name("job.sqlite.damaged").read_bytes() == first
    assert path.with_name("job.sqlite.damaged-2").read_bytes() == before


def test_wherever_the_disk_fills_up_every_answer_stays(tmp_path):
    """There is room for the new file's log, and none for the file; or for both, and the log stays beside."""
    outcomes = set()
    with small_disk(tmp_path / "disk", 2 << 20) as disk:
        path = disk / "job.sqlite"
        made(path, [record(n) for n in range(ANSWERS)])
        for free in range(0, 1 << 19, 1 << 13):
            filler = fill(disk, leave=free)
            try:
                outcomes.add(salvage(path))
            except MachineRefused as error:
                outcomes.add(error.exit_code)
            filler.unlink()
            assert len(kept(path)) == ANSWERS, f"{free:,} bytes were free"
            for one in disk.glob("*damaged*"):
                one.unlink()
            assert not list(disk.glob(".job*"))
    assert outcomes == {5, (ANSWERS, 0)}


def test_what_was_dropped_is_not_lost(tmp_path):
    path = tmp_path / "job.sqlite"
    made(path, [record(n) for n in range(9)])
    with closing(Checkpoint(path)) as checkpoint:
        checkpoint.drop([1, 4, 5])
    assert salvage(path) == (6, 0)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE attempts SET crc = crc + 1 WHERE id IN (2, 9)")
        db.commit()
    assert salvage(path) == (4, 2)


NEARLY_FULL = """
import os
from pathlib import Path
from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.salvage import salvage
from batchgen.checkpoint.schema import OK, Record
from batchgen.errors import MachineRefused
from batchgen.storage import folders

disk, path = Path("disk"), Path("disk/job.sqlite")
checkpoint = Checkpoint(path)
checkpoint.add([Record(key=n.to_bytes(16, "big"), outcome=OK, attempts=1, finished_at=1, body=b"x") for n in range(200)])
checkpoint.close()
with open("disk/filler", "wb", buffering=0) as file:
    while not folders.kills_when_full(disk):
        file.write(os.urandom(1 << 20))
        os.fsync(file)
before = path.read_bytes()
try:
    print(salvage(path))
except MachineRefused as error:
    print(error)
    assert path.read_bytes() == before
    assert not [*disk.glob("*damaged*"), *disk.glob(".job*")], [*disk.iterdir()]
reader = Reader(path, without_trace=True)
print(len(reader.ids_of(OK)), "answers")
"""


def test_where_the_disk_is_nearly_full_nothing_is_replaced(tmp_path):
    """A full btrfs would end the process while the log is moved into the file."""
    if not shutil.which("mkfs.btrfs"):
        pytest.skip("no btrfs here")
    (tmp_path / "salvage.py").write_text(NEARLY_FULL)
    making = "truncate -s 120M image; mkfs.btrfs -q -M image >/dev/null 2>&1; mkdir disk; mount -o loop image disk"
    ran = within(tmp_path, f"{making}; {sys.executable} salvage.py")
    assert ran.returncode == 0, ran
    assert "make room" in ran.stdout
    assert "200 answers" in ran.stdout


@pytest.mark.parametrize("damage", [bytes(512), bytes(PAGE_BYTES), b"\xff" * 100, b"garbage " * 4])
def test_a_damaged_first_page_costs_no_attempt(damage, damaged_at, tmp_path):
    """It says where each table begins, and what its columns are."""
    for at in range(0, PAGE_BYTES, PAGE_BYTES if len(damage) > 32 else 400):
        path = damaged_at(tmp_path / str(at), at, damage)
        assert salvage(path) == (IN_FILE, 0), at
        assert len(kept(path)) == IN_FILE


@pytest.mark.parametrize("name", ["schema-2-4ac51c8", "schema-2-20ea67c"])
@pytest.mark.parametrize("damage", [bytes(100), bytes(4096)], ids=["header", "page"])
def test_so_it_is_with_a_file_of_an_earlier_version_whose_pages_are_smaller(name, damage, tmp_path):
    """One of its twelve attempts is damaged (`data/README.md`)."""
    path = tmp_path / "job.sqlite"
    path.write_bytes(damage + (DATA / f"{name}.sqlite").read_bytes()[len(damage) :])
    assert salvage(path) == (11, 1)


def test_where_the_attempts_cannot_be_found_nobody_says_how_many_are_lost(damaged_at, tmp_path):
    path = damaged_at(tmp_path / "there", PAGE_BYTES, bytes(PAGE_BYTES))
    assert summary(*salvage(path)).startswith("0 attempts saved, how many are lost cannot be told; run the job again")
