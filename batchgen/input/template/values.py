"""The values of a template, and how each is printed: one rule, whatever its type or depth.

Texts, numbers and booleans print as Python, and so Jinja, prints them; decimals digit for digit; dates, times and
durations in ISO 8601, to the last digit. A null is a value of its own, which knows its column.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import ItemsView, KeysView, Mapping, ValuesView
from decimal import Decimal
from typing import Any

from jinja2 import Undefined, UndefinedError

_SECOND = 1_000_000_000
"""In nanoseconds."""
MAX_CHARS, MAX_ITEMS = 16 << 20, 2_000_000
"""Of a prompt, and of any text or list that a template makes on the way."""


class MissingValue(UndefinedError):
    """A null was used as if it were there; the message is its name."""


class TemplateFault(Exception):
    """What a template does with this row is refused; the message names no line and no row."""


class Absent(Undefined):
    """A name or a key that is not there: false, handled by `default`, and an error when it is used."""

    __slots__ = ()
    _refuse: Any = Undefined._fail_with_undefined_error  # noqa: SLF001  as StrictUndefined has it
    __str__ = __iter__ = __len__ = __contains__ = __eq__ = __ne__ = __abs__ = __round__ = __index__ = _refuse
    __hash__ = Undefined.__hash__

    def refuse(self) -> None:
        """Raises the error that any use of it raises."""
        self._refuse()


class Null(Absent):
    """A null cell: false, `none` and not `defined`, and handled by `default`. Printing it adds its name to `printed`;
    any other use raises MissingValue."""

    __slots__ = ("_printed",)

    def __init__(self, name: str, printed: list[str]) -> None:
        super().__init__(hint=name, name=name, exc=MissingValue)
        self._printed = printed

    def __str__(self) -> str:
        self._printed.append(str(self._undefined_name))
        return ""

    def __eq__(self, other: object) -> bool:
        if other is None or isinstance(other, Null):
            return True
        if str(self._undefined_name).endswith("[]"):  # a list may be searched for what is there
            return False
        return bool(self._refuse())

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(Null)

    __repr__ = __str__


class Fields(dict[str, Any]):
    """A struct's fields, or a row's columns: all that there may be, null or not."""

    __slots__ = ()


class Moment(dt.datetime):
    """A time that has nanoseconds. `below_us`: those below the microsecond, 0 to 999."""

    below_us = 0

    def __str__(self) -> str:
        if not self.below_us:
            return self.isoformat(" ")
        text = self.isoformat(" ", "microseconds")
        return f"{text[:26]}{self.below_us:03}{text[26:]}"


class Clock(dt.time):
    """A time of day that has nanoseconds. `below_us`: those below the microsecond, 0 to 999."""

    below_us = 0

    def __str__(self) -> str:
        return f"{self.isoformat('microseconds')}{self.below_us:03}" if self.below_us else self.isoformat()


class Duration(dt.timedelta):
    """A duration of so many `nanoseconds`; None: of no more than its microseconds."""

    nanoseconds: int | None = None

    def __str__(self) -> str:
        return iso_duration(nanoseconds_of(self))


class Exact(Decimal):
    """A decimal that prints its digits, without an exponent."""

    def __str__(self) -> str:
        return format(Decimal(self), "f")


class _Verbatim(str):
    """A text that stands without quotes inside a printed list."""

    __slots__ = ()
    __repr__ = str.__str__


def iso_duration(nanoseconds: int) -> str:
    """Returns the duration in ISO 8601, in days and smaller units: P1DT2H3M4.5S."""
    seconds, below = divmod(abs(nanoseconds), _SECOND)
    days, seconds = divmod(seconds, 86_400)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    fraction = f".{below:09}".rstrip("0") if below else ""
    clock = "".join(f"{count}{unit}" for count, unit in ((hours, "H"), (minutes, "M")) if count)
    clock += f"{seconds}{fraction}S" if seconds or below or not (days or clock) else ""
    return f"{'-' * (nanoseconds < 0)}P{f'{days}D' * bool(days)}{f'T{clock}' * bool(clock)}"


_PRINTED_BY_PYTHON = (int, float, dt.date, dt.time)
CONTAINERS = (Mapping, list, tuple, set, frozenset, range, KeysView, ValuesView, ItemsView)


def printed(value: Any) -> str:
    """Returns the text of a value. Raises TemplateFault for values that have none: None, a function, bytes."""
    if isinstance(value, str):
        return value
    if isinstance(value, _PRINTED_BY_PYTHON):
        if value != value:  # noqa: PLR0124  NaN
            raise TemplateFault("not a number, which is not text")
        return str(value)
    if isinstance(value, Undefined):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dt.timedelta):
        return iso_duration(nanoseconds_of(value))
    if isinstance(value, CONTAINERS):
        refuse_vast(value)
        return repr(plain(value))
    raise TemplateFault("none, which is not text" if value is None else f"a {_kind(value)}, which is not text")


def plain(value: Any) -> Any:
    """Returns a list or mapping whose `repr` is the text: only texts are quoted in it."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Undefined) and not isinstance(value, Absent):
        raise TemplateFault("an `if` without `else` in a list")
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if isinstance(value, CONTAINERS):
        return [plain(item) for item in value]
    return _Verbatim(printed(value))


def _kind(value: Any) -> str:
    name = getattr(value, "__name__", None)
    return f"{name} function" if callable(value) and isinstance(name, str) else type(value).__name__.lower()


def refuse_vast(value: Any) -> None:
    """Raises TemplateFault for lists in lists that would be too long a text, before it is made."""
    items = chars = 0
    waiting = [value]
    while waiting:
        one = waiting.pop()
        items += 1
        chars += len(one) if isinstance(one, str) else 0
        if isinstance(one, CONTAINERS):
            waiting += one if not isinstance(one, Mapping) else [*one.keys(), *one.values()]
        if items + len(waiting) > MAX_ITEMS or chars > MAX_CHARS:
            raise TemplateFault(f"a list of more than {MAX_CHARS:,} characters or {MAX_ITEMS:,} items")


def nanoseconds_of(value: dt.timedelta) -> int:
    if isinstance(value, Duration) and value.nanoseconds is not None:
        return value.nanoseconds
    return (value.days * 86_400 + value.seconds) * _SECOND + value.microseconds * 1000
