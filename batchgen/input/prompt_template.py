"""Checks a template's names once against the columns, then renders it for one row after another.

A cell is text, never template: its content is not evaluated. A null that reaches the prompt is an error; one that the
template handles (`or`, `if`, `is none`, `default`) is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, cast

import polars as pl
from jinja2 import TemplateSyntaxError, UndefinedError, nodes
from jinja2.runtime import Context

from batchgen.errors import UsageError
from batchgen.input.bounds import Schema
from batchgen.input.template.cells import Column
from batchgen.input.template.error_messages import (
    refuse_unknown_fields,
    refuse_unreadable,
    refuse_unsupported,
    unknown_name,
    unreadable,
)
from batchgen.input.template.names import ROW, Reads, reads
from batchgen.input.template.sandbox import SOURCE, Sandbox
from batchgen.input.template.values import Fields, MissingValue, TemplateFault
from batchgen.ui.humanize import first_line

JOINED_BYTES, MAX_DIGITS = 32 << 20, 40
"""The most bytes of prompts that are joined at once, and of a whole number of 128 bits."""
RESERVED = {"self", "loop", "super", "caller"}


class PromptError(Exception):
    """This row's prompt cannot be made; the message does not name the row."""


class Template:
    """A checked template over the given columns. `names`: the columns it uses. `place`: how messages name it."""

    def __init__(self, text: str, columns: Schema, place: str = "prompt") -> None:
        try:
            self._compile(text, columns)
        except UsageError as error:
            raise UsageError(f"{place}{str(error).removeprefix('prompt')}") from None

    def _compile(self, text: str, columns: Schema) -> None:
        """Raises UsageError, whose words begin with `prompt`."""
        self._sandbox = Sandbox(columns)
        self._nulls: list[str] = []
        try:
            tree = self._parse(text, columns)
            refuse_unsupported(tree, self._sandbox, columns)
            found = reads(tree)
            self._has_row = _has_row(found, columns)
            refuse_unknown_fields(tree, {name: dtype for name, dtype in columns.items() if not self._is_row(name)})
            self.names = self._names(found, columns, text)
            self._columns = [_column(name, columns[name], self._nulls) for name in self.names]
            self._joins = _joins(tree, columns)
            self._joined_columns = [name for one in self._joins for name in one.meta.root_names()]
            self._text = "".join([one.data for one in tree.find_all(nodes.TemplateData)])
            self._compiled = self._sandbox.compiled(tree)
        except TemplateSyntaxError as error:
            raise UsageError(f"prompt: line {error.lineno} of the text: {first_line(error)}") from None
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise UsageError(f"prompt: nested too deeply ({first_line(error)})") from None

    def _parse(self, text: str, columns: Schema) -> nodes.Template:
        try:
            return self._sandbox.parse(text)
        except TemplateSyntaxError as error:
            refuse_unreadable(text, columns)
            raise UsageError(f"prompt: line {error.lineno} of the text: syntax error: {first_line(error)}") from None

    def _names(self, found: Reads, columns: Schema, text: str) -> list[str]:
        """Returns the columns that may be read. Raises UsageError for an unknown name."""
        keys = found.keys if self._has_row else {}
        for name, line in sorted([*found.unset.items(), *keys.items()], key=itemgetter(1)):
            if name in columns and name in RESERVED and name in found.unset:
                raise UsageError(
                    f"prompt: line {line} of the text: {name!r} is a reserved word of templates: see input.rename"
                )
            if name not in columns and (name in keys or not self._is_given(name)):
                said = unreadable(text, line, columns) or unknown_name(name, columns)
                raise UsageError(f"prompt: line {line} of the text: {said}")
        wanted = {*found.unset, *found.unsure, *keys}
        if not self._has_row and (found.whole or found.keys):
            wanted.add(ROW)  # the column of that name
        every = self._has_row and found.whole
        return [name for name in columns if every or name in wanted]

    def _is_row(self, name: str) -> bool:
        return self._has_row and name == ROW

    def _is_given(self, name: str) -> bool:
        return name in self._sandbox.globals or name in {"self", "super"}

    def prompts(self, frame: pl.DataFrame) -> Iterable[str | PromptError]:
        """Returns each row's prompt, or its PromptError. A list, if it is one, has no error."""
        joined = self._joined(frame)
        if self._text.strip() and joined is not None and not joined.null_count():
            return cast(list[str | PromptError], joined.to_list())
        made = [None] * frame.height if joined is None else joined.to_list()
        at_once = [prompt if prompt and not prompt.isspace() else None for prompt in made]
        return self._completed(at_once, frame) if None in at_once else cast(list[str | PromptError], at_once)

    def _completed(self, prompts: list[str | None], frame: pl.DataFrame) -> Iterator[str | PromptError]:
        """Yields the prompts. Renders those that are missing."""
        cells = iter(self.cells(frame.filter(pl.Series([prompt is None for prompt in prompts], dtype=pl.Boolean))))
        for prompt in prompts:
            try:
                yield self.render(next(cells)) if prompt is None else prompt
            except PromptError as error:
                yield error

    def _joined(self, frame: pl.DataFrame) -> pl.Series | None:
        """Returns the prompts of a template that only joins texts, in a tenth of the time. A null, or a prompt without
        a text, is one that `render` has to make."""
        if not self._joins or self._joined_bytes(frame) > JOINED_BYTES:
            return None
        return frame.select(pl.concat_str(self._joins)).to_series()

    def _joined_bytes(self, frame: pl.DataFrame) -> int:
        """Returns an upper bound of the bytes of all joined prompts."""
        numbers, text = MAX_DIGITS * frame.height, len(self._text.encode()) * frame.height
        return text + sum([max(int(frame[name].estimated_size()), numbers) for name in self._joined_columns])

    def cells(self, frame: pl.DataFrame) -> Sequence[tuple[Any, ...]]:
        """Returns the values that `render` needs, one tuple for each row."""
        columns = [column.values(frame[column.name]) for column in self._columns]
        return list(zip(*columns, strict=True)) if columns else [()] * frame.height

    def render(self, cells: tuple[Any, ...]) -> str:
        """Returns a row's prompt. Raises PromptError if a null is used, a name inside a value is unknown, or nothing is
        left."""
        self._sandbox.growth.reset()
        self._nulls.clear()
        values = dict(zip(self.names, cells, strict=True))
        prompt = self._rendered({**values, ROW: Fields(values)} if self._has_row else values)
        if self._nulls:
            raise _missing(self._nulls)
        if not prompt or prompt.isspace():
            raise PromptError("the prompt is empty")
        return prompt

    def _rendered(self, values: dict[str, Any]) -> str:
        chunks = self._compiled.root_render_func(self._context(values))
        try:
            return self._sandbox.growth.joined(chunks)
        except MissingValue as error:
            raise _missing([*self._nulls, str(error.message)]) from None
        except Exception as error:  # noqa: BLE001  a method of a value, called by the template, may raise anything
            raise (_missing(self._nulls) if self._nulls else self._explained(error, chunks)) from None

    def _context(self, values: dict[str, Any]) -> Context:
        return Context(self._sandbox, {**self._sandbox.globals, **values}, "prompt", self._compiled.blocks)

    def _explained(self, error: Exception, chunks: Any) -> PromptError:
        """Returns the error with the template's line, and without the row's values."""
        said = first_line(error)
        if isinstance(error, RecursionError):
            said = "lists within lists, or macros that call each other, go too deep"
        elif not isinstance(error, TemplateFault | UndefinedError):
            hint = ": is a text where a number should be? see input.schema" if isinstance(error, TypeError) else ""
            said = f"{type(error).__name__}: {said}{hint}"
        line = _template_line(error) or (chunks.gi_frame.f_lineno if chunks.gi_frame else 0)
        return PromptError(f"{said} (template line {self._compiled.get_corresponding_lineno(line)})")


