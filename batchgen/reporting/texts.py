"""Answers -> facts about their texts: lengths, confidence, repetitions, and outliers.

Reads answers in batches and keeps forty bytes of each; of many, an even sample. Must never hold more than a batch of
them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import polars as pl

from batchgen.api.models import estimate_tokens
from batchgen.api.sse import NULL
from batchgen.checkpoint.schema import Record
from batchgen.reporting.queries import AttemptRange, ReportReader

ALL_UP_TO, SAMPLE = 100_000, 10_000
"""Answers that are all looked at; and how many of more than these."""
MOST_BYTES = 64 << 20
"""Of answers that are read for one report: long log-probs make fewer of them enough."""
MODEL_CHARS = 100
SAMPLES, OF_EACH = 12, 2
GROUPS = 8
PLAIN = "as it came"
_SCHEMA = {
    "id": pl.Int64,
    "chars": pl.Int64,
    "tokens": pl.Int64,
    "mean_logprob": pl.Float64,
    "digest": pl.UInt64,
    "model": pl.String,
}


@dataclass(frozen=True)
class AnswerSample:
    """The answers that were looked at, a row each. `of`: how many there are in total."""

    answers: pl.DataFrame
    of: int

    @property
    def is_sample(self) -> bool:
        return self.answers.height < self.of


@dataclass(frozen=True)
class Group:
    """A text that several rows have. `id`: the first of its attempts."""

    id: int
    rows: int


@dataclass(frozen=True)
class Outlier:
    """An attempt worth a look, and why."""

    id: int
    why: str


def look(archive: ReportReader, known: AttemptRange, all_up_to: int = ALL_UP_TO, sample: int = SAMPLE) -> AnswerSample:
    """Looks at the answers. Unreadable ones are left out; the next run finds them and buys them again."""
    ids, of = archive.answers(known, all_up_to, sample)
    some = ids[:: -(-archive.size(ids) // MOST_BYTES) or 1]
    pieces = [_measured(archive, records) for _, records, _ in archive.record_batches(some)]
    return AnswerSample(pl.concat([pl.DataFrame(schema=_SCHEMA), *pieces]), of)


def _measured(archive: ReportReader, records: Mapping[int, Record]) -> pl.DataFrame:
    """Returns a frame like _SCHEMA, ordered by id."""
    read = {id_: archive.answer(record) for id_, record in records.items()}
    answers = {id_: answer for id_, answer in read.items() if answer is not None}
    firsts = [answer.choices[0] for answer in answers.values()]
    texts = pl.Series([first.text for first in firsts], dtype=pl.String)
    columns = {
        "id": list(answers),
        "chars": texts.str.len_chars(),
        "tokens": [sum([estimate_tokens(choice.text) for choice in answer.choices]) for answer in answers.values()],
        "mean_logprob": [mean_logprob(first.log_probs) for first in firsts],
        "digest": texts.hash(),
        "model": [answer.model and answer.model[:MODEL_CHARS] for answer in answers.values()],
    }
    return pl.DataFrame(columns, schema=_SCHEMA).sort("id")


class _Token(msgspec.Struct, frozen=True, gc=False):
    logprob: float | None = None


class _LogProbs(msgspec.Struct, frozen=True, gc=False):
    content: list[_Token] | None = None


_log_probs = msgspec.json.Decoder(_LogProbs | None)


def mean_logprob(raw: msgspec.Raw) -> float | None:
    """Returns the mean over the tokens of a text; None if there are none."""
    if raw == NULL:
        return None
    try:
        decoded = _log_probs.decode(raw)
    except (ValueError, RecursionError):
        return None
    values = [t.logprob for t in (decoded and decoded.content) or () if t.logprob is not None]
    mean = math.fsum(values) / len(values) if values else math.nan
    return mean if math.isfinite(mean) else None


def repeated(looked: AnswerSample) -> tuple[list[Group], int, int]:
    """Returns the commonest texts that several rows have, the number of rows that share theirs, and the number of
    different texts."""
    groups = looked.answers.group_by("digest").agg(id=pl.col("id").min(), rows=pl.len().cast(pl.Int64))
    several = groups.filter(pl.col("rows") > 1).sort(["rows", "id"], descending=[True, False])
    first = [Group(id_, rows) for id_, rows in several.head(GROUPS).select("id", "rows").iter_rows()]
    return first, int(several["rows"].sum()), groups.height


def outliers(looked: AnswerSample, groups: Sequence[Group]) -> list[Outlier]:
    """Chooses a dozen rows for a person to read: the outliers first, then some ordinary ones. No text twice."""
    answers = looked.answers.unique("digest", keep="first").sort("id")
    unsure = answers.filter(pl.col("mean_logprob").is_not_null())
    chosen: dict[int, str] = {}
    _choose(chosen, answers.sort("chars", "id"), "shortest")
    _choose(chosen, answers.sort(["chars", "id"], descending=[True, False]), "longest")
    if unsure.height > 2 * OF_EACH:
        _choose(chosen, unsure.sort("mean_logprob", "id"), "least confident")
    for group in groups[:OF_EACH]:
        also = f"one of {group.rows:,} alike"
        chosen[group.id] = f"{chosen[group.id]}, {also}" if group.id in chosen else also
    rest = answers.filter(~pl.col("id").is_in(list(chosen)))["id"]
    left = min(SAMPLES - len(chosen), rest.len())
    ordinary = [rest[at * rest.len() // left] for at in range(left)] if left > 0 else []
    return [Outlier(id_, why) for id_, why in chosen.items()] + [Outlier(id_, PLAIN) for id_ in ordinary]


def _choose(chosen: dict[int, str], ordered: pl.DataFrame, why: str) -> None:
    """Adds the first of them that were not chosen for another reason."""
    fresh = [id_ for id_ in ordered["id"].head(OF_EACH + len(chosen)).to_list() if id_ not in chosen]
    chosen.update(dict.fromkeys(fresh[:OF_EACH], why))
