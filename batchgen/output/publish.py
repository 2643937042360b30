"""Input + checkpoint -> one Parquet file or a folder of them (or a CSV, for spreadsheets): a row for each input row, in
input order, whatever happened.

How a file is encoded is `encoding`'s, where it appears, and how, its `Destination`'s.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import polars as pl
import pyarrow as pa

from batchgen.checkpoint.index import State
from batchgen.checkpoint.reader import BYTES_PER_READ, Reader
from batchgen.errors import InputChanged
from batchgen.input.source import Source
from batchgen.input.texts import texts
from batchgen.job.checker import Checker
from batchgen.job.shard import row_name
from batchgen.output import csv_export
from batchgen.output.column_names import result_columns
from batchgen.output.columns import ResultColumns
from batchgen.output.destination import SPREADSHEET, Destination
from batchgen.output.gate import GateStats, texts_in
from batchgen.output.input_columns import arrow, as_texts, plain_type
from batchgen.output.parquet_writer import write
from batchgen.output.schema import MORE_CHOICES, RESULTS
from batchgen.output.typed_columns import fields as typed_fields
from batchgen.storage.location import Location
from batchgen.ui.humanize import pluralize

METADATA_KEY = b"batchgen"
REJECTED_KEY = "batchgen.rejected"
"""Of a file that the gate rejected: why, as a JSON list."""
PARTIAL_KEY = "batchgen.partial"
"""Of a file that is not complete, and did not take the place of one with more texts: how that is."""
SHOWN_FAILURES = 5
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
AHEAD, LONG = 2, 4096
"""Pieces that are read beside each other, where cores are free, and from how many bytes an answer on: with two at work,
encoding what was read is what takes longest."""


@dataclass
class PublishResult:
    """What the file holds. `cut_off`: answers that ended at their longest. `damaged`: rows whose stored
    answer cannot be read any more, and its attempt's id.
    `rejected`: why the gate did not let it take the last good one's place, `partial`: how that one has more texts,
    where rows are unanswered here; then `path` is beside it."""

    path: Location
    rows: int = 0
    ok: int = 0
    failed: int = 0
    pending: int = 0
    cut_off: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    damaged: dict[int, str] = field(default_factory=dict)
    rejected: list[str] = field(default_factory=list)
    partial: str | None = None

    def fail(self, row: str, reason: str, error: str) -> None:
        self.failed += 1
        self.reasons[reason] += 1
        if len(self.failures) < SHOWN_FAILURES:
            self.failures.append(f"{row}: {error}")


def publish(
    source: Source,
    rows: pl.DataFrame,
    models: Sequence[str],
    reader: Reader,
    to: Destination,
    about: dict[str, Any],
    *,
    fitness: Checker | None = None,
    tally: GateStats | None = None,
) -> PublishResult:
    """Writes what `to` names, or beside it where the `tally` shows that the gate rejects it. `rows` are the plan's,
    with `record` and `state` as they are now.

    Raises MachineRefused where it cannot be written, InputChanged where the input changed meanwhile.
    """
    to.refuse(source)
    done = PublishResult(to.place)
    more = rows["record"].is_in(list(reader.with_more_choices())).any()
    told = as_texts(source.columns)
    inputs = [
        field.with_type(plain_type(field.type)) for field in arrow(pl.DataFrame(schema=source.columns), told).schema
    ]
    names = result_columns(source.columns)
    made = typed_fields(fitness.columns if fitness is not None else ())
    schema = pa.schema([*inputs, *(RESULTS.field(name) for name in names), *made, *([MORE_CHOICES] if more else [])])
    schema = schema.with_metadata({METADATA_KEY: json.dumps(about).encode()})
    with to.writing(lambda: done.path) as part:
        tables = _tables(source, rows, models, reader, schema, done, fitness=fitness, tally=tally)
        if to.place.suffix == SPREADSHEET:
            with part(0) as file:
                csv_export.write(file, tables, schema.names)
        else:
            write(part, tables, schema, to.rows_per_file, partial(judge, done, rows.height, tally, to))
        source.verify()
        if done.rows != rows.height:
            raise InputChanged(f"{source.spec.path}: changed while the job was at work; run it again")
    return done


def judge(done: PublishResult, rows: int, tally: GateStats | None, to: Destination) -> dict[str, str]:
    """Sends the results beside the last good ones where the gate rejects them, or where they are not complete and
    those have more texts. What the metadata say of that; where there are parts, at least of the last."""
    if done.rows != rows:
        return {}
    done.rejected = tally.reasons(done.rows, done.failed, done.pending) if tally else []
    if done.rejected:
        done.path = to.rejected
        return {REJECTED_KEY: json.dumps(done.rejected)}
    unanswered = done.failed + done.pending
    standing = texts_in(to.place) if to.is_own and unanswered else 0
    if done.ok >= standing:
        return {}
    done.path = to.partial
    rows_left = f"{pluralize(unanswered, 'row')} {'has' if unanswered == 1 else 'have'} none"
    done.partial = (
        f"{to.place} keeps its {pluralize(standing, 'text')}: of these results {done.ok:,} rows have one and "
        f"{rows_left}; they take its place once every row is answered, or as many"
    )
    return {PARTIAL_KEY: done.partial}


def drop_beside(to: Destination, source: Source) -> None:
    """What the gate rejected earlier, and what was not complete, goes now that a later run stands beside it."""
    to.drop_beside(to.partial, source, PARTIAL_KEY.encode())
    to.drop_beside(to.rejected, source, REJECTED_KEY.encode())


def _tables(
    source: Source,
    rows: pl.DataFrame,
    models: Sequence[str],
    reader: Reader,
    schema: pa.Schema,
    done: PublishResult,
    *,
    fitness: Checker | None,
    tally: GateStats | None,
) -> Iterator[pa.Table]:
    told = as_texts(source.columns)
    for frame, numbers in source.numbered():
        inputs = arrow(frame, told)
        names = texts(frame[source.spec.id]) if source.spec.id else None
        start = 0
        for results in _results(rows.slice(done.rows, frame.height), models, reader, fitness):
            size = results.known.height
            _count(done, results, numbers.slice(start, size), names.slice(start, size) if names is not None else None)
            if tally is not None:
                tally.add(results.known, pl.Series(values=results.good, dtype=pl.String))
            columns = results.columns(schema.names[len(inputs.columns) :])
            yield pa.table([*inputs.slice(start, size).columns, *columns], names=schema.names)
            start += size


def _results(
    rows: pl.DataFrame, models: Sequence[str], reader: Reader, fitness: Checker | None
) -> Iterator[ResultColumns]:
    """Piece by piece, in order. Long answers are read beside this thread, which takes the next ones from the
    checkpoint; short ones here, since most of their reading needs the interpreter's lock, and so is one that fills
    the memory alone. On a single core threads only take its cache from each other: a tenth more time."""
    start = 0
    waiting: deque[Future[ResultColumns]] = deque()
    with ThreadPoolExecutor(AHEAD) as beside:
        for ids, records, size in reader.record_batches(rows["record"].to_list()):
            given = rows.slice(start, len(ids)), models, records, reader, fitness
            start += len(ids)
            if CORES > 1 and LONG * len(ids) < size <= BYTES_PER_READ:
                waiting.append(beside.submit(ResultColumns, *given))
            else:
                yield from _ended(waiting, 0)
                yield ResultColumns(*given)
            yield from _ended(waiting, AHEAD)
        yield from _ended(waiting, 0)


def _ended(waiting: deque[Future[ResultColumns]], most: int) -> Iterator[ResultColumns]:
    """The first of them, until so many are left."""
    while len(waiting) > most:
        yield waiting.popleft().result()


def _count(done: PublishResult, results: ResultColumns, numbers: pl.Series, names: pl.Series | None) -> None:
    """Adds a piece to what the file holds; names the rows that have no text that serves."""
    for at in results.without:
        row = row_name(numbers[at], names[at] if names is not None else None)
        if results.states[at] == State.DONE and not results.has_text(at):
            done.damaged[results.ids[at]] = row
        if results.status(at) == "failed":
            done.fail(row, results.outcome(at), str(results.error(at)))
        else:
            done.pending += 1
    done.rows += len(results.ids)
    done.cut_off += results.cut_off
    done.ok = done.rows - done.failed - done.pending
