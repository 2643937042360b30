"""A salvage that is killed, or for which there is no room, loses nothing: it can be done again."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from test_checkpoint import LARGE, record

from batchgen.checkpoint.checkpoint import PAGE_BYTES, Checkpoint
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.salvage import salvage
from batchgen.checkpoint.schema import OK
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import MachineRefused

IN_FILE, IN_LOG = 60, 20
"""Attempts that a killed run has left in the database, and in its log."""
KILLED = """
import errno, os, signal, sys
from pathlib import Path
from batchgen.checkpoint.salvage import salvage

left, has_links = int(sys.argv[2]), sys.argv[3] == "with links"
def step(event, arguments):
    global left
    if event == "os.link" and not has_links:
        raise PermissionError(errno.EPERM, "Operation not permitted")
    if event in ("os.rename", "os.remove", "os.link"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(step)
salvage(Path(sys.argv[1]))
"""
"""Salvages a file, and is killed before the given step."""
MOST_STEPS = 30


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


def killed_salvages(damaged: Path, folder: Path, links: str) -> Iterator[Path]:
    """Yields what a salvage leaves that is killed before its first step, its second, and so on."""
    for step in range(MOST_STEPS):
        path = copied(damaged, folder / str(step))
        ended = subprocess.run([sys.executable, "-c", KILLED, path, str(step), links], check=False)
        if ended.returncode == 0:
            assert step > 4
            return
        assert ended.returncode == -signal.SIGKILL
        yield path
    pytest.fail("it never ends")


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
