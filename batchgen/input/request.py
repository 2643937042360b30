"""Makes a row's request: the bytes that are sent for it. They are made once, so that the key is that of what is
sent."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any, TypeVar, cast

import msgspec
import polars as pl
from pydantic import TypeAdapter, ValidationError

from batchgen.api.dialects import Dialect
from batchgen.api.models import estimate_all
from batchgen.checkpoint.row_key import Identity
from batchgen.input.bounds import BATCH_BYTES, Schema
from batchgen.input.prompt_template import PromptError, Template
from batchgen.input.source import require_column
from batchgen.job.job import Job
from batchgen.job.sections import Count, Request
from batchgen.ui.humanize import quoted


class PreparedRequest(msgspec.Struct, frozen=True, gc=False):
    """One row's request. Token counts are estimates: of the prompt, and of all its answers at their longest. `texts`:
    the rendered prompt, or each message's content; `roles`: the messages', None for a prompt. `candidates`: how many
    answers are made for it, and billed."""

    digest: bytes
    body: bytes
    model: str
    texts: tuple[str, ...]
    roles: tuple[str | None, ...]
    prompt_tokens: int
    answer_tokens: int
    candidates: int

    @property
    def prompt(self) -> str:
        """Returns the request's text for people. Of a chat: all messages, each with its role."""
        parts = zip(self.roles, self.texts, strict=True)
        return "\n\n".join([text if role is None else f"{role}: {text}" for role, text in parts])


class BodyTemplate(msgspec.Struct, frozen=True, gc=False):
    """The parts of a body around its texts. `pieces`: one more than there are texts."""

    pieces: tuple[bytes, ...]
    model: str
    answer_tokens: int
    candidates: int

    def body(self, texts: tuple[str, ...]) -> bytes:
        around = zip(self.pieces, map(_encoder.encode, texts), strict=False)
        return b"".join(chain.from_iterable(around)) + self.pieces[-1]

    def bodies(self, columns: Sequence[Sequence[str]]) -> list[bytes]:
        """Returns what `body` does for each row. `columns`: the texts of each place."""
        if len(columns) > 1:
            return list(map(self.body, zip(*columns, strict=True)))
        (before, after), encode = self.pieces, _encoder.encode
        return [before + encode(text) + after for text in columns[0]]


@dataclass(frozen=True, slots=True)
class RowError:
    """Why no request can be made of a row."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """The requests of some rows, column by column: a million rows need no object each to be counted. `columns`: the
    texts of each prompt or message. `around`: the body template of each request. The errors are those of the rows that
    have no request, by their position in the batch."""

    identity: Identity
    bodies: list[bytes]
    columns: Sequence[Sequence[str]]
    roles: tuple[str | None, ...]
    prompt_tokens: list[int]
    around: list[BodyTemplate]
    errors: dict[int, RowError]

    def __len__(self) -> int:
        """Returns how many rows there are, with those that have no request."""
        return len(self.bodies) + len(self.errors)

    def digests(self) -> list[bytes]:
        """Returns the key of each request's first occurrence."""
        return self.identity.digests(self.bodies)

    def requests(self) -> Iterator[PreparedRequest | RowError]:
        """Yields one request or error for each row, in order."""
        texts = zip(*self.columns, strict=True)
        made = zip(self.digests(), self.bodies, texts, self.prompt_tokens, self.around, strict=True)
        for at in range(len(self)):
            yield self.errors[at] if at in self.errors else self._request(*next(made))

    def _request(
        self, digest: bytes, body: bytes, texts: tuple[str, ...], tokens: int, around: BodyTemplate
    ) -> PreparedRequest:
        most = around.answer_tokens, around.candidates
        return PreparedRequest(digest, body, around.model, texts, self.roles, tokens, *most)


T = TypeVar("T")
MAX_TOKENS = 2**32 - 1
"""The most tokens of an answer, as a plan counts them."""
_encoder = msgspec.json.Encoder()


