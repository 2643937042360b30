"""What happens beside a run while it is at work: to its input, its checkpoint, its process, and to what looks on."""

import fcntl
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing, suppress

import pytest
from aiohttp import web
from conftest import COMMAND
from support.durability import fill, small_disk, wait_for
from support.service import Hold

from batchgen.api.failure_kinds import Kind
from batchgen.checkpoint.reader import Reader
from batchgen.output.destination import Destination
from batchgen.reporting.wording import MEANINGS
from batchgen.storage.atomic import replacing

ROWS = [{"id": f"{number:02}", "name": f"product {number}"} for number in range(40)]


def waiting(service, after: int):
    """A script: so many are answered, the next ones once the test says so."""
    return lambda n, _: Hold() if n > after else None


async def briefly(exchange) -> web.Response:
    """The same short answer to each of thousands, once the test says so."""
    await exchange.service.released.wait()
    return web.json_response({"choices": [{"text": "brief"}], "model": "m"})


def many_waiting(after: int):
    return lambda n, _: briefly if n > after else None


MANY = 1200
LONG = [
    {"id": f"{number:05}", "n": 7, "name": f"product {number}", "notes": "of ours " * 5000} for number in range(MANY)
]
"""More than is read ahead, which is 4,096 rows, or 16 MiB: so a change is met while it sends."""


