"""What is written, who may read it, and where: also where somebody has put a link, and where nothing can be written.
And what a terminal is shown: text, whatever the text holds.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import COMMAND, KEPT
from support.service import PATIENCE, Hold, Status, error_body

ROWS = [{"id": f"r{n}", "name": f"shelf {n}"} for n in range(3)]
PRIVATE = 0o600
PRECIOUS = b"nothing of ours"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["umask 000", "umask 022", "umask 077"])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_what_is_kept_is_readable_by_its_owner_alone(umask, job, service, start, ended):
    """While it runs, and after it; the results go by the umask, as any file does."""
    service.script = lambda *_: Hold()
    process = start("run", job(ROWS))
    service.wait(lambda service: service.in_flight == len(ROWS))
    files = sorted(job.checkpoint.parent.iterdir())
    assert [file.name for file in files] == [
        f"job.{end}" for end in ("flight", "lock", "sqlite", "sqlite-shm", "sqlite-wal")
    ]
    assert {file.name: mode(file) for file in files} == {file.name: PRIVATE for file in files}
    service.release()
    assert ended(process).returncode == 0
    assert {mode(file) for file in job.checkpoint.parent.iterdir()} == {PRIVATE}
    assert mode(job.output) == 0o666 & ~umask


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_an_export_goes_by_the_umask(umask, suffix, job, called):
    path = job(ROWS)
    assert called("run", path).returncode == 0
    target = job.folder / f"export.{suffix}"
    assert called("export", path, "-o", target).returncode == 0
    assert mode(target) == 0o666 & ~umask
    assert {mode(file) for file in job.checkpoint.parent.iterdir()} == {PRIVATE}


def test_where_runs_meet_nobody_else_may_look(umask, job, service, start, ended, tmp_path):
    service.script = lambda *_: Hold()
    process = start("run", job(ROWS, limits={"requests_per_minute": 1e6}), env={"HOME": str(tmp_path)})
    service.wait(lambda service: service.in_flight >= 1)
    ours = tmp_path / ".cache" / "batchgen"
    assert {mode(path) for path in (ours, *ours.iterdir())} == {0o700}
    assert {mode(path) for path in ours.glob("*/*")} == {PRIVATE}
    service.release()
    assert ended(process).returncode == 0


# links


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A file that a link may lead to, and that nobody may touch."""
    file = tmp_path / "precious"
    file.write_bytes(PRECIOUS)
    return file


TARGETS = ["a file", "nothing"]


def planted(link: Path, elsewhere: Path, target: str) -> Path:
    """A link to a file elsewhere, or to one that is not there; where it leads."""
    leads = elsewhere if target == "a file" else elsewhere.with_name("not there")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(leads)
    return leads


def assert_untouched(elsewhere: Path) -> None:
    assert elsewhere.read_bytes() == PRECIOUS
    assert not elsewhere.with_name("not there").exists()
    assert [path.name for path in elsewhere.parent.glob("precious?*")] == []
    assert [path.name for path in elsewhere.parent.glob("not there?*")] == []


@pytest.mark.parametrize("target", TARGETS)
def test_results_take_a_links_place(target, job, called, elsewhere):
    planted(job.output, elsewhere, target)
    assert called("run", job(ROWS)).returncode == 0
    assert_untouched(elsewhere)
    assert not job.output.is_symlink()
    assert [row["status"] for row in job.rows()] == ["ok"] * len(ROWS)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("target", TARGETS)
def test_an_export_takes_a_links_place(target, suffix, job, called, elsewhere):
    path = job(ROWS)
    assert called("run", path).returncode == 0
    export = job.folder / "exports" / f"job.{suffix}"
    planted(export, elsewhere, target)
    assert called("export", path, "-o", export).returncode == 0
    assert_untouched(elsewhere)
    assert export.is_file()
    assert not export.is_symlink()


