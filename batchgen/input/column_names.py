"""Names columns by a file's header: no two alike, and a name for each that has none."""

from __future__ import annotations

from collections.abc import Sequence

from batchgen.errors import UsageError
from batchgen.input.file_hints import title_hint
from batchgen.input.notes import of_first
from batchgen.ui.humanize import pluralize

SHOWN = 5


def unique_names(where: str, header: Sequence[str]) -> list[str]:
    """Returns the columns' names. A column without a name is called `column_N`, by its position. Raises UsageError
    if two have the same name."""
    taken: set[str] = set()
    for name in header:
        if name in taken and name.strip():
            raise UsageError(f"{where}: two columns are named {name!r}: rename one in the file")
        taken.add(name)
    return [name if name.strip() else _name(at, taken) for at, name in enumerate(header, 1)]


def _name(position: int, taken: set[str]) -> str:
    name = f"column_{position}"
    while name in taken:
        name += "_"
    return name


class Unnamed:
    """The columns that were given a name, by the place of their header."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}
        self._title_hint: str | None = None

    def add(self, where: str, names: list[str], columns: int) -> None:
        """Adds the columns without a name, of so many `columns`."""
        if names:
            more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
            without = pluralize(len(names), "column")
            self._told[where] = f"{without} without a name, called {', '.join(names[:SHOWN])}{more}"
            self._title_hint = self._title_hint or title_hint(columns - len(names), columns)

    @property
    def notes(self) -> list[str]:
        rename = "input.rename gives them other names"
        advice = rename if self._title_hint is None else f"{self._title_hint}; {rename}"
        return of_first(self._told, f"; {advice}")
