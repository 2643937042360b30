"""One run a job: real processes, real locks, real kills."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from support.durability import HUNG, Driver, Slow, Work, here, prompts, run, small_disk, start, wait_for

from batchgen.errors import AlreadyRunning, MachineRefused
from batchgen.storage import file_lock


@contextmanager
def held(path: Path, *, then: str = "sys.stdin.read()"):
    """Another process that holds the lock, until the block ends."""
    code = f"""
import sys; from pathlib import Path; from batchgen.storage import file_lock
with file_lock.exclusive(Path({str(path)!r})):
    print("held", flush=True)
    {then}
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        with suppress(BrokenPipeError):
            process.communicate(timeout=HUNG)


def test_twenty_simultaneous_starts_one_runs_and_nineteen_exit_75(tmp_path):
    asked = prompts(12)
    work = Work(tmp_path).write(asked, concurrency=4)
    with Slow() as server, closing(Driver()) as driver:
        server.hold(until=lambda: lines(tmp_path / "refused") == 19)  # no answer comes before they gave up
        ended = driver.storm(work, server.url, 20, refused=str(tmp_path / "refused"))
    assert Counter(one.exit_code for one in ended) == {0: 1, 75: 19}
    assert all(one.summary or "another run of this job" in one.error for one in ended)
    assert server.billed == Counter(asked)
    assert [row["text"] for row in work.table()] == [f"answer to {prompt}" for prompt in asked]


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_the_real_command_line_exits_75_at_once(tmp_path):
    work = Work(tmp_path).write(prompts(3))
    with Slow() as server:
        server.hold()
        with start("run", work.job, "--quiet", url=server.url) as first:
            wait_for(lambda: server.in_flight == 3, "the first run to send")
            code, _, said = run(work, server.url)
            shows = f"`batchgen status {work.job}` shows how far it is"
            assert (code, said) == (75, f"error: another run of this job holds {work.state('lock')}: {shows}\n")
            assert first.poll() is None
            server.release()
            first.communicate(timeout=HUNG)
    assert first.returncode == 0


def test_a_killed_holder_blocks_nobody(tmp_path):
    path = tmp_path / "lock"
    with held(path) as holder:
        with pytest.raises(AlreadyRunning), file_lock.exclusive(path):
            pass
        holder.send_signal(signal.SIGSTOP)  # asleep is not dead
        with pytest.raises(AlreadyRunning) as refused, file_lock.exclusive(path):
            pass
        assert refused.value.exit_code == 75
        holder.kill()
        holder.wait(HUNG)
        with file_lock.exclusive(path):
            assert file_lock.is_held(path)


def test_is_held(tmp_path):
    path = tmp_path / "lock"
    assert not file_lock.is_held(path)
    with held(path):
        assert file_lock.is_held(path)
        assert file_lock.is_held(path)
    assert not file_lock.is_held(path)
    assert path.exists()