def test_a_link_to_the_input_is_no_place_for_results(job, called):
    path = job(ROWS, kind="parquet")
    before = (job.folder / "rows.parquet").read_bytes()
    planted(job.output, job.folder / "rows.parquet", "a file")
    assert called("run", path).returncode == 2
    assert (job.folder / "rows.parquet").read_bytes() == before


@pytest.mark.parametrize("target", TARGETS)
def test_a_temporary_name_is_not_written_through(target, job, called, elsewhere):
    """By this process's name, which a run in another process could only guess."""
    planted(job.output.with_name(f".job.parquet.{os.getpid()}.tmp"), elsewhere, target)
    called("run", job(ROWS))
    assert_untouched(elsewhere)
    assert [path.name for path in job.output.parent.iterdir() if path.is_symlink()] == []
    assert [row["status"] for row in job.rows()] == ["ok"] * len(ROWS)


@pytest.mark.parametrize("name", ["lock", "flight", "sqlite", "sqlite-wal", "sqlite-shm"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("before", [[], ["--limit", "1"]], ids=["the first run", "a later run"])
def test_what_is_kept_is_not_written_through_a_link(before, target, name, job, called, elsewhere):
    path = job(ROWS)
    if before:
        assert called("run", path, *before).returncode == 0
    link = job.checkpoint.parent / f"job.{name}"
    link.unlink(missing_ok=True)
    planted(link, elsewhere, target)
    for command in (["run", path], ["plan", path], ["status", path], ["export", path], ["prune", path]):
        said = called(*command)
        assert "Traceback" not in said.stderr
        assert_untouched(elsewhere)
        if command[0] == "run":
            assert said.returncode in (2, 5) or not link.is_symlink(), "the link was neither refused nor replaced"
            assert said.returncode == 0 or (str(job.checkpoint) in said.stderr or str(link) in said.stderr)
            assert said.returncode == 0 or said.stdout == "", "something was sent"


@pytest.mark.parametrize("name", ["lock", "flight", "sqlite"])
def test_a_pipe_in_the_place_of_what_is_kept_is_refused(name, job, pointing, tmp_path):
    """And nobody waits for its other end."""
    path = job(ROWS)
    job.checkpoint.parent.mkdir(parents=True)
    os.mkfifo(job.checkpoint.parent / f"job.{name}", PRIVATE)
    env = {**os.environ, **pointing, "HOME": str(tmp_path)}
    for command, codes in (("plan", {0, 5}), ("status", {5}), ("run", {0, 5} if name == "lock" else {5})):
        said = subprocess.run(
            [COMMAND, command, path], capture_output=True, text=True, check=False, env=env, timeout=PATIENCE
        )
        assert said.returncode in codes, said.stderr
        assert "Traceback" not in said.stderr


def test_a_folder_of_links_is_where_it_leads(job, called, tmp_path):
    """The user's own choice: a disk elsewhere."""
    (tmp_path / "disk").mkdir()
    (job.folder / "out").symlink_to(tmp_path / "disk")
    assert called("run", job(ROWS)).returncode == 0
    assert (tmp_path / "disk" / "job.parquet").is_file()
    assert (tmp_path / "disk" / ".batchgen" / "job.sqlite").is_file()


@pytest.mark.parametrize("suffix", ["yaml", "csv"])
@pytest.mark.parametrize("target", TARGETS)
def test_init_writes_through_no_link(target, suffix, called, elsewhere, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planted(tmp_path / f"new.{suffix}", elsewhere, target)
    assert called("init", "new").returncode == 2
    assert_untouched(elsewhere)


@pytest.mark.parametrize("target", TARGETS)
def test_salvage_writes_through_no_link(target, job, called, elsewhere):
    assert called("run", job(ROWS)).returncode == 0
    for name in (".job.sqlite.salvaged", ".job.sqlite.salvaged-wal", ".job.sqlite.repaired", "job.sqlite.damaged"):
        planted(job.checkpoint.with_name(name), elsewhere, target)
    subprocess.run([sys.executable, "-m", "batchgen.runner.salvage", job.checkpoint], check=False, capture_output=True)
    assert_untouched(elsewhere)
    assert called("run", job.folder / "job.yaml", "--json").json["sent"] == 0
    assert [row["attempts"] for row in job.rows()] == [1] * len(ROWS)


# names and paths


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "/x", "..", ".", ".x", "a\\b", "a\0b", "a b", "a\nb", "", "x" * 101, "ü", "-x", "{date}"]
)
def test_a_name_holds_no_path(name, job, service, called):
    path = job(ROWS, output={"path": "out/{name}.parquet"})
    path.write_text(f"name: {json.dumps(name)}\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    said = called("run", path)
    assert (said.returncode, service.requests) == (2, 0)
    assert f"{path}:1:1: name: should be letters, digits" in said.stderr
    assert job.files() == {"job.yaml", "rows.csv"}


@pytest.mark.parametrize(
    "file", ["..hidden.yaml", "a b.yaml", "ü{date}.yaml", "$(x).yaml", "\x1b[2J.yaml", "a\nb.yaml"]
)
def test_a_name_made_of_a_files_holds_no_path(file, job, called):
    path = job(ROWS, output={"path": "out/{name}/job.parquet"}).rename(job.folder / file)
    said = called("run", path)
    assert said.returncode in (0, 2), said.stderr
    assert not set(said.stdout + said.stderr) & set("\x1b\x9b\r")
    if said.returncode == 0:
        (found,) = (job.folder / "out").rglob("job.parquet")
        assert found.parent.parent == job.folder / "out"


def test_a_path_with_dots_is_where_it_leads(job, called):
    path = job(ROWS, input={"path": "./x/../rows.csv"}, output={"path": "out/../far/./job.parquet"})
    assert called("run", path).returncode == 0
    assert sorted(job.files()) == [
        "far/.batchgen/job.flight",
        "far/.batchgen/job.lock",
        "far/.batchgen/job.publish",
        "far/.batchgen/job.sqlite",
        "far/job.parquet",
        "job.yaml",
        "rows.csv",
    ]


# where nothing can be written


@pytest.fixture
def unprivileged(tmp_path, pointing):
    """Runs a command as somebody whom permissions concern: root gives up the capabilities that spare him them."""
    drop = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("runs as root, for whom no folder is read-only")
        drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    env = {**kept, "HOME": str(tmp_path), **pointing}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*drop, COMMAND, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=PATIENCE)

    return run


def test_a_folder_that_is_closed_amid_a_run_is_no_fault_of_the_input(job, service, unprivileged, start, ended):
    path = job(ROWS)
    service.script = lambda *_: job.output.parent.chmod(0o500)
    said = unprivileged("run", path)
    job.output.parent.chmod(0o700)
    assert (said.returncode, said.stdout) == (5, ""), said.stderr
    assert f"{job.output}: cannot be written: Permission denied. Every answer is in the checkpoint" in said.stderr
    service.script = None
    again = ended(start("run", path, "--json")).json
    assert (again["ok"], again["sent"]) == (len(ROWS), 0)


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    "what", ["the output's folder", "the folder above", "the checkpoint's folder", "the checkpoint", "the lock"]
)
def test_what_cannot_be_written_is_told_before_anything_is_sent(what, command, job, called, unprivileged):
    path = job(ROWS)
    if what != "the folder above":
        assert called("run", path, "--limit", "1").returncode == 0
    spoilt = {
        "the output's folder": job.output.parent,
        "the folder above": job.folder,
        "the checkpoint's folder": job.checkpoint.parent,
        "the checkpoint": job.checkpoint,
        "the lock": job.checkpoint.with_suffix(".lock"),
    }[what]
    spoilt.chmod(0o500 if spoilt.is_dir() else 0o400)
    said = unprivileged(command, path)
    spoilt.chmod(0o700)
    assert "Traceback" not in said.stderr
    if command == "run":
        assert (said.returncode in (2, 5), said.stdout) == (True, "")
        assert said.stderr.startswith("error: ")
        assert str(job.folder) in said.stderr
    else:
        assert said.returncode in (0, 2, 5)


