"""Signals and closed pipes: real processes, stopped from outside, against a server that counts what it bills."""

import json
import os
import random
import resource
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing

import pyarrow.parquet as pq
import pytest
from support.durability import BATCHGEN, HUNG, Driver, Slow, Work, environ, here, prompts, run, start, wait_for

from batchgen.errors import Stopped
from batchgen.runner.signals import Signals

LATENCY = 0.4
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.fixture
def server():
    with Slow(LATENCY) as server:
        yield server


def lines_up(table: list[dict], asked: list[str], billed: Counter[str]) -> None:
    """A row for each of the input, answered where it was billed, and pending where it was not."""
    assert [row["ask"] for row in table] == asked
    for row in table:
        wanted = (f"answer to {row['ask']}", "ok") if billed[row["ask"]] else (None, "pending")
        assert (row["text"], row["status"]) == wanted


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_first_signal_drains_saves_and_publishes(tmp_path, server, number):
    asked = prompts(140)
    work = Work(tmp_path).write(asked, concurrency=50)
    with start("run", work.job, "--json", url=server.url) as process:
        wait_for(lambda: server.billed.total() >= 10 and server.in_flight >= 40, "some 50 in flight")
        process.send_signal(number)
        out, err = process.communicate(timeout=HUNG)
    summary = json.loads(out)
    billed = Counter(server.billed)
    assert process.returncode == summary["exit_code"] == 3, err
    assert summary["stopped"] == f"stopped by {number.name}"
    assert number.name in err
    assert 50 <= billed.total() < len(asked)
    assert billed.total() == summary["ok"] == summary["sent"] == len(work.texts()) == server.requests
    assert summary["pending"] == len(asked) - billed.total()
    lines_up(work.table(), asked, billed)

    server.latency = 0
    again = here(work, server.url)
    assert (again.exit_code, again.reused, again.interrupted) == (0, billed.total(), 0)
    assert again.sent == len(asked) - billed.total()
    assert server.billed == Counter(asked)
    lines_up(work.table(), asked, server.billed)


