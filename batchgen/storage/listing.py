"""The files of an input: one file, a folder with all below it, or a glob; on this machine or in an object store.

They are in the order of their paths, compared part by part. Each file is listed once, however many links lead to it.
Folders named `key=value` below the given folder, or below the fixed part of a glob, are columns (Hive's partitions),
always text. Hidden names, and names that begin with an underscore such as `_SUCCESS`, are skipped unless a glob names
them.
"""

from __future__ import annotations

import difflib
import fnmatch
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from batchgen.errors import UsageError
from batchgen.storage import delta, lakes, object_store
from batchgen.storage.folders import is_same
from batchgen.storage.location import Location, ObjectUrl, is_url, to_location
from batchgen.storage.manifest import in_force
from batchgen.storage.object_store import Object

File = Path | Object
Keys = dict[str, str | None]
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_ENDING = re.compile(r"\.[A-Za-z]\w*$")
_STUB = "_$folder$"
"""Suffix of Hadoop's empty objects that stand for folders, also where they were copied to a disk."""
_OPEN = "~$"
"""Prefix of the file that Excel keeps beside a workbook while somebody has it open."""
_MAGIC = re.compile(r"[*?[]")
_PARALLEL_STATS = 16

Fingerprint = tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class Found:
    """The files of an input. `keys`: each file's partition keys, outermost first."""

    files: tuple[File, ...]
    keys: tuple[Keys, ...]


def find(pattern: str) -> Found:
    """Returns the files of a path, folder, glob or address. Raises UsageError if there are none, if they cannot be
    listed, or if the address is not one of a known object store."""
    try:
        place = to_location(pattern)
    except ValueError as error:
        raise UsageError(f"{pattern}: {error}") from None
    try:
        return _find_objects(place) if isinstance(place, ObjectUrl) else _find_paths(pattern)
    except OSError as error:
        where = pattern if is_url(pattern) else error.filename or pattern
        raise UsageError(f"{where}: cannot be read: {error.strerror}") from None


def files_at(place: Location) -> tuple[File, ...]:
    """Returns the files of a place whose name is no pattern, such as that of results: brackets may stand in it. Raises
    UsageError as `find` does."""
    if isinstance(place, Path) and not place.exists():
        raise UsageError(f"{place}: no such file")
    return find(str(place)).files


def fingerprint(files: tuple[File, ...]) -> Fingerprint:
    """Returns a value that changes when a file does. Raises UsageError if one is gone."""
    try:
        with ThreadPoolExecutor(_PARALLEL_STATS) as pool:
            objects = dict(pool.map(_object_version, (file for file in files if isinstance(file, Object))))
        return tuple(objects[file] if isinstance(file, Object) else _file_version(file) for file in files)
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read: {error.strerror}") from None


def size_of(file: File) -> int:
    return file.size if isinstance(file, Object) else file.stat().st_size


def _object_version(file: Object) -> tuple[Object, tuple[object, ...]]:
    now = file.current()
    return file, (str(now), now.size, now.tag, now.modified)


