"""Tables of Delta Lake, Apache Iceberg, Hudi and Paimon, and DuckLake: folders whose files hold rows that were
overwritten or deleted beside those in force. A folder or glob of one is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path, PurePosixPath

from batchgen.errors import UsageError
from batchgen.storage import object_store
from batchgen.storage.location import ObjectUrl
from batchgen.storage.object_store import Object

DELTA, DUCKLAKE = "Delta Lake", "DuckLake"
_SIGNS = {
    DELTA: "_delta_log/*",
    "Apache Iceberg": "metadata/*.metadata.json",
    "Apache Hudi": ".hoodie/*",
    "Apache Paimon": "manifest/manifest-list-*",
}
"""Files that only a table of that kind has, as a glob below its folder."""
_OF_DUCKLAKE = re.compile(r"ducklake-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-delete)?\.parquet")
"""The names of DuckLake's files. What is in force stands in a database elsewhere, and nothing beside them."""
_BUCKET = re.compile(r"bucket-\d+")
"""Paimon's folders below the partitions."""
_DATA = {".parquet", ".orc", ".avro"}
"""How the names of their files of rows end."""
_PARENTS = 2
"""How many folders above the given one, besides its partitions, may be the table's: Iceberg has `data`."""
_EXPORTS = {
    DELTA: "polars, with deltalake: pl.scan_delta(FOLDER).sink_parquet(FILE)",
    "Apache Iceberg": "polars, with pyiceberg: pl.scan_iceberg(METADATA).sink_parquet(FILE)",
    "Apache Paimon": "pypaimon: read = table.new_read_builder(); "
    "pq.write_table(read.new_read().to_arrow(read.new_scan().plan().splits()), FILE)",
    DUCKLAKE: "DuckDB: COPY TABLE TO 'FILE' (FORMAT parquet)",
    "Apache Hudi": "Spark: spark.read.format('hudi').load(FOLDER).write.parquet(FOLDER)",
}


def is_a(kind: str, folder: Path) -> bool:
    """Returns whether a folder is a table of that kind."""
    return next(folder.glob(_SIGNS[kind]), None) is not None


def refuse_above(root: Path) -> None:
    """Raises UsageError if a folder is a table, or lies within one."""
    above = root.absolute().parents
    partitions = sum(1 for _ in takewhile(_is_partition, (root.absolute(), *above)))
    _refuse((root, *above[: partitions + _PARENTS]))


def refuse_below(root: Path, files: Sequence[Path]) -> None:
    """Raises UsageError if one of the files is a table's data below the root."""
    _refuse_ducklake(files)
    parents = {file.parent for file in files if file.suffix in _DATA}
    folders = {folder for parent in parents for folder in (parent, *parent.parents)}
    depth = len(root.parts)
    _refuse(sorted(folder for folder in folders if len(folder.parts) > depth and not _is_partition(folder)))


def refuse_listed(objects: Sequence[Object]) -> None:
    """Raises UsageError if some of the objects are a table."""
    _refuse_ducklake([one.url for one in objects])
    for one in objects:
        for kind, sign in _SIGNS.items():
            if PurePosixPath(one.url.key).match(sign):
                raise refusal(one.url.parent.parent, kind)


def refuse_store_above(root: ObjectUrl) -> None:
    """Raises UsageError if a store's folder is a partition of a table, or its `data`. What may not be listed is taken
    for no table."""
    table = root
    while _is_partition(table):
        table = table.parent
    table = table.parent if table.name == "data" else table
    if table == root:
        return
    for sign in _SIGNS.values():
        with suppress(OSError):
            refuse_listed(object_store.list_objects(table / str(PurePosixPath(sign).parent)))


def _is_partition(folder: Path | ObjectUrl) -> bool:
    return "=" in folder.name or _BUCKET.fullmatch(folder.name) is not None


def _refuse_ducklake(files: Iterable[Path] | Iterable[ObjectUrl]) -> None:
    for file in files:
        if _OF_DUCKLAKE.fullmatch(file.name):
            folder: Path | ObjectUrl = file.parent
            while _is_partition(folder):
                folder = folder.parent
            raise refusal(folder, DUCKLAKE)


def _refuse(folders: Iterable[Path]) -> None:
    for folder in folders:
        if (kind := next((kind for kind in _SIGNS if is_a(kind, folder)), None)) is not None:
            raise refusal(folder, kind)


def refusal(place: Path | ObjectUrl, kind: str) -> UsageError:
    return UsageError(
        f"{place}: is a table of {kind}, whose files hold rows that were overwritten or deleted beside those in force: "
        f"{to_export(kind)}"
    )


def to_export(kind: str) -> str:
    """Returns what to do about a table of that kind."""
    return f"export it to Parquet first ({_EXPORTS[kind]}), and give that file"
