"""Input + checkpoint -> one Parquet file or a folder of them (or a CSV, for spreadsheets): a row for each input row, in
input order, whatever happened.

Each file is read back before it appears, and where it appears, and how, is its `Destination`'s. Never holds more than
two row groups, and the pieces that the next one is made of.
"""

from __future__ import annotations

import itertools
import json
import operator
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.errors import InputChanged, MachineRefused
from batchgen.fitness import Fitness
from batchgen.places import Place
from batchgen.results import spreadsheet
from batchgen.results.columns import Results
from batchgen.results.destination import SPREADSHEET, Destination, Writing
from batchgen.results.gate import Tally, texts_in
from batchgen.results.schema import MORE_CHOICES, RESULTS
from batchgen.rows.bounds import UUID
from batchgen.rows.source import Source
from batchgen.runner.index import State
from batchgen.runner.reader import FITS, Reader
from batchgen.runner.survey import row_name
from batchgen.shards import Shard
from batchgen.spoken import counted

METADATA_KEY = b"batchgen"
REJECTED_KEY = "batchgen.rejected"
"""Of a file that the gate rejected: why, as a JSON list."""
PARTIAL_KEY = "batchgen.partial"
"""Of a file that is not complete, and did not take the place of one with more texts: how that is."""
ROW_GROUP_BYTES = 8 << 20
ROW_GROUP_ROWS = 128 << 10
SHOWN_FAILURES = 5
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
AHEAD, LONG = 2, 4096
"""Pieces that are read beside each other, where cores are free, and from how many bytes an answer on: with two at work,
encoding what was read is what takes longest."""


@dataclass
class Published:
    """What the file holds. `damaged`: rows whose stored answer cannot be read any more, and its attempt's id.
    `rejected`: why the gate did not let it take the last good one's place, `partial`: how that one has more texts,
    where rows are unanswered here; then `path` is beside it."""

    path: Place
    rows: int = 0
    ok: int = 0
    failed: int = 0
    pending: int = 0
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
    fitness: Fitness | None = None,
    tally: Tally | None = None,
) -> Published:
    """Writes what `to` names, or beside it where the `tally` shows that the gate rejects it. `rows` are the plan's,
    with `record` and `state` as they are now.

    Raises MachineRefused where it cannot be written, InputChanged where the input changed meanwhile.
    """
    to.refuse(source)
    done = Published(to.place)
    more = rows["record"].is_in(list(reader.with_more_choices())).any()
    inputs = _arrow(pl.DataFrame(schema=source.columns)).schema
    schema = pa.schema(
        [*(field.with_type(_plain(field.type)) for field in inputs), *RESULTS, *([MORE_CHOICES] if more else [])]
    )
    schema = schema.with_metadata({METADATA_KEY: json.dumps(about).encode()})
    with to.writing(lambda: done.path) as part:
        tables = _tables(source, rows, models, reader, schema, done, fitness=fitness, tally=tally)
        if to.place.suffix == SPREADSHEET:
            with part(0) as file:
                spreadsheet.write(file, tables, schema.names)
        else:
            write(part, tables, schema, to.rows_per_file, partial(judge, done, rows.height, tally, to))
        source.verify()
        if done.rows != rows.height:
            raise InputChanged(f"{source.spec.path}: changed while the job was at work; run it again")
    return done


def judge(done: Published, rows: int, tally: Tally | None, to: Destination) -> dict[str, str]:
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
    rows_left = f"{counted(unanswered, 'row')} {'has' if unanswered == 1 else 'have'} none"
    done.partial = (
        f"{to.place} keeps its {counted(standing, 'text')}: of these results {done.ok:,} rows have one and "
        f"{rows_left}; they take its place once every row is answered, or as many"
    )
    return {PARTIAL_KEY: done.partial}


def drop_beside(to: Destination, source: Source) -> None:
    """What the gate rejected earlier, and what was not complete, goes now that a later run stands beside it."""
    to.drop_beside(to.partial, source, PARTIAL_KEY.encode())
    to.drop_beside(to.rejected, source, REJECTED_KEY.encode())


def _parts(tables: Iterator[pa.Table], rows: int | None) -> Iterator[tuple[int, Iterator[pa.Table]]]:
    """The tables, cut after every so many rows; one part at least. Each is used up before the next."""
    if rows is None:
        yield 0, tables
        return
    pieces = _pieces(tables, rows)
    first = next(pieces, None)
    if first is None:
        yield 0, iter(())
        return
    for number, part in itertools.groupby(itertools.chain([first], pieces), key=operator.itemgetter(0)):
        yield number, (table for _, table in part)


def _pieces(tables: Iterator[pa.Table], rows: int) -> Iterator[tuple[int, pa.Table]]:
    """(part, rows of that part alone)."""
    row = 0
    for table in tables:
        start = 0
        while start < table.num_rows:
            piece = table.slice(start, rows - row % rows)
            yield row // rows, piece
            start, row = start + piece.num_rows, row + piece.num_rows


def write(
    part: Writing,
    tables: Iterator[pa.Table],
    schema: pa.Schema,
    rows_per_file: int | None,
    metadata: Callable[[], dict[str, str]] = dict,
) -> None:
    """As Parquet: one file or parts, each of which is read back. `metadata` are asked for and added when a file's rows
    are all written."""
    for number, some in _parts(tables, rows_per_file):
        with part(number) as file:
            rows = _encode(file, _row_groups(some), schema, metadata)
            _verify(file, schema, rows)


