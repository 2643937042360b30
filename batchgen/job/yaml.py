"""The text of a job file -> plain values, and where each stands in the text.

YAML 1.2's core scalars only (`no` is a text, `06:00` is a text), no tags, no repeated keys, bounded in size. Never
builds a Python object that the text names, never guesses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from typing import Any

import yaml

from batchgen.errors import UsageError

MAX_BYTES = 1 << 20
MAX_NODES = 20_000
MAX_DEPTH = 50

Path = tuple[Hashable, ...]
Positions = dict[Path, tuple[int, int]]
"""Path of keys and indices -> (line, column), both from 1. A mapping's entry is marked at its key."""

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,400}")
_HEX_OR_OCTAL = re.compile(r"0x[0-9a-fA-F]{1,400}|0o[0-7]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def parse(text: str, source: str) -> tuple[Any, Positions]:
    """Returns the values of a YAML text, and where they stand. Raises UsageError with `source`, line and column."""
    if len(text) > MAX_BYTES:
        raise UsageError(f"{source}: larger than {MAX_BYTES:,} characters; a job file has a few dozen lines")
    try:
        node = _Loader(text, source).get_single_node()
        reader = _Reader(source, text)
        return (None if node is None else reader.value(node, ())), reader.positions
    except yaml.MarkedYAMLError as error:
        is_of_a_text = (error.context or "").startswith("while scanning")  # which begins before
        meant = _meant(text, error.context_mark if is_of_a_text else error.problem_mark)
        raise UsageError(f"{_at(source, error.problem_mark)}: not valid YAML: {_problem(error)}{meant}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: not valid YAML: {_one_line(error)}") from None
    except RecursionError:
        raise UsageError(f"{source}: nested too deeply, or an alias that contains itself") from None


class _Loader(yaml.SafeLoader):
    """Refuses tags, and deep nesting: the time to compose grows with the square of the depth. Raises UsageError."""

    def __init__(self, text: str, source: str) -> None:
        super().__init__(text)
        self._source, self._depth = source, 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if tag := getattr(event, "tag", None):  # None unless the text names it
            at = _at(self._source, event.start_mark)
            raise UsageError(f"{at}: tags ({tag}) are not accepted: write a plain value")
        if self._depth > MAX_DEPTH:
            raise UsageError(f"{self._source}: nested too deeply")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = ", ".join(part for part in (error.context, error.problem) if part)
    if error.problem and "'\\t'" in error.problem:
        return f"{problem} (indent with spaces, not tabs)"
    return problem


_KEY = re.compile(r"([A-Za-z_][\w-]*) *:")
_PLACEHOLDER = re.compile(r"(?<!\{)\{(date|name)\}")
_ROLE = re.compile(r"\b(system|user|assistant) *:")
_UNINDENTED = re.compile(r"^prompt *: *[|>][-+0-9]*[ \t]*(#.*)?\n\s*^(?=[^\s#])", re.MULTILINE)


def _meant(text: str, mark: Any) -> str:
    """Returns what was probably meant at the place of an error; empty if unknown."""
    lines = text.splitlines()[: 1 + (0 if mark is None else mark.line)]
    if lines and _PLACEHOLDER.search(lines[-1]):
        return "; put a path with {date} or {name} in quotes"
    if _UNINDENTED.search("\n".join(lines)):
        return "; indent each line of the text below `prompt: |`"
    if key := _key_of_text(lines):
        return f"; put the text in quotes (and double those within it), or below `{key}: |`, each line of it indented"
    return ""


def _key_of_text(lines: list[str]) -> str:
    """Returns the key of the prompt or message in which these lines end, where YAML's own marks are likely; empty if
    they end elsewhere."""
    key, roles = "", list[str]()
    for line in lines:
        if found := _KEY.match(line):
            key, roles = found[1], []
        roles += _ROLE.findall(line)
    if key == "messages" and roles:
        return f"- {roles[-1]}"
    return key if key == "prompt" else ""


def comment_after(text: str, key: str) -> str:
    """Returns the comment that ended the unquoted text of a top-level key, with its `#`; empty if there is none."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for key_node, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key_node.value == key and isinstance(value, yaml.ScalarNode) and value.style is None:
            rest = text[value.end_mark.index :].split("\n", 1)[0]
            return rest.strip() if re.match(r"[ \t]+#", rest) else ""
    return ""


def _at(source: str, mark: Any) -> str:
    return source if mark is None else f"{source}:{mark.line + 1}:{mark.column + 1}"


class _Reader:
    def __init__(self, source: str, text: str) -> None:
        self.source = source
        self.text = text
        self.positions: Positions = {}
        self.nodes = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise UsageError(f"{self.source}: more than {MAX_NODES:,} values once its aliases are expanded")
        self.positions.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
        return plain(node.value) if getattr(node, "style", None) is None else node.value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Hashable, Any]:
        values: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                meant = _meant(self.text, key_node.start_mark)
                raise UsageError(f"{_at(self.source, key_node.start_mark)}: a key must be a plain word{meant}")
            key = key_node.value
            if key in values:
                first = self.positions[(*path, key)][0]
                raise UsageError(
                    f"{_at(self.source, key_node.start_mark)}: {key}: repeated key; it is set already in line {first}"
                )
            self.positions[(*path, key)] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            values[key] = self.value(value_node, (*path, key))
        return values


def plain(word: str) -> Any:
    """Returns the value of a plain scalar by YAML 1.2's core schema (https://yaml.org/spec/1.2.2/, 10.3.2)."""
    if _NULL.fullmatch(word):
        return None
    if _BOOL.fullmatch(word):
        return word.lower() == "true"
    if _INT.fullmatch(word):
        return int(word)
    if _HEX_OR_OCTAL.fullmatch(word):
        return int(word, 0)
    if _FLOAT.fullmatch(word):
        return float(word)
    if found := _INFINITE.fullmatch(word):
        return math.nan if found[3] else float(f"{found[1]}inf")
    return word
