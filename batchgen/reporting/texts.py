"""Chooses what is told of the answers' texts: repetitions, and outliers.

The texts of a run that has just ended were measured while they were published. Others are read in batches; must never
hold more than a batch of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from batchgen.checkpoint.schema import Record
from batchgen.output.answer_sample import ALL_UP_TO, SAMPLE, SCHEMA, AnswerSample, measured
from batchgen.output.decode import answers
from batchgen.reporting.queries import AttemptRange, ReportReader

MAX_BYTES = 64 << 20
"""Of answers that are read for one report: long log-probs make fewer of them enough."""
SAMPLES, OF_EACH = 12, 2
GROUPS = 8
PLAIN = "as it came"


@dataclass(frozen=True)
class Group:
    """A text that several rows have. `id`: the first of its attempts."""

    id: int
    rows: int


@dataclass(frozen=True)
class Outlier:
    """An attempt worth a look, and why. `mean_logprob`: over the tokens of its text, if they are known."""

    id: int
    why: str
    mean_logprob: float | None


def look(reader: ReportReader, current: AttemptRange, all_up_to: int = ALL_UP_TO, sample: int = SAMPLE) -> AnswerSample:
    """Looks at the answers. Unreadable ones are left out; the next run finds them and buys them again."""
    ids, of = reader.answers(current, all_up_to, sample)
    some = ids[:: -(-reader.size(ids) // MAX_BYTES) or 1]
    pieces = [_measured(reader, records) for _, records, _ in reader.record_batches(some)]
    return AnswerSample(pl.concat([pl.DataFrame(schema=SCHEMA), *pieces]).sort("id"), of)


def _measured(reader: ReportReader, records: Mapping[int, Record]) -> pl.DataFrame:
    bodies = reader.answers_as_json(record.body for record in records.values())
    return measured(pl.Series(list(records), dtype=pl.Int64), answers(bodies))


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
    chosen |= dict.fromkeys(ordinary, PLAIN)
    means = dict(unsure.select("id", "mean_logprob").filter(pl.col("id").is_in(list(chosen))).iter_rows())
    return [Outlier(id_, why, means.get(id_)) for id_, why in chosen.items()]


def _choose(chosen: dict[int, str], ordered: pl.DataFrame, why: str) -> None:
    """Adds the first of them that were not chosen for another reason."""
    others = [id_ for id_ in ordered["id"].head(OF_EACH + len(chosen)).to_list() if id_ not in chosen]
    chosen.update(dict.fromkeys(others[:OF_EACH], why))
