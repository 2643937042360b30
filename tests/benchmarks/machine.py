"""Processes, what they cost, and the cores they run on: the server has one, the client another.

This process imports nothing heavy: Linux counts a parent's memory into the peak of what it starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from time import monotonic
from typing import NamedTuple

HERE = Path(__file__).parent
BATCHGEN = Path(sys.executable).with_name("batchgen")
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
PINNED = len(CORES) > 1
SAMPLED_EVERY = 0.05
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("WRITER_")},
    "WRITER_API_KEY": "a-key-as-long-as-those-of-services-are-0123",  # shorter ones are not looked for in answers
    "PYTHONDONTWRITEBYTECODE": "",  # modules are compiled once, as where they are installed
}


class Cost(NamedTuple):
    """Of a process: wall and CPU seconds, peak MB."""

    wall: float
    cpu: float
    peak: float


@contextmanager
def core(number: int) -> Iterator[None]:
    """What is started in the block runs on this core (0: the server's, 1: the client's), where the system can pin."""
    if not PINNED:
        yield
        return
    os.sched_setaffinity(0, {CORES[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, CORES)


def cost(*command: str | Path, url: str | None = None, tree: bool = False) -> Cost:
    """Runs a command to its end; `url` is the service's. `tree`: the peak is that of all its processes together."""
    environment = ENVIRONMENT | ({"WRITER_BASE_URL": url} if url else {})
    started = monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    with _sampled(process.pid) if tree else nullcontext([]) as peaks:
        _, status, usage = os.wait4(process.pid, 0)
    wall = monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}")
    peak = usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return Cost(wall, usage.ru_utime + usage.ru_stime, max([peak, *peaks]))


def run_of(job: Path, url: str, *, tree: bool = False) -> Cost:
    """A whole `batchgen run` on the client's core."""
    with core(1):
        return cost(BATCHGEN, "run", "--quiet", job, url=url, tree=tree)


def note(said: str) -> None:
    """Progress, for whoever waits."""
    print(said, file=sys.stderr, flush=True)


@contextmanager
def _sampled(pid: int) -> Iterator[list[float]]:
    peaks = [0.0]
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLED_EVERY):
            peaks[0] = max(peaks[0], sum(map(_resident, _tree(pid))))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                yield from _tree(int(child))


def _resident(pid: int) -> float:
    """MB."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    return 0.0
