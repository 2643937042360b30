"""The template: its names are checked once against the columns, then it renders one row after the other.

A cell is text, never template: what stands in it is not evaluated. A null that reaches the prompt is an
error, one that the template handles (`or`, `if`, `is none`, `default`) is not.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import minijinja
import polars as pl

from batchgen.errors import UsageError
from batchgen.rows.formats import Schema

MAX_PROMPT_CHARS = 16 << 20
FUEL = 10_000_000
"""Template instructions a row may take: loops over long lists end in an error, not in a night of nothing."""


class PromptError(Exception):
    """This row's prompt cannot be made; the message does not name the row."""


class _Null:
    """What a null cell is inside the template: false, and on record when it is printed."""

    __slots__ = ("_shown",)

    def __init__(self) -> None:
        self._shown = False

    def __bool__(self) -> bool:
        return False

    def take_shown(self) -> bool:
        """Whether it was printed since the last call."""
        shown, self._shown = self._shown, False
        return shown

    def __str__(self) -> str:
        self._shown = True
        return ""

    __repr__ = __str__


class Template:
    """A checked template over the given columns. `names`: the columns it uses."""

    def __init__(self, text: str, columns: Schema) -> None:
        self._nulls: dict[str, _Null] = {}
        self._env = _environment()
        try:
            self._env.add_template("prompt", text)
            wanted = self._env.undeclared_variables_in_str(text) - set(self._env.globals)
        except minijinja.TemplateError as error:
            raise UsageError(f"prompt: line {error.line}: {_sentence(error)}") from None
        for name in sorted(wanted - set(columns)):
            raise UsageError(f"prompt: line {_line_of(name, text)}: {_unknown(name, columns)}")
        self.names: list[str] = [name for name in columns if name in wanted]
        self._columns = [_shown(name, columns[name]) for name in self.names]
        self._nested = any(columns[name].is_nested() for name in self.names)

    def cells(self, frame: pl.DataFrame) -> Sequence[tuple[Any, ...]]:
        """The cells `render` needs, a tuple a row."""
        return frame.select(self._columns).rows() if self.names else [()] * frame.height

    def render(self, cells: tuple[Any, ...]) -> str:
        """Raises PromptError where a null is printed, a name inside a value is unknown, or nothing is left."""
        prompt = self._render_with_nulls(cells) if None in cells or self._nested else self._render(cells)
        if not prompt or prompt.isspace():
            raise PromptError("the prompt is empty")
        if len(prompt) > MAX_PROMPT_CHARS:
            raise PromptError(f"the prompt is longer than {MAX_PROMPT_CHARS:,} characters")
        return prompt

    def _render(self, cells: tuple[Any, ...]) -> str:
        try:
            return self._env.render_template("prompt", **dict(zip(self.names, cells, strict=True)))
        except minijinja.TemplateError as error:
            empty = [name for name, cell in zip(self.names, cells, strict=True) if isinstance(cell, _Null)]
            raise PromptError(
                _sentence(error) + (f"; empty in this row: {', '.join(empty)}" if empty else "")
            ) from None

    def _render_with_nulls(self, cells: tuple[Any, ...]) -> str:
        for null in self._nulls.values():
            null.take_shown()
        try:
            return self._render(tuple(self._nullable(name, cell) for name, cell in zip(self.names, cells, strict=True)))
        finally:
            shown = [name for name, null in self._nulls.items() if null.take_shown()]
            if shown:
                raise PromptError(f"{', '.join(shown)} is missing or empty")

    def _nullable(self, name: str, value: Any) -> Any:
        if value is None:
            return self._nulls.setdefault(name, _Null())
        if isinstance(value, dict):
            return {key: self._nullable(f"{name}.{key}", item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._nullable(f"{name}[]", item) for item in value]
        return value

    def _try(self, cells: tuple[Any, ...]) -> tuple[str, str | None]:
        try:
            return self._env.render_template("prompt", **dict(zip(self.names, cells, strict=True))), None
        except minijinja.TemplateError as error:
            empty = [name for name, cell in zip(self.names, cells, strict=True) if isinstance(cell, _Null)]
            return "", _sentence(error) + (f"; empty in this row: {', '.join(empty)}" if empty else "")


def _environment() -> minijinja.Environment:
    env = minijinja.Environment(undefined_behavior="strict", fuel=FUEL, auto_escape_callback=lambda _: False)
    env.remove_global("debug")
    for name in ("default", "d"):
        env.add_filter(name, _default)
    env.add_test("none", lambda value: value is None or isinstance(value, _Null))
    env.add_test("defined", lambda value: not isinstance(value, _Null))
    env.add_test("undefined", lambda value: isinstance(value, _Null))
    return env


def _default(value: Any, fallback: Any = "", falsy: bool = False) -> Any:  # noqa: FBT001, FBT002  Jinja's signature
    return fallback if value is None or isinstance(value, _Null) or (falsy and not value) else value


def _shown(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype == pl.Binary:
        raise UsageError(f"prompt: column {name!r} holds bytes, not text")
    if isinstance(dtype, pl.Decimal):
        return column.cast(pl.String)  # as a number it would lose its trailing zeros
    return column.fill_nan(None) if dtype.is_float() else column


def _unknown(name: str, columns: Schema) -> str:
    close = difflib.get_close_matches(name, list(columns), n=1)
    if close:
        return f"unknown name {name!r}; did you mean {close[0]}?"
    hint = ""
    if len(columns) == 1 and any(mark in next(iter(columns)) for mark in ";\t|"):
        hint = " (the header is one column: is the file separated by something other than commas?)"
    return f"unknown name {name!r}; the input's columns: {', '.join(columns)}{hint}"


def _line_of(name: str, text: str) -> int:
    return text[: max(text.find(name), 0)].count("\n") + 1


def _sentence(error: minijinja.TemplateError) -> str:
    """The error without the dump of the row's values that `str` appends, and prints them for."""
    return str(error.message).replace(" (in prompt:", " (template line ")
