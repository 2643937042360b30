"""One of several equal parts of an input: of sixteen, the third has rows 3, 19, 35, ... Arithmetic, and its names."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """A part. `number` counts from 1. Rows are numbered from 0."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parses `3/16`. Raises ValueError if there is no such part."""
        if not re.fullmatch(r"[1-9][0-9]{0,5}/[1-9][0-9]{0,5}", text):
            raise ValueError("should be a part and how many there are, such as 3/16")
        number, of = map(int, text.split("/"))
        if number > of:
            raise ValueError(f"should be one of {of:,} parts, which are counted from 1")
        return cls(number, of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def suffix(self) -> str:
        """Returns what distinguishes its names from the other parts'."""
        return f"-{self.number}-of-{self.of}"

    def first(self, start: int) -> int:
        """Returns how many rows its next row is away from row `start` of the whole input."""
        return (self.number - 1 - start) % self.of

    def rows(self, whole: int) -> int:
        """Returns how many of so many rows it has."""
        return len(range(self.number - 1, whole, self.of))

    def whole(self, rows: int) -> int:
        """Returns how many rows the whole has up to the last of so many of its own."""
        return (rows - 1) * self.of + self.number


WHOLE = Shard(1, 1)


def row_name(number: int, name: object = None) -> str:
    """Returns how messages name a row: by its number in the input's files, from 1."""
    return f"row {number:,}" if name is None else f"row {number:,} ({name})"
