"""The mistakes in a job file -> one line each: file, line, column, key, what is wrong, and the near miss.

Quotes the file only where that cannot be a secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from batchgen.job import yaml
from batchgen.job.sections import ColumnType
from batchgen.ui.humanize import quoted

NOWHERE = (0, 0)
"""The line and column of what stands in no file."""


def explain(error: ValidationError, positions: yaml.Positions, source: str, model: type[BaseModel]) -> str:
    """Returns one line a mistake, in the file's order, what is missing last; a union's alternatives are joined by `or`.
    `positions`: where keys stand in the file; NOWHERE for settings that come from no file."""
    found: dict[yaml.Path, list[str]] = {}
    mistakes = error.errors(include_url=False)
    meant = {_meant(mistake, model) for mistake in mistakes}
    if ("messages",) in meant:
        meant.add(("prompt",))  # in whose place they are
    for mistake in mistakes:
        if mistake["type"] == "missing" and mistake["loc"] in meant:
            continue  # it is there, with a typing mistake that is reported
        path = _longest_path(mistake["loc"], positions, missing=mistake["type"] == "missing")
        texts = found.setdefault(path, [])
        text = _explain(mistake, model)
        if text not in texts:
            texts.append(text)
    lines = []
    for path in sorted(found, key=lambda path: (path not in positions, _position(path, positions))):
        at = _position(path, positions)
        where = source if at == NOWHERE else ":".join(map(str, (source, *at)))
        lines.append(f"{where}: {'.'.join(map(str, path))}: {_joined(found[path])}")
    return "\n".join(lines)


def _joined(texts: list[str]) -> str:
    """Joins what a value might have been instead: `should be a list or a text, not 3`."""
    *_, given = texts[0].rpartition(", not ")
    end = f", not {given}" if all(text.endswith(f", not {given}") for text in texts) else ""
    first, *others = (text.removesuffix(end) for text in texts)
    return " or ".join([first, *(text.removeprefix("should be ") for text in others)]) + end


def _longest_path(loc: tuple[Any, ...], positions: yaml.Positions, *, missing: bool) -> yaml.Path:
    """Returns the longest part of a pydantic location that exists in the file. A missing key does not, nor does a value
    that was made from another (a file's name)."""
    if (missing and loc[:-1] in positions) or len(loc) == 1:
        return loc
    path: yaml.Path = ()
    for key in loc:  # between the keys stand the names of a union's alternatives
        path = (*path, key) if (*path, key) in positions else path
    return path


def _position(path: yaml.Path, positions: yaml.Positions) -> tuple[int, int]:
    return positions.get(path) or positions.get(path[:-1]) or (1, 1)


_PATTERNS = {
    ("name",): "should be letters, digits, '.', '_' and '-' only",
    ("until", "at"): "should be a time of day such as 06:00",
}


def _explain(mistake: Any, model: type[BaseModel]) -> str:
    kind, loc, given = mistake["type"], mistake["loc"], mistake["input"]
    if kind == "extra_forbidden":
        return f"unknown key{_elsewhere(loc, given, model) or _near_miss(str(loc[-1]), _keys(loc[:-1], model))}"
    if kind == "model_type" and len(loc) == 1 and isinstance(given, str) and "@" not in given and loc[0] in _FIRST:
        return f"should be a mapping; did you mean `{loc[0]}: {{{_FIRST[loc[0]]}: {given:.60}}}`?"
    if kind == "missing":
        return "missing (a chat has messages)" if loc == ("prompt",) else "missing"
    if kind == "literal_error" and loc[-1] == "[key]":
        known = re.findall(r"'(\w+)'", mistake["ctx"]["expected"])
        what = "role" if loc[0] == "messages" else "request field"
        return f"unknown {what}{_near_miss(str(loc[-2]), known)}"
    if kind in ("too_short", "string_too_short"):
        return "should not be empty"
    message = _KINDS.get(kind) or str(mistake["msg"]).removeprefix("Value error, ").replace("Input should", "should")
    if kind == "string_pattern_mismatch":
        has_its_letters = loc == ("name",) and re.fullmatch(r"[\w.-]+", given, re.ASCII)
        message = _PATTERNS[loc] + (", at most 100, and neither '.' nor '-' first" if has_its_letters else "")
    if (
        not message.startswith("should")
        or loc[0] in ("endpoint", "notify")
        or "@" in str(given)
        or not isinstance(given, str | int | float | bool | None)
    ):
        return message  # an address may be a secret in the wrong place, or hold a password
    return f"{message}, not {quoted(given)}{_meant_type(loc, given)}"


_KINDS = {"dict_type": "should be a mapping", "list_type": "should be a list", "model_type": "should be a mapping"}
_FIRST = {"input": "path", "output": "path", "request": "model"}
"""The key that somebody means who writes a section as one word."""


_OF_OTHER_TOOLS = {
    (): {"retries": "`retry: {attempts: ...}` or `check: {retries: ...}`"},
    ("input",): dict.fromkeys(("delimiter", "sep"), "separator"),
    ("limits",): {
        "rpm": "requests_per_minute",
        "tpm": "tokens_per_minute",
        **dict.fromkeys(("workers", "threads", "max_concurrency"), "concurrency"),
    },
    ("retry",): dict.fromkeys(("max_retries", "retries"), "attempts (it counts the first try, too)"),
    ("check",): {
        **dict.fromkeys(("choices", "enum"), '`matches: "^(a|b)$"`, or json_schema with an enum'),
        **dict.fromkeys(("regex", "pattern"), "matches"),
    },
}
"""What is written here for the words of other tools, by their place."""
_TYPES = {
    **dict.fromkeys(("str", "text"), "String"),
    **dict.fromkeys(("int", "integer"), "Int64"),
    **dict.fromkeys(("float", "double", "number"), "Float64"),
    "bool": "Boolean",
}


def _elsewhere(loc: tuple[Any, ...], given: Any, model: type[BaseModel]) -> str:
    """Returns what is written here for a word of other tools, or where a key of another section belongs; empty if
    unknown."""
    key = str(loc[-1])
    if word := _OF_OTHER_TOOLS.get(loc[:-1], {}).get(key):
        return f"; did you mean {word}?"
    if len(loc) > 1:
        return f"; did you mean `{key}` at the top level?" if key in _keys((), model) else ""
    if isinstance(given, Mapping) and _close(key, _keys((), model), cutoff=0.85):
        return ""  # `limit: {...}` is a section with a typing mistake, `limit: 5` is the input's
    if key in {"prompt_file", "prompt_path", "template", "template_file"}:
        return (
            "; a prompt's text belongs in the job file: `prompt: |`, and the text below it, indented; "
            "or write `prompt: {file: ...}`"
        )
    for section in _keys((), model):
        fields = getattr(model.model_fields[section].annotation, "model_fields", {})
        if key in {field.alias or name for name, field in fields.items()}:
            return f"; did you mean `{section}: {{{key}: ...}}`?"
    return ""


def _meant_type(loc: tuple[Any, ...], given: Any) -> str:
    """Returns the type of column that a word of other tools means; empty if unknown."""
    if loc[:-1] != ("input", "schema") or not isinstance(given, str):
        return ""
    known = {name.lower(): name for name in get_args(ColumnType)} | _TYPES
    close = _close(given.lower(), list(known))
    return f"; did you mean {known[close[0]]}?" if close else ""


def _meant(mistake: Any, model: type[BaseModel]) -> tuple[Any, ...] | None:
    """Returns where an unknown key would belong if it were the one that it resembles."""
    if mistake["type"] != "extra_forbidden":
        return None
    *parents, key = mistake["loc"]
    return (*parents, *_close(str(key), _keys(tuple(parents), model)))


def _keys(loc: tuple[Any, ...], model: type[BaseModel]) -> list[str]:
    """Returns the keys that are known at a location of the file."""
    part: Any = model
    for key in loc:
        fields = getattr(part, "model_fields", None)
        part = get_args(part)[-1] if fields is None else fields[key].annotation  # a mapping's values
    return [field.alias or name for name, field in part.model_fields.items()]


def _near_miss(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = _close(word, known)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


def _close(word: str, known: list[str], cutoff: float = 0.6) -> list[str]:
    return difflib.get_close_matches(word.lower(), known, n=1, cutoff=cutoff)
