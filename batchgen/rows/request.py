"""A row -> the bytes that would be sent for it. The body is made once: what is keyed is what is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import polars as pl
from pydantic import TypeAdapter, ValidationError

from batchgen.api.contract import SERVER_MAX_TOKENS, CompletionRequest, estimate_tokens
from batchgen.job import Job, Request
from batchgen.rows.bounds import Schema
from batchgen.rows.identity import Identity
from batchgen.rows.prompt import PromptError, Template
from batchgen.rows.source import require_column


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """One row's request. Token counts are estimates: of the prompt, and of the longest answer."""

    digest: bytes
    body: bytes
    model: str
    prompt: str
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Why no request can be made of a row."""

    reason: str

    def __str__(self) -> str:
        return self.reason


class Requests:
    """Makes the requests of a job's rows. Raises UsageError where template or `columns` do not fit the input."""

    def __init__(self, job: Job, columns: Schema, endpoint: str) -> None:
        self._template = Template(job.prompt, columns)
        self._base = {name: value for name, value in job.request.model_dump().items() if value is not None}
        self._identity = Identity(endpoint)
        self._fields = {name: _adapter(name) for name in job.columns}
        self._sources = list(job.columns.values())
        for name, column in job.columns.items():
            require_column(column, columns, f"columns.{name}")

    def of(self, frame: pl.DataFrame) -> Iterator[Prepared | Problem]:
        """One for each row, in order."""
        own = frame.select(self._sources).rows() if self._fields else [()] * frame.height
        for cells, values in zip(self._template.cells(frame), own, strict=True):
            try:
                yield self._prepare(self._template.render(cells), values)
            except PromptError as error:
                yield Problem(str(error))

    def _prepare(self, prompt: str, values: tuple[Any, ...]) -> Prepared:
        fields = {**self._base, **self._own(values)} if values else self._base
        request = CompletionRequest(prompt=prompt, **fields)
        body = msgspec.json.encode(request)
        answer = (request.max_tokens or SERVER_MAX_TOKENS) * (request.best_of or 1)
        return Prepared(self._identity.digest(body), body, request.model, prompt, estimate_tokens(prompt), answer)

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


def _no_number(value: Any) -> Any:
    """A truth value as text: for Python, and so for pydantic, True would be 1."""
    return str(value) if isinstance(value, bool) else value


def _adapter(name: str) -> TypeAdapter[Any]:
    """The field's own type and range; a CSV cell's text is read as that type."""
    field = Request.model_fields[name]
    return TypeAdapter(Annotated[(field.annotation, *field.metadata, "a field")])  # type: ignore[arg-type]
