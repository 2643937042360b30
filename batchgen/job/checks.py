"""The sections `check`, for each text, and `gate`, for the results of a run. Refuses conditions that cannot be judged.
Reads a schema in a file of its own as part of the job file; opens and fetches nothing else."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from batchgen.job.named_file import read_named
from batchgen.job.types import JobPath, Section


def _regex(pattern: str) -> str:
    """Checks a pattern of polars, which is Rust's: linear in time for any text. Python's own may never end. Raises
    ValueError."""
    import polars as pl  # noqa: PLC0415  `--help` and `schema` wait for no import

    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        reasons = [line.removeprefix("error: ") for line in str(error).splitlines() if line.startswith("error: ")]
        reason = reasons[0] if reasons else "it is too large"
        raise ValueError(f"should be a regular expression of Rust's kind: {reason}") from None
    return pattern


Regex = Annotated[str, Field(min_length=1), AfterValidator(_regex)]


def schema_validator(schema: dict[str, Any]) -> Any:
    """Compiles a JSON Schema. Its patterns are linear in time too. Raises ValueError."""
    import jsonschema_rs  # noqa: PLC0415  15 MB that few jobs need

    try:
        return jsonschema_rs.validator_for(
            schema, pattern_options=jsonschema_rs.RegexOptions(), retriever=_refuse_to_fetch
        )
    except jsonschema_rs.ValidationError as error:
        where = f" at /{'/'.join(map(str, error.instance_path))}" if error.instance_path else ""
        raise ValueError(f"is not a JSON Schema{where}: {error.message:.200}") from None


def _refuse_to_fetch(_: str) -> Any:
    raise ValueError("a schema has to be in one piece: nothing is fetched")


def _read_schema(path: str) -> Any:
    content = read_named(path, Path.read_bytes)
    try:
        return msgspec.json.decode(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not JSON: {error}") from None


class Check(Section):
    """Conditions for an answer; one that does not pass is asked for again."""

    min_chars: int | None = Field(None, ge=1, description="the fewest characters")
    max_chars: int | None = Field(None, ge=1, description="the most characters")
    matches: Regex | None = Field(None, description="a regular expression (Rust's) that is found in the text")
    not_matches: Regex | None = Field(None, description="a regular expression that is not found in the text")
    json_schema: dict[str, Any] | JobPath | None = Field(
        None, description="the text is JSON of this schema: the schema itself, or a .json file"
    )
    complete: bool = Field(
        default=False,
        description="true: an answer that was cut at its longest fails its row, and is not asked for again",
    )
    retries: int = Field(2, ge=0, le=100, description="how often a text that does not pass is asked for again in a run")

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, given: Any) -> Any:
        schema = _read_schema(given) if isinstance(given, str) else given
        if schema is not None and not isinstance(schema, dict):
            raise ValueError(f"{given}: should hold a JSON object")
        if schema is not None:
            schema_validator(schema)
        return schema

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.model_fields_set and not self.is_set:
            raise ValueError(
                "names no condition: give min_chars, max_chars, matches, not_matches, json_schema or complete"
            )
        if self.min_chars is not None and self.max_chars is not None and self.min_chars > self.max_chars:
            raise ValueError(f"no text has at least {self.min_chars:,} and at most {self.max_chars:,} characters")
        return self

    @property
    def is_set(self) -> bool:
        return any(value not in (None, False) for name, value in self if name != "retries")


def _share(value: Any) -> Any:
    if isinstance(value, str) and value.endswith("%"):
        try:
            value = float(Decimal(value[:-1]) / 100)  # as 2 rows of 100 are: a float divided is another
        except InvalidOperation:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("should be a share such as 2% or 0.02")
    return float(value)


Share = Annotated[float, BeforeValidator(_share, json_schema_input_type=str | float)]


class Gate(Section):
    """Conditions for a run's results to replace the last good ones."""

    min_rows: int | None = Field(None, ge=1, description="the fewest rows that there may be")
    min_done: Share | None = Field(None, description="the smallest share of rows that have their text, such as 95%")
    max_failed: Share | None = Field(None, description="the largest share of rows that failed, such as 2%")
    min_chars: int | None = Field(None, ge=1, le=2**63 - 1, description="the fewest characters that any text may have")
    max_duplicates: Share | None = Field(None, description="the largest share of texts that equal an earlier row's")
    max_drift: Share | None = Field(
        None, description="how far the texts' lengths may be from those of the last good output, from 0% to 100%"
    )

    @property
    def is_set(self) -> bool:
        return any(value is not None for _, value in self)
