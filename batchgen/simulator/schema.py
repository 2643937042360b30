"""Reads JSON Schemas for the built-in model: resolves references, merges `allOf`, refuses what is not supported.

Pure. It must never accept a keyword that the model ignores.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

ANNOTATIONS = frozenset({
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "contentMediaType", "$schema",
    "$id", "$comment", "$anchor", "$defs", "definitions",
})  # fmt: skip
KEPT = frozenset({
    "type", "enum", "const", "properties", "required", "additionalProperties", "items", "minItems", "maxItems",
    "uniqueItems", "minLength", "maxLength", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf", "anyOf", "oneOf",
})  # fmt: skip
FORMATS = frozenset(("date", "date-time", "time", "email", "uri", "uuid"))
_NUMBER = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
IMPLIED = {"properties": "object", "required": "object", "items": "array", "minItems": "array"} | dict.fromkeys(
    _NUMBER, "number"
)
"""The type that a keyword implies, if none is given."""
MAX_DEPTH = 12
"""Levels after which a schema counts as endless."""


class UnsupportedSchemaError(ValueError):
    """Says where and why a schema is not supported."""


def resolve(schema: Any, root: Any, path: str) -> Schema:
    """Returns the schema with `$ref` resolved and `allOf` merged. Raises UnsupportedSchemaError."""
    if isinstance(schema, bool):
        schema = {} if schema else {"not": {}}
    if not isinstance(schema, dict):
        raise UnsupportedSchemaError(f"{path or '/'}: a schema is an object")
    parts = [{k: v for k, v in schema.items() if k not in ANNOTATIONS and k not in ("$ref", "allOf")}]
    if "$ref" in schema:
        parts.append(dict(resolve(_referenced(schema["$ref"], root, path), root, path)))
    parts += [dict(resolve(part, root, f"{path}/allOf/{n}")) for n, part in enumerate(schema.get("allOf", ()))]
    merged = functools.reduce(functools.partial(_merged, path), parts)
    if unknown := sorted(merged.keys() - KEPT):
        raise UnsupportedSchemaError(f"{path or '/'}: the built-in server cannot keep to {', '.join(unknown)}")
    if merged.get("format", "date") not in FORMATS:
        raise UnsupportedSchemaError(f"{path or '/'}: the built-in server writes no format {merged['format']}")
    return merged


def _referenced(ref: Any, root: Any, path: str) -> Any:
    found = root
    if not isinstance(ref, str) or not ref.startswith("#"):
        raise UnsupportedSchemaError(f"{path or '/'}: $ref {ref} is outside of the schema; nothing is fetched")
    for part in ref[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    if found is None:
        raise UnsupportedSchemaError(f"{path or '/'}: $ref {ref} leads nowhere")
    return found


def _merged(path: str, one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for keyword, value in other.items():
        if keyword in merged and merged[keyword] != value:
            merged[keyword] = _both(keyword, merged[keyword], value, path)
        else:
            merged[keyword] = value
    return merged


_BOTH: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems"), min),
    "required": lambda one, other: [*one, *(name for name in other if name not in one)],
    "enum": lambda one, other: [value for value in one if value in other],
    "type": lambda one, other: [t for t in types_of({"type": one}) if t in types_of({"type": other})],
    "properties": lambda one, other: {
        name: {"allOf": [p[name] for p in (one, other) if name in p]} for name in {**one, **other}
    },
    "items": lambda one, other: {"allOf": [one, other]},
    "additionalProperties": lambda one, other: {"allOf": [one, other]},
    "uniqueItems": lambda one, other: one or other,
}
"""How to merge two values of a keyword that must both hold."""


def _both(keyword: str, one: Any, other: Any, path: str) -> Any:
    if keyword not in _BOTH:
        raise UnsupportedSchemaError(f"{path or '/'}: the built-in server cannot keep to two {keyword} at once")
    return _BOTH[keyword](one, other)


def types_of(node: Schema) -> list[str]:
    """Returns the types that a value may have, by `type`, else by other keywords, else a string."""
    given = node.get("type", next((t for keyword, t in IMPLIED.items() if keyword in node), "string"))
    types = [given] if isinstance(given, str) else list(given)
    return ["integer" if t == "number" and "integer" in types else t for t in types]


def options(node: Schema) -> list[Schema]:
    """Returns the schema with each branch of its `anyOf` and `oneOf`, unresolved; none if it has neither."""
    for keyword in ("anyOf", "oneOf"):
        if keyword in node:
            base = {k: v for k, v in node.items() if k != keyword}
            return [{"allOf": [base, option]} for option in node[keyword]]
    return []


class Heights:
    """Finds how many levels the smallest value of a schema has: infinite if it contains itself endlessly."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def height(self, schema: Any, path: str, left: int = MAX_DEPTH) -> float:
        """Returns the levels, and checks all parts on the way. Raises UnsupportedSchemaError."""
        if left == 0:
            return math.inf
        node = resolve(schema, self._root, path)
        if choices := options(node):
            return min(self.height(option, path, left) for option in choices)
        if "const" in node or "enum" in node:
            return 1
        return min((self._of_type(t, node, path, left) for t in types_of(node)), default=math.inf)

    def _of_type(self, kind: str, node: Schema, path: str, left: int) -> float:
        if kind == "object":
            names = node.get("required", ())
            parts = [self.height(member(node, name), f"{path}/properties/{name}", left - 1) for name in names]
            return 1 + max(parts, default=0)
        if kind == "array" and node.get("minItems", 0) > 0:
            return 1 + self.height(node.get("items", True), f"{path}/items", left - 1)
        return 1


def member(node: Schema, name: str) -> Any:
    """Returns the schema of a property, which may be an additional one."""
    return node.get("properties", {}).get(name, node.get("additionalProperties", True))


def check(schema: Any) -> None:
    """Raises UnsupportedSchemaError if a part of it is not supported, or a value of it would be endless."""
    heights = Heights(schema)
    seen: list[Any] = []

    def visit(part: Any, path: str) -> None:
        node = resolve(part, schema, path)
        if node in seen:
            return
        seen.append(node)
        if math.isinf(heights.height(part, path)):
            raise UnsupportedSchemaError(f"{path or '/'}: no value of it ever comes to its end")
        for name, child in children(node).items():
            visit(child, f"{path}/{name}")

    visit(schema, "")


def children(node: Schema) -> dict[str, Any]:
    """Returns the schemas within it, by path."""
    found = {f"properties/{name}": part for name, part in node.get("properties", {}).items()}
    found |= {
        f"additionalProperties/{n}": member(node, n) for n in node.get("required", ()) if f"properties/{n}" not in found
    }
    found |= {"items": node["items"]} if "items" in node else {}
    return found | {f"anyOf/{n}": option for n, option in enumerate(options(node))}