def test_answers_that_cannot_be_saved_after_the_second_signal_are_told(tmp_path, server):
    """They wait for a commit, which somebody holds up, and which then fails: the file may not grow."""
    work = Work(tmp_path).write(prompts(20), concurrency=20)
    server.latency = 0
    server.hold(after=0)
    with start("run", work.job, url=server.url) as process:
        wait_for(lambda: server.in_flight == 20, "all of them")
        with closing(sqlite3.connect(work.checkpoint, isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            server.release()
            wait_for(lambda: server.billed.total() == 20, "the answers")
            process.send_signal(signal.SIGTERM)
            assert "in flight get" in process.stderr.readline() + process.stderr.readline()
            process.send_signal(signal.SIGTERM)
            assert "are cancelled" in process.stderr.readline()
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        out, err = process.communicate(timeout=HUNG)
    assert (process.returncode, out) == (5, ""), err
    assert f"{work.checkpoint}: cannot be written" in err
    assert work.texts() == []
    code, summary, err = run(work, server.url)
    assert (code, summary["sent"], summary["interrupted"]) == (0, 20, 20), err


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_the_second_signal_stops_at_once_and_saves_what_has_arrived(tmp_path, server, second):
    """Twelve requests are never answered: the drain alone would wait for them."""
    asked = [f"{'slow' if n % 5 == 0 else 'quick'} {n}" for n in range(60)]
    slow, server.latency = 12, 0
    work = Work(tmp_path).write(asked, concurrency=20)
    with start("run", work.job, "--json", url=server.url) as process:
        # the server has written an answer before the client has it: two signals may come between
        wait_for(lambda: server.in_flight == slow and len(work.texts()) == 48, "the quick ones")
        process.send_signal(signal.SIGTERM)
        assert "in flight get" in process.stderr.readline() + process.stderr.readline()
        process.send_signal(second)
        out, err = process.communicate(timeout=HUNG)
    summary = json.loads(out)
    assert (process.returncode, summary["ok"], summary["pending"]) == (3, 48, slow), err
    assert "are cancelled" in err
    lines_up(work.table(), asked, server.billed)

    server.release()
    code, summary, said = run(work, server.url)
    assert (code, summary["reused"], summary["sent"], summary["interrupted"]) == (0, 48, slow, slow)
    assert f"{slow} in flight" in said
    assert server.billed == Counter(asked)  # the server noticed that nobody waited for the twelve
    assert [row["attempts"] for row in work.table()] == [2 if "slow" in prompt else 1 for prompt in asked]


def test_a_request_stopped_while_its_connection_opens_was_not_sent(tmp_path):
    """TLS never begins: the server accepts, and says nothing."""
    work = Work(tmp_path).write(prompts(4), concurrency=1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with start("run", work.job, "--json", url=url) as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGTERM)
            assert any("SIGTERM: no new requests; 1 in flight gets 60 s" in line for line in process.stderr)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=HUNG)
        connection.close()
    summary = json.loads(out)
    assert process.returncode == 3, err
    assert (summary["sent"], summary["possibly_billed"], summary["cost"]) == (0, 0, 0)
    with Slow(0) as server:
        assert here(work, server.url).interrupted == 0


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_while_it_plans_ends_it_before_anything_is_sent(tmp_path, server, number):
    work = Work(tmp_path).write(prompts(150_000))
    work.result.parent.mkdir()
    work.result.write_bytes(b"the old results")
    # what is raised just when a file was opened leaves it to Python to close, which warns of that and closes it
    environment = {**environ(server.url), "PYTHONWARNINGS": "error,ignore:unclosed file:ResourceWarning"}
    with start("run", work.job, "--json", env=environment) as process:
        wait_for(work.begun, "the checkpoint, which is made before the plan")
        process.send_signal(number)
        out, err = process.communicate(timeout=HUNG)
    assert (process.returncode, out) == (3, ""), err
    assert f"stopped by {number.name} before anything was sent" in err
    assert "Traceback" not in err
    assert server.requests == 0
    assert work.result.read_bytes() == b"the old results"


class Dropping:
    """As a library that calls Python where it cannot raise: the signal's handler runs within, and is dropped."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)


def test_a_signal_that_a_library_drops_is_raised_later_without_a_traceback(capfd):
    with pytest.raises(Stopped, match="stopped by SIGTERM before anything was sent"), Signals() as signals:  # noqa: PT012
        some = [Dropping()]
        some.clear()
        signals.defer()
    assert capfd.readouterr().err == ""


def test_a_signal_at_any_moment_of_the_plan_is_told_as_what_it_is(tmp_path):
    """Also where it comes while a prompt is being rendered: it is no fault of that row."""
    work = Work(tmp_path).write(prompts(300_000))
    dice = random.Random(4)
    stopped, latest = 0, 0.3
    with closing(Driver()) as driver:
        for _ in range(24):
            after = dice.uniform(0.04, latest)
            ended = driver("run", work, "http://127.0.0.1:9", after=after, number=signal.SIGTERM)
            assert ended.killed or (ended.exit_code, ended.error) == (3, "stopped by SIGTERM before anything was sent")
            stopped += not ended.killed  # killed: the signal came before anybody listened
            latest *= 1 if stopped else 1.3  # on a busy machine it takes longer until somebody does
    assert stopped


def test_a_signal_while_it_publishes_waits_for_the_file(tmp_path, server):
    """All is answered by then: the run is whole, and says so."""
    asked = prompts(4000)
    server.latency = 0
    work = Work(tmp_path).write(asked, concurrency=100)
    with start("run", work.job, "--json", url=server.url) as process:
        # a file of that kind is written before anything is sent, too, to see whether it can be
        wait_for(
            lambda: process.poll() is not None or (server.billed.total() == len(asked) and work.temporaries()), "a file"
        )
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=HUNG)
    assert process.returncode == 0, err
    assert json.loads(out)["ok"] == len(asked)
    assert pq.ParquetFile(work.result).metadata.num_rows == len(asked)
    assert not work.temporaries()


def test_a_hangup_that_was_to_be_ignored_is_ignored(tmp_path, server):
    """`nohup batchgen run JOB &`, and the terminal is closed: the night goes on."""
    asked = prompts(60)
    work = Work(tmp_path).write(asked, concurrency=20)
    with subprocess.Popen(
        ["nohup", BATCHGEN, "run", work.job, "--quiet"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ(server.url),
    ) as process:
        wait_for(lambda: server.in_flight >= 10, "requests in flight")
        process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=HUNG)
    assert process.returncode == 0, err
    assert server.billed == Counter(asked)


CLOSED = {
    "stdout closed": ">&-",
    "stderr closed": "2>&-",
    "both closed": ">&- 2>&-",
    "all three closed": "<&- >&- 2>&-",
    "stdout full": ">/dev/full",
    "stdout full of JSON": "--json >/dev/full",
    "stderr full": "--json 2>/dev/full",
}


@pytest.mark.parametrize("how", CLOSED)
def test_closed_and_full_outputs_lose_nothing(tmp_path, server, how):
    """The run is over and published when its summary cannot be written: that is no failure of the run."""
    if "full" in how and not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full")
    server.latency = 0
    asked = prompts(20)
    work = Work(tmp_path).write(asked)
    command = f"exec {BATCHGEN} run {work.job} {CLOSED[how]}"
    ended = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=HUNG, env=environ(server.url), check=False
    )
    assert "Traceback" not in ended.stderr
    assert server.billed == Counter(asked)
    lines_up(work.table(), asked, server.billed)
    assert ended.returncode == 0, ended.stderr
    assert here(work, server.url).reused == len(asked)


@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_a_reader_that_goes_away_meanwhile_loses_nothing(tmp_path, server, which):
    asked = prompts(60)
    work = Work(tmp_path).write(asked, concurrency=20)
    with start("run", work.job, "-v", url=server.url) as process:
        wait_for(lambda: server.in_flight >= 10, "requests in flight")
        getattr(process, which).close()
        process.send_signal(signal.SIGTERM)  # which has something to say on stderr, and at the end on stdout
        (process.stdout if which == "stderr" else process.stderr).read()
        process.wait(HUNG)
    assert process.returncode == 3
    assert 0 < len(work.texts()) == server.billed.total() < len(asked)
    lines_up(work.table(), asked, server.billed)
