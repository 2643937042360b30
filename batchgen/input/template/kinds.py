"""Tells the kinds of a template's values, and which are unlike: a text never equals a number.

Python finds them unequal silently, so that `rating == 4` over a CSV's texts would be false in every row. Unlike values
are refused, with the column's name and what to write instead.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

from batchgen.input.template.values import CONTAINERS, TemplateFault

Operand = tuple[str, bool]
"""An operand's name in the template, empty if it has none; and whether that is a column."""
NAMELESS: tuple[Operand, Operand] = (("", False), ("", False))
LOOKED_AT = 100
"""How many items of a list are compared."""
_NUMBER = (int, float, Decimal)
_GROUPS: tuple[Any, ...] = (_NUMBER, str, dt.datetime, dt.date, dt.time, dt.timedelta)
_KINDS: list[tuple[Any, str]] = [
    (bool, "a truth value"), (_NUMBER, "a number"), (str, "text"), (dt.datetime, "a date with time"),
    (dt.date, "a date"), (dt.time, "a time"), (dt.timedelta, "a duration"), (Mapping, "a mapping"), (list, "a list"),
]  # fmt: skip


def kind(value: Any) -> str:
    return next((name for type_, name in _KINDS if isinstance(value, type_)), type(value).__name__)


def first_unlike(left: Any, right: Any) -> tuple[Any, Any] | None:
    """Returns the first two values that can never be equal, at the same place within lists and mappings; None if
    there are none."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        pairs: Iterable[tuple[Any, Any]] = ((left[key], right[key]) for key in left if key in right)
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        pairs = zip(left, right, strict=False)
    else:
        return (left, right) if _are_unlike(left, right) else None
    found = (first_unlike(*pair) for pair in islice(pairs, LOOKED_AT))
    return next((pair for pair in found if pair is not None), None)


def refuse_unlike_item(item: Any, container: Any, names: Sequence[Operand] = NAMELESS) -> None:
    """Raises TemplateFault if the container's items, or its keys, can none of them be equal to the item."""
    if isinstance(container, str | bytes) or not isinstance(container, CONTAINERS):
        return
    found = [first_unlike(item, one) for one in islice(container, LOOKED_AT)]
    if found and found[0] and None not in found:
        raise TemplateFault(unlike(*found[0], names))


def _are_unlike(left: Any, right: Any) -> bool:
    group, other = _group(left), _group(right)
    return group is not None and other is not None and group != other


def _group(value: Any) -> Any:
    """Returns the group of a value: values of one group can be compared. None if it has no group."""
    return next((types for types in _GROUPS if isinstance(value, types)), None)


def unlike(left: Any, right: Any, names: Sequence[Operand], what: str = "compared with") -> str:
    """Returns what is wrong, and what to write instead."""
    (value, other), ((name, is_column), (other_name, _)) = (left, right), names
    if not isinstance(value, str):
        (value, other), ((name, is_column), (other_name, _)) = (right, left), reversed(names)
    named = f"{other_name} ({kind(other)})" if other_name else kind(other)
    if not isinstance(value, str) or isinstance(other, str):
        return f"{kind(left)} is {what} {kind(right)}"
    if isinstance(other, dt.date | dt.time | dt.timedelta):
        return f"{named} is {what} text: write {other_name or 'it'} | string"
    if other_name and not name:
        return f"{named} is {what} text: write what it is {what} without quotes"
    way_out = _way_out(value, other, name, is_column=is_column)
    return f"{f'{name} is text and' if name else 'a text'} is {what} {named}: {way_out}"


def _way_out(text: str, other: Any, name: str, *, is_column: bool) -> str:
    whole = isinstance(other, int) and re.fullmatch(r"\s*[-+]?\d*\s*", text) is not None
    dtype = "Boolean" if isinstance(other, bool) else "Int64" if whole else "Float64"
    convert = f"{name} | {'int' if whole else 'float'}" if name else f"| {'int' if whole else 'float'} behind it"
    if isinstance(other, bool):
        return f"type it by input.schema: {{{name}: Boolean}}" if is_column else "write what it is like in quotes"
    if is_column:
        return f"type it by input.schema: {{{name}: {dtype}}} where it is a CSV's, or write {convert}"
    return f"write {convert}" + ("" if name else ", or type its column by input.schema")


def is_numeric_text(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d[\d.,]*\s*", value) is not None
