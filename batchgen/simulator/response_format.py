"""Reads a chat's `response_format`: the schema of its answer, checked before anything is generated."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from batchgen.simulator import schema as schemas
from batchgen.simulator.schema import UnsupportedSchemaError

_KEY = re.compile(r"[\"'`]([A-Za-z_]\w{0,39})[\"'`]|\b(title|summary|description|tags|keywords|sentiment|category)\b")


@dataclass(frozen=True, slots=True)
class Guide:
    """Holds the schema of an answer."""

    schema: Any
    _validator: Any

    def allows(self, text: str) -> bool:
        return bool(self._validator.is_valid(msgspec.json.decode(text)))


def read(given: Mapping[str, Any], prompt: str) -> Guide | None:
    """Returns the guide; None for plain text. Raises UnsupportedSchemaError, with where and why.

    The schema may be bare or, as OpenAI has it, in `{"name": ..., "schema": ...}`.
    """
    match given:
        case {"type": "text", **others} if not others:
            return None
        case {"type": "json_object", **others} if not others:
            return _guide(msgspec.json.encode(_object(prompt)))
        case {"type": "json_schema", "json_schema": {"schema": dict() as schema, "name": str()}, **others} if (
            not others
        ):
            return _guide(msgspec.json.encode(schema))
        case {"type": "json_schema", "json_schema": dict() as schema, **others} if not others:
            return _guide(msgspec.json.encode(schema))
    wanted = '{"type": "text"}, {"type": "json_object"}, or {"type": "json_schema", "json_schema": {...}}'
    raise UnsupportedSchemaError(f"write {wanted}")


def _object(prompt: str) -> dict[str, Any]:
    """Returns a schema with the keys that a prompt names in quotes, or with usual ones."""
    names = list(dict.fromkeys(quoted or word for quoted, word in _KEY.findall(prompt[:4096])))
    lists = {name: {"type": "array", "items": {"type": "string"}} for name in ("tags", "keywords")}
    properties = {name: lists.get(name, {"type": "string"}) for name in names or ["text"]}
    return {"type": "object", "properties": properties, "required": list(properties)}


@functools.lru_cache(maxsize=256)
def _guide(code: bytes) -> Guide:
    import jsonschema_rs  # noqa: PLC0415  15 MB that few servers need

    schema = msgspec.json.decode(code)
    try:
        validator = jsonschema_rs.validator_for(schema, retriever=_refuse_to_fetch)
        schemas.check(schema)
    except jsonschema_rs.ValidationError as error:
        where = "/".join(map(str, error.instance_path))
        raise UnsupportedSchemaError(f"/{where}: no JSON Schema: {error.message:.200}") from None
    except RecursionError:
        raise UnsupportedSchemaError("/: the schema refers to itself without an end") from None
    return Guide(schema, validator)


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError(f"{uri} is outside of the schema; nothing is fetched")