def _template_line(error: Exception) -> int:
    """Returns the line of the compiled template that raised the error; 0 if none did."""
    at, line = error.__traceback__, 0
    while at is not None:
        line = at.tb_lineno if at.tb_frame.f_code.co_filename == SOURCE else line
        at = at.tb_next
    return line


def _missing(names: Sequence[str]) -> PromptError:
    return PromptError(f"{', '.join(dict.fromkeys(names))} is missing or empty")


def _has_row(found: Reads, columns: Schema) -> bool:
    """Returns whether `row` is the mapping of all columns. Raises UsageError if it is a column's own name, too."""
    if ROW not in columns or not (found.keys or found.whole):
        return bool(found.keys or found.whole)
    of_columns = [key for key in found.keys if key in columns]
    if columns[ROW].is_nested() and not of_columns:
        return False
    if of_columns and not found.whole and not columns[ROW].is_nested():
        return True
    if not found.keys:
        return False
    line = found.keys[(of_columns or list(found.keys))[0]]
    raise UsageError(
        f"prompt: line {line} of the text: {ROW!r} is a column of the input, and {ROW}[...] is how a template reads "
        f"any column: give that column another name by input.rename"
    )


def _column(name: str, dtype: pl.DataType, nulls: list[str]) -> Column:
    try:
        return Column(name, dtype, nulls)
    except TemplateFault as error:
        raise UsageError(f"prompt: column {name!r} holds {error}") from None


def _joins(tree: nodes.Template, columns: Schema) -> list[pl.Expr]:
    """Returns the parts, in order, of a template that consists of text and of columns of text or whole numbers;
    empty for any other template."""
    parts = [part for output in tree.body if isinstance(output, nodes.Output) for part in output.nodes]
    if not all(isinstance(output, nodes.Output) for output in tree.body):
        return []
    joins: list[pl.Expr] = []
    for part in parts:
        if isinstance(part, nodes.TemplateData):
            joins.append(pl.lit(part.data))
        elif isinstance(part, nodes.Name) and _prints_alike(columns.get(part.name)):
            joins.append(pl.col(part.name).cast(pl.String))
        else:
            return []
    return joins if any(isinstance(part, nodes.Name) for part in parts) else []


def _prints_alike(dtype: pl.DataType | None) -> bool:
    """Returns whether polars prints a cell as a template does."""
    return dtype is not None and (dtype == pl.String or dtype.is_integer())
