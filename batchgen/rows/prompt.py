"""The template: its names are checked once against the columns, then it renders one row after the other.

A cell is text, never template: what stands in it is not evaluated. A null that reaches the prompt is an
error, one that the template handles (`or`, `if`, `is none`, `default`) is not.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import minijinja
import polars as pl

from batchgen.errors import UsageError
from batchgen.rows.bounds import Schema

MAX_PROMPT_CHARS = 16 << 20
_TOO_LONG = f"the prompt is longer than {MAX_PROMPT_CHARS:,} characters"
BULKY_CHARS = 20_000
"""Cells of so many characters in all may make a prompt beyond measure, if the template prints them in a loop."""
JOINED_BYTES = 32 << 20
FUEL = 10_000_000
"""Template instructions a row may take: loops over long lists end in an error, not in a night of nothing."""


RESERVED = {"self", "loop", "super", "caller"}
_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


class PromptError(Exception):
    """This row's prompt cannot be made; the message does not name the row."""


class _Null:
    """A null cell that is false, and remembers that it was printed. Templates cannot reach its attributes."""

    __slots__ = ("_shown",)

    def __init__(self) -> None:
        self._shown = False

    def __bool__(self) -> bool:
        return False

    def _take_shown(self) -> bool:
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
        self._counting = _environment(finalizer=self._count)
        self._printed = 0
        try:
            self._env.add_template("prompt", text)
            self._counting.add_template("prompt", text)
            wanted = self._env.undeclared_variables_in_str(text)
        except minijinja.TemplateError as error:
            raise UsageError(f"prompt: line {error.line}: {_sentence(error)}") from None
        for name in sorted(wanted - set(columns) - set(self._env.globals)):
            raise UsageError(f"prompt: line {_line_of(name, text)}: {_unknown(name, columns)}")
        for name in RESERVED & set(columns):
            if line := _line_of(name, text):
                raise UsageError(f"prompt: line {line}: {name!r} is a word of the template language: see input.rename")
        self.names: list[str] = [name for name in columns if name in wanted]
        self._columns = [_shown(name, columns[name]) for name in self.names]
        self._joins = _joins(text, columns)
        self._nested = any(columns[name].is_nested() for name in self.names)

    def prompts(self, frame: pl.DataFrame) -> Iterable[str | PromptError]:
        """Each row's prompt, or why it has none."""
        joined = self._joined(frame)
        return self._completed(joined, frame) if None in joined else cast(list[str | PromptError], joined)

    def _completed(self, joined: list[str | None], frame: pl.DataFrame) -> Iterator[str | PromptError]:
        """With those prompts rendered that are not there yet."""
        cells = iter(self.cells(frame.filter(pl.Series([prompt is None for prompt in joined], dtype=pl.Boolean))))
        for prompt in joined:
            try:
                yield self.render(next(cells)) if prompt is None else prompt
            except PromptError as error:
                yield error

    def _joined(self, frame: pl.DataFrame) -> list[str | None]:
        """Prompts of a template that only joins texts, made at once in a tenth of the time; None: `render` it."""
        if not self._joins or self._longest(frame) * frame.height > JOINED_BYTES:
            return [None] * frame.height
        prompts = frame.select(pl.concat_str(self._joins)).to_series().to_list()
        return [prompt if prompt and not prompt.isspace() else None for prompt in prompts]

    def _longest(self, frame: pl.DataFrame) -> int:
        """An upper bound of the bytes of a joined prompt."""
        longest = frame.select(pl.sum_horizontal([part.str.len_bytes().max() for part in self._joins])).item()
        return int(longest or 0)

    def cells(self, frame: pl.DataFrame) -> Sequence[tuple[Any, ...]]:
        """The cells `render` needs, a tuple a row."""
        return frame.select(self._columns).rows() if self.names else [()] * frame.height

    def render(self, cells: tuple[Any, ...]) -> str:
        """Raises PromptError where a null is used, a name inside a value is unknown, or nothing is left."""
        values = dict(zip(self.names, cells, strict=True))
        self._bulky = self._nested or sum([len(cell) for cell in cells if isinstance(cell, str)]) > BULKY_CHARS
        prompt = self._render_with_nulls(values) if None in cells or self._nested else self._render(values)
        if not prompt or prompt.isspace():
            raise PromptError("the prompt is empty")
        if len(prompt) > MAX_PROMPT_CHARS:
            raise PromptError(_TOO_LONG)
        return prompt

    def _render(self, values: dict[str, Any]) -> str:
        self._printed = 0
        try:
            return (self._counting if self._bulky else self._env).render_template("prompt", **values)
        except PromptError:
            raise
        except minijinja.TemplateError as error:
            raise PromptError(_sentence(error)) from None
        except Exception as error:  # noqa: BLE001  a method of a value, called by the template, may raise anything
            raise PromptError(f"{type(error).__name__}: {error}") from None

    def _count(self, value: Any) -> Any:
        """Ends a prompt that grows without end while it grows: called with whatever is printed of a bulky row."""
        self._printed += len(value) if isinstance(value, str) else len(str(value))
        if self._printed > MAX_PROMPT_CHARS:
            raise PromptError(_TOO_LONG)
        return value

    def _render_with_nulls(self, values: dict[str, Any]) -> str:
        """Twice: nulls that remember being printed find those that get into the text, also through lists and
        filters; nulls left out are undefined, which refuses to be compared and calculated with."""
        problem: PromptError | None = None
        try:
            self._render({name: self._watched(name, value) for name, value in values.items()})
        except PromptError as error:
            problem = error
        shown = [name for name, null in self._nulls.items() if null._take_shown()]  # noqa: SLF001  hidden from templates
        if shown:
            raise PromptError(f"{', '.join(shown)} is missing or empty")
        try:
            prompt = self._render(_without_nulls(values))
        except PromptError as error:
            problem = error
        if problem is not None:
            empty = ", ".join(name for name, value in values.items() if value is None)
            raise PromptError(f"{problem}; empty in this row: {empty}" if empty else str(problem))
        return prompt

    def _watched(self, name: str, value: Any) -> Any:
        if value is None:
            return self._nulls.setdefault(name, _Null())
        if isinstance(value, dict):
            return {key: self._watched(f"{name}.{key}", item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._watched(f"{name}[]", item) for item in value]
        return value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _environment(finalizer: Callable[[Any], Any] | None = None) -> minijinja.Environment:
    behavior: Any = "semi_strict"  # its type stub knows three of the four
    env = minijinja.Environment(
        undefined_behavior=behavior, fuel=FUEL, auto_escape_callback=lambda _: False, finalizer=finalizer
    )
    env.remove_global("debug")
    for name in ("default", "d"):
        env.add_filter(name, _default)
    env.add_test("none", lambda value: value is None or isinstance(value, _Null))
    env.add_test("defined", lambda value: value is not None and not isinstance(value, _Null))
    env.add_test("undefined", lambda value: value is None or isinstance(value, _Null))
    return env


def _default(value: Any, fallback: Any = "", falsy: bool = False) -> Any:  # noqa: FBT001, FBT002  Jinja's signature
    return fallback if value is None or isinstance(value, _Null) or (falsy and not value) else value


def _joins(text: str, columns: Schema) -> list[pl.Expr]:
    """The parts of a template that is nothing but texts and columns of text, in order; else none."""
    pieces = re.split(r"\{\{ ?(\w+) ?\}\}", text.removesuffix("\n"))  # the engine, too, drops the last line end
    texts, names = pieces[::2], pieces[1::2]
    simple = all(columns.get(name) == pl.String for name in names) and not re.search(r"\{[{%#]|\r$", "\0".join(texts))
    if not names or not simple:
        return []
    return [pl.col(piece) if at % 2 else pl.lit(piece) for at, piece in enumerate(pieces) if at % 2 or piece]


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
    """The line of the template that uses the name; 0: none does."""
    for tag in _TAG.finditer(text):
        if word := re.search(rf"(?<![\w.'\"]){re.escape(name)}\b", tag[0]):
            return text[: tag.start() + word.start()].count("\n") + 1
    return 0


def _sentence(error: minijinja.TemplateError) -> str:
    """The error without the dump of the row's values that `str` appends, and prints them for."""
    return str(error.message).replace(" (in prompt:", " (template line ")
