"""Jinja's operators, made strict: texts are not compared with numbers, and decimals are calculated as decimals."""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from jinja2 import Undefined

from batchgen.input.template.filters import formatted
from batchgen.input.template.growth import Growth
from batchgen.input.template.kinds import (
    NAMELESS,
    Operand,
    first_unlike,
    is_numeric_text,
    refuse_unlike_item,
    unlike,
)
from batchgen.input.template.values import Clock, Duration, Moment, TemplateFault, nanoseconds_of, refuse_vast
from batchgen.ui.humanize import quoted

MAX_BITS = 100_000
"""The most bits of a whole number."""
EXACT = decimal.Context(prec=200)
"""A decimal of a Parquet file has 76 digits at most."""
_SIZED = (str, bytes, list, tuple)
_NUMBERS = (int, float)


def compared(name: str, left: Any, right: Any, names: Sequence[Operand] = NAMELESS) -> bool:
    """Returns the result of a comparison, which is named as in Jinja's syntax tree. Raises TemplateFault if the
    operands are of unlike kinds."""
    if (isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS)) or (
        isinstance(left, str) and isinstance(right, str)
    ):
        return bool(_OPERATORS[name](left, right))
    if name in {"in", "notin"}:
        refuse_unlike_item(left, right, names)
    else:
        refuse_vast(left)
        refuse_vast(right)
        if pair := first_unlike(left, right):
            raise TemplateFault(unlike(*pair, names))
    try:
        return bool(_OPERATORS[name](*_below(*_alike(left, right))))
    except TypeError:
        raise TemplateFault(unlike(left, right, names)) from None


def calculated(sign: str, left: Any, right: Any, names: Sequence[Operand], growth: Growth) -> Any:
    """Returns the result of the arithmetic. Raises TemplateFault for unlike kinds, and if the result would be too
    large."""
    if type(left) is float and type(right) is float:
        return _CALCULATE[sign](left, right)
    if sign == "%" and isinstance(left, str):
        return _filled(left, right, growth)
    _refuse_beyond_measure(sign, left, right, growth)
    _refuse_texts_of_numbers(sign, left, right, names)
    left, right = _alike(left, right)
    try:
        with decimal.localcontext(EXACT if sign in "+-*" and isinstance(left, Decimal) else None):
            return growth.take_made(_CALCULATE[sign](left, right))
    except TypeError:
        if type(left) is type(right) or isinstance(left, Undefined) or isinstance(right, Undefined):
            raise
        raise TemplateFault(unlike(left, right, names, "calculated with")) from None


def _filled(pattern: str, values: Any, growth: Growth) -> str:
    """Returns `pattern % values`."""
    try:
        return formatted(growth, pattern, values if isinstance(values, tuple | Mapping) else (values,))
    except TypeError as error:
        said = f"{quoted(pattern)} % ...: {error}"
        raise TemplateFault(f"{said}; a text in place of a number: write | float behind it") from None


def _refuse_texts_of_numbers(sign: str, left: Any, right: Any, names: Sequence[Operand]) -> None:
    """Raises TemplateFault for texts of digits: Python would join those of a CSV instead of adding them."""
    texts = [is_numeric_text(value) for value in (left, right)]
    if sign == "*" and any(texts):
        raise TemplateFault(unlike(left, right, names, "multiplied with"))
    if sign == "+" and all(texts) and all(is_column for _, is_column in names):
        (one, _), (other, _) = names
        raise TemplateFault(
            f"{one} and {other} are text, and + would join them: write {one} ~ {other} for that; to add "
            f"them, write {one} | float + {other} | float, or type them by input.schema"
        )


def _equal(left: Any, right: Any) -> bool:
    return bool(operator.eq(*_below(*_alike(left, right))))


def _contains(item: Any, container: Any) -> bool:
    if isinstance(item, float | Decimal) and isinstance(container, list | tuple):
        return any(_equal(item, one) for one in container)
    return item in container


_TESTS = {
    "eq": ("eq", "==", "equalto"), "ne": ("ne", "!="), "in": ("in",),
    "gt": ("gt", ">", "greaterthan"), "gteq": ("ge", ">="), "lt": ("lt", "<", "lessthan"), "lteq": ("le", "<="),
}  # fmt: skip
"""The name of a comparison in Jinja's syntax tree, and the tests that mean the same."""
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


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Returns two decimals for a decimal and a float: 1.1 in a template means 1.1. Returns times with their
    nanoseconds."""
    if isinstance(left, Decimal) and isinstance(right, float):
        return left, Decimal(repr(right))
    if isinstance(left, float) and isinstance(right, Decimal):
        return Decimal(repr(left)), right
    if isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        pairs = [_alike(*pair) for pair in zip(left, right, strict=True)]
        return type(left)(one for one, _ in pairs), type(right)(other for _, other in pairs)
    return left, right


def _below(left: Any, right: Any) -> tuple[Any, Any]:
    """Returns the keys by which times are compared, if any has nanoseconds."""
    if isinstance(left, Moment | Clock) or isinstance(right, Moment | Clock):
        return (left, getattr(left, "below_us", 0)), (right, getattr(right, "below_us", 0))
    if isinstance(left, Duration) and isinstance(right, dt.timedelta):
        return nanoseconds_of(left), nanoseconds_of(right)
    return left, right


def _refuse_beyond_measure(sign: str, left: Any, right: Any, growth: Growth) -> None:
    """Raises TemplateFault if the result would take more memory than any prompt could use."""
    if sign == "*" and isinstance(left, _SIZED) and isinstance(right, int):
        growth.take(len(left) * right)
    elif sign == "*" and isinstance(right, _SIZED) and isinstance(left, int):
        growth.take(len(right) * left)
    elif sign == "+" and isinstance(left, _SIZED) and isinstance(right, _SIZED):
        growth.take(len(left) + len(right))
    elif isinstance(left, int) and isinstance(right, int) and sign in {"*", "**"}:
        bits = left.bit_length() * right if sign == "**" else left.bit_length() + right.bit_length()
        if bits > MAX_BITS:
            raise TemplateFault(f"a number of more than {MAX_BITS:,} bits")
