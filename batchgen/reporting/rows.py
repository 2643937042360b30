"""The rows of a report: why they failed, and some to read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from batchgen.checkpoint.schema import OK, Record
from batchgen.reporting.queries import Message, ReportReader, RowOutcome
from batchgen.reporting.subject import InputIndex
from batchgen.reporting.texts import Group, Outlier
from batchgen.reporting.wording import TEXT_CHARS


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
        if (read := _read(reader, one.id)) is None:
            continue
        record, text = read
        row, prompt = found.get(one.id, (None, None))
        about = record.key, record.name, row, prompt, text[:TEXT_CHARS], len(text), record.latency, record.attempts
        samples.append(Sample(one.why, *about, one.mean_logprob))
    return samples, {id_: row for id_, (row, _) in found.items()}


def group_texts_of(reader: ReportReader, groups: Sequence[Group]) -> dict[int, str]:
    """Returns the text of each group, cut, by its first attempt."""
    read = ((group.id, _read(reader, group.id)) for group in groups)
    return {id_: found[1][:TEXT_CHARS] for id_, found in read if found is not None}


def _read(reader: ReportReader, id_: int) -> tuple[Record, str] | None:
    """Returns an attempt and its text; None if they cannot be read. One at a time: it may have 64 MB."""
    record = reader.records([id_]).get(id_)
    answer = reader.answer(record) if record else None
    return None if record is None or answer is None else (record, answer.choices[0].text)
