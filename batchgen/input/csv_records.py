"""Reads the records of CSV files: RFC 4180 with any separator; every cell exactly as it is in the file.

There are two readers. The exact one is the standard library's in strict mode, line by line: it decides what is valid,
and names the line of what is not. Blocks whose quotes are where RFC 4180 has them go through polars' reader, which is
two to thirteen times as fast and must agree. What polars refuses, would fill up with nulls, or counts otherwise, is
read again by the exact reader. Never holds more than a block and a batch.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import BinaryIO

import polars as pl

from batchgen.errors import UsageError
from batchgen.input import csv_lines
from batchgen.input.bounds import BATCH_BYTES, BATCH_ROWS, MAX_CELL, Schema
from batchgen.input.compression import open_decompressed
from batchgen.input.csv_lines import BOM, Lines, count_lines
from batchgen.input.encoding import as_utf_8
from batchgen.input.file_hints import identify, identify_json, separator_hint, title_hint
from batchgen.storage.listing import File

HEADER_BYTES = 64 << 10
"""Of a block that is read for the header alone."""
LOOK = 1024
"""Bytes by which a file's kind is identified."""
QUOTE_EVERY, SAMPLE = 50, 64 << 10
"""Bytes. If quotes are more frequent than one in QUOTE_EVERY, looking for pairs takes less time than splitting at
each quote. SAMPLE bytes of a block decide."""
PAIR = b"\xff"
"""A byte that UTF-8 never has. If a file has it, the exact reader takes the block, and reports it."""
_MARK = "\N{BYTE ORDER MARK}"
"""Which begins each of several files that were joined."""
_REPEATED = (
    "is the line of column names again, as where files were joined by `cat`: delete such lines, or give input.path the "
    "files themselves, as a folder or a glob"
)
_LONE_RETURN = re.compile(rb"\r(?!\n)")


@dataclass(frozen=True)
class CsvDialect:
    """How a CSV file is written. `separator`: of its cells; None: a comma, unless a first line for Excel names
    another."""

    separator: str | None = None
    encoding: str = "utf-8"


@cache
def _misplaced(separator: str) -> re.Pattern[bytes]:
    """Returns a pattern for a quote with something next to its cell's quotes, or one quote too many. The pattern
    begins with the quote, which makes the search forty times as fast."""
    mark = re.escape(separator).encode()
    return re.compile(rb'"(?:(?<=[^' + mark + rb'\n"]")|(?=[^' + mark + rb'\r\n"]))')


def header(path: File, dialect: CsvDialect) -> list[str]:
    """Returns the cells of the first line that is not blank; empty if there is none. Raises UsageError if the file
    is of another kind."""
    with closing(_opened(path, dialect)) as file:
        lines = Lines(path, file, HEADER_BYTES)
        begin = lines.block()[:LOOK]
        if what := identify(begin) or identify_json(begin):
            raise UsageError(f"{path}: {what}")
        return next(_records(lines, lines.separator(dialect.separator)), [])


def batches(
    path: File, dialect: CsvDialect, named: Callable[[list[str]], list[str]], blocks: list[int], skip: int = 0
) -> Iterator[pl.DataFrame]:
    """Yields all columns and rows below the header. `named`: returns the columns' names for its cells. `blocks`: gets
    the rows of each block, up to the first that cannot be read at once. `skip`: of these, passes over so many."""
    with closing(_opened(path, dialect)) as file:
        lines = Lines(path, file, csv_lines.BLOCK)
        separator = lines.separator(dialect.separator)
        records = _records(lines, separator)
        header = next(records, [])
        schema: Schema = dict.fromkeys(named(header), pl.String())
        lines.put_back()
        for rows in blocks[:skip]:
            lines.block()
            lines.pass_over(rows)
        number: float = skip
        while True:
            frame = None if lines.opened else _at_once(lines.block(), schema, separator)
            if frame is not None and not _has_repeated(frame, header):
                blocks += [frame.height] if number == len(blocks) else []
                number += 1
                lines.pass_over(frame.height)
                yield from frame.iter_slices(BATCH_ROWS)
            elif batch := list(_bounded(records, lines)):
                number = inf
                yield _frame(batch, schema)
            else:
                return


def _has_repeated(frame: pl.DataFrame, header: list[str]) -> bool:
    """Returns whether `_repeats` is true of a row."""
    if frame.width == 1 or (header[-1] and not (frame.to_series(-1) == header[-1]).any()):
        return False
    cells = [pl.col(name).eq_missing(cell or None) for name, cell in zip(frame.columns, header, strict=True)]
    cells[0] = pl.col(frame.columns[0]).str.strip_prefix(_MARK).eq_missing(header[0] or None)
    return bool(frame.select(pl.all_horizontal(cells).any()).item())