@pytest.mark.parametrize("what", ["the output's folder", "the folder above", "the checkpoint's folder"])
def test_a_plan_works_where_nothing_can_be_written(what, job, called, unprivileged, service):
    """It writes nothing; and says that a run could not."""
    path = job(ROWS)
    if what != "the folder above":
        assert called("run", path, "--limit", "1").returncode == 0
    closed = {"the output's folder": job.output.parent, "the folder above": job.folder}.get(what, job.checkpoint.parent)
    closed.chmod(0o500)
    planned, status, ran = unprivileged("plan", path), unprivileged("status", path), unprivileged("run", path)
    closed.chmod(0o700)
    assert planned.returncode == 0, planned.stderr
    assert f"{len(ROWS)} rows" in planned.stdout
    shown = " ".join((planned.stdout + planned.stderr).split())
    assert f"a run would be refused here: {closed}: cannot be written" in shown
    assert (status.returncode == 0) == (what != "the folder above")
    assert (ran.returncode in (2, 5), service.requests) == (True, 0 if what == "the folder above" else 1)


@pytest.mark.parametrize("name", ["job.yaml", "rows.csv"])
def test_a_file_that_may_not_be_read(name, job, unprivileged, service):
    path = job(ROWS)
    (job.folder / name).chmod(0o000)
    said = unprivileged("run", path)
    assert (said.returncode, service.requests) == (2, 0)
    assert str(job.folder / name) in said.stderr
    assert "Permission denied" in said.stderr or "is not readable" in said.stderr


