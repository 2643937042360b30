"""Reads text files in other encodings as UTF-8, as a stream. Refuses bytes that the encoding does not have, with
their line, and a file in another encoding, as far as that can be detected."""

from __future__ import annotations

import codecs
import io
import re
from typing import Any, BinaryIO

from batchgen.errors import UsageError
from batchgen.input.file_hints import cp1252_hint
from batchgen.storage.listing import File

BLOCK = 1 << 20
UTF_8 = ("utf-8", "utf-8-sig")
_WIDE = re.compile(r"utf-(16|32)(-le|-be)?")
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_THREE_BYTES = re.compile("[^\x00-\u07ff]")  # or four; the set of just three takes 8 ms to compile, at each start
ENOUGH = 8
"""Letters of three bytes after which a text is UTF-8: of other encodings of several bytes, two or three may look so."""
_IS_UTF_8 = "looks like UTF-8: remove input.encoding"
_LINE_END = re.compile(r"\r\n|\n|\r")


def name_of(encoding: str) -> str:
    """Returns the encoding's name in Python's codecs."""
    return codecs.lookup(encoding).name


def may_be_cp1252(encoding: str) -> bool:
    """Returns whether an encoding is as Windows-1252, but for control characters where that has quotes, dashes and the
    euro. Others of ISO 8859 have other letters, and other relatives."""
    return name_of(encoding) in {"iso8859-1", "iso8859-15"}


def as_utf_8(path: File, file: BinaryIO, encoding: str) -> BinaryIO:
    """Returns the text of a file in UTF-8. Closing it closes the file."""
    if name_of(encoding) in UTF_8:
        return file
    try:
        return io.BufferedReader(_Reencoded(path, file, encoding), BLOCK)
    except UsageError:
        file.close()
        raise


class _Reencoded(io.RawIOBase):
    def __init__(self, path: File, file: BinaryIO, encoding: str) -> None:
        self._path = path
        self._file = file
        self._encoding = encoding
        self._begin = file.read(BLOCK)
        wide = _WIDE.fullmatch(name_of(encoding))
        if wide is not None and self._begin:
            self._refuse_other_width(wide)
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._is_first = True
        self._may_be_utf_8 = wide is None
        self._lines = 1
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises UsageError if the bytes are of another encoding."""
        while not self._ready:
            data = self._begin or self._file.read(BLOCK)
            self._begin = b""
            text = self._decoded(data)
            self._ready = text.encode()
            if not data and not self._ready:
                return 0
        given = self._ready[: len(buffer)]
        self._ready = self._ready[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _decoded(self, data: bytes) -> str:
        if self._may_be_utf_8 and not data.isascii():
            self._may_be_utf_8 = False
            self._refuse_utf_8(data)
        try:
            text = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise self._not_of_it(error) from None
        if self._is_first:
            text, self._is_first = text.removeprefix("\ufeff"), False
        self._lines += _line_ends(text)
        return text

    def _refuse_other_width(self, wide: re.Match[str]) -> None:
        """Raises UsageError if the first bytes say another encoding of two or four bytes a letter, or of none. `wide`:
        the parts of the encoding's name."""
        mark = next((name for mark, name in _MARKS.items() if self._begin.startswith(mark)), None)
        if mark is not None:
            if not mark.startswith(wide[0]):
                raise UsageError(f"{self._path}: is {mark.upper()}, as its first bytes say: set input.encoding: {mark}")
        elif b"\0" not in self._begin:
            raise UsageError(f"{self._path}: not {self._encoding}: {_looks_like(self._begin)}")
        elif wide[2] is None:
            raise UsageError(
                f"{self._path}: has no byte order mark: give the byte order, {wide[0]}-le (Windows) or -be"
            )

    def _refuse_utf_8(self, data: bytes) -> None:
        """Raises UsageError if the first letters beyond ASCII are UTF-8, which nearly no other text looks like."""
        text = _from_utf_8(data)
        if text is None or (not _is_of_one_byte(self._encoding) and len(_THREE_BYTES.findall(text)) < ENOUGH):
            return
        at = next(at for at, byte in enumerate(data) if byte > 0x7F)  # noqa: PLR2004  the last of ASCII
        raise self._another(data, at, _IS_UTF_8)

    def _not_of_it(self, error: UnicodeDecodeError) -> UsageError:
        data = error.object
        return self._another(data, error.start, _looks_like(data[error.start :], cp1252_hint(data, error.start)))

    def _another(self, data: bytes, at: int, hint: str) -> UsageError:
        before = data[:at].decode(self._encoding, "replace")
        line = self._lines + _line_ends(before)
        return UsageError(f"{self._path}:{line}: not {self._encoding}: byte 0x{data[at]:02x}: {hint}")


def _is_of_one_byte(encoding: str) -> bool:
    """Returns whether every byte is a character of its own. Such an encoding decodes nearly any bytes, including
    those of other encodings."""
    every = bytes(range(256))
    return len(every.decode(encoding, "replace")) == len(every)


def _looks_like(data: bytes, shown: str = "") -> str:
    return f"another encoding{shown}: see input.encoding" if _from_utf_8(data[:4096]) is None else _IS_UTF_8


def _from_utf_8(data: bytes) -> str | None:
    """Returns the text of bytes that may end within a letter; None if they are not UTF-8."""
    try:
        return codecs.getincrementaldecoder("utf-8")("strict").decode(data)
    except UnicodeDecodeError:
        return None


def _line_ends(text: str) -> int:
    return len(_LINE_END.findall(text)) if "\r" in text else text.count("\n")
