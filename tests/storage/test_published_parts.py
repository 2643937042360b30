"""Results as a folder of parts: in order, whole, the old one or the new one, whatever happens."""

import json
import random
import subprocess
import sys
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from support.durability import HUNG, Driver, Work, prompts, service

import batchgen as library
from batchgen.errors import MachineRefused
from batchgen.storage import atomic
from batchgen.storage.atomic import machine_refusals, put_folder, temporary_folder

KILLS = 25
ROWS = [{"id": str(n), "name": f"shelf {n}"} for n in range(30)]
PARTS = {"path": "out/job.parquet", "rows_per_file": 8}


@contextmanager
def replacing_folder(path: Path):
    """A new folder that takes `path`'s place when the block ends well."""
    with machine_refusals(path), temporary_folder(path) as folder:
        yield folder
        put_folder(folder, path)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("path", ["out/job", "out/job.parquet", "out/job.parquet/"])
def test_parts_are_in_input_order_and_none_is_stale(job, called, path):
    ended = called("run", job(ROWS, output={"path": path, "rows_per_file": 8}), "--json")
    assert ended.returncode == 0, ended.stderr
    folder = job.folder / path
    assert ended.json["path"] == str(folder)
    parted = [f"part-0000{n}.parquet" for n in range(4)]
    assert names(folder) == parted
    parts = [pq.ParquetFile(folder / name) for name in parted]
    assert [part.metadata.num_rows for part in parts] == [8, 8, 8, 6]
    assert all(part.schema_arrow.equals(parts[0].schema_arrow, check_metadata=True) for part in parts)
    assert json.loads(parts[3].schema_arrow.metadata[b"batchgen"])["settings"]["output"]["rows_per_file"] == 8
    frame = library.load(str(folder))
    assert frame["id"].to_list() == [row["id"] for row in ROWS]
    assert frame.equals(pl.read_parquet(folder))
    job.write(ROWS[:8])
    assert called("run", job.folder / "job.yaml").returncode == 0
    assert names(folder) == parted[:1]
    assert library.load(folder)["id"].to_list() == [row["id"] for row in ROWS[:8]]
    assert names(job.folder / "out") == [".batchgen", folder.name]


def test_parts_are_cut_where_the_job_says_however_the_input_comes(job, called):
    """More than a batch a part, and more than a part a batch; no row at all is one part still."""
    rows = [{"id": str(n), "name": "the same"} for n in range(9000)]
    job(rows[:1])
    path = job(rows, output={"path": "out/job", "rows_per_file": 5000}, input={"limit": 1})
    assert called("export", path).returncode == 5, "nothing has run yet"
    assert called("run", path).returncode == 0
    job(rows, output={"path": "out/job", "rows_per_file": 5000})
    assert called("export", path).returncode == 0
    parts = sorted((job.folder / "out" / "job").iterdir())
    assert [pq.read_metadata(part).num_rows for part in parts] == [5000, 4000]
    job([], output={"path": "out/job", "rows_per_file": 5000})
    assert called("export", path).returncode == 0
    assert [pq.read_metadata(part).num_rows for part in (job.folder / "out" / "job").iterdir()] == [0]


def test_a_part_that_is_gone_is_told(tmp_path):
    (tmp_path / "part-00000.parquet").symlink_to("gone.parquet")
    code = f"import batchgen; batchgen.load({str(tmp_path)!r})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HUNG, check=False)
    assert "FileNotFoundError" in ended.stderr


def test_a_trial_has_a_folder_of_its_own(job, called):
    for path, trial in (("out/job", "out/job.local"), ("out/job.parquet", "out/job.local.parquet")):
        ended = called("run", job(ROWS[:3], output={"path": path, "rows_per_file": 2}), "--local", "--json")
        assert ended.json["path"] == str(job.folder / trial), ended.stderr
        report = called("report", job.folder / "job.yaml", "--local").stdout
        assert report == f"wrote {job.folder / 'out' / 'job.local.report.html'}\n"


def test_a_folder_that_the_gate_rejects_stands_beside_the_last_good_one(job, called):
    good, beside = job.folder / "out" / "job.parquet", job.folder / "out" / "job.rejected.parquet"
    path = job(ROWS, output=PARTS)
    assert called("run", path).returncode == 0
    before = {part.name: part.read_bytes() for part in good.iterdir()}
    ended = called("run", job(ROWS, output=PARTS, gate={"min_chars": 10_000}), "--json")
    assert (ended.returncode, ended.json["path"]) == (1, str(beside)), ended.stderr
    assert {part.name: part.read_bytes() for part in good.iterdir()} == before
    assert names(beside) == names(good)
    assert b"batchgen.rejected" in pq.read_metadata(beside / names(beside)[-1]).metadata
    ended = called("run", job(ROWS, output=PARTS, gate={"min_chars": 1, "max_drift": 0.1}), "--json")
    assert (ended.returncode, ended.json["path"], ended.json["sent"]) == (0, str(good), 0), ended.stderr
    assert names(job.folder / "out") == [".batchgen", "job.parquet"]


