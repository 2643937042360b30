"""Input + checkpoint -> the one Parquet file: a row for each input row, in input order, whatever happened.

Atomic: a temporary file in the same folder, fsync, read back, rename, fsync of the folder. A reader sees
the old file or the new one, whole; a failure at any step leaves the old one untouched. Never holds more
than a row group, and never opens the network.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from batchgen import folders
from batchgen.api.contract import Completion, read_answer
from batchgen.errors import MachineRefused, UsageError
from batchgen.results.log_probs import CHOICES, LOG_PROBS, choices, log_probs
from batchgen.rows.source import Source
from batchgen.run.checkpoint import OK, Record
from batchgen.run.index import State
from batchgen.run.plan import row_name
from batchgen.run.reader import Reader

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
METADATA_KEY = b"batchgen"
FETCHED_ROWS = 256
ROW_GROUP_BYTES = 32 << 20
ROW_GROUP_ROWS = 128 << 10
SHOWN_FAILURES = 5


@dataclass
class Published:
    """What the file holds. `damaged`: rows whose stored answer cannot be read any more, and its attempt's id."""

    path: Path
    rows: int = 0
    ok: int = 0
    failed: int = 0
    pending: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    damaged: dict[int, str] = field(default_factory=dict)


def refuse_collisions(columns: Sequence[str]) -> None:
    """Raises UsageError where an input column has the name of a result's."""
    taken = [name for name in columns if name in {*RESULTS.names, MORE_CHOICES.name}]
    if taken:
        renames = ", ".join(f"{name}: source_{name}" for name in taken)
        raise UsageError(
            f"the input has {'a column' if len(taken) == 1 else 'columns'} named {', '.join(taken)}, as the results "
            f"have: rename in the job file: `input: {{rename: {{{renames}}}}}`"
        )


def publish(
    source: Source, rows: pl.DataFrame, models: Sequence[str], reader: Reader, path: Path, about: dict[str, Any]
) -> Published:
    """Writes `path`. `rows` are the plan's, with `record` and `state` as they are now.

    Raises MachineRefused where it cannot be written, UsageError where the input changed meanwhile.
    """
    done = Published(path)
    more = rows["record"].is_in(list(reader.with_more_choices())).any()
    inputs = pl.DataFrame(schema=source.columns).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    schema = pa.schema([*inputs, *RESULTS, *([MORE_CHOICES] if more else [])])
    schema = schema.with_metadata({METADATA_KEY: json.dumps(about).encode()})
    with _replacing(path) as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for group in _row_groups(_tables(source, rows, models, reader, schema, done)):
                writer.write_table(group, row_group_size=group.num_rows)
        source.verify()
        if done.rows != rows.height:
            raise UsageError(f"{source.spec.path}: changed while the job was at work; run it again")
        _verify(file, schema, done.rows)
    return done


def _tables(
    source: Source,
    rows: pl.DataFrame,
    models: Sequence[str],
    reader: Reader,
    schema: pa.Schema,
    done: Published,
) -> Iterator[pa.Table]:
    for frame in source.batches():
        for piece in frame.iter_slices(FETCHED_ROWS):
            known = rows.slice(done.rows, piece.height)
            results = _Results(done, piece, source.spec.id)
            records = reader.records(known["record"].to_list())
            for id_, state, model in known.select("record", "state", "model").iter_rows():
                results.add(id_, State(state), records.get(id_), models[model])
            inputs = piece.to_arrow(compat_level=pl.CompatLevel.oldest())
            columns = [*inputs.columns, *results.columns(more=MORE_CHOICES.name in schema.names)]
            yield pa.table(columns, names=schema.names).cast(schema)