def _file_version(path: Path) -> tuple[object, ...]:
    stat = path.stat()
    return (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _find_paths(pattern: str) -> Found:
    path = Path(pattern)
    if path.is_file():
        return Found((path,), ({},))
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: is not a regular file")
    _refuse_dangling(path)
    if lakes.is_a(lakes.DELTA, path):
        files = delta.files_in_force(path)
        shown = [(file, file.parts[len(path.parts) :]) for file in files]
        return _checked_found(shown, pattern, "")
    root, below = _root_and_pattern(path)
    lakes.refuse_above(root)
    _refuse_closed(root, below)
    found = _walk(root, below) if "**" in below else _glob(root, below)
    paths = ((p, p.parts[len(root.parts) :]) for p in found)
    matching = [p for p, parts in paths if _matches(parts, below) and _is_shown(parts, below)]
    files = _unique(root, matching)
    lakes.refuse_below(root, files)
    return _checked_found([(file, file.parts[len(root.parts) :]) for file in files], pattern, _suggestion(path))


def would_find(pattern: str, path: Path) -> bool:
    """Returns whether `find` would list a file of this path, once it exists, among those of a folder or glob. Where a
    folder cannot be read, `find` says so."""
    given = Path(pattern)
    with suppress(OSError):
        if is_url(pattern) or given.is_file() or lakes.is_a(lakes.DELTA, given):
            return False
        root, below = _root_and_pattern(given)
        parts = next((path.relative_to(folder).parts for folder in path.parents if is_same(folder, root)), ())
        return bool(parts) and _matches(parts, below) and _is_shown(parts, below)
    return False


def _root_and_pattern(path: Path) -> tuple[Path, tuple[str, ...]]:
    """Returns the folder of a folder or glob, and what a path within it has to match."""
    return (path, ("**", "*")) if path.is_dir() else _fixed_path(path.parts)


def _walk(root: Path, below: tuple[str, ...]) -> Iterator[Path]:
    """Yields all files below the root, those behind links last. A link back to a folder already seen is skipped."""
    seen: set[str] = set()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        real = os.path.realpath(folder)
        if real in seen or not folder.is_dir():
            continue
        seen.add(real)
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _is_shown((entry.name,), below) or entry.name == "lost+found":
                    continue
                path = folder / entry.name
                if path.is_dir() if entry.is_symlink() else entry.is_dir():
                    (links if entry.is_symlink() else folders).append(path)
                else:
                    yield path
        links.sort(reverse=True)


def _unique(root: Path, paths: Iterable[Path]) -> list[Path]:
    """Returns each file once, in order; by its own name if that is among the paths. Raises UsageError for a link that
    leads nowhere."""
    above = os.path.realpath(root)
    own: dict[str, Path] = {}
    linked: dict[str, Path] = {}
    for path in sorted(paths):
        if path.is_file():
            real = os.path.realpath(path)
            is_own = real == os.path.join(above, *path.parts[len(root.parts) :])  # noqa: PTH118  a third of Path's time
            (own if is_own else linked).setdefault(real, path)
        else:
            _refuse_dangling(path)
    return sorted({**linked, **own}.values())


def _refuse_dangling(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise UsageError(f"{path}: links to {path.readlink()}, which is not there")


def _refuse_closed(root: Path, below: tuple[str, ...]) -> None:
    """Raises OSError if a folder of a glob cannot be read: `glob` skips it silently."""
    for depth in range(0 if "**" in below else len(below)):
        for folder in _glob(root, below[:depth]):
            if folder.is_dir():
                os.scandir(folder).close()


def _find_objects(url: ObjectUrl) -> Found:
    single = object_store.head(url) if url.key else None
    if single and single.size:
        return Found((single,), ({},))
    is_folder = not _MAGIC.search(url.key)
    root, below = (url.parts, ("**", "*")) if is_folder else _fixed(url.parts)
    listed = _without_markers(in_force(object_store.list_objects(ObjectUrl(url.bucket, "/".join(root)))))
    if single and not listed:
        return Found((single,), ({},))
    lakes.refuse_listed(listed)
    lakes.refuse_store_above(ObjectUrl(url.bucket, "/".join(root)))
    shown = [(o, o.url.parts[len(root) :]) for o in listed if o.url.parts != root]
    matching = [(o, parts) for o, parts in shown if _matches(parts, below) and _is_shown(parts, below)]
    in_order = sorted(matching, key=lambda pair: pair[0].url.parts)
    return _checked_found(in_order, str(url), "")


def _without_markers(objects: list[Object]) -> list[Object]:
    """Returns the objects without the empty ones that consoles and Hadoop leave for folders: other objects lie below
    such a name, or it has no file ending."""
    folders = {one.url.parts[:depth] for one in objects for depth in range(1, len(one.url.parts))}
    return [one for one in objects if one.size or (one.url.parts not in folders and _ENDING.search(one.name))]


def _checked_found(files: Sequence[tuple[File, tuple[str, ...]]], pattern: str, hint: str) -> Found:
    if not files and not is_url(pattern) and Path(pattern).is_dir():
        raise UsageError(f"{pattern}: a folder without a file to read")
    if not files:
        raise UsageError(f"{pattern}: no such input{hint}")
    return Found(tuple(file for file, _ in files), tuple(_partition(parts[:-1]) for _, parts in files))


def _glob(root: Path, below: tuple[str, ...]) -> Iterator[Path]:
    return map(Path, glob.glob(os.path.join(glob.escape(str(root)), *below)))  # noqa: PTH118  a Path would be read as one


def _fixed_path(parts: tuple[str, ...]) -> tuple[Path, tuple[str, ...]]:
    """Splits as `_fixed` does. A folder that exists is no pattern, whatever its name: the job file's own is in the
    path."""
    root, below = _fixed(parts)
    while below[1:] and Path(*root, below[0]).is_dir():
        more, rest = _fixed(below[1:])
        root, below = (*root, below[0], *more), rest
    return Path(*root), below


def _fixed(parts: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Splits a glob's parts before the first wildcard."""
    at = next((at for at, part in enumerate(parts) if _MAGIC.search(part)), len(parts) - 1)
    return parts[:at], parts[at:]


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Matches as `glob.glob` with `recursive` does: `*` stays within a part, `**` stands for any number of parts, or
    none."""
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _is_shown(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if parts[-1].endswith(_STUB) or parts[-1].startswith(_OPEN):
        return False
    if any(part.startswith((".", "_")) for part in pattern):
        return True
    return not any(part.startswith(".") or (part.startswith("_") and "=" not in part) for part in parts)


def _partition(folders: tuple[str, ...]) -> Keys:
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    return {name: None if value == NULL_PARTITION else unquote(value) for name, _, value in pairs}


def glob_of(pattern: str, suffix: str, files: Sequence[File]) -> str | None:
    """Returns a glob that matches all of these files and no others of `pattern`; None if there is none."""
    if _MAGIC.search(pattern) or not all(file.name.endswith(suffix) for file in files):
        return None
    depth = len(ObjectUrl.parse(pattern).parts if is_url(pattern) else Path(pattern).parts) + 1
    is_deep = any(len((file.url if isinstance(file, Object) else file).parts) > depth for file in files)
    return f"{pattern}/{'**/' if is_deep else ''}*{suffix}"


def _suggestion(path: Path) -> str:
    try:
        names = [other.name for other in path.parent.iterdir()]
    except OSError:
        return f" (there is no folder {path.parent})"
    close = [name for name in names if name.casefold() == path.name.casefold()]
    close = close or difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.with_name(close[0])}?" if close else ""
