"""What a run advises is true for the flags that it was given: whatever ended it, the same command goes on, and the
server's ledger shows nothing that was bought twice."""

import shutil

import pytest
from support.service import Status, error_body

from batchgen.storage import file_lock

ROWS = 12
FLAGS = [(), ("--fresh",), ("--limit", "10"), ("--no-retry-failed",), ("--quiet",), ("--fresh", "--limit", "10")]
BAD = Status(400, error_body("BadRequest", "no shelves"))
KEY = Status(401, error_body("fail.auth", "no such key"))


def rows_of(count: int) -> list[dict[str, str]]:
    return [{"id": f"{number:02}", "name": f"shelf {number}"} for number in range(count)]


def fails_a_row(service, job, called, run):
    service.script = lambda _, body: BAD if body["prompt"] == "Write about shelf 3." else None
    ended = run()
    service.script = None
    return ended


def spends_a_budget(service, job, called, run):
    for left in (5, 3):
        ended = run(until={"requests": left})
    return ended


def refuses_the_key(service, job, called, run):
    service.script = lambda *_: KEY if sum(service.served.values()) % ROWS >= 5 else None
    ended = run()
    service.script = None
    return ended


def loses_its_checkpoint(service, job, called, run):
    def script(*_):
        if sum(service.served.values()) % ROWS == 5 and job.checkpoint.exists():
            shutil.move(job.checkpoint, job.folder / "gone.sqlite")

    service.script = script
    ended = run(limits={"concurrency": 1, "requests_per_minute": 240})
    service.script = None
    (rescued,) = job.checkpoint.parent.glob("*.rescued-*.sqlite")
    assert str(rescued) in ended.stderr
    return ended


def runs_twice_at_once(service, job, called, run):
    job.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with file_lock.exclusive(job.checkpoint.with_suffix(".lock")):
        return run()


ENDS = {
    1: fails_a_row,
    3: spends_a_budget,
    4: refuses_the_key,
    5: loses_its_checkpoint,
    75: runs_twice_at_once,
}


@pytest.mark.parametrize("flags", FLAGS, ids=lambda flags: " ".join(flags) or "plain")
@pytest.mark.parametrize("code", ENDS)
def test_the_same_command_again_goes_on_and_buys_nothing_twice(code, flags, job, service, called):
    rows = rows_of(ROWS)
    wanted = 10 if "--limit" in flags else ROWS
    if "--fresh" in flags:
        assert called("run", job(rows), "--quiet").returncode == 0
    before = service.served.copy()

    def run(**sections):
        return called("run", job(rows, **sections), *flags)

    ended = ENDS[code](service, job, called, run)
    assert ended.returncode == code, ended.stderr
    if code == 1 and "--fresh" in flags:  # it has come to its end: a plain run takes the older answer of what failed
        flags = tuple(flag for flag in flags if flag != "--fresh")
        wanted -= 1
    again = run()
    bought = service.served - before
    if code == 1 and "--no-retry-failed" in flags:
        assert again.returncode == 1
        assert "1 failed in an earlier run and is not tried again" in again.stderr
        assert bought.total() == wanted - 1
        return
    assert again.returncode == 0, again.stderr
    assert (len(bought), max(bought.values())) == (wanted, 1), "each row once"
    assert called("run", job(rows), *(flag for flag in flags if flag == "--quiet")).returncode == 0
    assert max((service.served - before).values()) == 1, "nor does a plain run afterwards"
