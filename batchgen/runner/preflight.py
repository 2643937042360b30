"""Reads the whole input before anything is sent: renders every prompt and checks every row's values, so that a mistake
in the last row costs nothing. Keeps 30 bytes a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

import polars as pl

from batchgen.checkpoint.index import Columns
from batchgen.errors import UsageError
from batchgen.input.request import PreparedBatch, PreparedRequest, Requests
from batchgen.input.source import Source
from batchgen.input.texts import texts
from batchgen.job.job import Job
from batchgen.job.shard import row_name
from batchgen.ui.humanize import pluralize, quoted

SHOWN_PROBLEMS = 5
KEPT_PROMPTS = 10
"""Of the first rows: a plan shows some, mostly these."""
MAX_MODELS = 1000
BITS_32 = 2**32 - 1


@dataclass
class Preflight:
    """The results of the preflight. `names` are hashes. `problems`: the first rows with each reason."""

    columns: Columns = field(
        default_factory=lambda: Columns(
            prompt_tokens=pl.UInt32, answer_tokens=pl.UInt32, model=pl.UInt16, checksum=pl.UInt32
        )
    )
    models: dict[str, int] = field(default_factory=dict)
    names: list[pl.Series] = field(default_factory=list)
    priorities: list[pl.Series] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)
    rejected: int = 0
    height: int = 0
    prompts: list[str] = field(default_factory=list)

    def add(self, made: PreparedBatch) -> None:
        first = islice(made.requests(), KEPT_PROMPTS - len(self.prompts))
        self.prompts += [one.prompt for one in first if isinstance(one, PreparedRequest)]
        around = made.around
        if around and around.count(around[0]) == len(around):  # nearly always one for all rows
            around = around[:1]
        self.columns.add(
            b"".join(made.digests()),
            prompt_tokens=made.prompt_tokens,
            answer_tokens=[one.answer_tokens for one in around],
            model=[self.models.setdefault(one.model, len(self.models)) for one in around],
            checksum=checksums(made),
        )

    def refuse(self, reason: str, row: str) -> None:
        rows = self.problems.setdefault(reason, [])
        if len(rows) < SHOWN_PROBLEMS:
            rows.append(row)
        self.rejected += 1


def checksums(made: PreparedBatch) -> list[int]:
    """Returns a checksum of each body, of 32 bits, for this process alone. What is made later for the same row is
    compared with it: a digest would take four times as long, and CRC-32 of a short body half as long again."""
    return [whole & BITS_32 for whole in map(hash, made.bodies)]


def preflight(job: Job, source: Source, requests: Requests) -> Preflight:
    """Checks every row. Raises UsageError if a row cannot be sent; its message names the first such rows and counts
    them all."""
    seen = Preflight()
    for frame, numbers in source.numbered():
        names = None if job.input.id is None else texts(frame[job.input.id])
        if names is not None:
            seen.names.append(names.hash())
            for at in names.is_null().arg_true():
                seen.refuse(f"input.id: {job.input.id} is empty", row_name(numbers[at]))
        if job.priority is not None:
            seen.priorities.append(_priorities(job, frame[job.priority], numbers))
        start = 0
        for made in requests.batches(frame):
            seen.add(made)
            for at, problem in made.errors.items():
                name = None if names is None else names[start + at]
                seen.refuse(str(problem), row_name(numbers[start + at], name))
            start += len(made)
        seen.height += frame.height
        if len(seen.models) > MAX_MODELS:
            raise UsageError(f"columns.model: more than {MAX_MODELS:,} different models: is it the right column?")
    _refuse_repeated_names(job, source, seen)
    source.verify()
    if seen.problems:
        raise UsageError(_message(seen, job))
    return seen


def _priorities(job: Job, column: pl.Series, numbers: pl.Series) -> pl.Series:
    """Returns the values of `priority` in a sortable type: a CSV's texts as numbers."""
    if column.dtype != pl.String:
        return column.fill_nan(None) if column.dtype.is_float() else column
    values = column.str.strip_chars().cast(pl.Float64, strict=False).fill_nan(None)
    wrong = (column.is_not_null() & values.is_null()).arg_true()
    if wrong.len():
        at = int(wrong[0])
        problem = f"priority: {column.name} is {quoted(column[at])}, which is not a number"
        raise UsageError(f"{job.input.path}: {row_name(numbers[at])}: {problem}; nothing was sent")
    return values


def names_at(job: Job, source: Source, rows: list[int]) -> list[str]:
    """Returns the names of these rows in messages. `rows` must be in order."""
    named: list[str] = []
    start = source.start_of(min(rows, default=0))
    for frame, numbers in source.numbered(start):
        here = [at - start for at in rows[len(named) :] if at < start + frame.height]
        names = texts(frame[job.input.id]) if job.input.id and here else None
        named += [row_name(numbers[at], names[at] if names is not None else None) for at in here]
        start += frame.height
        if len(named) == len(rows):
            break
    return named


def _refuse_repeated_names(job: Job, source: Source, seen: Preflight) -> None:
    if not seen.names or (hashes := pl.concat(seen.names)).n_unique() == hashes.len():
        return
    first: dict[object, int] = {}
    repeated = set(hashes.filter(hashes.is_duplicated()).unique())
    for frame, numbers in source.numbered():
        names = texts(frame[job.input.id or ""])
        for at in names.hash().is_in(list(repeated)).arg_true():
            name, number = names[at], numbers[at]
            if name is not None and first.setdefault(name, number) != number:
                seen.refuse(f"input.id: {job.input.id} {name!r} repeats {row_name(first[name])}", row_name(number))


def _message(seen: Preflight, job: Job) -> str:
    lines = [
        f"{job.input.path}: {seen.rejected:,} of {pluralize(seen.height, 'row')} cannot be sent; nothing was sent:"
    ]
    for reason, rows in list(seen.problems.items())[:SHOWN_PROBLEMS]:
        lines.append(f"  {reason}: {', '.join(rows)}")
    if len(seen.problems) > SHOWN_PROBLEMS:
        lines.append(f"  and {pluralize(len(seen.problems) - SHOWN_PROBLEMS, 'more reason')}")
    elif seen.rejected > sum(map(len, seen.problems.values())):
        lines.append(f"  (the first {SHOWN_PROBLEMS} rows of each reason are listed)")
    return "\n".join(lines)
