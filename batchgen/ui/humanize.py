"""Numbers, durations, moments and errors in words."""

from __future__ import annotations

import datetime as dt


def duration(seconds: float) -> str:
    """Formats seconds: `45 s`, `12 min`, `8 h 5 min`, `3 d 4 h`."""
    if seconds < 1:
        return "less than a second"
    if seconds < 120:  # noqa: PLR2004  two minutes
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:  # noqa: PLR2004  two days
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days:,} d {hours} h" if hours else f"{days:,} d"


def approximately(seconds: float) -> str:
    """Formats an estimated duration: `about 12 min`."""
    return f"about {duration(seconds)}" if seconds >= 1 else duration(seconds)


def moment(then: dt.datetime, format_: str = "%Y-%m-%d %H:%M") -> str:
    """Formats a moment in local time, with its offset from UTC: `2026-11-29 22:00 UTC+1`."""
    local = then.astimezone()
    offset = round((local.utcoffset() or dt.timedelta()).total_seconds() / 60)
    hours, minutes = divmod(abs(offset), 60)
    sign = "\u2212" if offset < 0 else "+"
    zone = (f"{sign}{hours}" if offset else "") + (f":{minutes:02}" if minutes else "")
    return f"{local.strftime(format_)} UTC{zone}"


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's words; its type's name, where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def quoted(value: object, most: int = 60) -> str:
    """Quotes a value, in so many characters. A long one is cut, and keeps its closing quote."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 2]}…{text[-1]}"


def pluralize(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def inflect(number: int, one: str, several: str) -> str:
    """Returns the form of a word that agrees with a number: `inflect(rows, "has its", "have their")`."""
    return one if number == 1 else several


def dollars(amount: float) -> str:
    """Formats an amount. Less than a cent is not rounded to nothing: it has two significant digits."""
    if amount >= 0.01 or not amount:  # noqa: PLR2004  a cent
        return f"${amount:,.2f}"
    from decimal import Decimal  # noqa: PLC0415  a thirtieth of what --help takes

    return f"${Decimal(f'{amount:.2g}'):f}"
