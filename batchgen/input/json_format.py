"""Reads JSON files that hold a list of objects, as if each object were on a line of its own.

Reads object by object: never holds more than a batch, and the current object.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import BinaryIO, Literal

from batchgen.errors import UsageError
from batchgen.input.bounds import MAX_CELL
from batchgen.input.compression import open_decompressed
from batchgen.input.file_hints import identify
from batchgen.input.ndjson_format import Ndjson, Objects, in_batches
from batchgen.storage.listing import File

BLOCK = 1 << 20
_BLANK = re.compile(r"[ \t\r\n]+")
_LINE_ENDS = str.maketrans("\r\n", "  ")
_scan = json.JSONDecoder().raw_decode


class JsonList(Ndjson):
    unit: Literal["line", "row"] = "row"

    def objects(self, path: File) -> Iterator[Objects]:
        with open_decompressed(path) as file:
            texts = enumerate(_elements(_Text(path, file)), 1)
            # No text of JSON holds a line's end.
            yield from in_batches((row, text.translate(_LINE_ENDS).encode() + b"\n") for row, text in texts)


class _Text:
    """The part of a file's text that is being parsed."""

    def __init__(self, path: File, file: BinaryIO) -> None:
        self.path = path
        self.text = ""
        self.at = 0
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._read = 0
        self.has_more = True

    def more(self) -> None:
        """Raises UsageError if it is not UTF-8."""
        wanted = max(BLOCK, len(self.text) - self.at)  # twice as much each time, or a long object is read too often
        data = self._file.read(wanted)
        self.has_more = bool(data)
        if not self._read and (what := identify(data[:1024])):
            raise UsageError(f"{self.path}: {what}")
        try:
            decoded = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            at = self._read + error.start
            raise UsageError(f"{self.path}: not UTF-8: byte 0x{error.object[error.start]:02x} at {at:,}") from None
        self._read += len(data)
        self.text = self.text[self.at :] + decoded
        self.at = 0

    def peek(self) -> str:
        """Returns the next character that is not white space; empty at the end."""
        while True:
            if blank := _BLANK.match(self.text, self.at):
                self.at = blank.end()
            if self.at < len(self.text) or not self.has_more:
                return self.text[self.at : self.at + 1]
            self.more()


def _elements(text: _Text) -> Iterator[str]:
    """Yields the text of each object of the list. Raises UsageError."""
    if (first := text.peek()) != "[":
        hint = "if it has one object a line, rename it to .ndjson; else extract the list (jq '.rows')"
        said = f"not a list of objects: {hint}" if first else "empty: not a list of objects"
        raise UsageError(f"{text.path}: {said}")
    text.at += 1
    row = 0
    if text.peek() != "]":
        while True:
            row += 1
            yield _element(text, row)
            if text.peek() != ",":
                break
            text.at += 1
            text.peek()
    if text.peek() != "]":
        raise UsageError(f"{text.path}: row {row:,}: {_fault(text)}")
    text.at += 1
    if text.peek():
        raise UsageError(f"{text.path}: something follows the list")


def _fault(text: _Text) -> str:
    found = text.peek()
    return f"{found!r} follows instead of a comma or the end of the list" if found else "the file ends within the list"


def _element(text: _Text, row: int) -> str:
    fault: Exception = ValueError("too long")
    while True:
        try:
            _, end = _scan(text.text, text.at)
        except (ValueError, RecursionError) as error:
            fault = error
        else:
            if (end < len(text.text) or not text.has_more) and end - text.at <= MAX_CELL:
                found = text.text[text.at : end]
                text.at = end
                return found
        if len(text.text) - text.at > MAX_CELL:  # as far as it is known
            raise UsageError(f"{text.path}: row {row:,}: not a JSON object, or one larger than {MAX_CELL >> 20} MiB")
        if not text.has_more:
            raise UsageError(f"{text.path}: row {row:,}: {_told(fault)}")
        text.more()


def _told(fault: Exception) -> str:
    said = fault.msg if isinstance(fault, json.JSONDecodeError) else str(fault)
    return f"not JSON, or cut off: {said}"
