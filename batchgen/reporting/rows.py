"""The rows of a report: how many ended how, why they failed, and some to read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from batchgen.checkpoint.schema import OK, Run
from batchgen.output.publish import PublishResult
from batchgen.reporting.queries import Message, ReportReader, RowOutcome
from batchgen.reporting.subject import InputIndex
from batchgen.reporting.texts import Group, Outlier
from batchgen.reporting.wording import TEXT_CHARS


@dataclass(frozen=True)
class Counts:
    """Counts of rows. `new`: those of the `ok` ones that the last run bought."""

    rows: int
    ok: int
    new: int
    reused: int
    failed: int
    pending: int
    gone: int


@dataclass(frozen=True)
class Reason:
    """A reason why rows failed: an outcome and status, and the commonest messages."""

    outcome: str
    status: int | None
    rows: int
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Sample:
    """A row for a person to read. `row` (its number from 0) and `prompt` are known if the input is. `text` is cut; the
    whole one has `chars` characters."""

    why: str
    key: bytes
    name: str | None
    row: int | None
    prompt: str | None
    text: str
    chars: int
    latency: float | None
    attempts: int
    mean_logprob: float | None


def counts_of(run: Run, ends: Sequence[RowOutcome], published: PublishResult | None) -> Counts:
    """Counts rows. The run knows how many rows it had and how many were to be done; the others were answered, or failed
    and were not tried again. Further attempts belong to rows that the input no longer has."""
    new, old = (sum(e.rows for e in ends if e.outcome == OK and e.is_new is is_new) for is_new in (True, False))
    failed = sum(e.rows for e in ends if e.final and e.outcome != OK and e.is_new)
    reused = min(run.rows - run.todo, old)
    left_alone = run.rows - run.todo - reused
    pending = max(run.todo - new - failed, 0)
    gone = old - reused
    if published is not None:  # whose check may take a text that it did not take before
        ok = published.ok
        new = min(new, ok)
        return Counts(published.rows, ok, new, ok - new, published.failed, published.pending, gone)
    return Counts(run.rows, reused + new, new, reused, failed + left_alone, pending, gone)


def reasons_of(ends: Sequence[RowOutcome], messages: Sequence[Message]) -> list[Reason]:
    """Returns why rows failed, the commonest reason first."""
    rows: dict[tuple[str, int | None], int] = defaultdict(int)
    for end in ends:
        if end.final and end.outcome != OK:
            rows[end.outcome, end.status] += end.rows
    reasons = [
        Reason(outcome, status, n, tuple(m for m in messages if (m.outcome, m.status) == (outcome, status)))
        for (outcome, status), n in rows.items()
    ]
    return sorted(reasons, key=lambda reason: -reason.rows)


def samples_of(
    reader: ReportReader, index: InputIndex | None, odd: Sequence[Outlier], messages: Sequence[Message]
) -> tuple[list[Sample], dict[int, int]]:
    """Returns the outliers with their texts and prompts, and the input row of each of these and of each failure."""
    found = index.find([*(one.id for one in odd), *(message.id for message in messages)]) if index is not None else {}
    samples = []
    for one in odd:
        record = reader.records([one.id]).get(one.id)  # each alone: one may have 64 MB
        answer = reader.answer(record) if record else None
        if record is None or answer is None:
            continue
        row, prompt = found.get(one.id, (None, None))
        first = answer.choices[0]
        text = first.text[:TEXT_CHARS]
        about = record.key, record.name, row, prompt, text, len(first.text), record.latency, record.attempts
        samples.append(Sample(one.why, *about, one.mean_logprob))
    return samples, {id_: row for id_, (row, _) in found.items()}


def group_texts_of(reader: ReportReader, groups: Sequence[Group]) -> dict[int, str]:
    """Returns the text of each group, cut, by its first attempt."""
    found = {}
    for group in groups:
        for record in reader.records([group.id]).values():
            answer = reader.answer(record)
            if answer is not None:
                found[group.id] = answer.choices[0].text[:TEXT_CHARS]
    return found
