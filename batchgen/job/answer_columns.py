"""Types an answer's JSON by its JSON Schema: each top-level property is a column. Pure; knows no table.

`Answer columns` are the columns that `output.columns` asks for. A value that passes the schema but does not fit its
type (an integer beyond 64 bits) fails the answer's check too: nothing is truncated, nothing becomes null.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

import msgspec

from batchgen.ui.humanize import quoted

Scalar = Literal["text", "json", "integer", "number", "boolean", "date", "datetime"]
LONGEST = 2**63
_FENCED = re.compile(r"\s*```[A-Za-z]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\s*", re.DOTALL)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True)
class ListOf:
    items: ValueType


@dataclass(frozen=True)
class StructOf:
    fields: tuple[tuple[str, ValueType], ...]


ValueType = Scalar | ListOf | StructOf


class AnswerColumn(NamedTuple):
    """A column made of a property of each answer's JSON."""

    name: str
    property: str
    type: ValueType


def properties_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the schemas of the top level's properties. Raises ValueError where its top is no object."""
    top = _resolved(schema, schema)
    if top.get("type", "object") != "object" or not isinstance(top.get("properties"), Mapping):
        raise ValueError("the schema's top is not an object with properties: only these can become columns")
    return dict(top["properties"])


def columns_asked_for(
    asked: Literal[True, False] | Sequence[str] | Mapping[str, str], schema: Any
) -> list[AnswerColumn]:
    """Returns the columns that `output.columns` asks for. Raises ValueError where the schema does not have them."""
    if not asked:
        return []
    if schema is None:
        raise ValueError("needs check.json_schema, whose properties become the columns")
    known = properties_of(schema)
    names = known if asked is True else asked
    named = dict(asked) if isinstance(asked, Mapping) else {name: name for name in names}
    for name in named:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise ValueError(f"the schema has no property {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
    if len({column.casefold() for column in named.values()}) < len(named):
        raise ValueError("names a column twice (SQL engines do not tell their cases apart)")
    return [AnswerColumn(column, name, type_of(known[name], schema)) for name, column in named.items()]


def type_of(schema: Any, whole: Mapping[str, Any], seen: tuple[str, ...] = ()) -> ValueType:
    """Returns a property's type; "json" for what its schema leaves open. `whole`: where its $refs lead."""
    if not isinstance(schema, Mapping):
        return "json"
    if "$ref" in schema:
        ref = str(schema["$ref"])
        return "json" if ref in seen else type_of(_target(ref, whole), whole, (*seen, ref))
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return _alike(type_of(one, whole, seen) for one in schema[word] if not _is_null(one, whole))
    if "enum" in schema or "const" in schema:
        return _alike(
            map(_type_of_value, [one for one in schema.get("enum", [schema.get("const")]) if one is not None])
        )
    return _by_name(schema, whole, seen)


def _by_name(schema: Mapping[str, Any], whole: Mapping[str, Any], seen: tuple[str, ...]) -> ValueType:
    named = schema.get("type")
    names = [name for name in ([named] if isinstance(named, str) else named or ()) if name != "null"]
    if len(names) != 1:
        return "json"
    if names[0] == "array":
        items = type_of(schema.get("items"), whole, seen)
        return "json" if "prefixItems" in schema or items == "json" else ListOf(items)
    if names[0] == "object":
        fields = [(name, type_of(one, whole, seen)) for name, one in (schema.get("properties") or {}).items()]
        return StructOf(tuple(fields)) if fields else "json"
    formats: dict[str, Scalar] = {"date": "date", "date-time": "datetime"}
    plain: dict[str, Scalar] = {"integer": "integer", "number": "number", "boolean": "boolean"}
    plain["string"] = formats.get(str(schema.get("format")), "text")
    return plain.get(names[0], "json")


def _alike(types: Iterable[ValueType]) -> ValueType:
    """Returns the one type that all alternatives have; else "json"."""
    found = list(types)
    return found[0] if found and all(one == found[0] for one in found) else "json"


def _type_of_value(value: Any) -> ValueType:
    plain: dict[type, Scalar] = {str: "text", bool: "boolean", int: "integer", float: "number"}
    return plain.get(type(value), "json")


def _is_null(schema: Any, whole: Mapping[str, Any]) -> bool:
    return isinstance(schema, Mapping) and _resolved(schema, whole).get("type") == "null"


def _resolved(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follows a schema's $ref, and those that it leads to, a few steps."""
    for _ in range(10):
        target = _target(str(schema["$ref"]), whole) if "$ref" in schema else schema
        if target is schema or not isinstance(target, Mapping):
            break
        schema = target
    return schema


def _target(ref: str, whole: Mapping[str, Any]) -> Any:
    """Returns what a $ref within the schema leads to; None where it leads elsewhere."""
    at: Any = whole
    for step in ref.removeprefix("#").strip("/").split("/") if ref.startswith("#/") else [""]:
        name = step.replace("~1", "/").replace("~0", "~")
        at = at.get(name) if isinstance(at, Mapping) else None
    return whole if ref == "#" else at


def values_in(text: str, columns: Sequence[AnswerColumn]) -> list[Any]:
    """Returns an answer's values, one a column, from its JSON. Raises ValueError, which names what does not fit."""
    try:
        given = _object.decode(without_fence(text))
    except RecursionError:
        raise ValueError("nested absurdly deep") from None
    return [_value(given, column) for column in columns]


def _value(given: Mapping[str, msgspec.Raw], column: AnswerColumn) -> Any:
    try:
        return value_of(given[column.property], column.type) if column.property in given else None
    except RecursionError:
        raise ValueError(f"/{column.property}: nested absurdly deep") from None
    except (ValueError, OverflowError) as error:  # the latter: a moment beyond the year 9999, a number beyond a float
        raise ValueError(f"/{column.property}: {error}") from None


def without_fence(text: str) -> str:
    """Returns what stands in a Markdown fence, where a text is one and nothing else; else the text."""
    fenced = _FENCED.fullmatch(text)
    return fenced[1] if fenced else text


def value_of(raw: msgspec.Raw, kind: ValueType) -> Any:
    """Returns a property's value as its type has it: JSON's null is None. Raises ValueError where it does not fit."""
    if kind == "json":
        return None if bytes(raw) == b"null" else bytes(raw).decode()
    return _fitted(msgspec.json.decode(raw), kind)


def _fitted(value: Any, kind: ValueType) -> Any:
    if value is None:
        return None
    if isinstance(kind, ListOf):
        return [_fitted(one, kind.items) for one in _of(value, list)]
    if isinstance(kind, StructOf):
        given = _of(value, dict)
        return {name: _fitted(given.get(name), inner) for name, inner in kind.fields}
    return _FITTED[kind](value)


def _of(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{quoted(value)} is not the column's type")
    return value


def _integer(value: Any) -> int:
    whole = int(value) if isinstance(value, float) and value.is_integer() else _of(value, int)
    if not -LONGEST <= whole < LONGEST:
        raise ValueError(f"{whole!s:.30} does not fit into 64 bits")
    return int(whole)


def _number(value: Any) -> float:
    return float(_of(value, int) if type(value) is not float else value)


def _datetime(value: Any) -> dt.datetime:
    moment = dt.datetime.fromisoformat(_of(value, str))
    if moment.tzinfo is None:
        raise ValueError(f"{quoted(value)} has no offset from UTC")
    return moment.astimezone(dt.UTC)


_FITTED: dict[Scalar, Callable[[Any], Any]] = {
    "text": lambda value: _of(value, str),
    "json": lambda value: msgspec.json.encode(value).decode(),
    "integer": _integer,
    "number": _number,
    "boolean": lambda value: _of(value, bool),
    "date": lambda value: dt.date.fromisoformat(_of(value, str)),
    "datetime": _datetime,
}
