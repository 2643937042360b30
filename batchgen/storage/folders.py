"""The folders of a job: made, tried, synced, and refused before anything is spent where they cannot serve."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from batchgen.errors import BatchgenError, MachineRefused, UsageError

OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
"""Errors that no change of the job file mends."""
NETWORK = {
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "smbnetfs", "9p", "afs", "afpfs", "ceph", "ceph-fuse", "lustre",
    "beegfs", "gpfs", "orangefs", "pvfs2", "ncpfs", "coda", "davfs", "davfs2", "curlftpfs", "vboxsf", "prl_fs",
    "vmhgfs", "vmhgfs-fuse", "sshfs", "glusterfs", "rclone", "s3fs", "gcsfuse", "goofys", "mountpoint-s3",
    "blobfuse", "blobfuse2", "seaweedfs", "weed", "fuse_dfs", "hdfs", "alluxio-fuse", "mfs", "moosefs", "lizardfs",
    "s3ql", "google-drive-ocamlfuse", "cvmfs2",
}  # fmt: skip
"""File systems on which SQLite's write-ahead log is not safe (https://sqlite.org/wal.html, 4 and 9), or of which a lock
does not reach other machines; without their `fuse.`."""
LOCAL = {
    "ext2", "ext3", "ext4", "fuse2fs", "xfs", "btrfs", "zfs", "bcachefs", "f2fs", "jfs", "ubifs", "nilfs2", "tmpfs",
    "ramfs", "overlay", "fuse-overlayfs", "mergerfs", "unionfs", "encfs", "gocryptfs", "cryfs", "fuseblk", "exfat",
    "vfat", "hfsplus",
}  # fmt: skip
LOCKING = {"juicefs", "ocfs2", "gfs2"}
"""Others' disks, whose locks reach all who have them mounted."""
ELSEWHERE = "`output: {state: FOLDER}` puts it on a local disk"
LEAST_FREE = 16 << 20
"""Bytes below which a disk counts as full, which still says so of some megabytes that nobody can have."""
ROW_BYTES = 400
"""What a row takes in the checkpoint at the very least."""


def make(folders: Iterable[Path]) -> None:
    """Makes what is missing, and tries each. Raises UsageError where one cannot be written, MachineRefused where
    the machine is at fault."""
    for folder in folders:
        try:
            _make(folder)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise _refusal(error)(f"{folder}: cannot be written: {error.strerror}") from None


def _refusal(error: OSError) -> type[BatchgenError]:
    return MachineRefused if error.errno in OF_THE_MACHINE else UsageError


def _make(folder: Path) -> None:
    """As mkdir -p; each new entry is on stable storage before anything is put below it."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def refuse_special(path: Path) -> None:
    """Raises MachineRefused where something that is no file stands in a file's place, and might be waited for."""
    if path.exists() and not path.is_file():
        raise MachineRefused(f"{path}: is no file: move it away")


def is_same(one: Path, other: Path) -> bool:
    """Whether two names are one file's or folder's: by a link, or where a file system does not tell cases apart."""
    return one == other or (one.exists() and other.exists() and one.samefile(other))


def is_within(path: Path, folder: Path) -> bool:
    """As above, also where the path is still to be made."""
    return any(is_same(parent, folder) for parent in path.parents)


def sync(path: Path) -> None:
    """Returns when the folder's entries, or the file's bytes, are on stable storage."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_in_the_way(folder: Path) -> None:
    """Raises UsageError where something that is no folder stands where it, or one above, is to be."""
    there = nearest(folder)
    if not there.is_dir():
        raise UsageError(f"{there}: cannot be written: is no folder")


def refuse_unwritable(folder: Path) -> None:
    """What `make` would find, without a trace."""
    refuse_in_the_way(folder)
    there = nearest(folder)
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{there}: cannot be written")


def nearest(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder


def refuse_network(folder: Path) -> None:
    """Raises MachineRefused where the checkpoint would lie on a network file system."""
    kind = file_system(folder)
    if _bare(kind) in NETWORK:
        raise MachineRefused(
            f"{folder}: is on a network file system ({kind}), where no checkpoint is safe: {ELSEWHERE}"
        )


def network_warning(folder: Path) -> str | None:
    """Where nobody knows whether another machine is locked out."""
    kind = file_system(folder)
    if kind is None or _bare(kind) in LOCAL | LOCKING | NETWORK:
        return None
    return (
        f"{folder}: is on a file system ({kind}) whose locks may not reach another machine: two that run this job "
        f"would buy everything twice; {ELSEWHERE}"
    )


def kills_when_full(folder: Path) -> bool:
    """Whether a write to shared memory needs room that is not there: btrfs writes each page anew, and ends the process
    by SIGBUS where it cannot."""
    return file_system(folder) == "btrfs" and shutil.disk_usage(folder).free < LEAST_FREE


def is_local(folder: Path) -> bool:
    """As far as that is to be known."""
    kind = file_system(folder)
    return kind is None or _bare(kind) in LOCAL


def _bare(kind: str | None) -> str:
    return (kind or "").removeprefix("fuse.")


def file_system(folder: Path) -> str | None:
    """Its type, as Linux names it; None where that is not to be known."""
    kinds = _mounts()
    return next(
        (kinds[str(parent)] for parent in (folder.resolve(), *folder.resolve().parents) if str(parent) in kinds), None
    )


def is_mount_point(path: Path) -> bool:
    """Also a file that is mounted by itself, as a container's are."""
    return str(path.parent.resolve() / path.name) in _mounts() or (path.is_dir() and path.is_mount())


def _mounts() -> dict[str, str]:
    """Mount points and their file systems' types; none where that is not to be known."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (fields[1:3] for fields in map(str.split, lines))  # later mounts cover earlier ones
    return {re.sub(r"\\([0-7]{3})", lambda blank: chr(int(blank[1], 8)), folder): kind for folder, kind in pairs}


def longest_name(folder: Path) -> int:
    """Bytes that a name in it may have."""
    return os.pathconf(nearest(folder), "PC_NAME_MAX")


def refuse_full(folder: Path, rows: int) -> None:
    """Raises MachineRefused where not even short answers for so many rows would fit."""
    free, needed = shutil.disk_usage(folder).free, rows * ROW_BYTES
    if free < needed:
        raise MachineRefused(
            f"{folder}: {free / 1e6:,.0f} MB are free, and {rows:,} rows take at least {needed / 1e6:,.0f} MB: "
            "make room; nothing was sent"
        )
