"""A path that may hold the date of a run: once, several times, or not at all. Opens nothing."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass

from batchgen.storage.location import Location, to_location


@dataclass(frozen=True)
class DatedPath:
    """A path with places for a date. `pieces`: the texts around these."""

    pieces: tuple[str, ...]

    @classmethod
    def parse(cls, template: str) -> DatedPath:
        """Parses a path with `{date}` in it."""
        return cls(tuple(template.split("{date}")))

    def on(self, date: str) -> Location:
        """Returns the path of a day (ISO)."""
        return to_location(date.join(self.pieces))

    def glob(self) -> str:
        """Returns a pattern for `glob.glob` that finds the path of every day, and may find others."""
        return "????-??-??".join(map(glob.escape, self.pieces))

    def days(self, path: str) -> set[str] | None:
        """Returns the days that stand in a path, or in what it is below; None where that is another path."""
        pattern = r"(\d{4}-\d\d-\d\d)".join(map(re.escape, self.pieces)) + "(?:/.*)?"
        found = re.fullmatch(pattern, path)
        return None if found is None else set(found.groups())
