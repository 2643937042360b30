"""The request fields of each dialect, and what to write in place of those that it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from batchgen.api.dialects import Dialect
from batchgen.job.sections import Request, RequestField
from batchgen.job.types import validation_error


def refuse_unknown(request: Request, columns: Iterable[str], dialect: Dialect) -> None:
    """Raises ValidationError for the first request field, or row's own one, that the dialect lacks or has otherwise."""
    for name, value in request:
        if value is not None:
            _refuse("request", name, dialect)
    for name in columns:
        _refuse("columns", name, dialect)
    for name in request.extra or ():
        _refuse_known(name, dialect)
    if request.logprobs is not None and isinstance(request.logprobs, bool) is not dialect.is_chat:
        wanted = "true or false in a chat (top_logprobs: 5 says how many)" if dialect.is_chat else "a number"
        raise validation_error(("request", "logprobs"), f"should be {wanted}")


def _refuse(part: str, name: str, dialect: Dialect) -> None:
    if dialect.has(name) or (name == "extra" and dialect.open):
        return
    instead = f"; {dialect.instead[name]}" if name in dialect.instead else ""
    raise validation_error((part, name), f"the service that endpoint.api names has no such field{instead}")


def _refuse_known(name: str, dialect: Dialect) -> None:
    if name in ("prompt", "messages"):
        raise validation_error(("request", "extra", name), f"is made of the rows: write `{name}:` at the top level")
    if dialect.has(name):
        raise validation_error(("request", "extra", name), f"is known: write `request: {{{name}: ...}}`")


def in_dialect(request: Request, columns: Mapping[RequestField, str], dialect: Dialect) -> dict[str, Any]:
    """Returns a job's `request` and `columns` with those request fields alone that the dialect has."""
    return {
        "request": Request(**{name: value for name, value in request if dialect.has(name)}),
        "columns": {name: column for name, column in columns.items() if dialect.has(name)},
    }
