"""Infers the columns' types from the values of NDJSON files: the narrowest that hold all of them unchanged.

A column of texts and other values is text; the others are written as in the file. Elsewhere, a value that a type would
change is refused, with its line: a number that a float does not hold, a fraction among texts in a list.
"""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any, Literal, NamedTuple

import polars as pl

from batchgen.errors import UsageError
from batchgen.input.digits import keeps_digits
from batchgen.storage.listing import File

MAX_NESTING = 60
"""Nesting of lists and objects. Arrow takes 64."""
_EXACT, _INT64 = 2**53, 2**63
"""Integers up to the first are exact in a double (IEEE 754); from the second on they do not fit into 64 bits."""


class Position(NamedTuple):
    """The position of a value: its file, and its line or row, from 1."""

    file: File
    number: int
    unit: Literal["line", "row"] = "line"

    def __str__(self) -> str:
        return f"{self.file}:{self.number}" if self.unit == "line" else f"{self.file}: row {self.number:,}"


class Rounded(float):
    """A number with more digits than a float keeps."""


class _Beyond:
    """The kind of integers that a float does not hold exactly; `_Huge`: of those beyond 64 bits."""


class _Huge:
    pass


_WORDS = {
    str: "a text", int: "a whole number", float: "a fraction", Rounded: "a fraction", bool: "true or false",
    dict: "an object", list: "a list",
}  # fmt: skip
_DTYPES: dict[type, Callable[[], pl.DataType]] = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}
_NEVER_ROUNDED = "write it as text"


class ValueKinds:
    """The kinds of values of a key, or of the items of its lists, each with the position of the first one."""

    __slots__ = ("fields", "items", "kinds", "name")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.kinds: dict[type, Position] = {}
        self.fields: dict[str, ValueKinds] = {}
        self.items: ValueKinds | None = None

    def add(self, value: Any, where: Position, deep: int = 0) -> int:
        """Adds a value, and returns how many keys it holds, at any depth. Raises UsageError if it is nested too
        deeply."""
        kind = type(value)
        if kind not in self.kinds:
            self.kinds[kind] = where
        if kind is int and not -_EXACT <= value <= _EXACT:
            self.kinds.setdefault(_Beyond if -_INT64 <= value < _INT64 else _Huge, where)
        elif kind is dict:
            return self._add_fields(value, where, deep)
        elif kind is list:
            self._refuse_deep(where, deep)
            self.items = items = self.items or ValueKinds(f"{self.name}[]")
            return sum([items.add(item, where, deep + 1) for item in value])
        return 0

    def _add_fields(self, value: dict[str, Any], where: Position, deep: int) -> int:
        self._refuse_deep(where, deep)
        fields, keys = self.fields, len(value)
        for key, item in value.items():
            field = fields.get(key)
            if field is None:
                if "\0" in key:
                    raise UsageError(
                        f"{where}: the key {key!r} has a NUL character, which no table can hold: rename it"
                    )
                field = fields[key] = ValueKinds(f"{self.name}.{key}" if self.name else key)
            keys += field.add(item, where, deep + 1)
        return keys

    @property
    def is_mixed(self) -> bool:
        """Returns whether there are texts and other values."""
        return str in self.kinds and bool(self._known() - {str})

    def dtype(self) -> pl.DataType:
        """Returns the narrowest type of all values. Raises UsageError if none holds them as they are."""
        kinds = self._known()
        if kinds == {int, float}:
            self._refuse(_Beyond, _Huge, what="a whole number that a float cannot hold, among fractions")
            kinds = {float}
        elif str in kinds and kinds <= {str, int, bool}:
            return pl.String()
        if len(kinds) > 1:
            self._refuse_mixture(kinds)
        kind = next(iter(kinds), NoneType)
        if kind is int:
            self._refuse(_Huge, what="a whole number of more than 64 bits")
        if kind is float:
            self._refuse(Rounded, what="a number of more digits than a float holds")
        if kind is list:
            return pl.List(self.items.dtype() if self.items else pl.Null())
        if kind is dict:
            return pl.Struct({key: field.dtype() for key, field in self.fields.items()})
        return _DTYPES[kind]() if kind in _DTYPES else pl.Null()

    def _refuse_deep(self, where: Position, deep: int) -> None:
        if deep > MAX_NESTING:
            said = f"lists and objects more than {MAX_NESTING} deep within each other"
            raise UsageError(f"{where}: {self.name:.40} holds {said}: write it as text")

    def _known(self) -> set[type]:
        known = {float if kind is Rounded else kind for kind in self.kinds}
        return known - {NoneType, _Beyond, _Huge}

    def _refuse(self, *kinds: type, what: str) -> None:
        for kind in kinds:
            if kind in self.kinds:
                raise UsageError(f"{self.kinds[kind]}: {self.name} is {what}: {_NEVER_ROUNDED}")

    def _refuse_mixture(self, kinds: set[type]) -> None:
        places = [(where, kind) for kind, where in self.kinds.items() if kind in kinds or kind is Rounded]
        pairs = (((place, kind), one) for at, (place, kind) in enumerate(places) for one in places[:at])
        (place, kind), (first, other) = next(pair for pair in pairs if not _can_share(pair[0][1], pair[1][1]))
        raise UsageError(
            f"{place}: {self.name} is {_WORDS[kind]}, and {_WORDS[other]} in {first.unit} {first.number:,}"
            f"{f' of {first.file}' if first.file != place.file else ''}: "
            "such values cannot share a column: write them as text"
        )


def _can_share(one: type, other: type) -> bool:
    """Returns whether a column may hold values of these two kinds."""
    both = {one, other}
    return both <= {int, float, Rounded} or (str in both and both <= {str, int, bool})


def parse_fraction(token: str) -> float:
    """Returns a fraction's value; a `Rounded` if a float of as many digits is another number."""
    value = float(token)
    return value if keeps_digits(token, value, value) else Rounded(value)
