"""Judges whether an answer passes a job's `check`, and if not, why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import polars as pl

from batchgen.api.failure_kinds import Kind
from batchgen.api.types import is_cut_off
from batchgen.job.answer_columns import AnswerColumn, values_in, without_fence
from batchgen.job.checks import Check, schema_validator
from batchgen.job.job import Job
from batchgen.ui.humanize import pluralize, quoted

SHOWN_PATTERN, SHOWN_MISTAKE = 80, 200
"""Characters of a pattern, and of what does not fit a schema, that a message shows."""


class CheckedAnswer(NamedTuple):
    """The checked parts of an answer. `finish_reason` and `tokens` are None if the service does not report them;
    `tokens` also where it counts several choices together."""

    text: str
    finish_reason: str | None = None
    tokens: int | None = None


class Unfit(NamedTuple):
    """Why an answer does not pass: Kind.CUT, which asking again would not mend, or Kind.UNFIT."""

    kind: Kind
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.why}"


class Checker:
    """A job's `check`, compiled."""

    def __init__(self, check: Check, columns: Sequence[AnswerColumn] = ()) -> None:
        """Compiles the check. `columns` are made of the answers' JSON: an answer whose values do not fit their types
        fails."""
        self.columns = columns
        self._complete = check.complete
        self._least, self._most = check.min_chars or 0, check.max_chars
        self._patterns = [(check.matches, True), (check.not_matches, False)]
        self._schema = None if check.json_schema is None else schema_validator(check.json_schema)  # type: ignore[arg-type]

    def failures(self, answers: Sequence[CheckedAnswer]) -> list[Unfit | None]:
        """Returns for each answer why it does not pass; None where it does."""
        texts = [answer.text for answer in answers]
        cuts = [_cut(answer) if self._complete else None for answer in answers]
        reasons = [None if why is None else Unfit(Kind.UNFIT, why) for why in self._unfit(texts)]
        return [cut or why for cut, why in zip(cuts, reasons, strict=True)]

    def _unfit(self, texts: Sequence[str]) -> list[str | None]:
        reasons = list(map(self._by_length, texts))
        for pattern, wanted in self._patterns:
            if pattern is not None:
                found = pl.Series(texts, dtype=pl.String).str.contains(pattern)
                unlike = f"the text {'does not match' if wanted else 'matches'} {quoted(pattern, SHOWN_PATTERN)}"
                reasons = [why or (None if hit is wanted else unlike) for why, hit in zip(reasons, found, strict=True)]
        if self._schema is not None:
            reasons = [why or self._by_schema(text) for why, text in zip(reasons, texts, strict=True)]
        return reasons

    def _by_length(self, text: str) -> str | None:
        if len(text) < self._least:
            return f"the text has {pluralize(len(text), 'character')}, fewer than {self._least:,}"
        if self._most is not None and len(text) > self._most:
            return f"the text has {pluralize(len(text), 'character')}, more than {self._most:,}"
        return None

    def _by_schema(self, text: str) -> str | None:
        try:
            value = msgspec.json.decode(without_fence(text))
        except (ValueError, RecursionError) as error:
            reason = "nested absurdly deep" if isinstance(error, RecursionError) else str(error)
            return f"the text is not JSON: {reason}"
        try:
            mistake = next(self._schema.iter_errors(value), None)  # type: ignore[union-attr]
        except ValueError as error:  # jsonschema_rs (0.60.3) compares, and shows, no more than 255 levels
            return f"the text's JSON cannot be judged: {error}"
        if mistake is not None:
            where = "".join(f"/{key}" for key in mistake.instance_path)
            return f"the text's JSON does not fit: {where or 'all of it'}: {mistake.message}"[:SHOWN_MISTAKE]
        return self._by_columns(text) if self.columns else None

    def _by_columns(self, text: str) -> str | None:
        try:
            values_in(text, self.columns)
        except ValueError as error:
            return f"the text's JSON does not fit its columns: {error}"[:SHOWN_MISTAKE]
        return None


def _cut(answer: CheckedAnswer) -> Unfit | None:
    if not is_cut_off(answer.finish_reason):
        return None
    return Unfit(
        Kind.CUT, f"cut off after {pluralize(answer.tokens, 'token')}" if answer.tokens else "cut off at its longest"
    )


def checker_of(job: Job) -> Checker | None:
    """Returns the check of a job's answers; None where it asks for nothing."""
    return Checker(job.check, job.answer_columns) if job.check.is_set else None
