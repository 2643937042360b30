"""The tables of a checkpoint, and the Python types of their rows.

`attempts`, `bodies` and `runs` are the schema, whose number tells versions apart. The tables beside them are optional:
another version ignores them, and its own files may lack them.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import msgspec
from isal import isal_zlib
from msgspec.structs import replace

from batchgen.api.body import MIN_COMPRESSED_BYTES, Body, compress, to_columns

SCHEMA_VERSION = 2
APPLICATION_ID = 0x62617467  # "batg"
OK, INTERRUPTED, DAMAGED = "ok", "interrupted", "damaged"
LOCK, IN_FLIGHT, PUBLISHING = ".lock", ".flight", ".publish"
"""Suffixes of the files beside the database."""
RESCUED = ".rescued-{}.sqlite"
"""The suffix of a copy that a run has rescued: the time in nanoseconds stands in it."""

SCHEMA = f"""
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,      -- grows: the order of the commits
  key BLOB NOT NULL,           -- the row's identity, 16 bytes
  outcome TEXT NOT NULL,       -- ok, or why not
  final INTEGER NOT NULL,      -- whether the row was done with it, for that run
  attempts INTEGER NOT NULL,   -- requests sent for the row so far, over all runs
  status INTEGER,              -- HTTP
  error TEXT,
  latency REAL,                -- seconds, of this attempt
  finished_at INTEGER NOT NULL, -- microseconds since 1970, UTC
  choices INTEGER NOT NULL,
  name TEXT,                   -- the row's input.id
  crc INTEGER NOT NULL         -- CRC-32 of all of the above but the id, and of the body's row
) STRICT;
CREATE TABLE bodies (
  id INTEGER PRIMARY KEY,      -- of the attempt
  size INTEGER,                -- null: body as it came; else its size, and body is packed
  body BLOB NOT NULL
) STRICT;
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  started_at INTEGER NOT NULL, -- microseconds since 1970, UTC
  date TEXT NOT NULL,          -- what {{date}} stands for
  floor INTEGER NOT NULL,      -- attempts up to this id are not reused
  first INTEGER NOT NULL,      -- its own attempts come after this id
  rows INTEGER NOT NULL,
  todo INTEGER NOT NULL,
  ended_at INTEGER,
  outcome TEXT,                -- finished or stopped; null: at work, or killed
  learned REAL                 -- requests a minute that the server was found to grant
) STRICT;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

OPTIONAL_TABLES = """
CREATE TABLE IF NOT EXISTS starts (
  run INTEGER PRIMARY KEY,     -- of runs
  fresh INTEGER NOT NULL,      -- whether it was to look past older answers
  first INTEGER,               -- how many rows it was limited to by the command line
  input TEXT NOT NULL          -- a digest of the requests that it was to make
) STRICT;
CREATE TABLE IF NOT EXISTS owner (
  name TEXT NOT NULL,          -- the job's
  file TEXT                    -- the job file, from the folder of this file
) STRICT;
CREATE TABLE IF NOT EXISTS schemas (
  schema INTEGER PRIMARY KEY,  -- that the file has, or had
  version TEXT NOT NULL        -- of batchgen, which brought it there
) STRICT;
CREATE TABLE IF NOT EXISTS shared ( -- by rows of the last run
  key BLOB PRIMARY KEY,        -- whose answer it is
  rows INTEGER NOT NULL        -- how many share it, from 2 on
) STRICT;
CREATE TABLE IF NOT EXISTS endpoints ( -- that runs were made at: the rows of another one have other keys
  identity TEXT PRIMARY KEY    -- the endpoint's name, else its address
) STRICT;
CREATE TABLE IF NOT EXISTS progress ( -- of a run, as it said itself
  run INTEGER PRIMARY KEY,
  prompt_tokens INTEGER NOT NULL,
  answer_tokens INTEGER NOT NULL,
  answers INTEGER NOT NULL,    -- whose tokens these are
  counted INTEGER NOT NULL,    -- of them, by the service's own count
  cost REAL,                   -- US dollars; null where a price is unknown
  rate REAL,                   -- rows a second of late
  left_s REAL                  -- seconds; null where they are not known
) STRICT;
CREATE TABLE IF NOT EXISTS in_flight ( -- how many there might be, where they are found: limits.concurrency auto
  run INTEGER NOT NULL,
  at INTEGER NOT NULL,         -- microseconds since 1970, UTC
  most INTEGER NOT NULL,       -- requests, from then on
  throughput REAL NOT NULL,    -- answers a second, as measured before
  latency REAL NOT NULL,       -- seconds, likewise; 0 where a time-out told
  why TEXT NOT NULL,
  PRIMARY KEY (run, at)
) STRICT;
CREATE TABLE IF NOT EXISTS published ( -- how the rows stood when a run's results were published
  run INTEGER PRIMARY KEY,
  rows INTEGER NOT NULL,       -- of the input
  ok INTEGER NOT NULL,         -- by the check that the job had then, as the others
  failed INTEGER NOT NULL,
  pending INTEGER NOT NULL
) STRICT;
"""

