"""Several runs under one key: each takes its part of the rate, and a run that died takes none."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.connections import connection
from support.service import PATIENCE, Hold

from batchgen.errors import MachineRefused
from batchgen.runner.sender import _sharing_rate, _ticking
from batchgen.send import other_runs
from batchgen.send.limits import RateLimiter
from batchgen.storage import file_lock

URL, KEY = "http://127.0.0.1:1", "key-of-tests"
MEMBER = """
import sys, time
from batchgen.send import other_runs
with other_runs.register(*sys.argv[1:3]) as runs:
    print(runs.count(), flush=True)
    time.sleep(600)
"""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def member(home):
    """Starts a process that is one run more, and returns it when it has joined."""
    started = []

    def start(url: str = URL, key: str = KEY) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", MEMBER, url, key], stdout=subprocess.PIPE)
        started.append(process)
        process.told = int(process.stdout.readline())
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_runs_are_counted_while_they_live(member):
    with other_runs.register(URL, KEY) as runs:
        assert runs.count() == 1
        others = [member() for _ in range(3)]
        assert [other.told for other in others] == [2, 3, 4]
        assert runs.count() == 4
        others[0].kill()
        others[0].wait()
        assert runs.count() == 3
        others[1].send_signal(signal.SIGINT)
        others[1].wait()
        assert runs.count() == 2
    assert member().told == 2


def test_another_key_or_another_endpoint_is_another_rate(member):
    with other_runs.register(URL, KEY) as runs:
        assert member(key="another").told == 1
        assert member(url="http://127.0.0.1:2").told == 1
        assert runs.count() == 1


def test_what_the_dead_leave_is_cleared_away_in_time(home, member):
    dead = member()
    dead.kill()
    dead.wait()
    (left,) = home.rglob("*.run")
    with other_runs.register(URL, KEY) as runs:
        assert runs.count() == 1
        assert left.exists(), "it might be a run that is about to lock it"
        os.utime(left, (0, time.time() - 2 * other_runs.STALE_FILE_SECONDS))
        assert runs.count() == 1
        assert not left.exists()
    assert not list(home.rglob("*.run"))


def test_a_run_that_ends_hides_no_other(home):
    """Its file may vanish at any moment of a count."""
    with ExitStack() as stack:
        runs = [stack.enter_context(other_runs.register(URL, KEY)) for _ in range(5)]
        stop = threading.Event()

        def come_and_go() -> None:
            while not stop.is_set():
                with other_runs.register(URL, KEY):
                    pass

        coming = [threading.Thread(target=come_and_go) for _ in range(3)]
        for thread in coming:
            thread.start()
        try:
            counted = {runs[0].count() for _ in range(3000)}
        finally:
            stop.set()
            for thread in coming:
                thread.join()
    assert counted <= set(range(5, 5 + 3 + 1))


def test_a_run_of_which_nothing_can_be_found_out_counts(home, monkeypatch):
    """Rather one too many than that all together exceed the rate."""
    with other_runs.register(URL, KEY) as runs, other_runs.register(URL, KEY):
        monkeypatch.setattr(file_lock.os, "open", _too_many)
        assert runs.count() == 2
        monkeypatch.setattr(file_lock.os, "listdir", _too_many)
        with pytest.raises(MachineRefused, match="cannot be listed: Too many open files"):
            runs.count()


def _too_many(*_: object, **__: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_what_is_called_every_so_often_is_called_again_after_it_has_failed(caplog):
    called = 0
    again = asyncio.Event()

    def call() -> None:
        nonlocal called
        called += 1
        if called >= 4:
            again.set()
        if called != 3:
            raise MachineRefused(f"no {called}")

    async with _ticking((0.001, call)), asyncio.timeout(PATIENCE):
        await again.wait()
    assert caplog.messages == ["warning: no 1; the run goes on", "warning: no 4; the run goes on"], "once each time"


def test_no_key_can_be_told_from_what_is_kept(home):
    with other_runs.register(URL, KEY):
        kept = list(home.rglob("*"))
        assert kept
        assert not any(KEY in str(path) or (path.is_file() and path.read_bytes()) for path in kept)
        assert {path.stat().st_mode & 0o077 for path in kept if "batchgen" in str(path)} == {0}


def test_what_runs_tell_of_themselves_is_whole_at_any_moment(home):
    """One tells a million requests in flight, then one, again and again; another reads."""
    with other_runs.register("server") as one, other_runs.register("server") as two:
        assert two.others() == other_runs.Others(), "it has not told anything yet"
        stop = threading.Event()

        def tell() -> None:
            while not stop.is_set():
                one.tell(1_000_000, 0, is_looking=True)
                one.tell(1, 2_000_000, is_looking=False)

        telling = threading.Thread(target=tell)
        telling.start()
        try:
            while not (seen := {two.others() for _ in range(1000)}) - {other_runs.Others()}:
                pass
        finally:
            stop.set()
            telling.join()
        assert seen <= {
            other_runs.Others(),
            other_runs.Others(2, 1_000_000, (), is_looking=True),
            other_runs.Others(2, 1, (2_000_000,), is_looking=False),
        }
        assert other_runs.Others() not in {two.others() for _ in range(1000)}
        long_ago = time.time() - 2 * other_runs.SILENT_SECONDS
        os.utime(one.own, (long_ago, long_ago))
        assert two.others() == other_runs.Others(), "it is stopped"


def test_without_a_home_runs_meet_among_the_temporary_files(tmp_path, monkeypatch, caplog):
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with other_runs.register(URL, KEY) as runs, other_runs.register(URL, KEY):
        assert runs.count() == 2
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere" / "at all"))
    monkeypatch.setattr(other_runs.Path, "mkdir", _refused)
    with (
        caplog.at_level("WARNING", logger="batchgen"),
        other_runs.register(URL, KEY) as runs,
        other_runs.register(URL, KEY),
    ):
        assert runs.count() == 1
    assert "will not know it" in caplog.text


def _refused(*_: object, **__: object) -> None:
    raise PermissionError


def test_a_folder_that_is_somebody_elses_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "batchgen").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    with other_runs.register(URL, KEY):
        assert list((tmp_path / "tmp").rglob("*.run"))
        assert not list((tmp_path / "elsewhere").iterdir())


# What they do to the rate


class Bucket:
    """A server that grants `per_minute`, and holds `size` requests."""

    def __init__(self, per_minute: float, size: float) -> None:
        self._rate, self._size, self._level, self._at = per_minute / 60, size, size, 0.0

    def effective_limits(self, now: float) -> bool:
        self._level = min(self._size, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level < 1 - 1e-9:
            return False
        self._level -= 1
        return True


@given(
    joins=st.lists(st.floats(0, 100), min_size=1, max_size=4),
    phases=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    leaves=st.integers(0, 3),
)
@settings(deadline=None, max_examples=60)
def test_together_they_keep_to_the_rate_and_use_it(joins, phases, leaves):
    """Runs that join and leave at any time, each looking once a second: a bucket of four requests and one for each
    run refuses none, and while runs are at work the rate is used."""
    rate, end = 1200.0, 160.0
    joins = sorted(joins)
    gone = [120.0 if n < leaves and n < len(joins) - 1 else end for n in range(len(joins))]
    living = lambda now: max(1, sum(join <= now < leave for join, leave in zip(joins, gone, strict=True)))  # noqa: E731
    runs = [RateLimiter(rate, None, join) for join in joins]
    for join, run in zip(joins, runs, strict=True):
        run.share(join, living(join), wait=2 * other_runs.COUNT_SECONDS)
    looked = [join + phase for join, phase in zip(joins, phases, strict=False)]
    bucket, refused = Bucket(rate, 4 + len(joins)), 0
    sent: Counter[int] = Counter()
    now = joins[0]
    while now < end:
        for n, run in enumerate(runs):
            if not joins[n] <= now < gone[n]:
                continue
            if now >= looked[n]:
                looked[n] += other_runs.COUNT_SECONDS
                run.share(now, living(now))
            if run.wait(now, 1) <= 0:
                run.take(now, 0)
                refused += not bucket.effective_limits(now)
                sent[n] += 1
        now += 0.005
    assert refused == 0
    idle = 2 * other_runs.COUNT_SECONDS * (len(joins) + 1) + 1.5 * leaves
    assert sent.total() >= 0.97 * (end - joins[0] - idle) * rate / 60


class Shared(RateLimiter):
    """One that notes by how many runs its rate is divided."""

    def __init__(self) -> None:
        super().__init__(6000, None, 0.0)
        self.runs: list[int] = []

    def share(self, now: float, runs: int, wait: float = 0.0) -> None:
        self.runs.append(runs)
        super().share(now, runs, wait)


def test_a_declared_rate_is_divided_by_the_runs_that_there_are(member):
    limits = Shared()
    with _sharing_rate(limits, connection(URL, key=KEY)) as recount:
        recount()
        other = member()
        recount()
        other.kill()
        other.wait()
        recount()
    assert other.told == 2
    assert limits.runs == [1, 1, 2, 1]


def test_two_jobs_under_one_key_know_of_each_other(job, service, start, ended):
    """Nothing is answered until both have sent something: then both are there."""
    rows = [{"id": f"r{n}", "name": f"shelf {n}"} for n in range(20)]
    asked: set[str] = set()
    registered: list[int] = []

    def script(_: int, body: dict[str, str]) -> Hold:
        asked.add(body["model"])
        if len(asked) == 2 and not registered:
            folders = Counter(file.parent for file in job.folder.parent.rglob("*.run"))
            registered.extend(folders.values())
            service.release()
        return Hold()

    service.script = script
    limits = {"requests_per_minute": 6000, "concurrency": 16}
    one, two = (
        job(rows, name=name, limits=limits, request={"model": name}, output={"path": f"out/{name}.parquet"})
        for name in ("one", "two")
    )
    processes = [start("run", path) for path in (one, two)]
    assert [ended(process).returncode for process in processes] == [0, 0]
    assert registered == [2], "in one folder, for one key at one endpoint"
