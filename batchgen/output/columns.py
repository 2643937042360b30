"""Makes the result columns of some rows from stored attempts. Knows the checkpoint's reader, and no file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from batchgen.api.failure_kinds import Billed, Kind
from batchgen.api.types import CUT_OFF
from batchgen.checkpoint.index import State
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import OK, Record
from batchgen.job.checker import CheckedAnswer, Checker, Unfit
from batchgen.output.column_names import MORE_CHOICES
from batchgen.output.decode import DecodedAnswers, answers
from batchgen.output.typed_columns import typed

_ENDED = (int(State.DONE), int(State.FAILED))
_STATES = {
    OK: _ENDED,
    **{str(kind): _ENDED for kind in Kind if kind.policy.billed is Billed.YES},
    str(Kind.UNUSABLE): (int(State.DONE),),
}
"""The outcomes of attempts whose body may be an answer, fit or not, and the row's states in which it is one. A body
that was unusable at first is one if the plan says so: it has been read again."""

_NEVER = Record(key=b"", outcome="", attempts=0, finished_at=None)  # type: ignore[arg-type]
"""The record of a row without a readable attempt."""


class ResultColumns:
    """The result columns of some rows.

    `rows` are the plan's rows, with `model`, `record` and `state`; `models` what their model numbers stand for;
    `records` those that can be read, by id.
    `answers`: their columns. `good`: the fit texts, null if there is none. `without`: the rows of the nulls.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        models: Sequence[str],
        records: Mapping[int, Record],
        reader: Reader,
        checker: Checker | None,
    ) -> None:
        self.rows = rows
        self.ids: list[int] = rows["record"].to_list()
        self.states: list[int] = rows["state"].to_list()
        self._models = models
        self._records = [records.get(id_, _NEVER) for id_ in self.ids]
        of_rows = zip(self._records, self.states, strict=True)
        bodies = [record.body if state in _STATES.get(record.outcome, ()) else None for record, state in of_rows]
        self.answers = answers(reader.answers_as_json(bodies))
        self._unfit = _unfit(self.answers, checker)
        self._made = checker.columns if checker is not None else ()
        self.good = _without(self.answers.text, self._unfit)
        self.without = _rows_of(self.good.is_null())

    def has_text(self, at: int) -> bool:
        """Returns whether there is an answer, fit or not."""
        return bool(self.answers.text[at].is_valid)

    def answered_by(self) -> pl.Series:
        """Returns the attempt of each row whose answer was fit when it came; null for the other rows."""
        ids = [id_ if record.outcome == OK else None for id_, record in zip(self.ids, self._records, strict=True)]
        return pl.Series(ids, dtype=pl.Int64)

    def outcome(self, at: int) -> str:
        """Returns how the row's last attempt ended, by the current check; empty if it cannot be read."""
        return self._unfit[at].kind if at in self._unfit else self._records[at].outcome

    def error(self, at: int) -> str | None:
        if self.has_text(at):
            return str(self._unfit[at]) if at in self._unfit else None
        said = self._records[at].error
        return None if said is None else f"{self.outcome(at)}: {said}"

    def status(self, at: int) -> str:
        if self.has_text(at):
            return "failed" if at in self._unfit else "ok"
        return "failed" if self.states[at] == State.FAILED and self._records[at] is not _NEVER else "pending"

    @property
    def cut_off(self) -> int:
        """Returns how many answers were cut off at their maximum length."""
        reasons: Any = pc.utf8_lower(self.answers.finish_reason)
        return int(pc.sum(pc.is_in(reasons, pa.array(sorted(CUT_OFF)))).as_py() or 0)

    @property
    def empty(self) -> int:
        """Returns how many texts have no character."""
        texts: Any = self.good
        empty: Any = pa.scalar("")
        return int(pc.sum(pc.equal(texts, empty)).as_py() or 0)

    def columns(self, names: Sequence[str]) -> list[pa.Array[Any]]:
        """Returns result columns by name."""
        fixed, made = self._fixed(), self._typed()
        return [made[name] if name in made else fixed[name]() for name in names]

    def _fixed(self) -> dict[str, Callable[[], Any]]:
        """Returns a function that makes each column that every job has, by name."""
        records, answers = self._records, self.answers
        answered: Any = answers.text.is_valid()
        planned = pa.array(self._models, pa.string()).take(self.rows["model"].to_arrow())
        return {
            "text": lambda: answers.text,
            "model": lambda: pc.if_else(answered, pc.coalesce(answers.model, planned), None),
            "log_probs": lambda: answers.log_probs,
            "finish_reason": lambda: answers.finish_reason,
            "prompt_tokens": lambda: answers.prompt_tokens,
            "completion_tokens": lambda: answers.completion_tokens,
            "reasoning": lambda: answers.reasoning,
            "status": lambda: self._of_rows("ok", self.status),
            "error": lambda: self._of_rows(None, self.error),
            "attempts": lambda: pa.array([record.attempts for record in records], pa.int32()),
            "latency_s": lambda: pc.if_else(answered, pa.array([r.latency for r in records], pa.float64()), None),
            "finished_at": lambda: pa.array([r.finished_at for r in records], pa.timestamp("us", "UTC")),
            MORE_CHOICES: lambda: answers.more,
        }

    def _typed(self) -> dict[str, pa.Array[Any]]:
        """Returns the columns that are made of the answers' JSON, by name."""
        if not self._made:
            return {}
        arrays = typed(self.good.to_pylist(), self._made)
        return {column.name: array for column, array in zip(self._made, arrays, strict=True)}

    def _of_rows(self, usual: str | None, of: Callable[[int], str | None]) -> pa.Array[Any]:
        """Returns one text for each row: `usual`, or what `of` returns for a row without a fit text."""
        values = [usual] * len(self.ids)
        for at in self.without:
            values[at] = of(at)
        return pa.array(values, pa.string())


def _unfit(found: DecodedAnswers, checker: Checker | None) -> dict[int, Unfit]:
    """Returns why an answer is not what the job wants, by its row: by the current check, whatever was found when it
    came."""
    if checker is None:
        return {}
    answered: Any = found.text.is_valid()
    tokens: Any = pc.if_else(found.more.is_null(), found.completion_tokens, None)
    columns = (found.text, found.finish_reason, tokens)
    given = [CheckedAnswer(*values) for values in zip(*(c.filter(answered).to_pylist() for c in columns), strict=True)]
    reasons = zip(_rows_of(answered), checker.failures(given), strict=True)
    return {row: why for row, why in reasons if why is not None}


def _without(texts: pa.Array[Any], rows: Collection[int]) -> pa.Array[Any]:
    kept: Any = texts
    if rows:
        kept = pc.if_else(pa.array([row not in rows for row in range(len(texts))]), texts, None)
    return kept  # type: ignore[no-any-return]


def _rows_of(true: pa.Array[Any]) -> list[int]:
    rows: Any = pc.indices_nonzero(true)
    return rows.to_pylist()  # type: ignore[no-any-return]
