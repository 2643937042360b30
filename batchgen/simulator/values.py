"""Lists values that a schema allows, if they can be listed: numbers, dates, strings with a known meaning. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from batchgen.simulator.facts import Facts
from batchgen.simulator.schema import Schema, types_of

MOST = 25
"""How many numbers of a range are listed."""
SPAN = 100
RANGES = (
    (re.compile("price|cost|amount"), 5, 200),
    (re.compile("star|rating|grade"), 1, 5),
    (re.compile("confidence|probability|score|share"), 0, 1),
    (re.compile("year"), 1990, 2026),
    (re.compile("age$"), 18, 80),
    (re.compile("count|number|quantity"), 1, 10),
)
"""Usual ranges of numbers by name, if the schema sets none."""
WORDS = {
    "sentiment": ("positive", "negative", "neutral"),
    "polarity": ("positive", "negative", "neutral"),
    "priority": ("low", "medium", "high"),
    "urgency": ("low", "medium", "high"),
    "language": ("en",),
    "currency": ("EUR",),
}
FORMATS = {
    "date": [f"2026-{month:02}-{day:02}" for month in range(1, 13) for day in (3, 17)],
    "time": [f"{hour:02}:30:00Z" for hour in range(7, 22)],
    "date-time": [f"2026-{month:02}-17T{hour:02}:30:00Z" for month in range(1, 13) for hour in (8, 19)],
    "email": [f"{name}@example.com" for name in ("anna", "kim", "support", "office")],
    "uri": [f"https://example.com/{page}" for page in ("about", "shop", "help")],
    "uuid": [f"6f1c2a{n:02}-93d4-4b7e-8a51-0d2e7c4f9b{n:02}" for n in range(10, 30)],
}
KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int, float), "number": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip


def of_kind(node: Schema, name: str, kind: str, facts: Facts, words: Sequence[str]) -> list[Any] | None:
    """Returns the values of this type; None if they cannot be listed. `words`: those that the prompt is about."""
    if kind == "boolean":
        return [True, False]
    if kind == "null":
        return [None]
    if kind in ("integer", "number"):
        return _numbers(node, name, facts, is_integer=kind == "integer")
    if kind != "string":
        return None
    if "format" in node:
        return [text for text in FORMATS[node["format"]] if fits(text, node)]
    return [text for text in _known(name, facts, words) if fits(text, node)] or None


def fits(value: Any, node: Schema) -> bool:
    """Returns whether the schema's own keywords allow a value. Values within it are not checked."""
    kind = [t for t in types_of(node) if isinstance(value, KINDS[t]) and isinstance(value, bool) == (t == "boolean")]
    if "type" in node and not [t for t in kind if t != "integer" or float(value).is_integer()]:
        return False
    if isinstance(value, str):
        return bool(node.get("minLength", 0) <= len(value) <= node.get("maxLength", math.inf))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    low, high = node.get("minimum", -math.inf), node.get("maximum", math.inf)
    inside = node.get("exclusiveMinimum", -math.inf) < value < node.get("exclusiveMaximum", math.inf)
    step = node.get("multipleOf")
    is_multiple = step is None or (_exact(value) / _exact(step)).denominator == 1
    return bool(low <= value <= high and inside and is_multiple)


def _known(name: str, facts: Facts, words: Sequence[str]) -> list[str]:
    """Returns strings for this name, from the prompt."""
    if name.rstrip("s") in ("tag", "keyword", "topic", "feature", "label"):
        return list(
            dict.fromkeys(([facts.value("category"), *facts.features()] if facts.has("features") else []) + [*words])
        )
    for field, names in (("name", ("name", "product", "product_name")), ("category", ("category", "department"))):
        if name in names and facts.has(field):
            return [facts.value(field)]
    return list(WORDS.get(name, ()))


def _exact(number: float) -> Fraction:
    return Fraction(str(number))


def _numbers(node: Schema, name: str, facts: Facts, *, is_integer: bool) -> list[Any]:
    """Returns numbers spread evenly over the range, or the prompt's own price."""
    if "price" in name and facts.has("price") and (shown := re.search(r"\d+(?:\.\d+)?", facts.value("price"))):
        price = float(shown[0])
        if fits(price, node):
            return [int(price) if is_integer else price]
    low, high = _range(node, name)
    step = _step(node, low, high, is_integer=is_integer)
    first, last = math.ceil(low / step), math.floor(high / step)
    counted = min(MOST, last - first + 1)
    found = [(first + n * (last - first) // max(1, counted - 1)) * step for n in range(counted)]
    if not is_integer and "multipleOf" not in node:
        found += [(low + high) / 2]
    numbers = [int(n) if is_integer else float(n) for n in found]
    return [number for number in dict.fromkeys(numbers) if fits(number, node)]


def _range(node: Schema, name: str) -> tuple[Fraction, Fraction]:
    lows = [_exact(node[k]) for k in ("minimum", "exclusiveMinimum") if k in node]
    highs = [_exact(node[k]) for k in ("maximum", "exclusiveMaximum") if k in node]
    low, high = next(
        ((Fraction(a), Fraction(b)) for pattern, a, b in RANGES if pattern.search(name)), (Fraction(0), Fraction(SPAN))
    )
    span = max(high - low, 10 * _exact(node.get("multipleOf", 1)))
    if lows:
        return max(lows), min(highs) if highs else max(high, max(lows) + span)
    return (
        (min(low, min(highs) - span), min(highs))
        if highs
        else (low, max(high, low + span) if "multipleOf" in node else high)
    )


def _step(node: Schema, low: Fraction, high: Fraction, *, is_integer: bool) -> Fraction:
    step = _exact(node["multipleOf"]) if "multipleOf" in node else Fraction(1)
    if is_integer:
        return Fraction(step.numerator)  # the least whole number that is a multiple
    if "multipleOf" in node or high - low >= SPAN / 10:
        return step
    return Fraction(1, 100)
