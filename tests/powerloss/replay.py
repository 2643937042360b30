"""Lays out the disks that a power loss could have left, and recovers each as the project does."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import apsw

from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import OK
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import BatchgenError
from batchgen.runner import opening
from powerloss.disk import Disk, Fate
from powerloss.operations import Acknowledged, Operation, Published, Recording, fingerprint

SHARED_MEMORY = Path("/dev/shm")


@dataclass
class Findings:
    """`states` are distinct: another disk, or the same one after more was acknowledged."""

    points: int = 0
    states: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, where: str, said: str) -> None:
        self.wrong[what] += 1
        self.examples.setdefault(what, f"{where}: {said}")

    def __str__(self) -> str:
        found = "; ".join(f"{what}: {count} states, first {self.examples[what]}" for what, count in self.wrong.items())
        return f"{self.states:,} states after {self.points:,} crash points: {found or 'nothing wrong'}"


LOST = "acknowledged rows lost"
AGAIN = "acknowledged rows sent again"
UNPUBLISHED = "results torn, or older than acknowledged"
REFUSED = "recovery refused"
BROKEN = "recovery broken off by an error of its own"


def sample(recording: Recording, seed: int, count: int) -> Iterator[tuple[dict[Path, bytes], Known]]:
    """So many crashes at random points: what is on the disk, and what had been acknowledged (until the next one)."""
    chance = random.Random(seed)
    disk, known = Disk(recording), Known(recording)
    points = set(chance.sample(range(len(recording.operations)), count))
    for number, operation in enumerate(recording.operations):
        disk.do(number, operation)
        known.learn(operation)
        if number in points:
            yield disk.crashed(None, chance), known


Crash = tuple[dict[Path, bytes], "Known", str]
"""What is on the disk, what had been acknowledged, and when the power failed."""


class Replay:
    """Samples the disks that a power loss could leave, until there are `states`, and recovers each of them.

    `sought`: a finding that ends it, where it is enough that there is one.
    """

    def __init__(self, recording: Recording, seed: int, states: int, sought: str | None = None) -> None:
        self._recording = recording
        self._chance = random.Random(seed)
        self._wanted = states
        self._sought = sought
        self._seen: set[bytes] = set()
        self._findings = Findings(points=len(recording.operations) + 1)

    def run(self) -> Findings:
        parent = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
        with tempfile.TemporaryDirectory(dir=parent, prefix="powerloss.") as folder:
            for files, known, where in self._crashes():
                if self._is_new(files, known):
                    self._try(Path(folder), files, known, where)
                if self._sought in self._findings.wrong:
                    break
        return self._findings

    def _crashes(self) -> Iterator[Crash]:
        """Each pass crashes at every point; the first also tries every fate after each acknowledgement."""
        yield from self._sweep(first=True)
        before = 0
        while before < self._findings.states < self._wanted:  # or there are no more
            before = self._findings.states
            yield from itertools.takewhile(lambda _: self._findings.states < self._wanted, self._sweep(first=False))

    def _sweep(self, *, first: bool) -> Iterator[Crash]:
        disk, known = Disk(self._recording), Known(self._recording)
        for number, operation in enumerate([None, *self._recording.operations], -1):
            if operation is not None:
                disk.do(number, operation)
                known.learn(operation)
            told = isinstance(operation, Acknowledged | Published)
            fates = [None, *Fate] if first and told else [Fate.LOST, None] if first else [None]
            for fate in fates:
                where = f"after operation {number} ({type(operation).__name__}), {fate.name if fate else 'mixed'}"
                yield disk.crashed(fate, self._chance), known, where

    def _is_new(self, files: dict[Path, bytes], known: Known) -> bool:
        state = hashlib.blake2b(f"{len(known.answers)} {known.publications}".encode())
        for path, data in sorted(files.items()):
            state.update(f"{path}:{len(data)}:".encode())
            state.update(data)
        seen = len(self._seen)
        self._seen.add(state.digest())
        return len(self._seen) > seen

    def _try(self, folder: Path, files: dict[Path, bytes], known: Known, where: str) -> None:
        self._findings.states += 1
        lay_out(folder, files)
        for what, said in known.complaints(folder):
            self._findings.add(what, where, said)


def lay_out(folder: Path, files: dict[Path, bytes]) -> None:
    """Empties the folder and puts the files there."""
    for left in folder.iterdir():
        shutil.rmtree(left)
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


class Known:
    """What had been acknowledged before the crash, and what of it is missing after the recovery."""

    def __init__(self, recording: Recording) -> None:
        self.answers: dict[bytes, str] = {}
        self.publications = 0
        self._ok = 0
        self._recording = recording
        published = [done.sha for done in recording.operations if isinstance(done, Published)]
        self._versions = [None, *published]

    def learn(self, operation: Operation) -> None:
        if isinstance(operation, Acknowledged):
            self.answers |= operation.answers
        elif isinstance(operation, Published):
            self.publications += 1
            self._ok = operation.ok

    def complaints(self, folder: Path) -> Iterator[tuple[str, str]]:
        """(what, how) is wrong with the disk in `folder`."""
        results = folder / self._recording.results
        found = fingerprint(results) if results.exists() else None
        if found not in self._versions[self.publications : self.publications + 2]:
            yield UNPUBLISHED, f"{results.stat().st_size:,} bytes" if found else "no file"
        try:
            recovered = recover(folder / self._recording.checkpoint)
        except (BatchgenError, apsw.Error) as error:
            yield REFUSED, str(error)
            return
        except Exception as error:  # noqa: BLE001  what recovery raises by mistake is a finding too
            yield BROKEN, repr(error)
            return
        lost = [key for key, sha in self.answers.items() if sha not in recovered.answers.get(key, ())]
        if lost:
            yield LOST, f"{len(lost)} of {len(self.answers)}"
        elif len(recovered.answers) < self._ok:
            yield LOST, f"{self._ok - len(recovered.answers)} of {self._ok} that were published"
        again = [key for key in self.answers if key not in lost and recovered.last.get(key) != OK]
        if again:
            yield AGAIN, f"{len(again)} of {len(self.answers)}"


class Recovered(NamedTuple):
    """SHA-256 of every answer that reads back whole, and the outcome of the last attempt, by key."""

    answers: dict[bytes, list[str]]
    last: dict[bytes, str]


def recover(path: Path) -> Recovered:
    """As `batchgen run` does before it plans. Raises what refuses the run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(Checkpoint(path)) as checkpoint, closing(Reader(path)) as reader:
        opening.recover(SimpleNamespace(state=StateFiles(path)), checkpoint, reader)
        answers: dict[bytes, list[str]] = {}
        for record in reader.records(range(1, reader.last_id() + 1)).values():
            if record.outcome == OK and record.body is not None:
                answers.setdefault(record.key, []).append(hashlib.sha256(record.body).hexdigest())
    with closing(apsw.Connection(str(path))) as db:
        last = dict(db.execute("SELECT key, outcome FROM attempts ORDER BY id"))
        said = db.execute("PRAGMA quick_check").fetchone()[0]
    if said != "ok":
        raise apsw.CorruptError(said)
    return Recovered(answers, last)
