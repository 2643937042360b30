"""Explains what a template's author probably meant: messages for invalid names and tags, and warnings.

Of a thousand public CSV files a quarter has headers that are not Jinja names (`First Name`, `Artikel-Nr`).
"""

from __future__ import annotations

import difflib
import json
import keyword
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl
from jinja2 import Environment, nodes

from batchgen.errors import UsageError
from batchgen.input.bounds import Schema
from batchgen.input.file_hints import column_hint, separator_hint

_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_CONSTANTS = {"true": True, "false": False, "none": None, "True": True, "False": False, "None": None}
_WORDS = {*_CONSTANTS, "and", "or", "not", "is", "if", "else"}
_CLEAR_MARKS = [r"\$\{{{name}\}}", r"(?<!\{{)\{{ ?{name} ?\}}(?!\}})", r"%\({name}\)[sdf]"]
_OTHER_MARKS = [r"\$\{{?{name}\b\}}?", r"\{{ ?{name} ?\}}", r"<{name}>", r"%\({name}\)[sdf]", r"\[{name}\]"]
"""How other languages insert a column into a text. The clear ones hardly mean anything else."""
_BLANKS = {"\t": "a tab", "\u00a0": "a no-break space", "\ufeff": "a byte order mark", "\u200b": "a zero-width space"}


def refuse_unreadable(text: str, columns: Schema) -> None:
    """Raises UsageError if a tag holds the name of a column that is no name of Jinja."""
    for tag in _TAG.finditer(text):
        line = text[: tag.start()].count("\n") + 1
        if said := _unreadable_in(tag[0], columns):
            raise UsageError(f"prompt: line {line} of the text: {said}")


def unreadable(text: str, line: int, columns: Schema) -> str:
    """Returns why a tag in this line cannot name such a column; empty if there is no such tag."""
    lines = ((text.count("\n", 0, tag.start()) + 1, text.count("\n", 0, tag.end()) + 1) for tag in _TAG.finditer(text))
    here = (tag for tag, (first, last) in zip(_TAG.findall(text), lines, strict=True) if first <= line <= last)
    return next((said for tag in here if (said := _unreadable_in(tag, columns))), "")


def _unreadable_in(tag: str, columns: Schema) -> str:
    bare = re.sub(r"\[\s*(\"[^\"]*\"|'[^']*')\s*\]", "", tag)
    for name in sorted((name for name in columns if not _is_readable(name.strip())), key=len, reverse=True):
        if name.strip() and re.search(rf"(?<![\w.]){re.escape(name.strip())}(?!\w)", bare):
            return _written_otherwise(name)
    return ""


def _is_readable(name: str) -> bool:
    """Returns whether a template can use the column's name as it is."""
    return name.isidentifier() and name not in _WORDS


def _written_otherwise(name: str) -> str:
    new = re.sub(r"\W+", "_", name.strip()).strip("_").lower() or "column"
    new = new if _is_readable(new) and not keyword.iskeyword(new) else f"column_{new}"
    renamed = json.dumps(name, ensure_ascii=False)
    written = f"{{{{ row[{renamed}] }}}}"
    return f"the column {name!r} is written {written}, or named by input.rename: {{{renamed}: {new}}}"


def unknown_name(name: str, columns: Iterable[str], those: str = "the input's columns") -> str:
    """Returns the message for an unknown name, with the closest column."""
    columns = list(columns)
    bare = _without_blanks(name)
    for column in columns:
        if _without_blanks(column) == bare and not _is_readable(column):
            return f"unknown name {name!r}; {_blank(column)}{_written_otherwise(column)}"
    hint = separator_hint(columns) or column_hint(name, columns, _in_template, those)
    return f"unknown name {name!r}; {hint}"


def _in_template(column: str) -> str:
    return column if _is_readable(column) else f"row[{json.dumps(column, ensure_ascii=False)}]"


def _without_blanks(name: str) -> str:
    return re.sub(r"[\s_\u00a0\ufeff\u200b]+", "", name).casefold()


