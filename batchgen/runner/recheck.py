"""Applies the job's check to stored texts, whatever check they passed when they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from batchgen.api.failure_kinds import Billed, Kind
from batchgen.checkpoint.index import Index, State
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import Record
from batchgen.job.checker import Checker
from batchgen.send.check import checked_answer

_TEXTS = [kind for kind in Kind if kind.policy.billed is Billed.YES]
"""Outcomes of attempts whose text failed the check when it came."""


def recheck_states(rows: pl.DataFrame, index: Index, reader: Reader, checker: Checker | None) -> pl.DataFrame:
    """Returns a plan's rows with `state` and `record` by the present check. A stored text that passes is an answer,
    even if it failed when it came; an answer that does not pass is a failure. With a check it reads every stored text.
    A body that an earlier version could not read, and this one can, is an answer, too. Where a row's text does not
    serve, the newest other one that does takes its place."""
    if checker is None and rows["state"].is_in([State.DONE, State.NEW]).all():
        return rows
    return _with_other_texts(_by_present_check(_reread(rows, reader), reader, checker), index, reader, checker)


def _by_present_check(rows: pl.DataFrame, reader: Reader, checker: Checker | None) -> pl.DataFrame:
    with_text = reader.ids_of(*_TEXTS)
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


def _with_other_texts(rows: pl.DataFrame, index: Index, reader: Reader, checker: Checker | None) -> pl.DataFrame:
    """Returns the rows, each without an answer with the newest text of its own that serves, if there is one: a check
    that was stricter, a fresh run or damage may have put others before it. Most plans have nothing to look for."""
    without = rows.filter(pl.col("state").is_in([State.OPEN, State.FAILED]))
    others = index.others(without) if without.height else without
    if others.is_empty():
        return rows
    texts = (pl.col("state") == State.DONE) | pl.col("id").is_in(reader.ids_of(Kind.UNUSABLE, *_TEXTS))
    others = others.filter(texts)
    pieces = reader.record_batches(others["id"].to_list())
    serving = [id_ for _, records, _ in pieces for id_ in _serving(records, reader, checker)]
    newest = others.filter(pl.col("id").is_in(serving)).group_by("hi", "lo").agg(pl.col("id").max())
    other = rows.select("hi", "lo").join(newest, on=["hi", "lo"], how="left", maintain_order="left")["id"]
    done = pl.lit(State.DONE, pl.UInt8)
    return rows.with_columns(
        record=pl.when(other.is_null()).then("record").otherwise(other),
        state=pl.when(other.is_null()).then("state").otherwise(done),
    )


def _serving(records: Mapping[int, Record], reader: Reader, checker: Checker | None) -> list[int]:
    """Returns the attempts whose text is readable, and passes."""
    sound = {id_: one for id_, one in records.items() if one.outcome != Kind.UNUSABLE or reader.is_answer(one)}
    if checker is None:
        return [id_ for id_, record in sound.items() if reader.answer(record) is not None]
    return [id_ for id_, passes in zip(sound, _passing([*sound], sound, reader, checker), strict=True) if passes]


def _passing(ids: Sequence[int], records: Mapping[int, Record], reader: Reader, checker: Checker) -> pl.Series:
    """Returns for each attempt whether its text passes; null if it is damaged."""
    read = {id_: reader.answer(record) for id_, record in records.items()}
    given = {id_: checked_answer(answer) for id_, answer in read.items() if answer}
    passes = {id_: why is None for id_, why in zip(given, checker.failures([*given.values()]), strict=True)}
    return pl.Series([passes.get(id_) for id_ in ids], dtype=pl.Boolean)
