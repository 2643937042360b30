"""One start of a job, as strace is to see it: `python -m powerloss.driver` with the order as JSON."""

from __future__ import annotations

import enum
import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import apsw

from batchgen import commands
from batchgen.__main__ import spare_imports
from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.in_flight import InFlightLog
from batchgen.checkpoint.schema import OK
from powerloss.operations import fingerprint


class Weakness(enum.StrEnum):
    """What a session leaves out, for the rig to find."""

    NORMAL = "synchronous = NORMAL"
    OFF = "synchronous = OFF"
    EARLY = "acknowledged before its COMMIT"
    FILE = "temporary file not synced"
    FOLDER = "folder not synced"


def _drive(order: dict) -> None:
    """One start of the job, with markers, and with what it is to leave out left out."""
    spare_imports()
    descriptor = os.open(order["markers"], os.O_WRONLY)

    def mark(**said: object) -> None:
        os.write(descriptor, json.dumps(said).encode())

    weakness = order["weakness"]
    _mark_acknowledgements(mark, early=weakness == Weakness.EARLY)
    _mark_flight(mark)
    _wrap_connect(order["log_pages"], weakness)
    if weakness in (Weakness.FILE, Weakness.FOLDER):
        _leave_out_syncs(weakness)
    environ = {"WRITER_BASE_URL": order["url"], "WRITER_API_KEY": "any"}
    summary = commands.run(order["job"], quiet=True, environ=environ)
    mark(published=fingerprint(Path(summary.path)), ok=summary.ok)


def _mark_acknowledgements(mark: Callable[..., None], *, early: bool) -> None:
    """`Checkpoint.add` returns when the COMMIT has; the dispatcher's slots are released after that."""
    add = Checkpoint.add

    @functools.wraps(add)
    def marked(self, records):
        answers = {r.key.hex(): hashlib.sha256(r.body).hexdigest() for r in records if r.outcome == OK and r.body}
        if early:
            mark(acknowledged=answers)
        add(self, records)
        if not early:
            mark(acknowledged=answers)

    Checkpoint.add = marked


def _mark_flight(mark: Callable[..., None]) -> None:
    """Stores to mapped memory are no system calls: the file's whole content is told after each."""

    def marked(change):
        @functools.wraps(change)
        def wrapped(self, *values):
            change(self, *values)
            mark(marks=self._map[:].hex())

        return wrapped

    InFlightLog.begin, InFlightLog.end = marked(InFlightLog.begin), marked(InFlightLog.end)


def _wrap_connect(log_pages: int | None, weakness: str | None) -> None:
    """Every connection gets another `synchronous` than it asks for, and is told the one it asked for."""
    level = {Weakness.NORMAL: "NORMAL", Weakness.OFF: "OFF"}.get(weakness)

    class Connection(apsw.Connection):
        def execute(self, sql, *values):
            if log_pages is not None and re.match(r"\s*PRAGMA\s+wal_autocheckpoint\s*=", sql, re.IGNORECASE):
                sql = f"PRAGMA wal_autocheckpoint = {log_pages}"
            elif level and re.match(r"\s*PRAGMA\s+synchronous\s*=", sql, re.IGNORECASE):
                sql = f"PRAGMA synchronous = {level}"
            elif level and re.match(r"\s*PRAGMA\s+synchronous\b", sql, re.IGNORECASE):
                sql = "SELECT 2"  # FULL
            return super().execute(sql, *values)

    apsw.Connection = Connection


def _leave_out_syncs(weakness: str) -> None:
    """`os.fsync` does nothing for temporary files, or for folders."""
    fsync = os.fsync

    def weak(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        left_out = ".tmp" in str(path) and path.is_file() if weakness == Weakness.FILE else path.is_dir()
        if not left_out:
            fsync(descriptor)

    os.fsync = weak


if __name__ == "__main__":
    _drive(json.loads(sys.argv[1]))