@pytest.mark.parametrize("given", ["in", "in/*/*.csv", "in/**/*.csv", "in/b", "in/b/*"])
def test_a_folder_of_the_input_that_may_not_be_looked_into(given, job, unprivileged, service):
    """Its rows must not be missing without a word."""
    path = job(ROWS, input={"path": given})
    for name in ("a", "b"):
        (job.folder / "in" / name).mkdir(parents=True)
        shutil.copy(job.folder / "rows.csv", job.folder / "in" / name)
    closed = job.folder / "in" / "b"
    closed.chmod(0o000)
    said = unprivileged("run", path)
    closed.chmod(0o700)
    assert (said.returncode, service.requests) == (2, 0), said.stderr
    assert said.stderr.startswith(f"error: {closed}")
    assert said.stderr.endswith(": cannot be read: Permission denied\n")


def test_a_closed_folder_that_is_passed_over_anyway_is_no_obstacle(job, unprivileged):
    path = job(ROWS, input={"path": "in"})
    (job.folder / "in").mkdir()
    shutil.copy(job.folder / "rows.csv", job.folder / "in")
    for name in (".Trash", "_temporary", "lost+found"):
        (job.folder / "in" / name).mkdir(mode=0)
    said = unprivileged("plan", path)
    for name in (".Trash", "_temporary", "lost+found"):
        (job.folder / "in" / name).chmod(0o700)
    assert said.returncode == 0, said.stderr


# what a terminal is shown

ACTIVE = {
    "clear the screen": "\x1b[2J",
    "C1": "\x9b2J",
    "a link": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "the title": "\x1b]0;owned\x07",
    "carriage return": "all is well\rnothing",
    "backspace": "a\b\b\bb",
    "right to left": "\u202egnp.exe",
    "isolates": "\u2067x\u2069",
    "line separator": "a\u2028b",
    "DEL": "a\x7fb",
    "NUL": "a\x00b",
}
FORBIDDEN = set("\x1b\x9b\r\b\x07\x7f\x00\u202e\u2067\u2069\u2028")