def test_those_who_ask_do_not_keep_a_run_from_starting(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    code = f"""
from pathlib import Path; from batchgen.storage import file_lock
print("asking", flush=True)
while True: file_lock.is_held(Path({str(path)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as asking:
        try:
            assert asking.stdout.readline() == "asking\n"
            met = 0
            while met < 10:
                assert asking.poll() is None
                if is_asked(path):
                    met += 1
                    with file_lock.exclusive(path):
                        pass
        finally:
            asking.kill()


def is_asked(path: Path) -> bool:
    """Whether somebody has it for the moment of a question, and most likely still does."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_no_child_inherits_it(tmp_path):
    path = tmp_path / "lock"
    with file_lock.exclusive(path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        with file_lock.exclusive(path):
            assert child.poll() is None
    finally:
        child.communicate(b"\n", timeout=HUNG)


def test_a_lock_file_that_was_replaced_before_it_was_locked_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    """Opened, unlinked by somebody, made anew by another run: the one that was opened is nobody's lock."""
    path = tmp_path / "lock"
    real, opened = os.open, []

    def slow_open(name, *more):
        descriptor = real(name, *more)
        if not opened:
            opened.append(descriptor)
            path.unlink()
            path.touch()
        return descriptor

    monkeypatch.setattr(os, "open", slow_open)
    with file_lock.exclusive(path):
        monkeypatch.undo()
        with pytest.raises(AlreadyRunning), file_lock.exclusive(path):
            pass
        assert file_lock.is_held(path)


@pytest.mark.parametrize("trouble", ["a folder", "a symlink", "no folder"])
def test_a_lock_that_cannot_be_made_is_refused(tmp_path, trouble):
    path = tmp_path / "lock"
    if trouble == "a folder":
        path.mkdir()
    elif trouble == "a symlink":
        (tmp_path / "elsewhere").touch()
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path = tmp_path / "none" / "lock"
    with pytest.raises(MachineRefused) as refused, file_lock.exclusive(path):
        pass
    assert refused.value.exit_code == 5
    assert str(path) in str(refused.value)


def test_a_file_system_that_is_read_only_is_told_as_that(tmp_path):
    """As root, too: it is no matter of permissions, and a checkpoint elsewhere would be one without its answers."""
    with small_disk(tmp_path / "state", 1 << 20) as disk:
        with file_lock.exclusive(disk / "job.lock"):
            pass
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(MachineRefused) as refused, file_lock.exclusive(disk / "job.lock"):
            pass
    assert str(refused.value).endswith(
        "job.lock: cannot be written: Read-only file system: have it mounted for writing"
    )


@pytest.mark.parametrize("trouble", ["a folder", "no folder"])
def test_who_only_reads_a_job_publishes_without_a_lock(tmp_path, trouble):
    path = tmp_path / "none" / "lock"
    if trouble == "a folder":
        path.mkdir(parents=True)
    with file_lock.in_turn(path, "waits"):
        assert not file_lock.is_held(path)


def test_turns(tmp_path):
    """The second waits until the first has ended."""
    path = tmp_path / "lock"
    with held(path, then="sys.stdin.readline(); print('ends', flush=True)") as first:
        threading.Timer(0.2, lambda: first.stdin.write("\n") and first.stdin.flush()).start()
        with file_lock.in_turn(path, "waits"):
            assert first.stdout.readline() == "ends\n"
            with pytest.raises(AlreadyRunning), file_lock.exclusive(path):
                pass


def test_threads_of_one_process_exclude_each_other_too(tmp_path):
    path = tmp_path / "lock"
    ended: Counter[str] = Counter()
    inside = threading.Barrier(8)

    def attempt() -> None:
        inside.wait(HUNG)
        try:
            with file_lock.exclusive(path):
                ended["ran"] += 1
                done.wait(HUNG)
        except AlreadyRunning:
            ended["refused"] += 1
            if ended["refused"] == 7:
                done.set()

    done = threading.Event()
    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HUNG)
    assert ended == {"ran": 1, "refused": 7}


def two_runs(work: Work, server: Slow, gone: list[str]):
    """(exit codes, stderrs) of a run and of another that starts when files of the first were removed under it."""
    server.hold(after=6)
    with start("run", work.job, "--json", url=server.url) as first:
        wait_for(lambda: server.in_flight == 4 and len(work.texts()) == 6, "the first run to be at it")
        for suffix in gone:
            work.state(suffix).unlink()
        with start("run", work.job, "--json", url=server.url) as second:
            wait_for(lambda: second.poll() is not None or server.requests > 10, "the second to end or to send")
            server.release()
            second_said = second.communicate(timeout=HUNG)[1]
        first_said = first.communicate(timeout=HUNG)[1]
    return (first.returncode, second.returncode), (first_said, second_said)


@pytest.mark.parametrize("gone", ["lock", "flight"])
def test_a_lock_file_unlinked_during_a_run_lets_no_second_run_in(tmp_path, gone):
    asked = prompts(30)
    work = Work(tmp_path).write(asked, concurrency=4)
    with Slow() as server:
        codes, said = two_runs(work, server, [gone])
        assert codes == (0, 75), said
        assert server.billed == Counter(asked)
        summary = here(work, server.url)
        assert (summary.exit_code, summary.sent, summary.ok) == (0, 0, len(asked))
    assert [row["text"] for row in work.table()] == [f"answer to {prompt}" for prompt in asked]


def test_both_files_unlinked_during_a_run_cost_no_more_than_a_kill(tmp_path):
    """Nothing can tell the second run of the first. But they corrupt nothing: one of them is stopped by the
    first commit that meets the other's, and what is bought twice is what was in flight at that moment."""
    asked = prompts(30)
    work = Work(tmp_path).write(asked, concurrency=4)
    with Slow() as server:
        codes, said = two_runs(work, server, ["lock", "flight"])
        assert sorted(codes) == [0, 5], said
        assert "Traceback" not in "".join(said)
        assert set(server.billed) == set(asked)
        assert server.billed.total() <= len(asked) + 4
        assert all(len(answers) == 1 for answers in work.answers().values())
        summary = here(work, server.url)
        assert (summary.exit_code, summary.sent, summary.ok) == (0, 0, len(asked))
    assert [row["text"] for row in work.table()] == [f"answer to {prompt}" for prompt in asked]
