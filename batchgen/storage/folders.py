"""The folders of a job: created, tested, synced, and refused before anything is spent where they cannot be used."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from batchgen.errors import BatchgenError, MachineRefused, UsageError
from batchgen.storage.location import Location, ObjectUrl

MACHINE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
"""Errors that no change of the job file fixes."""
NETWORK_FILE_SYSTEMS = {
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "smbnetfs", "9p", "afs", "afpfs", "ceph", "ceph-fuse", "lustre",
    "beegfs", "gpfs", "orangefs", "pvfs2", "ncpfs", "coda", "davfs", "davfs2", "curlftpfs", "vboxsf", "prl_fs",
    "vmhgfs", "vmhgfs-fuse", "sshfs", "glusterfs", "rclone", "s3fs", "gcsfuse", "goofys", "mountpoint-s3",
    "blobfuse", "blobfuse2", "seaweedfs", "weed", "fuse_dfs", "hdfs", "alluxio-fuse", "mfs", "moosefs", "lizardfs",
    "s3ql", "google-drive-ocamlfuse", "cvmfs2",
}  # fmt: skip
"""File systems, without their prefix `fuse.`, on which SQLite's write-ahead log is not safe
(https://sqlite.org/wal.html, 4 and 9), or whose locks do not reach other machines."""
LOCAL_FILE_SYSTEMS = {
    "ext2", "ext3", "ext4", "fuse2fs", "xfs", "btrfs", "zfs", "bcachefs", "f2fs", "jfs", "ubifs", "nilfs2", "tmpfs",
    "ramfs", "overlay", "fuse-overlayfs", "mergerfs", "unionfs", "encfs", "gocryptfs", "cryfs", "fuseblk", "exfat",
    "vfat", "hfsplus",
}  # fmt: skip
SHARED_FILE_SYSTEMS = {"juicefs", "ocfs2", "gfs2"}
"""File systems on shared disks whose locks reach every machine that mounts them."""
LOCAL_DISK_ADVICE = "`output: {state: FOLDER}` puts it on a local disk"
MIN_FREE_BYTES = 16 << 20
"""A disk with fewer free bytes counts as full: some file systems report a few megabytes that cannot be used."""
MIN_ROW_BYTES = 400
"""Bytes of the shortest row in the checkpoint."""


def make(folders: Iterable[Path]) -> None:
    """Creates missing folders, and tests each by writing to it. Raises UsageError if one cannot be written,
    MachineRefused if the machine is at fault."""
    for folder in folders:
        try:
            refuse_in_the_way(folder)
            _make(folder)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise _refusal(error)(f"{folder}: cannot be written: {error.strerror}") from None


def _refusal(error: OSError) -> type[BatchgenError]:
    return MachineRefused if error.errno in MACHINE_ERRNOS else UsageError


def _make(folder: Path) -> None:
    """Works like mkdir -p; each new entry is on stable storage before anything is put below it."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def refuse_special(path: Path) -> None:
    """Raises MachineRefused if path exists and is not a regular file: opening a FIFO would block."""
    if path.exists() and not path.is_file():
        raise MachineRefused(f"{path}: is not a regular file; move it")


def refuse_anothers(path: Path, mode: int = os.R_OK | os.W_OK) -> None:
    """Raises MachineRefused if path exists and this user may not open it so, as what a run under sudo has left. Nobody
    may write to a file system that is read-only: that is the caller's to tell."""
    if not os.access(path, os.F_OK) or os.access(path, mode):
        return
    if os.access(path, os.R_OK) and os.statvfs(path).f_flag & os.ST_RDONLY:
        return
    found, how = path.stat(), "written" if mode & os.W_OK else "read"
    try:
        owner = path.owner()
    except KeyError:
        owner = f"user {found.st_uid}"
    raise MachineRefused(
        f"{path}: cannot be {how}: Permission denied. It belongs to {owner}, of mode {found.st_mode & 0o777:04o}: go "
        f"on as {owner}, or have its folder given to this user (chown -R, chmod). Do not move it away: all answers "
        "would be bought again"
    )


def is_same(one: Location, other: Location) -> bool:
    """Returns whether two places are the same file or folder: by a link, or on a file system that ignores case. Either
    may not exist yet."""
    if one == other or isinstance(one, ObjectUrl) or isinstance(other, ObjectUrl):
        return one == other
    if not (one.exists() and other.exists()):
        return one.resolve() == other.resolve()
    return one.samefile(other) or _differ_by_case_alone(one, other)


def _differ_by_case_alone(one: Path, other: Path) -> bool:
    """Returns whether a folder lists one name for both. Some file systems (exfat-fuse, sshfs to a Mac) give each
    spelling of a name a number of its own."""
    if str(one).casefold() != str(other).casefold():
        return False
    pairs = zip((one, *one.parents), (other, *other.parents), strict=True)
    return all(not {a.name, b.name} <= {path.name for path in a.parent.iterdir()} for a, b in pairs if a.name != b.name)


def is_within(path: Path, folder: Path) -> bool:
    """Returns whether a path lies below a folder, as `is_same` compares; the path need not exist."""
    return any(is_same(parent, folder) for parent in path.parents)


def is_below(there: Location, folder: Location) -> bool:
    """Returns whether a place lies below a folder, here or in a store."""
    if isinstance(there, Path) and isinstance(folder, Path):
        return is_within(there, folder)
    return str(there).startswith(f"{folder}/")


def sync(path: Path) -> None:
    """Returns when the folder's entries, or the file's bytes, are on stable storage."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_in_the_way(folder: Path) -> None:
    """Raises UsageError if the folder, or one above it, exists and is not a folder."""
    existing = nearest(folder)
    if not existing.is_dir():
        raise UsageError(f"{existing}: cannot be written: is not a folder")


def refuse_unwritable(folder: Path) -> None:
    """Raises what `make` would raise, without writing anything."""
    refuse_in_the_way(folder)
    existing = nearest(folder)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{existing}: cannot be written")


def nearest(folder: Path) -> Path:
    """Returns the folder, or the first existing one above it."""
    while not folder.exists():
        folder = folder.parent
    return folder


def refuse_network(folder: Path) -> None:
    """Raises MachineRefused if the checkpoint would lie on a network file system."""
    kind = file_system(folder)
    if _without_fuse(kind) in NETWORK_FILE_SYSTEMS:
        raise MachineRefused(
            f"{folder}: is on a network file system ({kind}), where a checkpoint is not safe: {LOCAL_DISK_ADVICE}"
        )


def network_warning(folder: Path) -> str | None:
    """Returns a warning if the file system's locks may not reach another machine, else None."""
    kind = file_system(folder)
    if kind is None or _without_fuse(kind) in LOCAL_FILE_SYSTEMS | SHARED_FILE_SYSTEMS | NETWORK_FILE_SYSTEMS:
        return None
    return (
        f"{folder}: is on a file system ({kind}) whose locks may not reach another machine: two that run this job "
        f"would buy everything twice; {LOCAL_DISK_ADVICE}"
    )


def kills_when_full(folder: Path) -> bool:
    """Returns whether a write to shared memory may need room that is missing. btrfs writes each page anew, and kills
    the process with SIGBUS if it cannot."""
    return file_system(folder) == "btrfs" and shutil.disk_usage(folder).free < MIN_FREE_BYTES


def is_local(folder: Path) -> bool:
    """Returns whether the folder is on a local disk; True where the file system is unknown."""
    kind = file_system(folder)
    return kind is None or _without_fuse(kind) in LOCAL_FILE_SYSTEMS


def _without_fuse(kind: str | None) -> str:
    return (kind or "").removeprefix("fuse.")


def file_system(folder: Path) -> str | None:
    """Returns the file system's type as Linux names it; None if unknown."""
    kinds = _mounts()
    return next(
        (kinds[str(parent)] for parent in (folder.resolve(), *folder.resolve().parents) if str(parent) in kinds), None
    )


def is_mount_point(path: Path) -> bool:
    """Returns whether a path is a mount point; also true of a single mounted file, as in a container."""
    return str(path.parent.resolve() / path.name) in _mounts() or (path.is_dir() and path.is_mount())


def _mounts() -> dict[str, str]:
    """Returns the mount points with their file systems' types; empty if unknown."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (fields[1:3] for fields in map(str.split, lines))  # later mounts cover earlier ones
    return {re.sub(r"\\([0-7]{3})", lambda blank: chr(int(blank[1], 8)), folder): kind for folder, kind in pairs}


def longest_name(folder: Path) -> int:
    """Returns how many bytes a name in the folder may have."""
    return os.pathconf(nearest(folder), "PC_NAME_MAX")


def is_nearly_full(folder: Path) -> bool:
    """Returns whether a run should end, while there is room for the answers that are on their way."""
    disk = shutil.disk_usage(folder)
    return disk.free < _kept_free(disk.total)


def refuse_full(folder: Path, rows: int) -> None:
    """Raises MachineRefused if not even short answers to that many rows would fit, and leave what is kept free."""
    disk = shutil.disk_usage(folder)
    needed = rows and rows * MIN_ROW_BYTES + _kept_free(disk.total)
    if disk.free < needed:
        raise MachineRefused(
            f"{folder}: {disk.free / 1e6:,.0f} MB are free, and a run of {rows:,} rows needs at least "
            f"{needed / 1e6:,.0f} MB: make room; nothing was sent"
        )


def _kept_free(total: int) -> int:
    return min(MIN_FREE_BYTES, total // 8)
