"""Tables of Delta Lake on this machine: which of a table's files are in force, by `deltalake`, an extra.

Files of which some rows are deleted, or whose columns have other names than the table's, are refused: what is read is
the files as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from batchgen.errors import UsageError
from batchgen.storage import lakes
from batchgen.storage.error_messages import PANIC

_READ = {
    "columnMapping", "deletionVectors", "timestampNtz", "v2Checkpoint",
    "vacuumProtocolCheck", "variantType", "variantType-preview",
}  # fmt: skip
"""Features under which a file's rows are the table's, but for column mapping and deletion vectors in use."""
_INSTALL = "; or read it as it is: pip install 'batchgen-writer[delta]'"


def files_in_force(folder: Path) -> list[Path]:
    """Returns the files of the table's newest version, in the order of their paths. Raises UsageError if their rows are
    not the table's, or if `deltalake` is not installed."""
    try:
        from deltalake import DeltaTable  # noqa: PLC0415  an extra
    except ImportError:
        raise UsageError(f"{lakes.refusal(folder, lakes.DELTA)}{_INSTALL}") from None
    with _refusing(folder):
        table = DeltaTable(folder)
        _refuse_features(folder, table)
        names = [unquote(name) for name in table.get_add_actions().column("path").to_pylist()]
        partitions = table.metadata().partition_columns
    for name in names:
        if "://" in name or name.startswith("/"):
            raise _unread(folder, "with files elsewhere (a shallow clone)")
        if not all(f"/{column}=" in f"/{name}" for column in partitions):
            raise _unread(folder, "with partitions that no folder names")
        if not folder.joinpath(name).is_file():
            raise UsageError(f"{folder / name}: is missing, and the table's log names it")
    return sorted(folder / name for name in names)


@contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != PANIC:
            raise
        said = str(error).partition("\n")[0]
        raise _unread(folder, f"that deltalake cannot read ({said})") from None


def _refuse_features(folder: Path, table: Any) -> None:
    unknown = sorted({*(table.protocol().reader_features or ())} - _READ)
    if unknown:
        raise _unread(folder, f"with the feature {unknown[0]}")
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        raise _unread(folder, "with column mapping")
    if table.deletion_vectors().read_all().num_rows:
        raise _unread(folder, "with deletion vectors")


def _unread(folder: Path, why: str) -> UsageError:
    return UsageError(
        f"{folder}: is a table of Delta Lake {why}: such a table is not read; {lakes.to_export(lakes.DELTA)}"
    )