LONG = 4096
"""Bytes of a body from which on ISA-L's CRC-32 takes less time than zlib's. On processors with AVX-512, a call of ISA-L
slows down what follows: a million short records were read in a third more time."""
_packer = msgspec.msgpack.Encoder()


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The outcome of one attempt. Its fields except the body are the columns of `attempts` between the id and the
    checksum, in this order."""

    key: bytes
    outcome: str
    final: bool = False
    attempts: int
    status: int | None = None
    error: str | None = None
    latency: float | None = None
    finished_at: int
    choices: int = 0
    name: str | None = None
    body: Body | None = None

    def columns(self) -> tuple[Any, ...]:
        """Returns the columns of `attempts`, with the checksum."""
        size, data = to_columns(self.body)
        columns = msgspec.structs.astuple(self)[:-1]
        return *columns, checksum((*columns, size, data is None), data)

    def compressed(self) -> Record:
        """Returns the record with its body compressed, if that is long enough to gain by it."""
        body = self.body
        return self if body is None or len(body) < MIN_COMPRESSED_BYTES else replace(self, body=compress(body))


def checksum(columns: tuple[Any, ...], data: bytes | None) -> int:
    """Returns the CRC-32 of a record's columns, of its body's size, of whether it has no body, and of the body's stored
    bytes."""
    head = zlib.crc32(_packer.encode(columns))
    return head if data is None else (zlib.crc32 if len(data) < LONG else isal_zlib.crc32)(data, head)


class Run(NamedTuple):
    """One start of the job, as its row in `runs`. `floor`: attempts up to this id are not reused. `first`: the run's
    own attempts come after this id. `learned`: requests a minute that the server was found to grant."""

    id: int
    started_at: int
    date: str
    floor: int
    first: int
    rows: int
    todo: int
    ended_at: int | None
    outcome: str | None
    learned: float | None


TABLES = {
    "attempts": ("id", *Record.__struct_fields__[:-1], "crc"),
    "bodies": ("id", "size", "body"),
    "runs": Run._fields,
}
"""The columns of the schema's tables, in their order."""


def insert(table: str) -> str:
    """Returns the INSERT statement for a table of the schema."""
    columns = TABLES[table]
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608


class Start(NamedTuple):
    """The options of a run. `first_rows`: how many rows the command line limited it to. `input`: a digest of all
    requests that it was to make."""

    fresh: bool
    first_rows: int | None
    input: str


DEFAULT_START = Start(fresh=False, first_rows=None, input="")


class RowCounts(NamedTuple):
    """How many rows there were when a run's results were published, and how they stood."""

    rows: int
    ok: int
    failed: int
    pending: int


class ConcurrencyChange(NamedTuple):
    """A change to `most` requests that may be in flight, and why. `at`: seconds, by the monotonic clock or since the
    run's start. `throughput` (answers a second) and `latency` (seconds, 0 for a time-out) were measured before."""

    at: float
    most: int
    throughput: float
    latency: float
    why: str


class Owner(NamedTuple):
    """The job that a checkpoint or a file of results belongs to. `file`: the job file, relative to the folder of the
    file that stores this."""

    name: str
    file: str | None