@pytest.mark.parametrize("active", ACTIVE.values(), ids=ACTIVE)
def test_a_terminal_is_shown_text_alone(active, job, service, called):
    """In ids, prompts, errors of the service, and names of files; in JSON as values that are what they were."""
    rows = [{"id": f"r{n}{active}", "name": f"shelf {n}{active}"} for n in range(2)]
    service.script = lambda _, body: (
        Status(400, error_body("BadRequest", f"no {active} here")) if "shelf 1" in body["prompt"] else None
    )
    path = job(rows, kind="ndjson", output={"path": "out/job.parquet"})
    said = [called("plan", path), called("plan", path, "--json")]
    assert json.loads(said[1].stdout)["prompts"] == [f"Write about {row['name']}." for row in rows]
    said += [called("run", path, "-v", "--json"), called("run", path, "-v"), called("run", path, "--quiet")]
    summary = json.loads(said[2].stdout)
    assert summary["failures"][0].startswith(f"row 2 (r1{active}): invalid: 400 BadRequest no ")
    said += [called("status", path), called("status", path, "--json"), called("export", path)]
    if "\0" not in active:
        moved = path.rename(job.folder / f"job{active.replace('/', '')}.yaml")
        said += [called(command, moved, *more) for command in ("plan", "run", "status") for more in ([], ["--json"])]
        said += [
            called("plan", f"{moved}{active}"),
            called("run", path, f"x{active}"),
            called("init", f"x{active}"),
            called("run", f"--x{active}"),
        ]
        said += [called("export", path, "-o", f"x{active}.txt")]
    for one in said:
        assert not set(one.stdout + one.stderr) & FORBIDDEN, one
        assert "Traceback" not in one.stderr


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({"request": {"max_tokens": "\x1b[2J"}}, id="a value"),
        pytest.param({"\x1b[2J": 1}, id="a key"),
        pytest.param({"prompt": "{{ \x1b[2J }}"}, id="a template"),
        pytest.param({"prompt": "{{ x\u202e }}"}, id="a name in a template"),
        pytest.param({"input": {"path": "\x1b[2J.csv"}}, id="an input"),
        pytest.param({"input": {"id": "\x1b[2J"}}, id="a column"),
        pytest.param({"output": {"path": "\x1b[2J/{x\x9b}.parquet"}}, id="an output"),
        pytest.param({"endpoint": {"url": "https://\x1b[2J"}}, id="an address"),
        pytest.param({"endpoint": {"ca_file": "\x1b[2J"}}, id="certificates"),
        pytest.param({"endpoint": {"key_file": "\x1b[2J"}}, id="a key's file"),
    ],
)
def test_a_refusal_is_text_alone(sections, job, called):
    said = called("run", job(ROWS, **sections))
    assert said.returncode == 2
    assert not set(said.stderr) & FORBIDDEN
    assert "Traceback" not in said.stderr


def test_a_column_of_the_input_is_text_alone(job, called):
    path = job([{"id": "1", "name": "a", "x\x1b[2J": "b"}], kind="ndjson", prompt="{{ nmae }}")
    said = called("plan", path)
    assert said.returncode == 2
    assert not set(said.stderr) & FORBIDDEN


def test_the_bar_of_a_terminal_shows_text_alone(job, service, pointing, tmp_path):
    """On a terminal messages go past the bar, and by the same filter."""
    rows = [{"id": f"r{n}\x1b[2J", "name": f"shelf {n}"} for n in range(2)]
    service.script = lambda *_: Status(400, error_body("BadRequest", "no \x9b2J\x1b]0;owned\x07 here"))
    path = job(rows, kind="ndjson")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [COMMAND, "run", path, "-v"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, **pointing, "HOME": str(tmp_path)},
    ) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # EIO: Linux's way to say that nobody writes any more
            while data := os.read(ours, 65536):
                shown += data
        process.wait()
    os.close(ours)
    text = shown.decode()
    assert process.returncode == 1
    assert "attempt 1: invalid" in text
    for active in ("\x1b[2J", "\x9b", "\x1b]0", "\x07"):
        assert active not in text
