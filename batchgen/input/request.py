"""Makes a row's request: the bytes that are sent for it. They are made once, so that the key is that of what is
sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Annotated, Any

import msgspec
import polars as pl
from pydantic import TypeAdapter, ValidationError

from batchgen.api.dialects import Dialect
from batchgen.api.models import estimate_tokens
from batchgen.checkpoint.row_key import Identity
from batchgen.input.bounds import BATCH_BYTES, Schema
from batchgen.input.prompt_template import PromptError, Template
from batchgen.input.source import require_column
from batchgen.job.job import Job
from batchgen.job.sections import Count, Request


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


class _BodyTemplate(msgspec.Struct, frozen=True, gc=False):
    """The parts of a body around its texts. `pieces`: one more than there are texts."""

    pieces: tuple[bytes, ...]
    model: str
    answer_tokens: int
    candidates: int

    def body(self, texts: tuple[str, ...]) -> bytes:
        encode = _encoder.encode
        if len(texts) == 1:
            return self.pieces[0] + encode(texts[0]) + self.pieces[1]
        around = zip(self.pieces, map(encode, texts), strict=False)
        return b"".join(chain.from_iterable(around)) + self.pieces[-1]


@dataclass(frozen=True, slots=True)
class RowError:
    """Why no request can be made of a row."""

    reason: str

    def __str__(self) -> str:
        return self.reason


MOST_TOKENS = 2**32 - 1
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
        self._truths = {"stream", *(["logprobs"] if job.dialect.is_chat else [])}
        for name, column in job.columns.items():
            require_column(column, columns, f"columns.{name}")

    @property
    def columns_read(self) -> list[str]:
        """Returns the columns on which a row's request depends."""
        return [*chain.from_iterable(one.names for one in self._templates), *self._sources]

    def of(self, frame: pl.DataFrame) -> Iterator[PreparedRequest | RowError]:
        """Yields one request or error for each row, in order."""
        return chain.from_iterable(self.batches(frame))

    def batches(self, frame: pl.DataFrame) -> Iterator[list[PreparedRequest | RowError]]:
        """Yields what `of` yields, in lists of about BATCH_BYTES: a short row may render a long prompt."""
        digest, roles = self._identity.digest, self._roles
        rendered = zip(*[one.prompts(frame) for one in self._templates], strict=True)
        made: list[PreparedRequest | RowError] = []
        size = 0
        for texts, around in zip(rendered, self._body_templates(frame), strict=True):
            if PromptError in map(type, texts):
                made.append(RowError(str(next(text for text in texts if isinstance(text, PromptError)))))
            elif isinstance(around, RowError):
                made.append(around)
            else:
                body, tokens = around.body(texts), sum(map(estimate_tokens, texts))
                most = around.answer_tokens, around.candidates
                made.append(PreparedRequest(digest(body), body, around.model, texts, roles, tokens, *most))
                size += len(body)
                if size >= BATCH_BYTES:
                    yield made
                    made, size = [], 0
        if made:
            yield made

    def _body_templates(self, frame: pl.DataFrame) -> Iterator[_BodyTemplate | RowError]:
        """Yields one body template, or error, for each row."""
        if not self._fields:
            return repeat(self._shared, frame.height)
        return map(self._own_body_template, frame.select(self._sources).iter_rows())

    def _own_body_template(self, values: tuple[Any, ...]) -> _BodyTemplate | RowError:
        try:
            return self._body_template({**self._fixed, **self._own(values)})
        except PromptError as error:
            return RowError(str(error))

    def _body_template(self, fields: dict[str, Any]) -> _BodyTemplate:
        dialect = self._dialect
        if dialect.is_chat and fields.get("stream"):
            fields = {"stream_options": {"include_usage": True}, **fields}
        slot = {"messages": msgspec.Raw(b"[]")} if dialect.is_chat else {"prompt": ""}
        request = dialect.request(**slot, **fields)
        head, tail = _encoder.encode(request).split(b'"messages":[]' if dialect.is_chat else b'"prompt":""', 1)
        if self._extra:
            tail = tail[:-1] + b"," + _encoder.encode(self._extra)[1:]
        longest = min(request.longest(dialect.default_tokens), MOST_TOKENS)
        return _BodyTemplate(tuple(self._around(head, tail)), request.model, longest, request.candidates)

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
                own[name] = adapter.validate_python(value if name in self._truths else _no_number(value))
            except ValidationError as error:
                said = error.errors(include_url=False)[0]["msg"].replace("Input should", "should")
                raise PromptError(f"{name} (column {column}): {said}, not {value!r:.60}") from None
        return own


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
    field = Request.model_fields[name]
    return TypeAdapter(Annotated[(field.annotation, *field.metadata, "a field")])  # type: ignore[arg-type]
