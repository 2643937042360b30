"""Jinja's filters, where ours differ: they print values as cells are printed, and make nothing beyond measure.

Also the filters that earlier versions had besides Jinja's own: bool, chain, lines, pluralize, split, zip.
"""

from __future__ import annotations

import itertools
import json
import pprint
import re
from collections.abc import Callable, Iterable, Mapping, Sized
from decimal import Decimal
from typing import Any

from jinja2 import Environment, Undefined, filters, pass_environment, pass_eval_context
from jinja2.nodes import EvalContext

from batchgen.input.template.growth import ITEM_CHARS, Growth, refuse_wide
from batchgen.input.template.kinds import NAMELESS
from batchgen.input.template.values import Absent, TemplateFault, plain, printed, refuse_vast

LAZY = ("batch", "items", "map", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "unique")
"""Filters of Jinja that return a generator: it would be printed as an address, and be true even if it is empty."""
TEXTS = frozenset({
    "capitalize", "center", "e", "escape", "forceescape", "format", "indent", "lines", "lower", "replace", "safe",
    "split", "striptags", "title", "trim", "truncate", "upper", "urlencode", "urlize", "wordcount", "wordwrap",
})  # fmt: skip
"""Filters of a text. Of any other value they receive its printed text."""
SLOW, MAX_SLOW = frozenset({"wordwrap", "urlize", "striptags", "title"}), 4_000_000
_IN_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "'": "\\u0027"}


def growth_of(environment: Environment) -> Growth:
    growth: Growth = environment.growth  # type: ignore[attr-defined]  # the sandbox's
    return growth


