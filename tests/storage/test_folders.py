"""Folders that cannot serve are refused before anything is spent."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import COMMAND
from support.durability import within

from batchgen.errors import MachineRefused, UsageError
from batchgen.storage import atomic, file_lock, folders


def test_missing_folders_are_made(tmp_path):
    folders.make([tmp_path / "a" / "b" / "c", tmp_path / "a"])
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert list((tmp_path / "a" / "b" / "c").iterdir()) == [], "nothing is left of the try"


@pytest.mark.parametrize("below", ["file", "file/folder"])
def test_a_file_in_the_way_is_the_jobs_mistake(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"):
        folders.make([tmp_path / below])
    with pytest.raises(UsageError, match="file"):
        folders.refuse_unwritable(tmp_path / below)


def test_what_is_refused_leaves_no_trace(tmp_path):
    folders.refuse_unwritable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        pytest.param("/", "ext4", id="the root"),
        pytest.param("/home/me", "nfs4", id="a mount below it"),
        pytest.param("/home/me/deep/er", "nfs4", id="far below the mount"),
        pytest.param("/homely", "ext4", id="a name that begins like a mount's"),
        pytest.param("/data", "xfs", id="the last mount on a folder covers the first"),
    ],
)
def test_the_file_system_of_a_folder(monkeypatch, folder, kind):
    mounts = (
        "/dev/sda / ext4 rw 0 0\nserver:/x /home nfs4 rw 0 0\n/dev/sdb /data cifs rw 0 0\n/dev/sdc /data xfs rw 0 0\n"
    )
    read_text = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path, **how: mounts if str(path) == "/proc/self/mounts" else read_text(path, **how),
    )
    assert folders.file_system(Path(folder)) == kind
    if kind == "nfs4":
        with pytest.raises(MachineRefused, match=r"network file system \(nfs4\)"):
            folders.refuse_network(Path(folder))
    else:
        folders.refuse_network(Path(folder))


def test_a_disk_that_cannot_hold_the_answers_is_told_before_they_are_bought(tmp_path):
    folders.refuse_full(tmp_path, 10)
    with pytest.raises(MachineRefused, match=r"MB are free.*nothing was sent"):
        folders.refuse_full(tmp_path, 10**15)


ROWS = [{"id": str(n), "name": f"shelf {n}"} for n in range(30)]


OVERLAID = """
mkdir -p layers/above layers/work merged
mount -t overlay overlay -o lowerdir=out,upperdir=layers/above,workdir=layers/work merged
mount --bind merged out
{batchgen} run job.yaml --local
ls -A out > listed; mkdir seen; cp out/job.local/* seen
"""


def test_a_folder_of_results_in_a_layer_below_is_replaced(job, called):
    """An overlay cannot rename it; publishing found that out when all was paid for."""
    path = job(ROWS[:20], output={"path": "out/job", "rows_per_file": 8})
    assert called("run", path, "--local").returncode == 0
    job.write(ROWS)
    ran = within(job.folder, OVERLAID.format(batchgen=COMMAND))
    assert ran.returncode == 0, ran.stderr
    assert (job.folder / "listed").read_text().split() == [".batchgen", "job.local"], "something is left of it"
    tables = [pq.read_table(file) for file in sorted((job.folder / "seen").iterdir())]
    assert [row for table in tables for row in table["id"].to_pylist()] == [row["id"] for row in ROWS]


@pytest.mark.parametrize("state", ["half removed", "removed", "replaced"])
def test_a_kill_while_a_folder_of_a_layer_below_is_replaced(tmp_path, state):
    """Its copy stands for it, whatever is left of it."""
    path, was = tmp_path / "parts", tmp_path / f".parts.{2**22 + 1}.was"
    was.mkdir()
    (was / "part-00000.parquet").write_text("old")
    (was / "part-00001.parquet").write_text("old")
    if state != "removed":
        path.mkdir()
        (path / "part-00000.parquet").write_text("old" if state == "half removed" else "new")
    with atomic.temporary_folder(path):
        assert {file.read_text() for file in path.iterdir()} == {"old"}
        assert len(list(path.iterdir())) == 2
    assert not was.exists()


MOUNTED = {
    "a folder that is a mount point": ("mkdir -p parts; mount -t tmpfs none parts", {"path": "parts", "rows_per_file": 9}, "is a mount point, which cannot be replaced: give output.path a folder within it"),
    "a file that is mounted": ("touch a.parquet b.parquet; mount --bind a.parquet b.parquet", {"path": "b.parquet"}, "is a mount point, which cannot be replaced: mount the folder that it is in"),
    "a name with a blank": ("mkdir -p 'my parts'; mount -t tmpfs none 'my parts'", {"path": "my parts", "rows_per_file": 9}, "is a mount point"),
}  # fmt: skip


@pytest.mark.parametrize("what", MOUNTED)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_place_that_nothing_can_take_is_told_beforehand(job, what, command):
    mounting, output, said = MOUNTED[what]
    job(ROWS, output=output)
    pointed = "WRITER_API_KEY=not-used-at-all WRITER_BASE_URL=http://127.0.0.1:9"
    ran = within(job.folder, f"{mounting}\n{pointed} {COMMAND} {command} job.yaml")
    assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr


def test_results_within_a_mount_point(job):
    job(ROWS, output={"path": "disk/parts", "rows_per_file": 9})
    ran = within(
        job.folder,
        f"mkdir disk; mount -t tmpfs none disk; {COMMAND} run --local job.yaml; {COMMAND} run --local job.yaml --fresh",
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_name_that_is_too_long_is_told_beforehand(job, called, service, command):
    for length, fits in ((239, True), (240, False), (300, False)):
        path = job(ROWS, output={"path": f"out/{'é' * 40}{'x' * (length - 80)}.parquet"})
        ended = called(command, path)
        assert (ended.returncode == 0) == fits, (length, ended.stderr)
        assert fits or ("the file system takes 255" in ended.stderr and ended.returncode == 2), ended.stderr
        assert fits or command == "plan" or service.requests == len(ROWS)


def test_a_long_name_is_replaced_as_a_short_one(job, called):
    """What is written beside it has no longer one."""
    for output in ({"path": f"{'x' * 230}.parquet"}, {"path": "y" * 230, "rows_per_file": 9}):
        path = job(ROWS, output=output)
        for more in ([], ["--fresh"]):
            ended = called("run", path, "--local", *more)
            assert ended.returncode == 0, ended.stderr
    assert [name for name in job.files() if name.endswith((".tmp", ".old", ".try", ".was"))] == []


@pytest.fixture
def mounted(monkeypatch):
    """All paths seem to lie on a file system of that kind."""

    def at(kind: str) -> None:
        monkeypatch.setattr(folders, "_mounts", lambda: {"/": kind})

    return at


@pytest.mark.parametrize("kind", ["fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.sshfs", "cifs", "davfs"])
def test_a_network_file_system_is_refused_with_the_way_out(job, called, service, mounted, kind):
    path = job(ROWS)
    mounted(kind)
    ended = called("run", path)
    assert (ended.returncode, service.requests) == (5, 0)
    assert f"is on a network file system ({kind})" in ended.stderr
    assert "`output: {state: FOLDER}`" in ended.stderr
    ended = called("plan", path)
    assert ended.returncode == 0
    assert f"a run would be refused here: {job.checkpoint.parent}" in " ".join((ended.stdout + ended.stderr).split())


@pytest.mark.parametrize("kind", ["virtiofs", "fuse", "fuse.unheard-of"])
def test_a_file_system_that_nobody_knows_is_warned(job, called, mounted, kind):
    """And a second process is refused the lock, so that the run goes on."""
    path = job(ROWS)
    mounted(kind)
    for command in ("plan", "run"):
        ended = called(command, path)
        assert ended.returncode == 0, ended.stderr
        shown = " ".join((ended.stdout + ended.stderr).split())
        assert f"is on a file system ({kind}) whose locks may not reach another machine" in shown


@pytest.mark.parametrize("kind", ["ext4", "overlay", "fuseblk", "fuse.juicefs", "fuse.fuse-overlayfs"])
def test_a_file_system_that_locks_is_not(tmp_path, mounted, kind):
    mounted(kind)
    folders.refuse_network(tmp_path)
    assert folders.network_warning(tmp_path) is None


def test_a_lock_that_keeps_nobody_out_is_refused(tmp_path):
    """Here, one that is not held: a second process gets it."""
    path = tmp_path / "lock"
    with file_lock.exclusive(path):
        file_lock.refuse_ineffective(path)
    with pytest.raises(MachineRefused, match=r"does not keep other processes out.*`output: \{state: FOLDER\}`"):
        file_lock.refuse_ineffective(path)


def test_the_state_has_a_folder_of_its_own(job, called, tmp_path):
    """A checkpoint that lies where it used to is told, and its answers are taken in."""
    assert called("run", job(ROWS)).returncode == 0
    state = tmp_path / "disk" / "state"
    path = job([*ROWS, {"id": "30", "name": "new"}], output={"path": "out/job.parquet", "state": str(state)})
    ended = called("plan", path)
    assert f"--adopt {job.checkpoint}" in ended.stdout + ended.stderr
    ended = called("run", path, "--adopt", job.checkpoint, "--json")
    assert (ended.returncode, ended.json["sent"], ended.json["reused"]) == (0, 1, 30), ended.stderr
    assert {file.name for file in state.iterdir()} >= {"job.sqlite", "job.lock"}
    assert called("status", path, "--json").json["done"] == 31
    assert called("export", path).returncode == 0
    assert called("prune", path, "--yes").returncode == 0


@pytest.mark.parametrize("state", ["s3://shelf/state", "out/{date}", ""])
def test_a_state_that_is_no_folder_of_this_machine(job, called, state):
    ended = called("plan", job(ROWS, output={"state": state}))
    assert (ended.returncode, "output.state: should be" in ended.stderr) == (2, True), ended.stderr


FILLED = """
import os
from pathlib import Path

from batchgen.errors import MachineRefused
from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import Record

Path("disk/job.lock").touch()
checkpoint, rows = Checkpoint(Path("disk/job.sqlite")), 0
reader = Reader(Path("disk/job.sqlite"))
try:
    while True:
        checkpoint.add([Record(key=os.urandom(16), outcome="ok", attempts=1, finished_at=1, body=os.urandom(40000)) for _ in range(20)])
        rows += 20
        reader.last_id()
except MachineRefused as error:
    print(error, flush=True)
print(os.statvfs("disk").f_bavail, reader.last_id())
reader.close()
checkpoint.close()
os.unlink("disk/filler")
os.sync()
checkpoint = Checkpoint(Path("disk/job.sqlite"))
assert checkpoint.last_id == rows, (checkpoint.last_id, rows)
"""


def test_a_full_btrfs_ends_no_process(tmp_path):
    """It did when the checkpoint was closed, by SIGBUS; what was committed is there once there is room."""
    if not shutil.which("mkfs.btrfs"):
        pytest.skip("no btrfs here")
    (tmp_path / "fill.py").write_text(FILLED)
    making = "truncate -s 120M image; mkfs.btrfs -q -M image >/dev/null 2>&1; mkdir disk; mount -o loop image disk"
    ran = within(tmp_path, f"{making}; head -c 1M /dev/urandom > disk/filler; sync; {sys.executable} fill.py")
    assert ran.returncode == 0, ran
    assert "disk is full" in ran.stdout


@pytest.fixture
def folded(job):
    """`Data` is `data`, too, as where a file system does not tell cases apart (for what exists, a link does the same)."""
    (job.folder / "Data").mkdir()
    (job.folder / "data").symlink_to("Data")
    return job.folder / "Data"


OTHER_CASE = {
    "a file in the input's folder": ({"path": "Data"}, {"path": "data/job.parquet"}, "is in the input's folder"),
    "the input itself": ({"path": "Data/rows.csv"}, {"path": "data/rows.csv", "rows_per_file": 9}, "is a file"),
    "a folder that holds the input": ({"path": "Data/sub/part-00000.parquet"}, {"path": "data/sub", "rows_per_file": 9}, "is also the input"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER_CASE)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_output_that_is_the_input_by_another_case(job, called, service, folded, case, command):
    given, output, said = OTHER_CASE[case]
    path = job(ROWS, input=given, output=output)
    shutil.copy(job.folder / "rows.csv", folded)
    (folded / "sub").mkdir()
    job.write(ROWS, "parquet")
    shutil.move(job.folder / "rows.parquet", folded / "sub" / "part-00000.parquet")
    if given["path"] == "Data":
        shutil.rmtree(folded / "sub")
    ended = called(command, path)
    assert (ended.returncode, said in ended.stderr, service.requests) == (2, True, 0), ended.stderr


FOLDED = """
truncate -s 60M image; mkfs.exfat image >/dev/null; mkdir disk
mount.exfat-fuse -o nonempty $(losetup -f --show image) disk >/dev/null; losetup -d $(losetup -j image -O NAME -n)
trap "umount disk" EXIT; mkdir disk/Data
"""


@pytest.mark.parametrize("case", OTHER_CASE)
def test_an_output_that_is_the_input_where_each_spelling_is_a_file_of_its_own(job, case):
    """As exfat-fuse has it, by the numbers of files."""
    if not all(map(shutil.which, ("mkfs.exfat", "mount.exfat-fuse"))):
        pytest.skip("exfatprogs and exfat-fuse")
    given, output, said = OTHER_CASE[case]
    job(ROWS, input={"path": f"disk/{given['path']}"}, output={**output, "path": f"disk/{output['path']}"})
    job.write(ROWS, "parquet")
    parts = "mkdir disk/Data/sub; cp rows.parquet disk/Data/sub/part-00000.parquet" if "sub" in given["path"] else ""
    ran = within(job.folder, f"{FOLDED}cp rows.csv disk/Data; {parts}\n{COMMAND} plan job.yaml || echo refused")
    if "losetup:" in ran.stderr or "fuse:" in ran.stderr:
        pytest.skip(ran.stderr)
    assert (ran.stdout, said in ran.stderr) == ("refused\n", True), ran.stderr


def test_an_export_to_the_jobs_own_place_by_another_case_hears_the_gate(job, called, folded):
    path = job(ROWS, output={"path": "Data/job.parquet"}, gate={"min_chars": 1})
    assert called("run", path).returncode == 0
    path = job(ROWS, output={"path": "Data/job.parquet"}, gate={"min_chars": 10_000})
    ended = called("export", path, "-o", job.folder / "data" / "job.parquet")
    assert (folded / "job.rejected.parquet").is_file(), ended.stdout + ended.stderr


def test_two_jobs_whose_names_differ_by_case(job, called, service):
    """Where their checkpoints are one file, the second is refused."""
    first = job(ROWS, name="Job")
    assert called("run", first).returncode == 0
    sent = service.requests
    state = job.folder / "out" / ".batchgen"
    second = job(ROWS, name="job", prompt="Another {{ name }}", output={"path": "out/other.parquet"})
    for end in ("sqlite", "lock", "flight"):
        os.link(state / f"Job.{end}", state / f"job.{end}")
    ended = called("run", second)
    assert (ended.returncode, service.requests) == (2, sent), ended.stderr
    assert "is the checkpoint of the job Job" in ended.stderr
