"""Wording that several sections of a report share: moments, durations, names, and long texts cut short."""

from __future__ import annotations

import datetime as dt

from batchgen.api.failure_kinds import Kind
from batchgen.checkpoint.schema import OK
from batchgen.ui import humanize

TEXT_CHARS, PROMPT_CHARS, LINE_CHARS, NAME_CHARS = 3000, 1500, 300, 80
MEANINGS: dict[str, str] = {**{kind: kind.policy.meaning for kind in Kind}, OK: "answered"}


def moment(microseconds: int) -> str:
    """Returns a moment in local time, with its offset from UTC."""
    try:
        return humanize.moment(dt.datetime.fromtimestamp(microseconds / 1e6, dt.UTC))
    except (ValueError, OverflowError, OSError):
        return "an unknown time"


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def long(text: str, most: int, length: int | None = None) -> dict[str, str]:
    """Returns a text as it is shown, and how much was left out. `length`: of the whole text, if it was cut before."""
    left = (len(text) if length is None else length) - most
    return {"text": text[:most], "more": f"… and {humanize.pluralize(left, 'more character')}" if left > 0 else ""}


def kind_of(outcome: str, status: int | None) -> str:
    return f"{outcome} {status}" if status is not None and outcome != OK else outcome


def named(key: bytes, name: str | None, row: int | None) -> str:
    if row is None:
        return cut(name, NAME_CHARS) if name else f"key {key.hex()[:12]}"
    return f"row {row:,}" + (f" ({cut(name, NAME_CHARS)})" if name else "")


def figure(value: float) -> str:
    """Formats a number with three significant digits, and no exponent."""
    return f"{float(f'{value:.3g}'):,.10g}"


def seconds(value: float) -> str:
    if value < 0.9995:  # noqa: PLR2004  which rounds to a second
        return f"{figure(1000 * value)} ms"
    return f"{value:,.2f} s" if value < 100 else f"{value:,.0f} s"  # noqa: PLR2004  what is seen of it


def negative(value: float) -> str:
    return f"{value:.2f}".replace("-", "\u2212")