@pass_eval_context
def _join(context: EvalContext, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> Any:
    items = value if attribute is None else map(filters.make_attrgetter(context.environment, attribute), value)
    if context.autoescape:
        return filters.do_join(context, map(printed, items), printed(d))
    between = (text for item in items for text in (printed(d), printed(item)))
    return growth_of(context.environment).joined(itertools.islice(between, 1, None))


@pass_eval_context
def _replace(context: EvalContext, s: Any, old: str, new: str, count: int | None = None) -> str:
    s = printed(s)
    growth_of(context.environment).before_replacing(s, printed(old), printed(new))
    return filters.do_replace(context, s, old, new, count)


@pass_environment
def _format(environment: Environment, value: Any, *args: Any, **kwargs: Any) -> str:
    values = kwargs or args
    return formatted(growth_of(environment), printed(value), values)


def formatted(growth: Growth, pattern: str, values: Any) -> str:
    """Returns `pattern % values`, with everything but numbers as its text."""
    growth.before_formatting(pattern, values.values() if isinstance(values, Mapping) else values)
    if isinstance(values, Mapping):
        return str(pattern % {key: _for_pattern(value) for key, value in values.items()})
    return str(pattern % tuple(map(_for_pattern, values)))


def _for_pattern(value: Any) -> Any:
    return value if isinstance(value, int | float | Decimal) else printed(value)


def _center(value: Any, width: int = 80) -> str:
    refuse_wide(width)
    return filters.do_center(printed(value), width)


@pass_environment
def _indent(environment: Environment, s: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:  # noqa: FBT001, FBT002  Jinja's signature
    s = printed(s)
    growth_of(environment).take(len(s) + (s.count("\n") + 1) * (width if isinstance(width, int) else len(width)))
    return filters.do_indent(s, width, first, blank)


def _batch(value: Iterable[Any], linecount: int, fill_with: Any = None) -> Any:
    refuse_wide(linecount)
    return filters.do_batch(value, linecount, fill_with)


def _slice(value: Any, slices: int, fill_with: Any = None) -> Any:
    refuse_wide(slices)
    return filters.sync_do_slice(value, slices, fill_with)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else printed(value)


def _pprint(value: Any) -> str:
    refuse_vast(value)
    return pprint.pformat(plain(value))


def _tojson(value: Any, indent: int | None = None) -> str:
    """Returns JSON as Jinja writes it, safe in HTML, but with the keys in their order, and without escapes of
    letters."""
    refuse_wide((indent or 0) * 1000)
    refuse_vast(value)
    text = _json(value, "" if indent is None else " " * indent, "" if indent is None else "\n")
    return re.sub("[<>&']", lambda found: _IN_HTML[found[0]], text)


def _json(value: Any, indent: str, line: str) -> str:
    """Returns a value as JSON. `line`: the line end and indentation before the value's own bracket; empty to write
    one line."""
    inner = line and line + indent
    if isinstance(value, Mapping):
        pairs = [f"{_json(_key(key), '', '')}: {_json(item, indent, inner)}" for key, item in value.items()]
        return _bracketed("{}", pairs, line, inner)
    if value is None or isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    if isinstance(value, Decimal):
        return printed(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes | Undefined):
        return _bracketed("[]", [_json(item, indent, inner) for item in value], line, inner)
    return json.dumps(printed(value), ensure_ascii=False)


def _key(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(key) if isinstance(key, int | None) else printed(key)


def _bracketed(brackets: str, items: list[str], line: str, inner: str) -> str:
    if not items:
        return brackets
    return f"{brackets[0]}{inner}{(',' + inner if inner else ', ').join(items)}{line}{brackets[1]}"


def _split(value: Any, separator: str | None = None, maxsplit: int = -1) -> list[str]:
    return printed(value).split(separator, maxsplit) if separator != "" else ["", *printed(value), ""]


def _chain(*values: Any) -> Any:
    if all(isinstance(value, Mapping) for value in values):
        return {key: item for value in values for key, item in value.items()}
    return list(itertools.chain(*values))


def _zip(*values: Iterable[Any]) -> list[tuple[Any, ...]]:
    return list(zip(*values, strict=False))


def _pluralize(value: Any, singular: str = "", plural: str = "s") -> str:
    return singular if (value if isinstance(value, int) else len(value)) == 1 else plural


@pass_environment
def _sum(environment: Any, iterable: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    values = iterable if attribute is None else map(filters.make_attrgetter(environment, attribute), iterable)
    for value in values:
        start = environment.calculate(("+",), NAMELESS, start, value)
    return start


FILTERS: dict[str, Callable[..., Any]] = {
    "batch": _batch,
    "bool": bool,
    "center": _center,
    "chain": _chain,
    "format": _format,
    "indent": _indent,
    "join": _join,
    "lines": lambda value: printed(value).splitlines(),
    "pluralize": _pluralize,
    "pprint": _pprint,
    "replace": _replace,
    "slice": _slice,
    "split": _split,
    "string": _string,
    "sum": _sum,
    "tojson": _tojson,
    "zip": _zip,
}


def environment_filters(environment: Environment) -> dict[str, Callable[..., Any]]:
    """Returns all filters of a template: Jinja's, with ours in their place or besides."""
    every = {**environment.filters, **FILTERS}
    every.pop("random")  # another prompt each time would never be the row's
    growth = growth_of(environment)
    return {name: _counted(name, filter_, growth) for name, filter_ in every.items()}


def _counted(name: str, filter_: Callable[..., Any], growth: Growth) -> Callable[..., Any]:
    """Returns a filter that receives text where it expects text, whose texts and lists are counted, and that returns
    a list where it would return a generator."""
    at = 1 if hasattr(filter_, "jinja_pass_arg") else 0  # behind what Jinja passes to it

    def counted(*args: Any, **kwargs: Any) -> Any:
        value = args[at] if len(args) > at else None
        if name in TEXTS and not isinstance(value, str | Mapping):
            args = (*args[:at], printed(value), *args[at + 1 :])
        elif name in TEXTS and isinstance(value, Mapping):
            refuse_vast(value)
        elif name in LAZY and isinstance(value, Absent):
            value.refuse()
        elif name == "list" and isinstance(value, Sized):
            growth.take(ITEM_CHARS * len(value))
        elif name in SLOW and isinstance(value, str) and len(value) > MAX_SLOW:
            raise TemplateFault(f"{name} of a text of more than {MAX_SLOW:,} characters")
        made = filter_(*args, **kwargs)
        return growth.take_made(list(made) if name in LAZY and not isinstance(made, str) else made)

    counted.__dict__.update(getattr(filter_, "__dict__", {}))  # what Jinja is to pass to it
    return counted