def _opened(path: File, dialect: CsvDialect) -> BinaryIO:
    return as_utf_8(path, open_decompressed(path), dialect.encoding)


def _frame(records: list[list[str]], schema: Schema) -> pl.DataFrame:
    cells = zip(*records, strict=True)
    columns = {name: [cell or None for cell in column] for name, column in zip(schema, cells, strict=True)}
    return pl.DataFrame(columns, schema=schema)


def _at_once(block: bytes, schema: Schema, separator: str) -> pl.DataFrame | None:
    """Returns the rows of a block of whole records; None if only the exact reader can tell."""
    if not block or len(block) > MAX_CELL or block.startswith(BOM) or _has_lone_return(block):
        return None
    bare = _emptied(block, separator) if b'"' in block else block
    if bare is None:
        return None
    try:  # polars would decompress what begins as compressed data do: with x^2, say
        frame = pl.read_csv(b"\n" + block, has_header=False, skip_lines=1, schema=schema, separator=separator)
    except pl.exceptions.PolarsError:
        return None
    if not _is_even(frame, bare, separator) or (bare is not block and frame.height != count_lines(bare)):
        return None
    if bare is block:
        return frame
    return frame.with_columns(pl.when(pl.all() != "").then(pl.all()))  # "" is no null to polars


def _emptied(block: bytes, separator: str) -> bytes | None:
    """Returns the block with each quoted stretch replaced by one quote, so that every remaining separator and line
    end is a real one. Returns None if a quote is where RFC 4180 allows none. If quotes are frequent, each doubled
    quote is replaced by one byte first: a pair does not change what is inside quotes. Pairs outside become two
    quotes again, so that they are found."""
    are_many = block.count(b'"', 0, SAMPLE) * QUOTE_EVERY > min(len(block), SAMPLE)
    pieces = (block.replace(b'""', PAIR) if are_many else block).split(b'"')
    bare = b'"'.join(pieces[::2])
    bare = bare.replace(PAIR, b'""') if are_many else bare
    return bare if len(pieces) % 2 and not _misplaced(separator).search(bare) else None


def _is_even(frame: pl.DataFrame, bare: bytes, separator: str) -> bool:
    """Returns whether no line is short or blank: polars fills those with nulls. It refuses long ones itself. Counts
    the separators only if a last cell is null: that takes half as long as the reading."""
    if not frame.to_series(-1).null_count():
        return True
    return frame.width > 1 and bare.count(separator.encode()) == frame.height * (frame.width - 1)


def _has_lone_return(block: bytes) -> bool:
    return b"\r" in block and _LONE_RETURN.search(block) is not None


def _records(lines: Lines, separator: str) -> Iterator[list[str]]:
    """Yields the header, then each record. Blank lines are not records. Raises UsageError with the line."""
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(lines, strict=True, delimiter=separator)
    first: list[str] = []
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UsageError(f"{lines.path}:{lines.number}: {_explain(error)}") from None
        if not record:
            continue
        first = first or record
        if len(record) != len(first):
            said = separator_hint(first) or title_hint(len(first), len(record))
            hint = f" ({said})" if said else ""
            fields = f"{len(record)} field{'s' * (len(record) != 1)}"
            raise UsageError(f"{lines.path}:{lines.number}: {fields} where the header has {len(first)}{hint}")
        if record is not first and _repeats(record, first):
            raise UsageError(f"{lines.path}:{lines.number}: {_REPEATED}")
        yield record


def _repeats(record: list[str], header: list[str]) -> bool:
    """Returns whether a record has the header's cells. A single column may have its own name as a cell."""
    return len(header) > 1 and record[1:] == header[1:] and record[0].removeprefix(_MARK) == header[0]


def _explain(error: csv.Error) -> str:
    if "field larger than" in str(error):
        return f"a cell is larger than {MAX_CELL >> 20} MiB"
    if "unexpected end of data" in str(error):
        return "the file ends within quotes: a quote was opened and never closed"
    if "expected after" in str(error):
        return "not valid CSV: text behind a closing quote; a quote within a cell is written twice"
    return f"not valid CSV: {error}"


def _bounded(records: Iterator[list[str]], lines: Lines) -> Iterator[list[str]]:
    """Yields the records of the next batch: as many as fit, or as remain in the current block, so that the next block
    may be read at once."""
    size = 0
    for count, record in enumerate(records, 1):
        yield record
        size += sum(map(len, record))
        if count == BATCH_ROWS or size >= BATCH_BYTES or not lines.opened:
            return
