"""A row -> the bytes that would be sent for it. The body is made once: what is keyed is what is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
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
from batchgen.job.sections import Request


class PreparedRequest(msgspec.Struct, frozen=True, gc=False):
    """One row's request. Token counts are estimates: of the prompt, and of the longest answer."""

    digest: bytes
    body: bytes
    model: str
    prompt: str
    prompt_tokens: int
    answer_tokens: int


class _BodyTemplate(msgspec.Struct, frozen=True, gc=False):
    """What a body holds around its prompt."""

    head: bytes
    tail: bytes
    model: str
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class RowError:
    """Why no request can be made of a row."""

    reason: str

    def __str__(self) -> str:
        return self.reason


MOST_TOKENS = 2**32 - 1
"""Of an answer, as far as a plan counts."""
_encoder = msgspec.json.Encoder()


class Requests:
    """Makes the requests of a job's rows. Raises UsageError where template or `columns` do not fit the input."""

    def __init__(self, job: Job, columns: Schema, endpoint: str) -> None:
        self._template = Template(job.prompt, columns)
        self._base = {name: value for name, value in job.request.model_dump().items() if value is not None}
        self._dialect = job.endpoint.dialect
        self._mould = _body_template(self._base, self._dialect)
        self._identity = Identity(endpoint)
        self._fields = {name: _adapter(name) for name in job.columns}
        self._sources = list(job.columns.values())
        for name, column in job.columns.items():
            require_column(column, columns, f"columns.{name}")

    @property
    def columns_read(self) -> list[str]:
        """The columns that make one row's request unlike another's."""
        return [*self._template.names, *self._sources]

    def batches(self, frame: pl.DataFrame) -> Iterator[list[PreparedRequest | RowError]]:
        """As `of`, in lists of about BATCH_BYTES: a long prompt may be rendered from a short row."""
        made: list[PreparedRequest | RowError] = []
        size = 0
        for one in self.of(frame):
            made.append(one)
            size += len(one.body) if isinstance(one, PreparedRequest) else 0
            if size >= BATCH_BYTES:
                yield made
                made, size = [], 0
        if made:
            yield made

    def of(self, frame: pl.DataFrame) -> Iterator[PreparedRequest | RowError]:
        """One for each row, in order."""
        encode, digest = _encoder.encode, self._identity.digest
        for prompt, mould in zip(self._template.prompts(frame), self._moulds(frame), strict=True):
            if isinstance(prompt, PromptError):
                yield RowError(str(prompt))
            elif isinstance(mould, RowError):
                yield mould
            else:
                body = mould.head + encode(prompt) + mould.tail
                yield PreparedRequest(
                    digest(body), body, mould.model, prompt, estimate_tokens(prompt), mould.answer_tokens
                )

    def _moulds(self, frame: pl.DataFrame) -> Iterator[_BodyTemplate | RowError]:
        """One for each row."""
        if not self._fields:
            return repeat(self._mould, frame.height)
        return map(self._own_mould, frame.select(self._sources).iter_rows())

    def _own_mould(self, values: tuple[Any, ...]) -> _BodyTemplate | RowError:
        try:
            return _body_template({**self._base, **self._own(values)}, self._dialect)
        except PromptError as error:
            return RowError(str(error))

    def _own(self, values: tuple[Any, ...]) -> dict[str, Any]:
        own: dict[str, Any] = {}
        for (name, adapter), column, value in zip(self._fields.items(), self._sources, values, strict=True):
            if value is None or value == "":
                continue
            try:
                own[name] = adapter.validate_python(_no_number(value) if name != "stream" else value)
            except ValidationError as error:
                said = error.errors(include_url=False)[0]["msg"].replace("Input should", "should")
                raise PromptError(f"{name} (column {column}): {said}, not {value!r:.60}") from None
        return own


def _body_template(fields: dict[str, Any], dialect: Dialect) -> _BodyTemplate:
    request = dialect.request(prompt="", **fields)
    head, tail = msgspec.json.encode(request).split(b'"prompt":""', 1)
    longest = min((request.max_tokens or dialect.default_tokens) * (request.best_of or 1), MOST_TOKENS)
    return _BodyTemplate(head + b'"prompt":', tail, request.model, longest)


def _no_number(value: Any) -> Any:
    """A truth value as text: for Python, and so for pydantic, True would be 1."""
    return str(value) if isinstance(value, bool) else value


def _adapter(name: str) -> TypeAdapter[Any]:
    """The field's own type and range; a CSV cell's text is read as that type."""
    field = Request.model_fields[name]
    return TypeAdapter(Annotated[(field.annotation, *field.metadata, "a field")])  # type: ignore[arg-type]
