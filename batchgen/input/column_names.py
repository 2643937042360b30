"""Names columns by a file's header: no two alike, and a name for each that has none."""

from __future__ import annotations

from collections.abc import Sequence

from batchgen.errors import UsageError
from batchgen.ui.humanize import pluralize


def unique_names(where: str, header: Sequence[str]) -> list[str]:
    """Returns the columns' names. A column without a name is called `column_N`, by its position. Raises UsageError
    if two have the same name."""
    taken: set[str] = set()
    for name in header:
        if name in taken and name.strip():
            raise UsageError(f"{where}: two columns are named {name!r}")
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
        self._names: dict[str, list[str]] = {}

    def add(self, where: str, names: list[str]) -> None:
        if names:
            self._names[where] = names

    @property
    def notes(self) -> list[str]:
        told = []
        for where, names in list(self._names.items())[:1]:
            called = f"{pluralize(len(names), 'column')} without a name, called {', '.join(names[:5])}"
            told.append(f"{where}: {called}{in_other_files(len(self._names) - 1)}; input.rename gives them other names")
        return told


def in_other_files(files: int) -> str:
    return f", and so in {pluralize(files, 'other file')}" if files else ""
