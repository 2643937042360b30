"""Whether a job's parts agree on the dialect that is spoken, and what of its request the built-in model takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from batchgen.api.dialects import WRITER, Dialect
from batchgen.job.types import validation_error

_MEANT = {
    "seed": "; writer's name for it is random_seed",
    "random_seed": "; OpenAI's name for it is seed",
    "logprobs": "; writer sends log-probs unasked",
}
T = TypeVar("T")


def refuse_foreign(part: str, names: Iterable[str], dialect: Dialect) -> None:
    """Raises ValidationError for the first of a part's request fields that the dialect has not."""
    for name in names:
        if name not in dialect.request.__struct_fields__:
            raise validation_error(
                (part, name), f"the service that endpoint.api names has no such field{_MEANT.get(name, '')}"
            )


def without_foreign(fields: Mapping[Any, T]) -> dict[Any, T]:
    """For the built-in model, which speaks writer's dialect."""
    return {name: value for name, value in fields.items() if name in WRITER.request.__struct_fields__}