def test_an_input_that_is_edited_costs_nothing_of_what_is_in_flight(job, service, start, ended, called):
    path = job(LONG, limits={"concurrency": 20})
    service.script = many_waiting(50)
    running = start("run", path, "--json")
    service.wait(lambda service: service.in_flight == 20)
    job.write([{**row, "name": row["name"] + "!"} if number > MANY // 2 else row for number, row in enumerate(LONG)])
    service.release()
    said = ended(running)
    assert said.returncode == 3, said.stderr
    assert "the input changed while the job was at work" in said.json["stopped"]
    assert said.json["ok"] >= 70, "what was in flight ended, and is kept"
    assert len(job.rows()) == MANY, "published by the input as it is now"
    before = service.requests
    assert called("run", path, "--json").json["ok"] == MANY
    assert service.requests == MANY + (before - said.json["ok"])


def break_in_place(path, line):
    """Writes a line of the same length over that of row 1,101. It keeps the file's inode and size."""
    with path.open("r+b") as file:
        file.seek(file.read().index(b"01100"))
        file.write(line)


@pytest.mark.parametrize(
    ("line", "given"),
    [
        pytest.param(b"01100 7 product 1100", {}, id="a field where there were three"),
        pytest.param(b'01100,7,"roduct 1100', {}, id="a quote that never ends"),
        pytest.param(b"01100,x,product 1100", {"schema": {"n": "Int64"}}, id="a cell that is not of its type"),
        pytest.param(b"01100,x,product 1100", {"where": "cast(n as int) > 0"}, id="a cell that `where` cannot take"),
    ],
)
def test_an_input_that_is_broken_costs_nothing_of_what_is_in_flight(job, service, start, ended, line, given):
    path = job(LONG, limits={"concurrency": 20}, input=given)
    service.script = many_waiting(50)
    running = start("run", path, "--json")
    service.wait(lambda service: service.in_flight == 20)
    break_in_place(job.folder / "rows.csv", line)
    service.release()
    said = ended(running)
    assert said.returncode == 3, said.stderr
    assert "the input changed while the job was at work, and cannot be read now (" in said.stderr
    with closing(sqlite3.connect(job.checkpoint)) as db:
        kept = db.execute("SELECT count(*) FROM attempts WHERE outcome = 'ok'").fetchone()[0]
    assert kept == service.requests < MANY, "what was in flight ended, and is kept"


def test_an_input_that_has_lost_the_column_of_priorities_is_told_as_that(job, service, start, ended):
    rows = [{"id": f"r{n}", "name": f"shelf {n}", "margin": n} for n in range(20)]
    path = job(rows, limits={"concurrency": 4}, priority="margin")
    service.script = many_waiting(10)
    running = start("run", path, "--json")
    service.wait(lambda service: service.in_flight == 4)
    job.write([{"id": row["id"], "name": row["name"]} for row in rows])
    service.release()
    said = ended(running)
    assert said.returncode == 3, said.stderr
    assert "cannot be read now (priority: the input has no column 'margin'" in said.stderr


def test_an_input_that_cannot_be_read_again_is_no_wrong_command(job, service, start, ended, called):
    """Its version is as it was, as on a disk that fails."""
    path = job(LONG[1050:], limits={"concurrency": 20})
    service.script = waiting(service, 130)
    running = start("run", path, "--json")
    service.wait(lambda service: service.requests == 150)
    rows = job.folder / "rows.csv"
    was = rows.stat().st_mtime_ns
    break_in_place(rows, b"01100 7 product 1100")
    os.utime(rows, ns=(was, was))
    service.release()
    said = ended(running)
    assert said.returncode == 3, said.stderr
    assert "the input cannot be read again (" in said.stderr
    break_in_place(rows, b"01100,7,product 1100")
    service.script = None
    again = called("run", path, "--json").json
    assert (again["ok"], again["sent"]) == (150, 0)


def test_a_file_that_was_touched_is_no_other_file(job, service, start, ended):
    path = job(ROWS, limits={"concurrency": 8})
    service.script = waiting(service, 10)
    running = start("run", path, "--json")
    service.wait(lambda service: service.in_flight == 8)
    os.utime(job.folder / "rows.csv", (1, 1))
    service.release()
    said = ended(running)
    assert (said.returncode, said.json["ok"], said.json["stopped"]) == (0, 40, None), said.stderr
    assert service.requests == 40


def test_an_input_that_goes_away_costs_nothing(job, service, start, ended, called):
    path = job(ROWS, limits={"concurrency": 8})
    service.script = waiting(service, 10)
    running = start("run", path, "--json")
    service.wait(lambda service: service.in_flight == 8)
    (job.folder / "rows.csv").rename(job.folder / "away.csv")
    service.release()
    said = ended(running)
    assert said.returncode == 3
    assert "every answer is kept" in said.stderr
    (job.folder / "away.csv").rename(job.folder / "rows.csv")
    assert called("run", path, "--json").json["ok"] == 40
    assert service.requests == 40


@pytest.mark.parametrize("how", ["the folder is removed", "the file is replaced"])
def test_a_checkpoint_that_is_taken_away_is_noticed_and_rescued(how, job, service, start, ended, called):
    path = job(ROWS, limits={"concurrency": 4})
    service.script = waiting(service, 10)
    running = start("run", path)
    service.wait(lambda service: service.in_flight == 4)
    if how == "the folder is removed":
        shutil.rmtree(job.checkpoint.parent)
    else:
        job.checkpoint.unlink()
        job.checkpoint.write_bytes(b"")
    time.sleep(2.5)  # it is looked at every two seconds
    service.release()
    said = ended(running)
    assert (said.returncode, service.requests) == (5, 14), said.stderr
    assert "was removed or replaced while the run was at work" in said.stderr
    (rescued,) = job.checkpoint.parent.glob("job.rescued-*.sqlite")
    assert str(rescued) in said.stderr
    assert stat.S_IMODE(rescued.stat().st_mode) == 0o600
    job.checkpoint.unlink(missing_ok=True)
    service.script = None
    assert called("plan", path, "--json").json["reused"] == 14, "as the next run does"
    far = called("status", path, "--json").json
    assert (far["state"], far["done"], far["left"]) == ("stopped", 14, 26)
    assert len(called("show", path, "--pending", "--json").stdout.splitlines()) == 26
    again = called("run", path, "--json")
    assert again.json["reused"] == 14, "nothing is bought again"
    assert f"its copy takes its place: {rescued}" in again.stderr
    assert service.requests == 40


def test_a_checkpoint_of_which_no_copy_can_be_written_is_told_so(job, service, start, ended):
    path = job(ROWS, limits={"concurrency": 4})
    service.script = waiting(service, 10)
    running = start("run", path)
    service.wait(lambda service: service.in_flight == 4)
    shutil.rmtree(job.checkpoint.parent)
    job.checkpoint.parent.write_text("a file, where the folder was")
    time.sleep(3)  # it is looked at four times a second
    service.release()
    said = ended(running)
    assert (said.returncode, service.requests) == (5, 14), said.stderr
    assert "no copy of it can be written" in said.stderr
    assert "the next run buys everything again" in said.stderr


def test_a_process_that_stood_still_reads_what_has_arrived(job, service, start, ended):
    path = job(ROWS[:4], timeout={"total": 1.5}, limits={"concurrency": 4})
    service.script = waiting(service, 0)
    running = start("run", path, "--json")
    service.wait(lambda service: service.in_flight == 4)
    running.send_signal(signal.SIGSTOP)
    service.release()
    time.sleep(4)
    running.send_signal(signal.SIGCONT)
    said = ended(running)
    assert (said.returncode, said.json["ok"], said.json["sent"]) == (0, 4, 4), said.stderr


def test_a_run_that_the_machine_ended_was_not_killed(job, service, start, ended, called):
    path = job(ROWS, limits={"concurrency": 4})
    service.script = waiting(service, 10)
    running = start("run", path)
    service.wait(lambda service: service.in_flight == 4)
    job.output.mkdir()  # nothing can be published there
    service.release()
    said = ended(running)
    assert said.returncode == 3, "2 would say that nothing was sent"
    assert "is a folder" in said.stderr
    assert "every answer is kept" in said.stderr
    job.output.rmdir()
    assert called("status", path, "--json").json["state"] == "stopped"
    assert called("run", path, "--json").json["sent"] == 0


def test_a_temporary_file_of_a_process_in_another_container_is_left_alone(job):
    """It has a number that is nobody's here; what is at work holds a lock."""
    job.output.parent.mkdir()
    other = job.output.with_name(f".job.parquet.{2**22 - 1}.tmp")
    with other.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with replacing(job.output) as new:
            new.write(b"x")
        assert other.exists()
    with replacing(job.output) as new:
        new.write(b"x")
    assert not other.exists(), "nobody writes it any more"


def test_answers_that_are_missing_from_the_checkpoint_are_told_before_they_are_bought_again(job, called, service):
    path = job(ROWS)
    assert called("run", path, "--limit", "10").returncode == 0
    older = job.checkpoint.read_bytes()
    assert "are missing" not in called("run", path).stderr
    job.checkpoint.write_bytes(older)
    said = called("run", path)
    assert said.returncode == 0
    assert f"warning: 30 attempts that were committed are missing from {job.checkpoint}" in said.stderr
    assert service.requests == 70
    assert "are missing" not in called("run", path).stderr, "told once"
    job.write(ROWS[:5])
    assert "dropped" in called("prune", path, "--yes").stdout
    assert "are missing" not in called("run", path).stderr, "what was pruned is not missed"
    job.checkpoint.unlink()
    assert "are missing" not in called("run", path).stderr, "nor is a checkpoint that somebody moved away"


def test_a_log_that_a_kill_left_and_that_is_cut_is_told(job, service, start, called):
    path = job(ROWS, limits={"concurrency": 2})
    service.script = waiting(service, 30)
    running = start("run", path)
    service.wait(lambda service: service.in_flight == 2 and service.served.total() == 30)
    time.sleep(0.5)
    running.kill()
    running.wait()
    log = job.checkpoint.with_name("job.sqlite-wal")
    os.truncate(log, log.stat().st_size // 2)
    service.release()
    said = called("run", path)
    assert "that were committed are missing" in said.stderr
    assert said.returncode == 0


def salvaged(path) -> str:
    command = [sys.executable, "-m", "batchgen.runner.salvage", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_checkpoint_without_its_last_page_is_salvaged(job, called, service):
    path = job(ROWS)
    assert called("run", path).returncode == 0
    with closing(sqlite3.connect(job.checkpoint)) as db:
        (page,) = db.execute("PRAGMA page_size").fetchone()
    os.truncate(job.checkpoint, job.checkpoint.stat().st_size - page)
    saved = int(salvaged(job.checkpoint).split()[0])
    assert saved > 20
    assert called("run", path, "--json").json["reused"] == saved


def test_a_job_that_is_called_repaired_keeps_its_checkpoint(job, called, service):
    mine = job(ROWS[:3], name="repaired", output={"path": "out/repaired.parquet"})
    assert called("run", mine).returncode == 0
    path = job(ROWS[:3])
    assert called("run", path, "--adopt").returncode == 0
    salvaged(job.checkpoint)
    assert called("run", mine, "--json").json["sent"] == 0


def test_the_last_line_of_a_log_of_objects_is_the_summary(job, called):
    path = job(ROWS[:3])
    said = called("run", path, "--log-format", "json")
    last = json.loads(said.stderr.splitlines()[-1])
    assert (last["exit_code"], last["rows"], last["ok"], last["path"]) == (0, 3, 3, str(job.output))
    assert last["message"] == "3 of 3 rows have their text"
    assert json.loads(called("run", path.with_name("no.yaml"), "--log-format", "json").stderr)["exit_code"] == 2
    assert called("run", path, "--log-format", "json", "--quiet").stderr == ""


def test_every_kind_of_failure_has_its_meaning():
    assert set(Kind) <= set(MEANINGS)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="gives files to another user")
@pytest.mark.parametrize("command", ["status", "export", "plan", "report", "run"])
@pytest.mark.parametrize("name", ["job.sqlite", "*"])
def test_another_user_is_told_in_a_line(name, command, job, called, pointing):
    """One who may not read them, as after a run under sudo: here root, without its power over others' files."""
    path = job(ROWS[:3])
    assert called("run", path).returncode == 0
    for kept in job.checkpoint.parent.glob(name):
        os.chown(kept, 12345, 12345)
    powerless = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", COMMAND, command, str(path)]
    said = subprocess.run(powerless, capture_output=True, text=True, check=False, env={**os.environ, **pointing})
    assert said.returncode == 5, said.stdout + said.stderr
    assert "Traceback" not in said.stderr
    assert str(job.checkpoint.parent) in said.stderr
    assert "Permission denied. It belongs to user 12345, of mode 0600" in said.stderr
    assert "move it away: all answers would be bought again" in said.stderr


def test_an_export_that_is_slow_leaves_a_run_its_results(job, service, start, called, monkeypatch):
    """The run ends while the export, which has read fewer answers, has compared them with what stands there, and is
    about to put them in place."""
    path = job(ROWS)
    service.script = waiting(service, 10)
    running = start("run", path)
    service.wait(lambda service: service.served.total() == 10 and service.in_flight == 8)
    real, said = os.fsync, []

    def slow_sync(descriptor):
        if not said:
            service.release()
            said.append(True)
            for line in running.stderr:  # to its end, or until it waits
                if "waits for another command that puts results there" in line:
                    said.append(line)
                    break
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow_sync)
    exported = called("export", path)
    running.communicate()
    assert (running.returncode, exported.returncode) == (0, 0)
    assert [row["status"] for row in job.rows()] == ["ok"] * len(ROWS)
    assert said[1:], "it waited"
    assert not job.output.with_name("job.partial.parquet").exists()


def test_an_export_that_a_run_overtakes_takes_in_what_the_run_bought(job, service, start, called, monkeypatch):
    path = job(ROWS)
    service.script = waiting(service, 10)
    running = start("run", path)
    service.wait(lambda service: service.served.total() == 10 and service.in_flight == 8)
    real = Destination.in_turn

    def overtaken(to):
        if running.poll() is None:
            service.release()
            running.communicate()
        return real(to)

    monkeypatch.setattr(Destination, "in_turn", overtaken)
    assert called("export", path).returncode == 0
    assert [row["status"] for row in job.rows()] == ["ok"] * len(ROWS)
    assert not job.output.with_name("job.partial.parquet").exists()


@pytest.mark.parametrize(
    "command",
    [["status"], ["status", "--json"], ["show", "1"], ["report"], ["export"], ["export", "-o", "x.csv"]],
    ids=" ".join,
)
def test_what_looks_on_leaves_no_log_behind(job, service, called, monkeypatch, command):
    monkeypatch.chdir(job.folder)
    path = job(ROWS[:4])
    assert called("run", path).returncode == 0
    before, content = {file.name for file in job.checkpoint.parent.iterdir()}, job.checkpoint.read_bytes()
    assert called(command[0], path, *command[1:]).returncode == 0
    assert {file.name for file in job.checkpoint.parent.iterdir()} == before
    assert job.checkpoint.read_bytes() == content


def test_what_looks_on_leaves_a_run_its_log(job, service, start, ended, called):
    """Also one that a run begins under it: opened before, closed after."""
    path = job(ROWS)
    assert called("run", path, "--limit", "1").returncode == 0
    service.script = waiting(service, 20)
    log = job.checkpoint.with_name("job.sqlite-wal")
    with Reader(job.checkpoint) as reader:
        running = start("run", path, "--json")
        service.wait(lambda service: service.in_flight > 0 and service.served.total() >= 20)
        assert reader.last_id() > 0
    assert called("status", path).returncode == 0
    assert log.stat().st_size > 0
    service.release()
    said = ended(running)
    assert (said.returncode, said.json["ok"]) == (0, len(ROWS)), said.stderr
    assert not log.exists()


def wait_for_words(running: subprocess.Popen[str], words: str) -> None:
    """Reads what it logs until these come."""
    pipe, said = running.stderr.fileno(), []

    def has_said() -> bool:
        with suppress(BlockingIOError):
            said.append(os.read(pipe, 1 << 16))
        return words.encode() in b"".join(said)

    os.set_blocking(pipe, False)
    wait_for(has_said, words)
    os.set_blocking(pipe, True)


def test_a_disk_that_is_nearly_full_ends_a_run_while_its_last_answers_have_room(job, service, start, ended, called):
    path = job(ROWS, limits={"concurrency": 4}, output={"state": "state"})
    service.script = waiting(service, 10)
    with small_disk(job.folder / "state", 32 << 20) as disk:
        running = start("run", path, "--json")
        service.wait(lambda service: service.in_flight == 4)
        filler = fill(disk, leave=3 << 20)
        wait_for_words(running, "nearly full")
        service.release()
        said = ended(running)
        assert (said.returncode, said.json["ok"], said.json["pending"]) == (5, 14, 26)
        assert "the disk that holds the checkpoint is nearly full" in said.json["stopped"]
        assert called("status", path, "--json").json["state"] == "stopped"
        again = called("run", path)
        assert (again.returncode, service.requests) == (5, 14)
        assert "nothing was sent" in again.stderr
        filler.unlink()
        service.script = None
        last = called("run", path, "--json").json
        assert (last["ok"], last["interrupted"], service.requests) == (40, 0, 40), "nothing is bought twice"
