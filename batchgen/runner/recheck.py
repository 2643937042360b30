"""Applies the job's check to stored texts, whatever check they passed when they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from batchgen.api.failure_kinds import Billed, Kind
from batchgen.checkpoint.index import State
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import Record
from batchgen.job.checker import Checker
from batchgen.send.check import checked_answer


def recheck_states(rows: pl.DataFrame, reader: Reader, checker: Checker | None) -> pl.DataFrame:
    """Returns a plan's rows with `state` by the present check. A stored text that passes is an answer, even if it
    failed when it came; an answer that does not pass is a failure. With a check it reads every stored text. A body that
    an earlier version could not read, and this one can, is an answer, too."""
    if checker is None and rows["state"].is_in([State.DONE, State.NEW]).all():
        return rows
    rows = _reread(rows, reader)
    with_text = reader.ids_of(*(kind for kind in Kind if kind.policy.billed is Billed.YES))
    unfit = rows["record"].is_in(with_text) & (rows["state"] != State.NEW)
    if checker is None:
        passes = unfit
    else:
        stored = (unfit | (rows["state"] == State.DONE)).arg_true()
        pieces = reader.record_batches(rows["record"].gather(stored).to_list())
        judged = (_passing(ids, records, reader, checker) for ids, records, _ in pieces)
        passes = pl.repeat(None, rows.height, dtype=pl.Boolean, eager=True)
        passes = passes.scatter(stored, pl.concat([pl.Series(dtype=pl.Boolean), *judged]))
    done, failed = pl.lit(State.DONE, pl.UInt8), pl.lit(State.FAILED, pl.UInt8)
    fails = ~passes & (rows["state"] == State.DONE) if checker else pl.lit(value=False)
    return rows.with_columns(state=pl.when(passes).then(done).when(fails).then(failed).otherwise(pl.col("state")))


def _reread(rows: pl.DataFrame, reader: Reader) -> pl.DataFrame:
    kept = rows["record"].is_in(reader.ids_of(Kind.UNUSABLE))  # not what a fresh run looks past
    unusable = (kept & ~rows["state"].is_in([State.DONE, State.NEW])).arg_true()
    if unusable.is_empty():
        return rows
    pieces = reader.record_batches(rows["record"].gather(unusable).to_list())
    readable = [id_ for _, records, _ in pieces for id_, record in records.items() if reader.is_answer(record)]
    done = pl.lit(State.DONE, pl.UInt8)
    return rows.with_columns(state=pl.when(pl.col("record").is_in(readable)).then(done).otherwise(pl.col("state")))


def _passing(ids: Sequence[int], records: Mapping[int, Record], reader: Reader, checker: Checker) -> pl.Series:
    """Returns for each attempt whether its text passes; null if it is damaged."""
    read = {id_: reader.answer(record) for id_, record in records.items()}
    given = {id_: checked_answer(answer) for id_, answer in read.items() if answer}
    passes = {id_: why is None for id_, why in zip(given, checker.failures([*given.values()]), strict=True)}
    return pl.Series([passes.get(id_) for id_ in ids], dtype=pl.Boolean)
