"""Publishes results from input and checkpoint: one Parquet file or a folder of them, or a file for other tools. It has
a row for each input row, in input order, whatever happened.

The writer counts, the gate judges, the file is finished, the destination puts it in place. `formats` knows how a file
is encoded, `destination` where it appears.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from batchgen.checkpoint.index import State
from batchgen.checkpoint.reader import BYTES_PER_READ, Reader
from batchgen.errors import InputChanged
from batchgen.input.row_checksum import RowChecksum
from batchgen.input.source import Source
from batchgen.input.texts import texts
from batchgen.job.checker import Checker
from batchgen.job.shard import row_name
from batchgen.output.answer_sample import AnswerMeter, AnswerSample
from batchgen.output.column_names import result_columns
from batchgen.output.columns import ResultColumns
from batchgen.output.destination import Destination
from batchgen.output.formats import has_short_cells, left_out, refuse_rows, writer_for
from batchgen.output.gate import GateStats, texts_in
from batchgen.output.input_columns import arrow, json_columns, plain_type
from batchgen.output.owner import METADATA_KEY
from batchgen.output.schema import CHOICE, MORE_CHOICES, RESULTS
from batchgen.output.selection import ALL, Piece, Selection
from batchgen.output.typed_columns import fields as typed_fields
from batchgen.storage.location import Location
from batchgen.ui.humanize import inflect, pluralize

REJECTED_KEY = "batchgen.rejected"
"""Metadata key of a file that the gate rejected: the reasons, as a JSON list."""
PARTIAL_KEY = "batchgen.partial"
"""Metadata key of an incomplete file that did not replace one with more texts: the reason."""
WHOLE_KEY = "batchgen.whole"
"""Metadata key of a shard's results: the checksum of the whole input's rows."""
SHOWN_FAILURES = 5
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
AHEAD, LONG = 2, 4096
"""How many pieces are decoded in parallel if cores are free, and from how many bytes per answer on. With two,
encoding takes longest."""


@dataclass
class PublishResult:
    """What was published. `answers`: their measures. `cut_off`: answers that ended at their maximum length. `empty`:
    texts without a character. `damaged`: the ids of attempts whose stored answer cannot be read any more, with the row.
    `rejected`: why the gate did not let the file replace the last good one. `partial`: why it did not replace one with
    more texts, if rows are unanswered here. In both cases `path` is next to that one. `whole`: of a shard, the checksum
    of the rows of all shards."""

    path: Location
    answers: AnswerSample | None = None
    rows: int = 0
    ok: int = 0
    failed: int = 0
    pending: int = 0
    cut_off: int = 0
    empty: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    damaged: dict[int, str] = field(default_factory=dict)
    rejected: list[str] = field(default_factory=list)
    partial: str | None = None
    whole: RowChecksum | None = None

    def fail(self, row: str, reason: str, error: str) -> None:
        self.failed += 1
        self.reasons[reason] += 1
        if len(self.failures) < SHOWN_FAILURES:
            self.failures.append(f"{row}: {error}")

    def settle(self, to: Destination, rejected: list[str]) -> None:
        """Sets where the results go, once all are counted: next to the last good ones if the gate rejected them
        (`rejected` says why), or if rows have no text and the existing results have more texts; else in their place."""
        self.rejected = rejected
        if rejected:
            self.path = to.rejected
            return
        unanswered = self.failed + self.pending
        standing = texts_in(to.place) if to.is_own and unanswered else 0
        if self.ok >= standing:
            return
        self.path = to.partial
        rows_left = f"{pluralize(unanswered, 'row')} {inflect(unanswered, 'has', 'have')} none"
        self.partial = (
            f"{to.place} keeps its {pluralize(standing, 'text')}: of these results {pluralize(self.ok, 'row')} "
            f"{inflect(self.ok, 'has', 'have')} one and "
            f"{rows_left}; they take its place once every row is answered, or as many"
        )

    def keep(self, statuses: Collection[str]) -> None:
        """Drops the rows of all other statuses from the counts, once all are counted."""
        self.ok, self.failed, self.pending = (
            count if status in statuses else 0
            for status, count in (("ok", self.ok), ("failed", self.failed), ("pending", self.pending))
        )
        self.rows = self.ok + self.failed + self.pending
        if not self.failed:
            self.reasons.clear()
            self.failures.clear()

    @property
    def metadata(self) -> dict[str, str]:
        """Returns what the file says of the whole input, and of its place, if it is beside that of the last good
        ones."""
        whole = {WHOLE_KEY: str(self.whole)} if self.whole is not None else {}
        if self.rejected:
            return {**whole, REJECTED_KEY: json.dumps(self.rejected)}
        return {**whole, PARTIAL_KEY: self.partial} if self.partial else whole


@dataclass(frozen=True)
class AnsweredRows:
    """An input's rows with their stored answers. `rows`: the plan's, with the current `record` and `state`.
    `models`: what their model numbers stand for."""

    source: Source
    rows: pl.DataFrame
    models: Sequence[str]
    reader: Reader
    checker: Checker | None

    def schema(self, about: dict[str, Any]) -> pa.Schema:
        """Returns the results' columns; `about` goes into the metadata."""
        more = self.rows["record"].is_in(list(self.reader.with_more_choices())).any()
        columns = self.source.columns
        empty = arrow(pl.DataFrame(schema=columns), json_columns(columns))
        inputs = [field.with_type(plain_type(field.type)) for field in empty.schema]
        results = [RESULTS.field(name) for name in result_columns(columns)]
        typed = typed_fields(self.checker.columns if self.checker is not None else ())
        schema = pa.schema([*inputs, *results, *typed, *([MORE_CHOICES] if more else [])])
        return schema.with_metadata({METADATA_KEY: json.dumps(about).encode()})

    def refuse_changed(self, rows: int) -> None:
        """Raises InputChanged if the input is not what it was, or had so many rows when it was read."""
        self.source.verify()
        if rows != self.rows.height:
            raise InputChanged.of(self.source.spec.path)


