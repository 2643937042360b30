"""Folders that cannot serve are refused before anything is spent."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchgen import folders
from batchgen.errors import MachineRefused, UsageError


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
