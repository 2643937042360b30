"""Merges the results of an input's shards, in the order of the whole input: row r is row r // n of shard r % n + 1.

Appears whole, as published results do, and is read back first. Holds a few hundred rows of each shard, one or two row
groups of the output, and a hash of each row's name.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.errors import UsageError
from batchgen.input.bounds import BATCH_ROWS
from batchgen.input.texts import texts
from batchgen.job.shard import Shard, row_name
from batchgen.output.column_names import ANSWER_DETAILS
from batchgen.output.destination import Destination, exists
from batchgen.output.owner import METADATA_KEY
from batchgen.output.parquet_writer import ParquetWriter
from batchgen.output.publish import WHOLE_KEY, PublishResult
from batchgen.output.schema import MORE_CHOICES
from batchgen.output.selection import Piece
from batchgen.storage.listing import files_at
from batchgen.storage.location import Location
from batchgen.ui.humanize import first_line, inflect, pluralize


@dataclass(frozen=True)
class ShardFile:
    """The open results of a shard: its files, in order."""

    place: Location
    parts: Sequence[pq.ParquetFile]

    @property
    def schema(self) -> pa.Schema:
        return self.parts[0].schema_arrow.remove_metadata()

    @property
    def whole(self) -> bytes | None:
        """Returns the checksum of the whole input's rows; None in results of before 0.7.0."""
        return (self.parts[-1].metadata.metadata or {}).get(WHOLE_KEY.encode())

    @property
    def rows(self) -> int:
        return sum(part.metadata.num_rows for part in self.parts)

    def groups(self) -> Iterator[int]:
        """Yields the rows of each row group, except for each file's last one, which may be shorter."""
        for part in self.parts:
            yield from (part.metadata.row_group(group).num_rows for group in range(part.num_row_groups - 1))

    def steps(self, rows: int, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yields tables of that many rows, the last one may be shorter, with the columns of all shards."""
        waiting = schema.empty_table()
        with _reading(self.place):
            for batch in itertools.chain.from_iterable(
                part.iter_batches(rows, use_threads=False) for part in self.parts
            ):
                waiting = pa.concat_tables([waiting, _with_all(pa.Table.from_batches([batch]), schema)])
                if waiting.num_rows >= rows:
                    yield waiting.slice(0, rows)
                    waiting = waiting.slice(rows)
        if waiting.num_rows:
            yield waiting


def read_metadata(place: Location) -> Any:
    """Returns what a results file says of its origin. Raises UsageError if it is not a results file."""
    with _opened(place) as shard:
        said = (shard.parts[-1].schema_arrow.metadata or {}).get(METADATA_KEY)
    if said is None:
        raise UsageError(f"{place}: is not a results file of batchgen")
    return json.loads(said)


def interleave(
    shards: Sequence[Location], to: Destination, said: Mapping[str, Any], name: str | None, paths: Collection[str] = ()
) -> PublishResult:
    """Writes the results of all shards as one. `shards`: all of an input, in order. `said`: the metadata to write.
    `name`: the column that names a row. `paths`: where their jobs have the input.

    Raises UsageError if they are not of one input, MachineRefused if `to` cannot be written.
    """
    done = PublishResult(to.place)
    with ExitStack() as stack:
        opened = [stack.enter_context(_opened(place)) for place in shards]
        schema = _schema(opened).with_metadata({METADATA_KEY: json.dumps(said).encode()})
        _refuse_uneven(opened)
        _refuse_other_rows(opened, paths)
        selected = any(one["settings"]["input"].get("where") for one in said.get("merged", ()))
        with to.draft() as draft, ParquetWriter(draft, schema, to.rows_per_file) as file:
            woven = _distinct(_woven(opened, schema), name)
            file.write(_count(woven, done, name, selected=selected))
            _refuse_missing(done.rows, opened)
            with to.in_turn():
                done.settle(to, rejected=[])  # each shard's results have passed the gate
                file.finish(done.metadata)
                draft.put(done.path)
    return done


@contextmanager
def _reading(place: Location) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UsageError(f"{place}: no such results: run this shard first") from None
    except (pa.ArrowException, OSError) as error:
        said = first_line(error)
        raise UsageError(f"{place}: cannot be read: {said}; `batchgen export` publishes it again") from None


@contextmanager
def _opened(place: Location) -> Iterator[ShardFile]:
    with ExitStack() as stack:
        with _reading(place):
            if not exists(place):
                raise FileNotFoundError
            files = [stack.enter_context(file.open("rb")) for file in files_at(place)]
            parts = [stack.enter_context(pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)) for file in files]
        yield ShardFile(place, parts)


def _schema(opened: Sequence[ShardFile]) -> pa.Schema:
    """Returns the columns of all shards. Details of an answer may be missing in some, as earlier versions have none,
    and `more_choices`."""
    plain = [pa.schema([field for field in shard.schema if field.name != MORE_CHOICES.name]) for shard in opened]
    full = max(plain, key=lambda schema: len({*ANSWER_DETAILS} & {*schema.names}))
    for shard, schema in zip(opened, plain, strict=True):
        due = pa.schema([field for field in full if field.name in schema.names or field.name not in ANSWER_DETAILS])
        if schema != due:
            names = (f.name for f in [*schema, *due] if f not in schema or f not in due)
            odd, other = next(names, "their order"), opened[plain.index(full)].place.name
            raise UsageError(f"{shard.place}: its columns differ from those of {other}: {odd}")
    has_more = any(MORE_CHOICES.name in shard.schema.names for shard in opened)
    return full.append(MORE_CHOICES) if has_more else full


def _refuse_uneven(opened: Sequence[ShardFile]) -> None:
    """Raises UsageError if the shards' rows are not those of one input: they differ by one at most, and the longer
    ones come first."""
    whole = sum(shard.rows for shard in opened)
    for number, shard in enumerate(opened, 1):
        due = Shard(number, len(opened)).rows(whole)
        if shard.rows != due:
            raise UsageError(
                f"{shard.place}: has {pluralize(shard.rows, 'row')} where a shard of {pluralize(whole, 'row')} in all "
                f"has {due:,}: the input changed between the runs; run all shards again"
            )


def _refuse_other_rows(opened: Sequence[ShardFile], paths: Collection[str]) -> None:
    """Raises UsageError if the shards were read from inputs that differ: a row may be in two shards, or in none; or if
    that is not known, since a checksum is missing, and their jobs have it at several `paths`."""
    known = [shard for shard in opened if shard.whole is not None]
    for shard in known:
        if shard.whole != known[0].whole:
            raise UsageError(
                f"{shard.place}: is a shard of other rows than {known[0].place.name}: the input changed between the "
                "runs; run all shards again"
            )
    if len(known) < len(opened) and len({*paths}) > 1:
        old = next(shard.place for shard in opened if shard.whole is None)
        raise UsageError(
            f"{old}: says nothing of the input that it was made of, as results of before 0.7.0, and the shards' jobs "
            "have theirs at different paths: run it again, which buys nothing, or let the paths be one"
        )


def _refuse_missing(rows: int, opened: Sequence[ShardFile]) -> None:
    """Raises UsageError if damaged files gave fewer rows than their footers promise."""
    due = sum(shard.rows for shard in opened)
    if rows != due:
        held = f"{pluralize(rows, 'row')} where {due:,} {inflect(due, 'is', 'are')} due"
        raise UsageError(f"the shards' results hold {held}: `batchgen export` each again")


def _woven(opened: Sequence[ShardFile], schema: pa.Schema) -> Iterator[pa.Table]:
    step = max(1, min([BATCH_ROWS, *(rows for shard in opened for rows in shard.groups())]) // len(opened))
    sources = [shard.steps(step, schema) for shard in opened]
    while tables := [table for source in sources for table in [next(source, None)] if table is not None]:
        yield pa.concat_tables(tables).combine_chunks().take(_turns([table.num_rows for table in tables]))


def _turns(heights: Sequence[int]) -> pa.Array[Any]:
    """Returns the rows of stacked tables in the order of one row from each in turn."""
    starts = [sum(heights[:at]) for at in range(len(heights))]
    turns = [
        start + row
        for row in range(max(heights))
        for start, height in zip(starts, heights, strict=True)
        if row < height
    ]
    return pa.array(turns, pa.int64())


def _with_all(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Returns the table with these columns: nulls where it has none. Casts the choices of an earlier version."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _distinct(tables: Iterator[pa.Table], name: str | None) -> Iterator[pa.Table]:
    """Yields the tables. Raises UsageError at the end if two rows have one name, as a job without shards does."""
    hashes = [pl.Series(dtype=pl.UInt64)]
    for table in tables:
        if name is not None:
            hashes.append(texts(pl.Series(table[name])).hash())
        yield table
    names = pl.concat(hashes)
    again = (~names.is_first_distinct()).arg_true()
    if again.len():
        first = names.index_of(names[again[0]])
        raise UsageError(
            f"rows {(first or 0) + 1:,} and {again[0] + 1:,} of the whole have the same {name}, which is input.id: "
            "mend the input, or leave input.id out, and run all shards again"
        )


def _count(tables: Iterator[pa.Table], done: PublishResult, name: str | None, *, selected: bool) -> Iterator[Piece]:
    """Yields the tables, and counts their rows. `selected`: the results hold some rows of the input, and do not say
    which."""
    for table in tables:
        statuses, errors = table["status"].to_pylist(), table["error"]
        names = table[name] if name is not None else None
        for at, status in enumerate(statuses):
            if status == "failed":
                said = str(errors[at].as_py())
                row = row_name(done.rows + at + 1, names and names[at].as_py())
                done.fail(f"{row} of the results" if selected else row, said.partition(":")[0], said)
        rows = pl.int_range(done.rows + 1, done.rows + table.num_rows + 1, dtype=pl.Int64, eager=True)
        done.rows += table.num_rows
        done.pending += statuses.count("pending")
        done.ok = done.rows - done.failed - done.pending
        yield Piece(rows, table)