class Requests:
    """Makes the requests of a job's rows. Raises UsageError if template or `columns` do not fit the input."""

    def __init__(self, job: Job, columns: Schema, endpoint: str) -> None:
        self._templates = [Template(one.text, columns, one.place) for one in job.templates]
        self._roles = tuple(one.role for one in job.templates)
        self._fixed = _fixed_fields(job)
        self._extra = job.request.extra
        self._dialect = job.dialect
        self._shared = self._body_template(self._fixed)
        self._identity = Identity(endpoint)
        self._fields = {name: _adapter(name, job.dialect) for name in job.columns}
        self._sources = list(job.columns.values())
        for name, column in job.columns.items():
            require_column(column, columns, f"columns.{name}")

    @property
    def columns_read(self) -> list[str]:
        """Returns the columns on which a row's request depends."""
        return [*chain.from_iterable(one.names for one in self._templates), *self._sources]

    def of(self, frame: pl.DataFrame) -> Iterator[PreparedRequest | RowError]:
        """Yields one request or error for each row, in order."""
        return chain.from_iterable(map(PreparedBatch.requests, self.batches(frame)))

    def batches(self, frame: pl.DataFrame) -> Iterator[PreparedBatch]:
        """Yields what `of` yields, in batches."""
        around = self._body_templates(frame)
        for columns in _portions([one.prompts(frame) for one in self._templates]):
            yield self._batch(columns, list(islice(around, len(columns[0]))))

    def _batch(
        self, columns: Sequence[Sequence[str | PromptError]], around: Sequence[BodyTemplate | PromptError]
    ) -> PreparedBatch:
        unsure = [column for column in columns if not isinstance(column, list)]  # a list of prompts has no error
        errors = _errors([*unsure, around] if self._fields else unsure)
        texts: Any = [_without(errors, column) for column in columns]
        templates: Any = _without(errors, around)
        if self._fields:
            bodies = [one.body(row) for one, row in zip(templates, zip(*texts, strict=True), strict=True)]
        else:
            bodies = self._shared.bodies(texts)
        tokens = list(map(estimate_all, texts))
        total = tokens[0] if len(tokens) == 1 else list(map(sum, zip(*tokens, strict=True)))
        return PreparedBatch(self._identity, bodies, texts, self._roles, total, templates, errors)

    def _body_templates(self, frame: pl.DataFrame) -> Iterator[BodyTemplate | PromptError]:
        """Yields one body template, or error, for each row."""
        if not self._fields:
            return repeat(self._shared, frame.height)
        return map(self._own_body_template, frame.select(self._sources).iter_rows())

    def _own_body_template(self, values: tuple[Any, ...]) -> BodyTemplate | PromptError:
        try:
            return self._body_template({**self._fixed, **self._own(values)})
        except PromptError as error:
            return error

    def _body_template(self, fields: dict[str, Any]) -> BodyTemplate:
        dialect = self._dialect
        if dialect.is_chat and fields.get("stream"):
            fields = {"stream_options": {"include_usage": True}, **fields}
        slot = {"messages": msgspec.Raw(b"[]")} if dialect.is_chat else {"prompt": ""}
        request = dialect.request(**slot, **fields)
        head, tail = _encoder.encode(request).split(b'"messages":[]' if dialect.is_chat else b'"prompt":""', 1)
        if self._extra:
            tail = tail[:-1] + b"," + _encoder.encode(self._extra)[1:]
        longest = min(request.longest(dialect.default_tokens), MAX_TOKENS)
        return BodyTemplate(tuple(self._around(head, tail)), request.model, longest, request.candidates)

    def _around(self, head: bytes, tail: bytes) -> Iterator[bytes]:
        """Yields the pieces of a body around its texts."""
        if not self._dialect.is_chat:
            yield from (head + b'"prompt":', tail)
            return
        before = head + b'"messages":['
        for role in self._roles:
            yield before + b'{"role":' + _encoder.encode(role) + b',"content":'
            before = b"},"
        yield b"}]" + tail

    def _own(self, values: tuple[Any, ...]) -> dict[str, Any]:
        own: dict[str, Any] = {}
        for (name, adapter), column, value in zip(self._fields.items(), self._sources, values, strict=True):
            if value is None or value == "":
                continue
            try:
                own[name] = adapter.validate_python(_no_number(value))
            except ValidationError as error:
                said = error.errors(include_url=False)[0]["msg"].replace("Input should", "should")
                raise PromptError(f"{name} (column {column}): {said}, not {quoted(value)}") from None
        return own


def _portions(columns: Sequence[Iterable[str | PromptError]]) -> Iterator[Sequence[Sequence[str | PromptError]]]:
    """Yields the columns as they are if all texts exist already, else in portions of about BATCH_BYTES: a short row may
    render a long prompt."""
    if all(isinstance(column, list) for column in columns):
        yield cast(list[list[str | PromptError]], columns)
        return
    rows: list[tuple[str | PromptError, ...]] = []
    size = 0
    for row in zip(*columns, strict=True):
        rows.append(row)
        size += sum([len(text) for text in row if isinstance(text, str)])
        if size >= BATCH_BYTES:
            yield list(zip(*rows, strict=True))
            rows, size = [], 0
    if rows:
        yield list(zip(*rows, strict=True))


def _errors(columns: Sequence[Sequence[object]]) -> dict[int, RowError]:
    """Returns the first error of each row that has one."""
    if not any(PromptError in set(map(type, column)) for column in columns):
        return {}
    found = ([one for one in row if isinstance(one, PromptError)] for row in zip(*columns, strict=True))
    return {at: RowError(str(errors[0])) for at, errors in enumerate(found) if errors}


def _without(rows: Collection[int], column: Sequence[T]) -> Sequence[T]:
    return [value for at, value in enumerate(column) if at not in rows] if rows else column


def _fixed_fields(job: Job) -> dict[str, Any]:
    """Returns the request's fields that are the same in all rows, as they are sent."""
    given = job.request.model_dump(exclude={"extra"}, exclude_none=True)
    if given.get("response_format") == "json_schema":
        given["response_format"] = _as_response_format(job.check.json_schema)
    return given


def _as_response_format(schema: Any) -> dict[str, Any]:
    """Returns a schema in the form that OpenAI's and Writer's APIs take, named by its title."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", str(schema.get("title", "")))[:64] or "answer"
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


def _no_number(value: Any) -> Any:
    """Returns a boolean as text: for Python, and so for pydantic, True is 1."""
    return str(value) if isinstance(value, bool) else value


def _adapter(name: str, dialect: Dialect) -> TypeAdapter[Any]:
    """Returns a validator of the field's type and range. It also parses a CSV cell's text."""
    if name == "logprobs":
        return TypeAdapter(bool if dialect.is_chat else Count)
    return TypeAdapter(Request.model_fields[name].rebuild_annotation())
