"""Measures answers while they are published, so that a report need not read them again: their lengths, confidence and
repetitions. Keeps forty bytes of each; of many, an even sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from batchgen.api.models import BYTES_PER_TOKEN
from batchgen.output.decode import DecodedAnswers, list_offsets

ALL_UP_TO, SAMPLE = 100_000, 10_000
"""Answers that are all measured; and how many of more than these."""
MODEL_CHARS = 100
SCHEMA = {
    "id": pl.Int64,
    "chars": pl.Int64,
    "tokens": pl.Int64,
    "mean_logprob": pl.Float64,
    "digest": pl.UInt64,
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
        if not chosen.all():
            mask = chosen.to_arrow()
            ids, answers = ids.filter(chosen), DecodedAnswers(*(column.filter(mask) for column in answers))
        self._pieces.append(measured(ids, answers))

    def sample(self) -> AnswerSample:
        """Returns the measures. An answer that several rows share is one."""
        answers = pl.concat(self._pieces).unique("id").sort("id")
        return AnswerSample(answers, answers.height if self._every == 1 else self._of)


def measured(ids: Sequence[int] | pl.Series, answers: DecodedAnswers) -> pl.DataFrame:
    """Returns a frame like SCHEMA, without the rows that have no text. Tokens are an estimate, of all choices."""
    text = pl.Series("text", answers.text, dtype=pl.String)
    columns = {
        "id": pl.Series(ids, dtype=pl.Int64),
        "chars": text.str.len_chars().cast(pl.Int64),
        "tokens": _tokens(text.str.len_bytes()) + _tokens_of_more(answers.more),
        "mean_logprob": _mean_logprobs(answers.log_probs),
        "digest": text.hash(),
        "model": pl.Series(answers.model, dtype=pl.String).str.slice(0, MODEL_CHARS),
    }
    return pl.DataFrame(columns, schema=SCHEMA).filter(text.is_not_null())


def _tokens(sizes: pl.Series) -> pl.Series:
    """Returns what `estimate_tokens` returns, for texts of so many bytes."""
    return (sizes.cast(pl.Int64) + BYTES_PER_TOKEN - 1) // BYTES_PER_TOKEN


def _tokens_of_more(more: Any) -> pl.Series | int:
    """Returns the tokens of each row's choices after the first."""
    if more.null_count == len(more):
        return 0
    sizes = pc.binary_length(more.flatten().field("text"))
    tokens = _tokens(pl.Series(sizes)).to_arrow()
    return pl.Series(pa.ListArray.from_arrays(list_offsets(more), tokens)).list.sum()


def _mean_logprobs(log_probs: pa.Array[Any]) -> pl.Series:
    """Returns the mean over the tokens of each text; null if there are none."""
    if log_probs.null_count == len(log_probs):
        return pl.Series([None] * len(log_probs), dtype=pl.Float64)
    content: Any = pc.struct_field(log_probs, "content")
    values = content.flatten().field("logprob")
    means = pl.Series(pa.ListArray.from_arrays(list_offsets(content), values)).list.mean()
    return means.set(~means.is_finite(), None)
