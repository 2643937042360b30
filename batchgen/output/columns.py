"""Stored attempts -> the result columns of a piece of the input. Knows the checkpoint's reader, and no file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from batchgen.api.outcome import Kind
from batchgen.checkpoint.index import State
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import OK, Record
from batchgen.job.checker import Checker
from batchgen.output.decode import answers

ANSWERED = (OK, Kind.UNFIT)
"""Outcomes of attempts that have a text, whatever it is worth."""
ENDED = (int(State.DONE), int(State.FAILED))


_NEVER = Record(b"", "", False, 0, None, None, None, None, 0, None, None)  # type: ignore[arg-type]  # noqa: FBT003
"""Of a row without an attempt that can be read."""


class ResultColumns:
    """The result columns of some rows.

    `known` are the plan's rows, with `model`, `record` and `state`; `models` what their model numbers stand for;
    `records` those that can be read, by id.
    `good` are the texts that serve, null where there is none; `without` the rows of the nulls.
    """

    def __init__(
        self,
        known: pl.DataFrame,
        models: Sequence[str],
        records: Mapping[int, Record],
        reader: Reader,
        fitness: Checker | None,
    ) -> None:
        self.known = known
        self.ids: list[int] = known["record"].to_list()
        self.states: list[int] = known["state"].to_list()
        self._models = models
        self._records = [records.get(id_, _NEVER) for id_ in self.ids]
        given = zip(self.states, self._records, strict=True)
        bodies = (record.body if _is_answered(record, state) else None for state, record in given)
        self._answers = answers(reader.jsons(bodies))
        self._unfit = _unfit(self._answers.text, fitness)
        self.good = _without(self._answers.text, self._unfit)
        self.without = _rows_of(self.good.is_null())

    def has_text(self, at: int) -> bool:
        """Whether there is an answer, whatever its text is worth."""
        return bool(self._answers.text[at].is_valid)

    def outcome(self, at: int) -> str:
        """How the row's last attempt ended, as the check has it now; empty where it cannot be read."""
        return Kind.UNFIT if at in self._unfit else self._records[at].outcome

    def error(self, at: int) -> str | None:
        said = self._unfit.get(at) if self.has_text(at) else self._records[at].error
        return None if said is None else f"{self.outcome(at)}: {said}"

    def status(self, at: int) -> str:
        if self.has_text(at):
            return "failed" if at in self._unfit else "ok"
        return "failed" if self.states[at] == State.FAILED and self._records[at] is not _NEVER else "pending"

    def columns(self, *, more: bool) -> list[pa.Array[Any]]:
        """As RESULTS, and MORE_CHOICES where they are wanted."""
        records = self._records
        answered = self._answers.text.is_valid()
        planned = pa.array(self._models, pa.string()).take(self.known["model"].to_arrow())
        statuses: list[str] = ["ok"] * len(self.ids)
        errors: list[str | None] = [None] * len(self.ids)
        for at in self.without:
            statuses[at], errors[at] = self.status(at), self.error(at)
        columns: list[Any] = [
            self._answers.text,
            pc.if_else(answered, pc.coalesce(self._answers.model, planned), None),
            self._answers.log_probs,
            pa.array(statuses, pa.string()),
            pa.array(errors, pa.string()),
            pa.array([record.attempts for record in records], pa.int32()),
            pc.if_else(answered, pa.array([record.latency for record in records], pa.float64()), None),
            pa.array([record.finished_at for record in records], pa.timestamp("us", "UTC")),
        ]
        if more:
            columns.append(self._answers.more)
        return columns


def _is_answered(record: Record, state: int) -> bool:
    """What could not be used when it came is an answer where the plan says so: it has been read again."""
    if record.outcome == Kind.UNUSABLE:
        return state == State.DONE
    return record.outcome in ANSWERED and state in ENDED


def _unfit(texts: pa.Array[Any], fitness: Checker | None) -> dict[int, str]:
    """Why a text is not what the job wants, by its row: by the check as it is now, whatever was said when it came."""
    if fitness is None:
        return {}
    answered: Any = texts.drop_null().to_pylist()
    reasons = zip(_rows_of(texts.is_valid()), fitness.unfit(answered), strict=True)
    return {row: why for row, why in reasons if why is not None}


def _without(texts: pa.Array[Any], rows: Collection[int]) -> pa.Array[Any]:
    kept: Any = texts
    if rows:
        kept = pc.if_else(pa.array([row not in rows for row in range(len(texts))]), texts, None)
    return kept  # type: ignore[no-any-return]


def _rows_of(true: pa.Array[Any]) -> list[int]:
    rows: Any = pc.indices_nonzero(true)
    return rows.to_pylist()  # type: ignore[no-any-return]
