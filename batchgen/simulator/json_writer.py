"""Writes JSON that a schema allows, token by token: no token is drawn that it does not allow there.

Choices without a token of their own, such as the branch of an `anyOf`, depend on the prompt. So all probabilities are
those of the tokens. Pure.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Generator, Mapping
from functools import cached_property
from typing import Any, TypeAlias

import msgspec

from batchgen.simulator import schema as schemas
from batchgen.simulator import values
from batchgen.simulator.draw import Distribution
from batchgen.simulator.facts import Facts, label_probabilities
from batchgen.simulator.model import Model
from batchgen.simulator.schema import MAX_DEPTH, Schema, UnsupportedSchemaError
from batchgen.simulator.sentences import Generation
from batchgen.simulator.strings import QUOTE, Length, certain, encode, escaped, literal, string

ValueGeneration: TypeAlias = Generator[Distribution, str, str]
"""A value that is being drawn. Returns its JSON."""

INCLUDED = 0.8
"""The probability of an optional property, above the level DEEP."""
GOES_ON = Distribution({", ": 0.6, "]": 0.4})
"""The probabilities that an array which may end goes on or ends."""
MAX_ITEMS = 4
"""Items of an array beyond the first, if the schema sets no limit."""
DEEP = 5
"""From this level on, only required parts are written."""
BRIEF = 240
"""Characters of a text that need not be long."""
RARE = 32
"""Of 256 prompts, so many may get null although something else is allowed."""
TASKS = {
    "title": re.compile("title|headline|slogan|tagline|subject"),
    "summary": re.compile("summary|abstract|reason|explanation|comment|description"),
    "article": re.compile("article|text|body|content"),
    "reply": re.compile("reply|response|answer"),
}
"""The task for a text, by its name."""


class JsonWriter:
    """Writes for one prompt and one schema, which `schema.check` has accepted."""

    def __init__(self, model: Model, prompt: str, root: Any) -> None:
        self._model, self._prompt, self._root = model, prompt, root
        self._heights = schemas.Heights(root)

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self._prompt)

    @cached_property
    def _words(self) -> list[str]:
        """Returns what the prompt is about, without the names of its fields."""
        words = [word.strip() for word in self._model.read(self._prompt).words]
        return [word for word in words if f"{word}:" not in self._prompt]

    def generation(self) -> Generation:
        """Starts the whole text. Raises UnsupportedSchemaError if a value turns out to be impossible."""
        yield from self._value(self._root, "", 0)

    def _value(self, schema: Any, path: str, depth: int) -> ValueGeneration:
        return (yield from self._generate(self._without_choices(schema, path, depth), path, depth))

    def _generate(self, node: Schema, path: str, depth: int) -> ValueGeneration:
        kind = self._type(node, path, depth)
        if (known := self._known(node, path, kind)) is not None:
            return (yield from _one_of(known))
        write = {"object": self._object, "array": self._array}.get(kind, self._text)
        return (yield from write(node, path, depth))

    def _without_choices(self, schema: Any, path: str, depth: int) -> Schema:
        """Returns the schema with one branch of its `anyOf` chosen: the shallowest if it is deep, else by the
        prompt."""
        node = schemas.resolve(schema, self._root, path)
        while choices := schemas.options(node):
            heights = [self._heights.height(option, path) for option in choices]
            highest = min(heights) if depth >= DEEP else MAX_DEPTH
            usable = [option for option, height in zip(choices, heights, strict=True) if height <= highest]
            nodes = [schemas.resolve(option, self._root, path) for option in usable]
            node = self._pick(path, [n for n in nodes if n.get("type") != "null"] or nodes, nodes)
        return node

    def _pick(self, path: str, likely: list[Any], others: list[Any]) -> Any:
        """Picks one of the likely ones, and sometimes one of the others, by prompt and path."""
        digest = hashlib.sha256(f"{self._prompt}\0{path}".encode()).digest()
        among = others if digest[0] < RARE else likely
        return among[digest[1] % len(among)]

    def _type(self, node: Schema, path: str, depth: int) -> str:
        types = schemas.types_of(node)
        usable = [t for t in types if t not in ("object", "array")] if depth >= DEEP else types
        usable = usable or types
        if not usable:
            raise UnsupportedSchemaError(f"{path or '/'}: no type is left")
        return str(self._pick(path, [t for t in usable if t != "null"] or usable, usable))

    def _known(self, node: Schema, path: str, kind: str) -> dict[str, float] | None:
        """Returns the probability of each value by its JSON; None if the values cannot be listed."""
        if "const" in node or "enum" in node:
            among = [node["const"]] if "const" in node else node["enum"]
            found: list[Any] | None = [v for v in among if values.fits(v, node) and v in node.get("enum", [v])]
        else:
            found = values.of_kind(node, _name(path), kind, self._facts, self._words)
        if found == []:
            raise UnsupportedSchemaError(f"{path or '/'}: the built-in server finds no value that is allowed")
        if found is None:
            return None
        texts = {encode(v): v if isinstance(v, str) else encode(v) for v in found}
        likely = label_probabilities(f"{self._prompt} {path}", list(texts.values()))
        total = math.fsum(likely[text] for text in texts.values())
        return {code: likely[text] / total for code, text in texts.items()}

    def _object(self, node: Schema, path: str, depth: int) -> ValueGeneration:
        """Writes properties in order. The next key, or the end, is drawn from those that are allowed there."""
        required = node.get("required", [])
        names = list(dict.fromkeys([*node.get("properties", {}), *required]))
        included = {name: 1.0 if name in required else INCLUDED * (depth < DEEP) for name in names}
        text = "{"
        yield certain(text)
        while (key := (yield Distribution(_keys(names, included, is_first=text == "{")))) != "}":
            name = msgspec.json.decode(key.removeprefix(", "))
            names = names[names.index(name) + 1 :]
            yield certain(": ")
            value = yield from self._value(schemas.member(node, name), f"{path}/{name}", depth + 1)
            text += f"{key}: {value}"
        return text + "}"

    def _array(self, node: Schema, path: str, depth: int) -> ValueGeneration:
        """Writes items, none twice while others are left."""
        least = node.get("minItems", 0)
        most = min(node.get("maxItems", math.inf), least if depth >= DEEP else max(least, 1) + MAX_ITEMS)
        items: list[str] = []
        yield certain("[")
        while len(items) < most:
            place = f"{path}/{len(items)}"
            item = self._without_choices(node.get("items", True), place, depth + 1)
            known = self._known(item, place, self._type(item, place, depth + 1))
            left = known if known is None else {code: p for code, p in known.items() if code not in items}
            if left == {} and (node.get("uniqueItems") or len(items) >= least):
                break
            if items and (yield certain(", ") if len(items) < least else GOES_ON) == "]":
                return f"[{', '.join(items)}]"
            items.append(
                (yield from (_one_of(_to_one(left or known)) if known else self._generate(item, place, depth + 1)))
            )
        yield certain("]")
        return f"[{', '.join(items)}]"

    def _text(self, node: Schema, path: str, depth: int) -> ValueGeneration:
        """Writes a text that suits its name, and has an allowed length."""
        del depth
        named = next((task for task, names in TASKS.items() if names.search(_name(path))), None)
        task = named or ("summary" if self._facts.has("name") else None)
        free = functools.partial(self._model.free, self._prompt)
        generation = self._model.task(task, self._prompt) if task else free()
        least, is_brief = node.get("minLength", 0), task not in ("article", "reply")
        most = min(node.get("maxLength", math.inf), max(least, BRIEF) if is_brief else math.inf)
        return (yield from string(generation, free, _special(self._model), Length(least, most, is_brief)))


def _name(path: str) -> str:
    """Returns a value's name: the last property in its path, in lower case."""
    return next((part for part in reversed(path.split("/")) if part and not part.isdigit()), "").casefold()


def _one_of(known: Mapping[str, float]) -> ValueGeneration:
    if len(known) > 1:
        return (yield Distribution(known))
    [only] = known
    yield from literal(only)
    return only


def _to_one(weights: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(weights.values())
    return {code: weight / total for code, weight in weights.items()}


def _keys(names: list[str], included: Mapping[str, float], *, is_first: bool) -> dict[str, float]:
    """Returns the probabilities of what follows in an object: a key, if those before it are left out, or the end."""
    found, passed = {}, 1.0
    for name in names:
        found[("" if is_first else ", ") + encode(name)] = passed * included[name]
        passed *= 1 - included[name]
    return {**{key: p for key, p in found.items() if p}, **({"}": passed} if passed else {})}


@functools.cache
def _special(model: Model) -> frozenset[str]:
    """Returns the tokens of the corpus that JSON escapes."""
    return frozenset(t for t in (*model.unigrams.explicit, QUOTE, f" {QUOTE}") if escaped(t) != t)