class _Results:
    """The result columns of a piece of the input, row by row."""

    def __init__(self, done: Published, piece: pl.DataFrame, id_column: str | None) -> None:
        self._done = done
        self._names = piece[id_column] if id_column else None
        self._start = done.rows
        self._text: list[str | None] = []
        self._model: list[str | None] = []
        self._answers: list[Completion | None] = []
        self._status: list[str] = []
        self._error: list[str | None] = []
        self._record: list[Record | None] = []

    def add(self, id_: int, state: State, record: Record | None, model: str) -> None:
        done = self._done
        answer = _answer(record) if state is State.DONE else None
        if state is State.DONE and answer is None:
            done.damaged[id_] = self._row_name()
        if answer is not None:
            status, error = "ok", None
            done.ok += 1
        elif state is State.FAILED and record is not None:
            status, error = "failed", f"{record.outcome}: {record.error}"
            self._tell_failure(record, error)
        else:
            status, error = "pending", f"{record.outcome}: {record.error}" if record and record.error else None
            done.pending += 1
        done.rows += 1
        self._text.append(answer.choices[0].text if answer else None)
        self._model.append((answer.model or model) if answer else None)
        self._answers.append(answer)
        self._status.append(status)
        self._error.append(error)
        self._record.append(record)

    def _tell_failure(self, record: Record, error: str) -> None:
        self._done.failed += 1
        self._done.reasons[record.outcome] += 1
        if len(self._done.failures) < SHOWN_FAILURES:
            self._done.failures.append(f"{self._row_name()}: {error}")

    def _row_name(self) -> str:
        at = len(self._text)
        return row_name(self._start + at, self._names[at] if self._names is not None else None)

    def columns(self, *, more: bool) -> list[pa.Array[Any]]:
        firsts = [answer.choices[0].log_probs if answer else None for answer in self._answers]
        answered = [record if answer else None for answer, record in zip(self._answers, self._record, strict=True)]
        columns: list[pa.Array[Any]] = [
            pa.array(self._text, pa.string()),
            pa.array(self._model, pa.string()),
            log_probs(firsts),
            pa.array(self._status, pa.string()),
            pa.array(self._error, pa.string()),
            pa.array([record.attempts if record else 0 for record in self._record], pa.int32()),
            pa.array([record and record.latency for record in answered], pa.float64()),
            pa.array([record and record.finished_at for record in self._record], pa.timestamp("us", "UTC")),
        ]
        if more:
            columns.append(choices([(answer and answer.choices[1:]) or None for answer in self._answers]))
        return columns


def _answer(record: Record | None) -> Completion | None:
    """None where the stored answer is damaged or missing."""
    if record is None or record.outcome != OK or record.body is None:
        return None
    try:
        return read_answer(record.body)
    except (ValueError, RecursionError):
        return None


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    size = rows = 0
    for table in tables:
        waiting.append(table)
        size, rows = size + table.nbytes, rows + table.num_rows
        if size >= ROW_GROUP_BYTES or rows >= ROW_GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting, size, rows = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes `path`'s place, whole and synced, when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        folders.make([path.parent])
        remove_stale_temporaries(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(temporary, flags, 0o666), "w+b") as file:  # noqa: PTH123  a descriptor, not a path
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
        folders.sync(path.parent)
    except (OSError, pa.ArrowException) as error:
        raise MachineRefused(
            f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}. "
            "Every answer is in the checkpoint; run again, or `batchgen export`, when that is mended"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_stale_temporaries(path: Path) -> None:
    """Those that a killed process left beside `path`; a living one's is left alone."""
    for left in path.parent.glob(f".{_escaped(path.name)}.*.tmp"):
        pid = left.name.split(".")[-2]
        if pid.isdigit() and not _is_alive(int(pid)):
            with suppress(OSError):
                left.unlink()


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return pid != os.getpid()


def _verify(file: BinaryIO, schema: pa.Schema, rows: int) -> None:
    """Reads back what a reader will rely on, before the old file is given up."""
    file.flush()
    file.seek(0)
    written = pq.ParquetFile(file)
    if written.metadata.num_rows != rows or not written.schema_arrow.equals(schema):
        raise MachineRefused("the file that was written does not read back as what was meant: it was not published")
