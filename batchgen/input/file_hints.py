"""Advice on files that are not inputs, and on names that no column has."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable

_PACKED = "unpack it first ({})"
_NAMED = "rename it to {}"
_AS_PARQUET = "write it as Parquet"
_SUFFIXES = {
    ".txt": 'if it is a table, set input.separator, such as ";" or "\\t" (a tab)',
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
    ".psv": "rename it to .txt, and set input.separator",
    ".dat": "rename it to .txt, and set input.separator",
    **dict.fromkeys([".avro", ".orc"], _AS_PARQUET),
}
_MARKS = {
    b"\x1f\x8b": ("is compressed by gzip", "unpack it first (gunzip), or rename it to end in .gz"),
    b"(\xb5/\xfd": ("is compressed by zstd", "unpack it first (unzstd), or rename it to end in .zst"),
    b"BZh": ("is compressed by bzip2", _PACKED.format("bunzip2")),
    b"\xfd7zXZ": ("is compressed by xz", _PACKED.format("unxz")),
    b"PK\x03\x04": ("is an Excel workbook, or a zip archive", "rename it to .xlsx, or unpack it"),
    b"\xd0\xcf\x11\xe0": ("is an old Excel workbook, or one with a password", "save it as .xlsx, without a password"),
    b"PAR1": ("is a Parquet file", _NAMED.format(".parquet")),
    b"ARROW1": ("is an Arrow file", _NAMED.format(".arrow")),
    b"SQLite format 3": ("is a SQLite database", "export the table as CSV"),
    b"version https://git-lfs": ("is a pointer of Git LFS", "fetch the file itself (git lfs pull)"),
    b"\xff\xfe\0\0": (
        "is UTF-32",
        "set input.encoding: utf-32 (of CSV), or save it as UTF-8 (iconv -f UTF-32 -t UTF-8)",
    ),
    b"\xff\xfe": ("is UTF-16", "set input.encoding: utf-16 (of CSV), or save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"),
    b"\xfe\xff": ("is UTF-16", "set input.encoding: utf-16 (of CSV), or save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"),
}
_HTML = re.compile(rb"\s*<(!doctype html|html|\?xml)", re.IGNORECASE)
_JSON = re.compile(rb'\s*(\[\s*)?\{\s*"[^"]*"\s*:')
_CONTROLS = re.compile("[\x80-\x9f]")
_UTF_16 = re.compile(rb"(?:[ -~]\0){4}")
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def suffix_hint(suffix: str) -> str:
    """Returns what to do with a file whose suffix is not an input's; empty if the suffix is unknown."""
    advice = _SUFFIXES.get(suffix.lower())
    return f"; {advice}" if advice else ""


def identify(begin: bytes) -> str | None:
    """Returns what a file is by its first bytes, and what to do; None if they are unknown."""
    for mark, (what, advice) in _MARKS.items():
        if begin.startswith(mark):
            return f"{what}: {advice}"
    if _HTML.match(begin):
        return "is a web page: the download did not return the file"
    if _UTF_16.match(begin):
        return "is UTF-16, without a byte order mark: set input.encoding: utf-16-le (of CSV), or save it as UTF-8"
    return None


def identify_json(begin: bytes) -> str | None:
    """Returns what to do with a table that is JSON by its first bytes; None if it is not."""
    found = _JSON.match(begin)
    if found is None:
        return None
    return f"is JSON: rename it to {'.json' if found[1] else '.ndjson, if it has one object a line'}"


def cp1252_hint(line: bytes, at: int) -> str:
    """Returns which character a byte that is not UTF-8 is in Windows-1252, the encoding of most such files."""
    try:
        shown = bytes([line[at]]).decode("cp1252")
    except UnicodeDecodeError:
        return ""
    return f", {shown!r} in Windows-1252" if shown.isprintable() else ""


def control_hint(text: str) -> str | None:
    """Returns a message if a text of a file in Latin-1 holds what is a control character there, and a mark in
    Windows-1252; else None."""
    found = _CONTROLS.search(text)
    if found is None or not (hint := cp1252_hint(found[0].encode("latin-1"), 0)):
        return None
    return f"the control character {found[0]!r}{hint}: if that is meant, set input.encoding: cp1252"


def separator_hint(columns: Iterable[str]) -> str | None:
    """Returns a message if a header is a single column whose name holds another separator; else None."""
    names = list(columns)
    mark = next((mark for mark in SEPARATORS if len(names) == 1 and mark in names[0]), None)
    if mark is None:
        return None
    asked = f"is the file separated by {SEPARATORS[mark]}? input.separator: {json.dumps(mark)}"
    return f"the header is one column, {names[0]!r}: {asked}"


def title_hint(named: int, columns: int) -> str | None:
    """Returns what to do if a table's first line may be a title: it has names for few of the columns. Else None."""
    if columns < named + 2 or columns < 2 * named:
        return None
    return "if the first line is a title, delete it: a table begins with its column names"


def closest_name(name: str, columns: Iterable[str]) -> str | None:
    """Returns the column that is probably meant: one that looks the same, one that differs in case, or one with
    nearly the same name."""
    names = list(columns)
    for alike in (_looks, lambda text: _looks(text).casefold()):
        if found := [one for one in names if alike(one) == alike(name)]:
            return found[0]
    return next(iter(difflib.get_close_matches(name, names, n=1)), None)


def column_hint(
    name: str, columns: Collection[str], quoted: Callable[[str], str] = str, those: str = "its columns"
) -> str:
    """Says which column may be meant by a name that none has; if none is close, which there are. `quoted`: returns a
    name as it has to be written there. `those`: what the columns are called."""
    close = closest_name(name, columns)
    if close is None:
        return f"{those}: {', '.join(columns) or 'none (is it empty?)'}"
    return f"did you mean {quoted(close)}?{lookalike_hint(name, close)}"


def lookalike_hint(name: str, column: str) -> str:
    """Returns how a name differs from a column's that looks the same; empty if the difference is visible."""
    if _looks(name) != _looks(column):
        return ""
    return f" (they look alike: {name!a} was asked for, and the column is {column!a})"


def _looks(text: str) -> str:
    """Returns the name without invisible characters."""
    shown = unicodedata.normalize("NFKC", text)
    return "".join(mark for mark in shown if unicodedata.category(mark) not in ("Cf", "Zs", "Cc"))