def publish(
    answered: AnsweredRows,
    to: Destination,
    about: dict[str, Any],
    *,
    stats: GateStats | None = None,
    selection: Selection = ALL,
) -> PublishResult:
    """Writes the results to `to`, or next to it if the gate rejects them by `stats`.

    Raises UsageError if the selection or the format does not fit the results, MachineRefused if they cannot be
    written, InputChanged if the input changed meanwhile.
    """
    to.refuse(answered.source)
    if selection.statuses is None:
        refuse_rows(to, answered.rows.height)
    done = PublishResult(to.place, whole=RowChecksum() if answered.source.spec.shard else None)
    whole = answered.schema(about)
    names = selection.names(whole.names, left_out(to))
    schema = pa.schema([whole.field(name) for name in names]).with_metadata(whole.metadata)
    with to.draft() as draft, writer_for(to, draft, schema) as file:
        pieces = selection.pieces(_tables(answered, whole, done, stats), names)
        file.write(map(_without_log_probs, pieces) if has_short_cells(to) and "log_probs" not in names else pieces)
        answered.refuse_changed(done.rows)
        with to.in_turn():
            done.settle(to, stats.reasons(done.rows, done.failed, done.pending) if stats else [])
            file.finish(done.metadata)
            draft.put(done.path)
            if to.is_own and done.path == to.place:
                _drop_beside(to, answered.source)
    if selection.statuses is not None:
        done.keep(selection.statuses)
    return done


def _without_log_probs(piece: Piece) -> Piece:
    """Leaves out the further choices' log-probs, which are longer than a cell may be."""
    at = piece.table.schema.get_field_index(MORE_CHOICES.name)
    if at < 0:
        return piece
    choices = pa.list_(pa.struct([field for field in CHOICE if field.name != "log_probs"]))
    return piece._replace(table=piece.table.set_column(at, MORE_CHOICES.name, piece.table.column(at).cast(choices)))


def _drop_beside(to: Destination, source: Source) -> None:
    """Removes what the gate rejected earlier, and incomplete results, once a later run's exist."""
    to.drop_beside(to.partial, source, PARTIAL_KEY.encode())
    to.drop_beside(to.rejected, source, REJECTED_KEY.encode())


def _tables(answered: AnsweredRows, schema: pa.Schema, done: PublishResult, stats: GateStats | None) -> Iterator[Piece]:
    """Yields all rows, in input order, and counts them."""
    source = answered.source
    as_json = json_columns(source.columns)
    meter = AnswerMeter(answered.rows.height)
    for frame, numbers in source.numbered(whole=done.whole):
        inputs = arrow(frame, as_json)
        names = texts(frame[source.spec.id]) if source.spec.id else None
        start = 0
        for results in _results(answered, answered.rows.slice(done.rows, frame.height)):
            size = results.rows.height
            own = numbers.slice(start, size)
            _count(done, results, own, names.slice(start, size) if names is not None else None)
            meter.add(results.answered_by(), results.answers)
            if stats is not None:
                stats.add(results.rows, pl.Series(values=results.good, dtype=pl.String))
            columns = results.columns(schema.names[len(inputs.columns) :])
            yield Piece(own, pa.table([*inputs.slice(start, size).columns, *columns], names=schema.names))
            start += size
    done.answers = meter.sample()


def _results(answered: AnsweredRows, rows: pl.DataFrame) -> Iterator[ResultColumns]:
    """Yields the result columns piece by piece, in order. Long answers are decoded in other threads, while this one
    takes the next from the checkpoint. Short answers are decoded here, since most of that needs the interpreter's
    lock; so is a piece that fills the memory alone. On a single core, threads only compete for its cache: a tenth
    more time."""
    start = 0
    waiting: deque[Future[ResultColumns]] = deque()
    with ThreadPoolExecutor(AHEAD) as beside:
        for ids, records, size in answered.reader.record_batches(rows["record"].to_list()):
            piece = rows.slice(start, len(ids))
            given = piece, answered.models, records, answered.reader, answered.checker
            start += len(ids)
            if CORES > 1 and LONG * len(ids) < size <= BYTES_PER_READ:
                waiting.append(beside.submit(ResultColumns, *given))
            else:
                yield from _ended(waiting, 0)
                yield ResultColumns(*given)
            yield from _ended(waiting, AHEAD)
        yield from _ended(waiting, 0)


def _ended(waiting: deque[Future[ResultColumns]], most: int) -> Iterator[ResultColumns]:
    """Yields the first of them, until `most` are left."""
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
    done.empty += results.empty
    done.ok = done.rows - done.failed - done.pending