def _encode(
    file: BinaryIO, groups: Iterator[list[pa.Table]], schema: pa.Schema, metadata: Callable[[], dict[str, str]]
) -> int:
    """How many rows were written. One row group is encoded and written beside the gathering of the next, without the
    interpreter's lock. `metadata` are asked for when all are written."""

    def put(tables: list[pa.Table]) -> int:
        group = pa.concat_tables(tables).cast(schema)
        writer.write_table(group, row_group_size=group.num_rows)
        return group.num_rows

    rows = 0
    repetitive: Any = _repetitive(schema)
    writer = pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=repetitive)
    with writer, ThreadPoolExecutor(1) as beside:
        written: list[Future[int]] = []
        for tables in groups:
            rows += sum(before.result() for before in written)
            written = [beside.submit(put, tables)]
        rows += sum(last.result() for last in written)
        writer.add_key_value_metadata(metadata())
    return rows


def _repetitive(schema: pa.Schema) -> list[str]:
    """The paths of the columns that get a dictionary: all but numbers with a fraction, as log-probs are. Those hardly
    repeat; without one they take a sixth less time to write, and an eighth less space."""
    empty = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), empty)
    leaves: Any = pq.ParquetFile(pa.BufferReader(empty.getvalue())).schema
    return [leaf.path for leaf in leaves if leaf.physical_type not in {"FLOAT", "DOUBLE"}]


def _plain(dtype: pa.DataType) -> pa.DataType:
    """The type without polars' 64-bit offsets, which other readers of the file need not know."""
    if pa.types.is_large_string(dtype):
        return pa.string()
    if pa.types.is_large_binary(dtype):
        return pa.binary()
    if isinstance(dtype, pa.LargeListType):
        return pa.list_(_plain(dtype.value_type))
    if isinstance(dtype, pa.StructType):
        return pa.struct([field.with_type(_plain(field.type)) for field in dtype])
    if isinstance(dtype, pa.DictionaryType):
        return _plain(dtype.value_type)
    return dtype


def _tables(
    source: Source,
    rows: pl.DataFrame,
    models: Sequence[str],
    reader: Reader,
    schema: pa.Schema,
    done: Published,
    *,
    fitness: Fitness | None,
    tally: Tally | None,
) -> Iterator[pa.Table]:
    for frame in source.batches():
        inputs = _arrow(frame)
        names = frame[source.spec.id] if source.spec.id else None
        start = 0
        for results in _results(rows.slice(done.rows, frame.height), models, reader, fitness):
            size = results.known.height
            _count(done, results, source.spec.part, names.slice(start, size) if names is not None else None)
            if tally is not None:
                tally.add(results.known, pl.Series(values=results.good, dtype=pl.String))
            columns = results.columns(more=MORE_CHOICES.name in schema.names)
            yield pa.table([*inputs.slice(start, size).columns, *columns], names=schema.names)
            start += size


def _arrow(frame: pl.DataFrame) -> pa.Table:
    """The input's columns for a Parquet file, in types that every reader knows."""
    uuids = [name for name, dtype in frame.schema.items() if dtype == UUID]
    table = frame.with_columns(frame[name].ext.storage() for name in uuids).to_arrow(
        compat_level=pl.CompatLevel.oldest()
    )
    for name in uuids:
        at = table.column_names.index(name)
        storage: Any = table.column(at).cast(pa.binary(16)).combine_chunks()
        table = table.set_column(at, name, pa.ExtensionArray.from_storage(pa.uuid(), storage))
    return table


def _results(rows: pl.DataFrame, models: Sequence[str], reader: Reader, fitness: Fitness | None) -> Iterator[Results]:
    """Piece by piece, in order. Long answers are read beside this thread, which takes the next ones from the
    checkpoint; short ones here, since most of their reading needs the interpreter's lock, and so is one that fills
    the memory alone. On a single core threads only take its cache from each other: a tenth more time."""
    start = 0
    waiting: deque[Future[Results]] = deque()
    with ThreadPoolExecutor(AHEAD) as beside:
        for ids, records in reader.pieces(rows["record"].to_list()):
            given = rows.slice(start, len(ids)), models, records, reader, fitness
            start += len(ids)
            if CORES > 1 and LONG * len(ids) < sum(len(record.body or b"") for record in records.values()) <= FITS:
                waiting.append(beside.submit(Results, *given))
            else:
                yield from _ended(waiting, 0)
                yield Results(*given)
            yield from _ended(waiting, AHEAD)
        yield from _ended(waiting, 0)


def _ended(waiting: deque[Future[Results]], most: int) -> Iterator[Results]:
    """The first of them, until so many are left."""
    while len(waiting) > most:
        yield waiting.popleft().result()


def _count(done: Published, results: Results, part: Shard, names: pl.Series | None) -> None:
    """Adds a piece to what the file holds; names the rows that have no text that serves."""
    for at in results.without:
        row = row_name(part, done.rows + at, names[at] if names is not None else None)
        if results.states[at] == State.DONE and not results.has_text(at):
            done.damaged[results.ids[at]] = row
        if results.status(at) == "failed":
            done.fail(row, results.outcome(at), str(results.error(at)))
        else:
            done.pending += 1
    done.rows += len(results.ids)
    done.ok = done.rows - done.failed - done.pending


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[list[pa.Table]]:
    waiting: list[pa.Table] = []
    size = rows = 0
    for table in tables:
        waiting.append(table)
        size, rows = size + table.nbytes, rows + table.num_rows
        if size >= ROW_GROUP_BYTES or rows >= ROW_GROUP_ROWS:
            yield waiting
            waiting, size, rows = [], 0, 0
    if waiting:
        yield waiting


def _verify(file: BinaryIO, schema: pa.Schema, rows: int) -> None:
    """Reads back what a reader will rely on, before the old file is given up."""
    file.flush()
    file.seek(0)
    written = pq.ParquetFile(file)
    if written.metadata.num_rows != rows or not written.schema_arrow.equals(schema):
        raise MachineRefused("the file that was written does not read back as what was meant: it was not published")
