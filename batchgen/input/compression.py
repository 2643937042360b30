"""Decompresses text files as a stream: gzip and zstd.

Never holds more than a block. Refuses an archive that is damaged or cut off, and one that decompresses beyond measure.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from batchgen.errors import UsageError
from batchgen.input.bounds import refuse_unfolding
from batchgen.input.file_hints import identify
from batchgen.storage.listing import File, size_of
from batchgen.ui.humanize import first_line

BUFFER = 1 << 18


def _gzip(file: BinaryIO) -> Any:
    from isal import igzip  # noqa: PLC0415  for those alone who use it

    return igzip.IGzipFile(fileobj=file)  # type: ignore[no-untyped-call]


def _zstd(file: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415  as above

    return pa.CompressedInputStream(file, "zstd")


_READERS: dict[str, tuple[str, tuple[bytes, ...], Callable[[BinaryIO], Any]]] = {
    ".gz": ("gzip", (b"\x1f\x8b",), _gzip),
    ".zst": ("zstd", (b"(\xb5/\xfd", *(bytes([0x50 + nibble]) + b"*M\x18" for nibble in range(16))), _zstd),
}
"""By suffix: the name, the first bytes (zstd may begin with a frame to skip), and the decompressor."""
COMPRESSED = tuple(_READERS)


def suffix_within(name: str) -> str:
    """Returns a file's suffix in lower case, without that of a compression: `.csv` of `rows.csv.gz`."""
    path = PurePosixPath(name.lower())
    return PurePosixPath(path.stem).suffix if path.suffix in _READERS else path.suffix


def is_compressed(file: File) -> bool:
    return file.suffix.lower() in _READERS


def open_decompressed(file: File) -> BinaryIO:
    """Opens a file, compressed or not, and returns its decompressed content. The caller closes it."""
    if not is_compressed(file):
        return file.open("rb")
    return io.BufferedReader(_Decompressed(file), BUFFER)


class _Decompressed(io.RawIOBase):
    _raw: BinaryIO | None = None  # until it is open: what is refused is closed, too

    def __init__(self, file: File) -> None:
        self._file = file
        self._kind, marks, reader = _READERS[file.suffix.lower()]
        self._size = size_of(file)
        self._given = 0
        with file.open("rb") as raw:
            begin = raw.read(1024)
        if not begin.startswith(marks):
            raise UsageError(
                f"{file}: is not compressed by {self._kind}: {identify(begin) or f'take {file.suffix} from its name'}"
            )
        self._raw = file.open("rb")
        self._reader = reader(self._raw)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises UsageError if the archive is damaged."""
        try:
            data = self._reader.read(len(buffer))
        except UsageError:
            raise
        except Exception as error:
            is_machines = isinstance(error, OSError) and error.errno is not None  # an archive's have no number
            if is_machines and not isinstance(error, gzip.BadGzipFile):
                raise
            said = f"damaged {self._kind}, or cut off: {first_line(error)}"
            raise UsageError(f"{self._file}: {said}") from None
        self._given += len(data)
        refuse_unfolding(self._file, self._given, self._size)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()
        super().close()
