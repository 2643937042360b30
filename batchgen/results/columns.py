"""Stored attempts -> the result columns of a piece of the input. Knows the checkpoint's reader, and no file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from batchgen.api.contract import NULL, RawCompletion, read_answer
from batchgen.results.log_probs import CHOICES, LOG_PROBS, choices, log_probs
from batchgen.runner.checkpoint import OK, Record
from batchgen.runner.index import State
from batchgen.runner.reader import Reader

RESULTS = pa.schema(
    [
        ("text", pa.string()),
        ("model", pa.string()),
        ("log_probs", LOG_PROBS),
        ("status", pa.string()),
        ("error", pa.string()),
        ("attempts", pa.int32()),
        ("latency_s", pa.float64()),
        ("finished_at", pa.timestamp("us", "UTC")),
    ]
)
MORE_CHOICES = pa.field("more_choices", CHOICES)


class Results:
    """The result columns of some rows.

    `known` are the plan's rows, with `model`, `record` and `state`; `models` what their model numbers stand for.
    """

    def __init__(self, known: pl.DataFrame, models: Sequence[str], reader: Reader) -> None:
        self.ids: list[int] = known["record"].to_list()
        self.states: list[int] = known["state"].to_list()
        self.records = list(map(reader.records(self.ids).get, self.ids))
        self.answers = [
            _answer(record) if state == State.DONE else None
            for state, record in zip(self.states, self.records, strict=True)
        ]
        self._models = [models[model] for model in known["model"].to_list()]

    def error(self, at: int) -> str | None:
        record = self.records[at]
        if self.answers[at] is not None or record is None or record.error is None:
            return None
        return f"{record.outcome}: {record.error}"

    def status(self, at: int) -> str:
        if self.answers[at] is not None:
            return "ok"
        return "failed" if self.states[at] == State.FAILED and self.records[at] is not None else "pending"

    def columns(self, *, more: bool) -> list[pa.Array[Any]]:
        """As RESULTS, and MORE_CHOICES where they are wanted."""
        answers, records = self.answers, self.records
        firsts = [answer.choices[0] if answer else None for answer in answers]
        names = [(a.model or model) if a else None for a, model in zip(answers, self._models, strict=True)]
        latencies = [r.latency if r and a else None for r, a in zip(records, answers, strict=True)]
        columns: list[pa.Array[Any]] = [
            pa.array([first.text if first else None for first in firsts], pa.string()),
            pa.array(names, pa.string()),
            log_probs([first.log_probs if first else NULL for first in firsts]),
            pa.array(["ok" if a else self.status(at) for at, a in enumerate(answers)], pa.string()),
            pa.array([None if a else self.error(at) for at, a in enumerate(answers)], pa.string()),
            pa.array([record.attempts if record else 0 for record in records], pa.int32()),
            pa.array(latencies, pa.float64()),
            pa.array([record.finished_at if record else None for record in records], pa.timestamp("us", "UTC")),
        ]
        if more:
            columns.append(choices([(answer and answer.choices[1:]) or None for answer in answers]))
        return columns


def _answer(record: Record | None) -> RawCompletion | None:
    """None where the stored answer is damaged or missing."""
    if record is None or record.outcome != OK or record.body is None:
        return None
    try:
        return read_answer(record.body)
    except (ValueError, RecursionError):
        return None
