"""Finds out how a CSV file is to be read: its encoding and its separator."""

from __future__ import annotations

import codecs
import csv
import io
from contextlib import closing, suppress
from itertools import islice

from batchgen.errors import UsageError
from batchgen.input.compression import open_decompressed
from batchgen.input.encoding import as_utf_8
from batchgen.input.file_hints import SEPARATORS
from batchgen.input.source import Source, open_source
from batchgen.job.sections import Input
from batchgen.storage.listing import File

LOOKED_AT = 1000
"""Rows below the first line that say whether it is a title."""
MIN_COLUMNS = 3
"""A text may have one comma in each row; a table has more columns."""
_BOMS = {
    codecs.BOM_UTF8: None, codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip


def source_of(settings: dict[str, object]) -> Source:
    return open_source(Input.model_validate(settings, context={"folder": "/"}))


def csv_settings(path: str, file: File) -> dict[str, object]:
    """Returns the encoding, and the separator that gives the most columns. `file`: one of the path's. Raises UsageError
    if none fits, or if the first line seems to be a title."""
    settings = {"path": path}
    encoding = _encoding(file)
    found: list[tuple[int, dict[str, object]]] = []
    fault: UsageError | None = None
    for separator in (None, *SEPARATORS, ","):
        both: dict[str, object] = {"encoding": encoding, "separator": separator}
        own = {key: value for key, value in both.items() if value is not None}
        try:
            found.append((len(source_of({**settings, **own}).columns), own))
        except UsageError as error:
            fault = fault or error
    wide = sorted((pair for pair in found if pair[0] > 1), key=lambda pair: -pair[0])
    if not wide:
        if fault is not None:
            raise fault  # of the separator that is in the header
        _refuse_title(file, encoding)
    for at, (_, own) in enumerate(wide or found):
        try:
            for _ in source_of({**settings, **own}).batches():
                pass
        except UsageError as error:
            fault = error if at == 0 else fault
        else:
            return own
    raise fault or UsageError(f"{file}: no table")


def _encoding(file: File) -> str | None:
    """Returns the encoding; None: UTF-8. Anything but UTF-8 and UTF-16 is taken for Windows-1252."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    with closing(open_decompressed(file)) as content:
        begin = content.read(1 << 20)
        if marked := [encoding for mark, encoding in _BOMS.items() if begin.startswith(mark)]:
            return marked[0]
        if begin[1:64:2].strip(b"\0") == b"" and begin[:1]:
            return "utf-16-le"
        try:
            while begin:
                decoder.decode(begin)
                begin = content.read(1 << 20)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return None


def _refuse_title(file: File, encoding: str | None) -> None:
    """Raises UsageError if the lines below the first, which is one column, are rows of a table."""
    for separator, name in {",": "commas", **SEPARATORS}.items():
        title, columns = _columns_below(file, encoding or "utf-8", separator)
        may_be_texts = separator != "," and title.isidentifier()  # a column of texts that have other marks in them
        if columns >= MIN_COLUMNS and not may_be_texts:
            raise UsageError(
                f"{file}:1: one column, where the lines below have {columns}, separated by {name}: if it is a title, "
                "delete it: a table begins with its column names"
            )


def _columns_below(file: File, encoding: str, separator: str) -> tuple[str, int]:
    """Returns the first line, which is one column, and how many columns the lines below have; 0 if it is more, if they
    do not agree, or if they are fewer than two."""
    with suppress(csv.Error), as_utf_8(file, open_decompressed(file), encoding) as content:
        text = io.TextIOWrapper(content, encoding="utf-8-sig", newline="")
        rows = [row for row in islice(csv.reader(text, delimiter=separator), LOOKED_AT) if row]
        widths = {len(row) for row in rows[1:]}
        if len(rows) > 2 and len(rows[0]) == 1 and len(widths) == 1:  # noqa: PLR2004  a title, and two rows at least
            return rows[0][0], widths.pop()
    return "", 0