def _blank(column: str) -> str:
    """Returns which white space makes the difference."""
    places = [("begins with", column[:1]), ("ends with", column[-1:])]
    told = [f"{how} {_BLANKS.get(mark, 'a blank')}" for how, mark in places if mark.isspace() or mark in _BLANKS]
    return f"the column's name {' and '.join(told)}: " if told else ""


def refuse_unsupported(tree: nodes.Template, environment: Environment, columns: Schema) -> None:
    """Raises UsageError for other templates, for filters and tests that there are not, and for a constant that is a
    column's name, too."""
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        word = type(node).__name__.replace("FromImport", "from").lower()
        raise UsageError(
            f"prompt: line {node.lineno} of the text: a prompt stands alone: {{% {word} %}} has no other templates to "
            "read; write its text into the prompt"
        )
    kinds: list[tuple[Any, str, Iterable[str]]] = [
        (nodes.Filter, "filter", environment.filters),
        (nodes.Test, "test", environment.tests),
    ]
    for kind, word, known in kinds:
        for node in tree.find_all(kind):
            if node.name not in known:
                close = difflib.get_close_matches(node.name, known, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                raise UsageError(f"prompt: line {node.lineno} of the text: unknown {word} {node.name!r}{hint}")
    for name in _CONSTANTS.keys() & columns.keys():
        for constant in tree.find_all(nodes.Const):
            if constant.value is _CONSTANTS[name]:
                raise UsageError(f"prompt: line {constant.lineno} of the text: {_written_otherwise(name)}")


def refuse_unknown_fields(tree: nodes.Template, columns: Schema) -> None:
    """Raises UsageError for a field that a struct does not have."""
    set_here = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    types = {name: dtype for name, dtype in columns.items() if name not in set_here}
    methods = {id(call.node) for call in tree.find_all(nodes.Call)}
    keyed: Iterable[Any] = tree.find_all((nodes.Getattr, nodes.Getitem))
    for node in keyed:
        of, key = _type_of(node.node, types), _key(node)
        if id(node) in methods or not isinstance(of, pl.Struct) or key is None:
            continue
        fields = [field.name for field in of.fields]
        if key not in fields:
            raise UsageError(f"prompt: line {node.lineno} of the text: {unknown_name(key, fields, 'its fields')}")


def _type_of(node: nodes.Node, types: Schema) -> pl.DataType | None:
    if isinstance(node, nodes.Name):
        return types.get(node.name)
    if isinstance(node, nodes.Getattr | nodes.Getitem):
        of, key = _type_of(node.node, types), _key(node)
        if isinstance(of, pl.Struct):
            return next((field.dtype for field in of.fields if field.name == key), None)  # type: ignore[return-value]
    return None


def _key(node: Any) -> str | None:
    key = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
    return key if isinstance(key, str) else None


def column_warning(text: str, names: Iterable[str], columns: Schema) -> str | None:
    """Returns a warning if the template names no column, so that every row sends the same prompt."""
    if any(True for _ in names):
        return None
    meant = next(_meant(text, columns), None)
    hint = f": {meant}" if meant else "; a column is written {{ name }}"
    return f"the prompt names no column, so every row sends the same{hint}"


def unread_warning(text: str, names: Iterable[str], columns: Schema) -> str | None:
    """Returns a warning if the template has another language's mark in place of a column that it does not name, beside
    others that it names."""
    read = {*names}
    meant = next(_meant(text, {name: dtype for name, dtype in columns.items() if name not in read}, _CLEAR_MARKS), None)
    return f"the prompt is sent with a column's name in place of its value: {meant}" if read and meant else None


def _meant(text: str, columns: Schema, marks: Sequence[str] = _OTHER_MARKS) -> Iterator[str]:
    for name in columns:
        for mark in marks:
            if found := re.search(mark.format(name=re.escape(name)), text, re.IGNORECASE):
                yield f"for {found[0]} write {{{{ {_in_template(name)} }}}}"
    if re.fullmatch(r"\s*[\w./~ -]+\.(txt|md|j2|jinja2?|prompt|tmpl|html)\s*", text):
        yield f"{text.strip()} looks like a file: write its text under `prompt: |`, or {{file: {text.strip()}}}"
