"""Runs a job under strace, once a session, and takes down what it did."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from powerloss.disk import Disk
from powerloss.driver import Weakness
from powerloss.operations import ROOT, Recording, Unmodelled
from powerloss.trace import COPIES, MODELLED, MOVES, UNMODELLED, Tracer

if TYPE_CHECKING:
    from support.durability import Work

DRIVER = "powerloss.driver"
HUNG = 120
"""Seconds after which a recording that should have ended fails; nothing is measured by it."""
MAX_WRITE = 1 << 26
UNHALTED = "--seccomp-bpf"
"""Does not halt at what is not traced, which takes a third less time; and cannot kill (strace 6.1)."""


@dataclass(frozen=True)
class Session:
    """One start of the job. `kill`: SIGKILL as a thread is about to make its so-manieth fdatasync; what it had
    written stays in the page cache, unsynced. `log_pages`: after how many pages SQLite moves the log into the
    database, where that is not left to it."""

    prepare: Callable[[], object]
    kill: int | None = None
    log_pages: int | None = None
    weakness: Weakness | None = None


def refused() -> str | None:
    """Why nothing can be recorded here, if so."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-f", UNHALTED, "-o", os.devnull, "true"], capture_output=True, text=True, check=False
    )
    return f"strace may not trace here: {tried.stderr.strip()}" if tried.returncode else None


def record_sessions(work: Work, url: str, scratch: Path, sessions: list[Session]) -> Recording:
    """Runs the job once a session, under strace. Its output folder does not exist yet; traces go to `scratch`."""
    output = work.result.parent
    root = output.parent
    recording = Recording(root, output, work.result.relative_to(root), work.checkpoint.relative_to(root))
    names = {root: ROOT}
    for number, session in enumerate(sessions):
        session.prepare()
        trace, markers = (scratch / f"{kind}.{number}" for kind in ("trace", "markers"))
        markers.touch()
        order = {"job": str(work.job), "url": url, "markers": str(markers)}
        order |= {"log_pages": session.log_pages, "weakness": session.weakness}
        _run_traced(order, trace, session.kill)
        Tracer(recording, names, markers).read(trace)
        trace.unlink()
    _refuse_unfaithful(recording)
    return recording


def _run_traced(order: dict, trace: Path, kill: int | None) -> None:
    traced = ",".join((*MODELLED, *MOVES, *COPIES, *UNMODELLED))
    options = ["-f", "-qq", "-y", "-xx", "-s", str(MAX_WRITE), "-o", trace]
    options += ["-e", f"trace={traced}", "-e", "signal=none", "-e", "raw=read"]
    options += [UNHALTED] if kill is None else ["-e", f"inject=fdatasync:signal=SIGKILL:when={kill}"]
    ended = subprocess.run(
        ["strace", *options, sys.executable, "-m", DRIVER, json.dumps(order)],
        capture_output=True,
        text=True,
        timeout=HUNG,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    if (ended.returncode != 0) != (kill is not None):
        raise Unmodelled(f"the recorded run ended with {ended.returncode}: {ended.stderr}")


def _refuse_unfaithful(recording: Recording) -> None:
    """The model's end must be the disk's, byte for byte."""
    disk = Disk(recording)
    for number, operation in enumerate(recording.operations):
        disk.do(number, operation)
    modelled = disk.tree(lambda folder: folder.live, lambda file: bytes(file.live))
    files = {path: path.read_bytes() for path in recording.output.rglob("*") if path.is_file()}
    actual = {path.relative_to(recording.folder): data for path, data in files.items()}
    wrong = {str(path) for path in modelled.keys() | actual.keys() if modelled.get(path) != actual.get(path)}
    if wrong:
        raise Unmodelled(f"the trace does not explain what lies in {sorted(wrong)}")