def test_what_stands_in_the_way_is_refused_before_anything_is_sent(job, called, service):
    out = job.folder / "out"
    (out / "mine").mkdir(parents=True)
    (out / "mine" / "thesis.txt").write_text("precious")
    (out / "file.parquet").write_text("precious")
    for output, said in (
        ({"path": "out/mine", "rows_per_file": 8}, "out/mine: holds thesis.txt, and would be replaced"),
        ({"path": "out", "rows_per_file": 8}, "out: holds "),
        (
            {"path": "out/file.parquet", "rows_per_file": 8},
            "out/file.parquet: is a file, and output.rows_per_file needs",
        ),
        ({"path": "out/new"}, "output.path: should end in .parquet"),
    ):
        ended = called("run", job(ROWS, output={"rows_per_file": None, **output}))
        assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr
    path = job(ROWS, output={"path": "out/parts.parquet", "rows_per_file": 8})
    assert called("run", path).returncode == 0
    before = service.requests
    ended = called("run", job(ROWS, output={"path": "out/parts.parquet"}))
    assert (ended.returncode, "out/parts.parquet: is a folder: " in ended.stderr) == (2, True), ended.stderr
    again = {"path": "out/parts.parquet", "rows_per_file": 9}
    job(ROWS, output=again)
    path.write_text(path.read_text().replace("rows.csv", "out/parts.parquet/part-00000.parquet"))
    ended = called("run", path)
    assert (ended.returncode, "is also the input" in ended.stderr or "named text" in ended.stderr) == (2, True)
    assert service.requests == before
    assert (out / "mine" / "thesis.txt").read_text() == (out / "file.parquet").read_text() == "precious"


@pytest.fixture(scope="module")
def driver():
    with closing(Driver()) as driving:
        yield driving


def test_killed_throughout_the_folder_is_the_old_one_or_the_new_one(tmp_path, driver):
    asked = prompts(400, "sail with")
    output = {"output": {"path": "out/result.parquet", "rows_per_file": 150}}
    work = Work(tmp_path).write(asked, concurrency=16, more=output)

    old = {f"part-0000{n}.parquet": f"old {n}".encode() * 1000 for n in range(5)}
    new = [f"part-0000{n}.parquet" for n in range(3)]

    def is_new() -> bool:
        """Fails where it is neither."""
        content = {path.name: path.read_bytes() for path in work.result.iterdir()}
        assert content == old or sorted(content) == new
        assert content == old or [row["ask"] for row in work.table() if row["text"]] == asked
        return content != old

    with service() as built_in:
        assert driver("run", work, built_in.url).exit_code == 0
    assert is_new()
    dice, longest, seen = random.Random(13), 0.1, Counter()
    while sum(seen[end] for end in ("new", "old")) < KILLS or not seen["new"] or not seen["left"]:
        with replacing_folder(work.result) as folder:
            for name, data in old.items():
                (folder / name).write_bytes(data)
        ended = driver("run", work, "http://127.0.0.1:9", cpu=longest * dice.uniform(0.3, 1))
        now = is_new()
        assert ended.killed or now, ended.error
        left = [path for path in work.result.parent.iterdir() if path.suffix in (".tmp", ".old")]
        assert len(left) <= 1, "stale temporaries gather"
        longest *= 0.8 if now else 1.2
        seen.update(new=now, old=not now, left=bool(left))
        assert seen["old"] < 20 * KILLS, "no kill hit the writing of a part: nothing was tested"
    sys.stdout.write(f"\nkilled while publishing a folder: {dict(seen)}\n")
    assert driver("run", work, "http://127.0.0.1:9").summary["sent"] == 0
    assert is_new()
    assert names(work.result.parent) == [".batchgen", work.result.name]


def test_where_names_cannot_change_places_the_old_folder_stands_again_after_a_kill(tmp_path, monkeypatch):
    """On a file system without that call there is a moment without either; what a kill leaves in it is mended."""
    monkeypatch.setattr(atomic, "swap", lambda *_: False)
    path = tmp_path / "parts"
    for content in ("one", "two", "three"):
        with replacing_folder(path) as folder:
            (folder / "part-00000.parquet").write_text(content)
        assert (path / "part-00000.parquet").read_text() == content
        assert names(tmp_path) == ["parts"]
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait(HUNG)
    path.rename(tmp_path / f".parts.{dead.pid}.old")
    (tmp_path / f".parts.{dead.pid}.tmp").mkdir()
    with pytest.raises(MachineRefused), replacing_folder(path) as folder:  # noqa: PT012  what fails is within
        assert (path / "part-00000.parquet").read_text() == "three"
        (folder / "no" / "such").touch()
    assert names(tmp_path) == ["parts"]
