"""Results of an input's shards -> one file, in the order of the whole input: row r is row r // n of shard r % n + 1.

Appears whole, as published results do, and is read back before. Holds a few hundred rows of each shard, and a row
group or two of what is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.errors import UsageError
from batchgen.results.columns import MORE_CHOICES
from batchgen.results.parquet import METADATA_KEY, Published, row_groups, verify, write
from batchgen.results.replacing import replacing
from batchgen.rows.bounds import BATCH_ROWS
from batchgen.runner.survey import row_name
from batchgen.shards import WHOLE, Shard


def about(path: Path) -> Any:
    """What a results file says of where it came from. Raises UsageError where it is no results file."""
    with _reading(path), pq.ParquetFile(path) as file:
        said = (file.schema_arrow.metadata or {}).get(METADATA_KEY)
    if said is None:
        raise UsageError(f"{path}: is no results file of batchgen")
    return json.loads(said)


def merge(files: Sequence[Path], target: Path, said: Mapping[str, Any], name: str | None) -> Published:
    """`files` are all shards' in their order, `said` goes into the metadata, `name` is the column that names a row.

    Raises UsageError where the files are not of one input, MachineRefused where `target` cannot be written.
    """
    done = Published(target)
    with ExitStack() as stack:
        opened = {path: stack.enter_context(_opened(path)) for path in files}
        schema = _schema(opened).with_metadata({METADATA_KEY: json.dumps(said).encode()})
        _refuse_uneven(opened)
        with replacing(target) as file:
            write(file, row_groups(_counted(_woven(opened, schema), done, name)), schema)
            verify(file, schema, done.rows)
    return done


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UsageError(f"{path}: no such results: run this shard first") from None
    except (pa.ArrowException, OSError) as error:
        said = str(error).splitlines()[0]
        raise UsageError(f"{path}: cannot be read: {said}; `batchgen export` publishes it again") from None


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    with _reading(path):
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    with file:
        yield file


def _schema(opened: Mapping[Path, pq.ParquetFile]) -> pa.Schema:
    """Of all; what some alone have is `more_choices`."""
    schemas = {path: file.schema_arrow.remove_metadata() for path, file in opened.items()}
    plain = {path: pa.schema([field for field in schema if field != MORE_CHOICES]) for path, schema in schemas.items()}
    (first, expected), *others = plain.items()
    for path, schema in others:
        if schema != expected:
            odd = next((f.name for f in [*schema, *expected] if f not in schema or f not in expected), "their order")
            raise UsageError(f"{path}: its columns are not those of {first.name}: {odd}")
    return expected if plain == schemas else expected.append(MORE_CHOICES)


def _refuse_uneven(opened: Mapping[Path, pq.ParquetFile]) -> None:
    """One input's shards differ by a row at most, the first ones being the longer."""
    rows = {path: file.metadata.num_rows for path, file in opened.items()}
    whole = sum(rows.values())
    for number, (path, count) in enumerate(rows.items(), 1):
        due = Shard(number, len(rows)).rows(whole)
        if count != due:
            raise UsageError(
                f"{path}: has {count:,} rows where a shard of {whole:,} rows in all has {due:,}: "
                "the input changed between the runs; run all shards again"
            )


def _woven(opened: Mapping[Path, pq.ParquetFile], schema: pa.Schema) -> Iterator[pa.Table]:
    step = _step(list(opened.values()))
    sources = [_steps(path, file, step, schema) for path, file in opened.items()]
    while tables := [table for source in sources for table in [next(source, None)] if table is not None]:
        yield pa.concat_tables(tables).combine_chunks().take(_turns([table.num_rows for table in tables]))


def _turns(heights: Sequence[int]) -> pa.Array[Any]:
    """The rows of tables that stand below each other, one of each in turn."""
    starts = [sum(heights[:at]) for at in range(len(heights))]
    turns = [
        start + row
        for row in range(max(heights))
        for start, height in zip(starts, heights, strict=True)
        if row < height
    ]
    return pa.array(turns, pa.int64())


def _step(files: Sequence[pq.ParquetFile]) -> int:
    """Rows of each shard that are held together: of all, no more than stand in a row group, which has bounds. A
    file's last one may be short for want of rows."""
    groups = [file.metadata.row_group(group).num_rows for file in files for group in range(file.num_row_groups - 1)]
    return max(1, min([BATCH_ROWS, *groups]) // len(files))


def _steps(path: Path, file: pq.ParquetFile, step: int, schema: pa.Schema) -> Iterator[pa.Table]:
    """The file's rows, so many at a time, with the columns of all."""
    with _reading(path):
        for batch in file.iter_batches(step, use_threads=False):  # fewer at the end alone
            yield _with_all(pa.Table.from_batches([batch]), schema)


def _with_all(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table.column(field.name) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _counted(tables: Iterator[pa.Table], done: Published, name: str | None) -> Iterator[pa.Table]:
    for table in tables:
        statuses, errors = table["status"].to_pylist(), table["error"]
        names = table[name] if name is not None else None
        for at, status in enumerate(statuses):
            if status == "failed":
                said = str(errors[at].as_py())
                done.fail(row_name(WHOLE, done.rows + at, names and names[at].as_py()), said.partition(":")[0], said)
        done.rows += table.num_rows
        done.pending += statuses.count("pending")
        done.ok = done.rows - done.failed - done.pending
        yield table
