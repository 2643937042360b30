"""The checkpoint's file: its tables, and what a row of each is.

`attempts`, `bodies` and `runs` are the schema, by whose number other versions know the file. The tables beside them say
what a version may do without: another one passes over them, and finds none in a file of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from isal.isal_zlib import crc32

from batchgen.api.body import Body, stored

SCHEMA_VERSION = 2
APPLICATION_ID = 0x62617467  # "batg"
OK, INTERRUPTED, DAMAGED = "ok", "interrupted", "damaged"
LOCK, IN_FLIGHT = ".lock", ".flight"
"""How the files beside the database end."""

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

BESIDE = """
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
"""

_packer = msgspec.msgpack.Encoder()


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt that had an outcome: what everything downstream reads. Its fields but the body are `attempts`'
    columns, between the id and the checksum, and in this order."""

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
        """As they stand in `attempts`, with the checksum."""
        size, data = stored(self.body)
        columns = msgspec.structs.astuple(self)[:-1]
        return *columns, checksum((*columns, size, data is None), data)


def checksum(columns: tuple[Any, ...], data: bytes | None) -> int:
    """Of a record's columns but its body, of that one's size and whether there is none; and of its bytes as stored."""
    return crc32(b"" if data is None else data, crc32(_packer.encode(columns)))


class Run(NamedTuple):
    """One start of the job, as its row in `runs` has it."""

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
    """The statement that puts a row into a table of the schema."""
    columns = TABLES[table]
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608


class Start(NamedTuple):
    """What a run was asked for. `first`: the rows that the command line limited it to; `input`: a digest of all the
    requests that it was to make."""

    fresh: bool
    first: int | None
    input: str


PLAIN = Start(fresh=False, first=None, input="")


class Owner(NamedTuple):
    """Whose a checkpoint or a file of results is. `file`: the job file, from the folder that it is told in."""

    name: str
    file: str | None
