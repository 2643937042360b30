"""Files that are no input, and names that no column has: what was seen, and what to do about it."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable

_PACKED = "unpack it first ({})"
_NAMED = "call it {}"
_AS_PARQUET = "write it as Parquet"
_SUFFIXES = {
    ".txt": 'if it is a table, say what separates its cells: input.separator, as ";" or "\\t" (a tab)',
    ".tar": _PACKED.format("tar -xf"),
    ".bz2": _PACKED.format("bunzip2"),
    ".xz": _PACKED.format("unxz"),
    ".zip": _PACKED.format("unzip"),
    ".zstd": _NAMED.format(".csv.zst or .ndjson.zst"),
    ".gzip": _NAMED.format(".csv.gz or .ndjson.gz"),
    ".tgz": _PACKED.format("tar -xzf"),
    ".xls": "save it as .xlsx",
    ".xlsb": "save it as .xlsx",
    ".ods": "save it as .xlsx",
    ".psv": "call it .txt, and set input.separator",
    ".dat": "call it .txt, and set input.separator",
    **dict.fromkeys([".avro", ".orc"], _AS_PARQUET),
}
_MARKS = {
    b"\x1f\x8b": ("is compressed by gzip", "unpack it first (gunzip), or let its name end in .gz"),
    b"(\xb5/\xfd": ("is compressed by zstd", "unpack it first (unzstd), or let its name end in .zst"),
    b"BZh": ("is compressed by bzip2", _PACKED.format("bunzip2")),
    b"\xfd7zXZ": ("is compressed by xz", _PACKED.format("unxz")),
    b"PK\x03\x04": ("is an Excel workbook, or a zip archive", "call it .xlsx, or unpack it"),
    b"\xd0\xcf\x11\xe0": ("is an Excel workbook of old, or one with a password", "save it as .xlsx, without one"),
    b"PAR1": ("is a Parquet file", _NAMED.format(".parquet")),
    b"ARROW1": ("is an Arrow file", _NAMED.format(".arrow")),
    b"SQLite format 3": ("is a SQLite database", "export the table as CSV"),
    b"version https://git-lfs": ("is a pointer of Git LFS", "fetch the file itself (git lfs pull)"),
    b"\xff\xfe": ("is UTF-16", "set input.encoding: utf-16 (of CSV), or save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"),
    b"\xfe\xff": ("is UTF-16", "set input.encoding: utf-16 (of CSV), or save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"),
}
_HTML = re.compile(rb"\s*<(!doctype html|html|\?xml)", re.IGNORECASE)
_UTF_16 = re.compile(rb"(?:[ -~]\0){4}")
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def suffix_hint(suffix: str) -> str:
    """What to do with a file of a name that is no input's; empty where its name does not tell."""
    advice = _SUFFIXES.get(suffix.lower())
    return f"; {advice}" if advice else ""


def identify(begin: bytes) -> str | None:
    """What a file is by its first bytes, and what to do; None: nothing that is known."""
    for mark, (what, advice) in _MARKS.items():
        if begin.startswith(mark):
            return f"{what}: {advice}"
    if _HTML.match(begin):
        return "is a web page: what was downloaded is not the file"
    if _UTF_16.match(begin):
        return "is UTF-16, without a mark: set input.encoding: utf-16-le (of CSV), or save it as UTF-8"
    return None


def cp1252_hint(line: bytes, at: int) -> str:
    """What a byte that is no UTF-8 would be in Windows' own encoding, which most such files have."""
    try:
        shown = bytes([line[at]]).decode("cp1252")
    except UnicodeDecodeError:
        return ""
    return f", {shown!r} in Windows-1252" if shown.isprintable() else ""


def separator_hint(columns: Iterable[str]) -> str | None:
    """What a header of a single column says that holds what elsewhere separates columns."""
    names = list(columns)
    mark = next((mark for mark in SEPARATORS if len(names) == 1 and mark in names[0]), None)
    if mark is None:
        return None
    asked = f"is the file separated by {SEPARATORS[mark]}? input.separator: {json.dumps(mark)}"
    return f"the header is one column, {names[0]!r}: {asked}"


def closest_name(name: str, columns: Iterable[str]) -> str | None:
    """The column that is probably meant: one that looks the same, one that differs in case, or nearly the name."""
    names = list(columns)
    for alike in (_looks, lambda text: _looks(text).casefold()):
        if found := [one for one in names if alike(one) == alike(name)]:
            return found[0]
    return next(iter(difflib.get_close_matches(name, names, n=1)), None)


def lookalike_hint(name: str, column: str) -> str:
    """Why a name that looks like the column's is another; empty where that can be seen."""
    if _looks(name) != _looks(column):
        return ""
    return f" (they look alike: {name!a} was asked for, and the column is {column!a})"


def _looks(text: str) -> str:
    """Without what cannot be seen."""
    shown = unicodedata.normalize("NFKC", text)
    return "".join(mark for mark in shown if unicodedata.category(mark) not in ("Cf", "Zs", "Cc"))
