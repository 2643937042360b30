"""Measures answers while they are published, so that a report need not read them again: their lengths, confidence and
repetitions. Keeps forty bytes of each; of many, an even sample."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from batchgen.api.models import estimate_tokens
from batchgen.output.decode import DecodedAnswers, list_offsets

ALL_UP_TO, SAMPLE = 100_000, 10_000
"""Answers that are all measured; and how many of more than these."""
MODEL_CHARS = 100
SCHEMA = {
    "id": pl.Int64,
    "chars": pl.Int64,
    "tokens": pl.Int64,
    "mean_logprob": pl.Float64,
    "digest": pl.Int64,
    "model": pl.String,
}


@dataclass(frozen=True)
class AnswerSample:
    """The answers that were measured, a row each, like SCHEMA and ordered by id. `of`: how many there are in total."""

    answers: pl.DataFrame
    of: int

    @property
    def is_sample(self) -> bool:
        return self.answers.height < self.of


class AnswerMeter:
    """Collects the measures of the answers of so many rows, piece by piece."""

    def __init__(self, rows: int) -> None:
        self._every = rows // SAMPLE if rows > ALL_UP_TO else 1
        self._pieces = [pl.DataFrame(schema=SCHEMA)]
        self._of = 0

    def add(self, ids: pl.Series, answers: DecodedAnswers) -> None:
        """Measures answers. `ids`: of their attempts, null for those that do not count."""
        self._of += len(ids) - ids.null_count()
        chosen = (ids % self._every == 0).fill_null(value=False)
        self._pieces.append(measured(*_filtered(ids, answers, chosen)))

    def sample(self) -> AnswerSample:
        """Returns the measures. An answer that several rows share is one. How many there are of a sample is told by how
        many rows share one in it."""
        rows = pl.concat(self._pieces)
        answers = rows.unique("id").sort("id")
        of = round(self._of * answers.height / rows.height) if rows.height else self._of
        return AnswerSample(answers, answers.height if self._every == 1 else of)


def measured(ids: pl.Series, answers: DecodedAnswers) -> pl.DataFrame:
    """Returns a frame like SCHEMA, without the rows that have no text. Tokens are an estimate, of all choices."""
    ids, answers = _filtered(ids, answers, pl.Series(answers.text.is_valid()))
    texts: Any = answers.text.to_pylist()  # polars would take three times the memory of a large text to hash it
    every = zip(texts, _other_texts(answers.more), strict=True)
    columns = {
        "id": ids,
        "chars": list(map(len, texts)),
        "tokens": [sum(map(estimate_tokens, (text, *others))) for text, others in every],
        "mean_logprob": _mean_logprobs(answers.log_probs),
        "digest": list(map(hash, texts)),
        "model": pl.Series(answers.model, dtype=pl.String).str.slice(0, MODEL_CHARS),
    }
    return pl.DataFrame(columns, schema=SCHEMA)


def _filtered(ids: pl.Series, answers: DecodedAnswers, chosen: pl.Series) -> tuple[pl.Series, DecodedAnswers]:
    if chosen.all():
        return ids, answers
    mask = chosen.to_arrow()
    return ids.filter(chosen), DecodedAnswers(*(column.filter(mask) for column in answers))


def _other_texts(more: Any) -> Iterable[Any]:
    """Returns the texts of each row's choices after the first."""
    if more.null_count == len(more):
        return repeat([], len(more))
    return pa.ListArray.from_arrays(list_offsets(more), more.flatten().field("text")).to_pylist()


def _mean_logprobs(log_probs: pa.Array[Any]) -> pl.Series:
    """Returns the mean over the tokens of each text; null if there are none."""
    if log_probs.null_count == len(log_probs):
        return pl.Series([None] * len(log_probs), dtype=pl.Float64)
    content: Any = pc.struct_field(log_probs, "content")
    values = content.flatten().field("logprob")
    means = pl.Series(pa.ListArray.from_arrays(list_offsets(content), values)).list.mean()
    return means.set(~means.is_finite(), None)
