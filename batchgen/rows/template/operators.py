"""Jinja's operators, made strict: no text is compared with a number, and decimals are calculated as decimals.

Python finds a text and a number unlike without a word, so that `rating == 4` over a CSV's texts would be false in every
row; `price * 2` would be the text twice. Both are refused, with the name of the column and how to type it.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import operator
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from jinja2 import Undefined

from batchgen.rows.template.growth import Growth
from batchgen.rows.template.values import TemplateFault

MOST_BITS = 100_000
"""Of a whole number."""
EXACT = decimal.Context(prec=200)
"""Decimals of a Parquet file have 76 digits at most."""
NAMELESS = ("", "")


def compared(name: str, left: Any, right: Any, names: Sequence[str] = NAMELESS) -> bool:
    """Whether `left` stands to `right` as the comparison says, which is named as in Jinja's syntax tree. `names`: of
    the operands, as far as they are columns. Raises TemplateFault where they are of unlike types."""
    if type(left) is not type(right):
        _refuse_unlike(name, left, right, names)
        left, right = _as_decimals(left, right)
    try:
        return bool(_OPERATORS[name](left, right))
    except TypeError:
        raise TemplateFault(_unlike(left, right, names)) from None


def calculated(sign: str, left: Any, right: Any, names: Sequence[str], growth: Growth) -> Any:
    """What the arithmetic gives. Raises TemplateFault for unlike types, and for what would be too large."""
    if type(left) is float and type(right) is float:
        return _CALCULATE[sign](left, right)
    _refuse_beyond_measure(sign, left, right, growth)
    if sign == "*" and (_is_numeric_text(left) or _is_numeric_text(right)):
        raise TemplateFault(_unlike(left, right, names, "multiplied with"))
    left, right = _as_decimals(left, right)
    try:
        with decimal.localcontext(EXACT if sign in "+-*" and isinstance(left, Decimal) else None):
            return _CALCULATE[sign](left, right)
    except TypeError:
        if type(left) is type(right) or isinstance(left, Undefined) or isinstance(right, Undefined):
            raise
        raise TemplateFault(_unlike(left, right, names, "calculated with")) from None


def _contains(item: Any, container: Any) -> bool:
    return item in container


_TESTS = {
    "eq": ("eq", "==", "equalto"), "ne": ("ne", "!="), "in": ("in",),
    "gt": ("gt", ">", "greaterthan"), "gteq": ("ge", ">="), "lt": ("lt", "<", "lessthan"), "lteq": ("le", "<="),
}  # fmt: skip
"""The name of a comparison in Jinja's syntax tree -> the tests that say the same."""
COMPARISON_TESTS: dict[str, Any] = {
    word: functools.partial(compared, name) for name, words in _TESTS.items() for word in words
}
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq, "ne": operator.ne, "gt": operator.gt, "gteq": operator.ge, "lt": operator.lt,
    "lteq": operator.le, "in": _contains, "notin": lambda item, container: not _contains(item, container),
}  # fmt: skip
_CALCULATE: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "**": operator.pow, "%": operator.mod,
}  # fmt: skip
_NUMBER = int | float | Decimal
_GROUPS: tuple[Any, ...] = ((int, float, Decimal), str, dt.datetime, dt.date, dt.time, dt.timedelta)
_KINDS: list[tuple[Any, str]] = [
    (bool, "a truth value"), (_NUMBER, "a number"), (str, "text"), (dt.datetime, "a date with time"),
    (dt.date, "a date"), (dt.time, "a time"), (dt.timedelta, "a duration"),
]  # fmt: skip


def _kind(value: Any) -> str:
    return next((name for type_, name in _KINDS if isinstance(value, type_)), type(value).__name__)


def _refuse_unlike(name: str, left: Any, right: Any, names: Sequence[str]) -> None:
    """A text is equal to no number: such a comparison has one outcome in every row."""
    if name not in {"in", "notin"}:
        if _are_unlike(left, right):
            raise TemplateFault(_unlike(left, right, names))
    elif isinstance(right, list | tuple) and right and all(_are_unlike(left, item) for item in right):
        raise TemplateFault(_unlike(left, right[0], names))


def _are_unlike(left: Any, right: Any) -> bool:
    group, other = _group(left), _group(right)
    return group is not None and other is not None and group != other


def _group(value: Any) -> Any:
    """Values of one group can be compared; None: of no group."""
    return next((kind for kind in _GROUPS if isinstance(value, kind)), None)


def _unlike(left: Any, right: Any, names: Sequence[str], what: str = "compared with") -> str:
    """What is wrong, and how the column is typed where a text should be a number."""
    (text, other), (text_name, other_name) = (left, right), names
    if not isinstance(text, str):
        (text, other), (text_name, other_name) = (right, left), reversed(names)
    named = f"{other_name}, {_kind(other)}" if other_name else _kind(other)
    if not isinstance(text, str) or isinstance(other, str):
        return f"{names[0] or _kind(left)} is {what} {names[1] or _kind(right)}: {_kind(left)} and {_kind(right)}"
    if other_name and not text_name:
        return f"{named}, is {what} text: write what it is to be {what} without quotes"
    wanted = next((dtype for type_, dtype in _DTYPES if isinstance(other, type_)), "Float64")
    column = text_name or "COLUMN"
    return f"{text_name or 'a text'} is text and is {what} {named}: type it by input.schema: {{{column}: {wanted}}}"


_DTYPES: list[tuple[Any, str]] = [
    (bool, "Boolean"), (int, "Int64"), (_NUMBER, "Float64"), (dt.datetime, "Datetime"), (dt.date, "Date"),
]  # fmt: skip


def _as_decimals(left: Any, right: Any) -> tuple[Any, Any]:
    """Of a decimal and a float, two decimals: 1.1 in a template means 1.1."""
    if isinstance(left, Decimal) and isinstance(right, float):
        return left, Decimal(repr(right))
    if isinstance(left, float) and isinstance(right, Decimal):
        return Decimal(repr(left)), right
    return left, right


def _is_numeric_text(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d[\d.,]*\s*", value) is not None


def _refuse_beyond_measure(sign: str, left: Any, right: Any, growth: Growth) -> None:
    """What would take more memory than any prompt could use."""
    size = 0
    if sign == "*" and isinstance(left, str | list | tuple) and isinstance(right, int):
        size = len(left) * right
    elif sign == "*" and isinstance(right, str | list | tuple) and isinstance(left, int):
        size = len(right) * left
    elif sign == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        size = len(left) + len(right)
    elif sign == "%" and isinstance(left, str):
        growth.before_formatting(left, right if isinstance(right, tuple) else (right,))
    elif isinstance(left, int) and isinstance(right, int) and sign in {"*", "**"}:
        bits = left.bit_length() * right if sign == "**" else left.bit_length() + right.bit_length()
        if bits > MOST_BITS:
            raise TemplateFault(f"a number of more than {MOST_BITS:,} bits")
    growth.take(size)
