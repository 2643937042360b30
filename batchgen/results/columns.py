"""Stored attempts -> the result columns of a piece of the input. Knows the checkpoint's reader, and no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from batchgen.api.contract import Kind
from batchgen.fitness import Fitness
from batchgen.results.answers import answers
from batchgen.runner.checkpoint import OK, Record
from batchgen.runner.index import State
from batchgen.runner.reader import Reader

ANSWERED = (OK, Kind.UNFIT)
"""Outcomes of attempts that have a text, whatever it is worth."""
ENDED = (int(State.DONE), int(State.FAILED))


class Results:
    """The result columns of some rows.

    `known` are the plan's rows, with `model`, `record` and `state`; `models` what their model numbers stand for;
    `records` those that can be read, by id.
    `texts` are None where a row has no answer; `unfit` says why a text is not what the job wants.
    """

    def __init__(
        self,
        known: pl.DataFrame,
        models: Sequence[str],
        records: Mapping[int, Record],
        reader: Reader,
        fitness: Fitness | None,
    ) -> None:
        self.known = known
        self.ids: list[int] = known["record"].to_list()
        self.states: list[int] = known["state"].to_list()
        self.records = list(map(records.get, self.ids))
        self._answers = answers(
            [
                reader.json(record) if record is not None and record.outcome in ANSWERED and state in ENDED else None
                for state, record in zip(self.states, self.records, strict=True)
            ]
        )
        self.texts: list[str | None] = self._answers.text.to_pylist()
        self.unfit = _unfit(self.texts, fitness)
        self._models = [models[model] for model in known["model"].to_list()]

    def good(self) -> list[str | None]:
        """The texts of the rows that are `ok`."""
        return [None if why else text for text, why in zip(self.texts, self.unfit, strict=True)]

    def outcome(self, at: int) -> str:
        """How the row's last attempt ended, as the check has it now; empty where it cannot be read."""
        record = self.records[at]
        return Kind.UNFIT if self.unfit[at] else record.outcome if record else ""

    def error(self, at: int) -> str | None:
        record = self.records[at]
        said = self.unfit[at] if self.texts[at] is not None else record.error if record else None
        return None if said is None else f"{self.outcome(at)}: {said}"

    def status(self, at: int) -> str:
        if self.texts[at] is not None:
            return "failed" if self.unfit[at] else "ok"
        return "failed" if self.states[at] == State.FAILED and self.records[at] is not None else "pending"

    def columns(self, *, more: bool) -> list[pa.Array[Any]]:
        """As RESULTS, and MORE_CHOICES where they are wanted."""
        texts, records = self.texts, self.records
        said = self._answers.model.to_pylist()
        names = [None if t is None else own or model for t, own, model in zip(texts, said, self._models, strict=True)]
        good = [text is not None and why is None for text, why in zip(texts, self.unfit, strict=True)]
        latencies = [r.latency if r and text is not None else None for r, text in zip(records, texts, strict=True)]
        columns: list[pa.Array[Any]] = [
            self._answers.text,
            pa.array(names, pa.string()),
            self._answers.log_probs,
            pa.array(["ok" if is_good else self.status(at) for at, is_good in enumerate(good)], pa.string()),
            pa.array([None if is_good else self.error(at) for at, is_good in enumerate(good)], pa.string()),
            pa.array([record.attempts if record else 0 for record in records], pa.int32()),
            pa.array(latencies, pa.float64()),
            pa.array([record.finished_at if record else None for record in records], pa.timestamp("us", "UTC")),
        ]
        if more:
            columns.append(self._answers.more)
        return columns


def _unfit(texts: Sequence[str | None], fitness: Fitness | None) -> list[str | None]:
    """By the check as it is now, whatever was said of a text when it came."""
    if fitness is None:
        return [None] * len(texts)
    reasons = iter(fitness.unfit([text for text in texts if text is not None]))
    return [None if text is None else next(reasons) for text in texts]
