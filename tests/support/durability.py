"""What the durability tests share: real jobs, the built-in server and its ledger, and a driver that kills."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import json
import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Self

import msgspec
import pyarrow.parquet as pq
import pytest
from aiohttp import web

from batchgen import commands
from batchgen.api.types import CompletionRequest, read_answer
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.row_key import Identity, occurrence_key
from batchgen.checkpoint.schema import OK, Record
from batchgen.runner.summary import Summary
from batchgen.simulator import model

BATCHGEN = Path(sys.executable).with_name("batchgen")
DRIVER = Path(__file__).with_name("driver.py")
TOKENS = 6
SEED = 7
HUNG = 60
"""Seconds after which a process that should have ended fails the test; nothing is measured by it."""


def environ(url: str = "http://127.0.0.1:9") -> dict[str, str]:
    """Port 9 answers nobody: where a test expects that nothing is sent."""
    return {"PYTHONWARNINGS": "error", **os.environ, "WRITER_BASE_URL": url, "WRITER_API_KEY": "any"}


@dataclasses.dataclass
class Work:
    """A job in a folder of its own, and where its files lie."""

    folder: Path
    name: str = "job"
    output: str = "out/result.parquet"

    @property
    def job(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    @property
    def input(self) -> Path:
        return self.folder / f"{self.name}.ndjson"

    @property
    def result(self) -> Path:
        return self.folder / self.output

    def state(self, suffix: str) -> Path:
        return self.folder / "out" / ".batchgen" / f"{self.name}.{suffix}"

    @property
    def checkpoint(self) -> Path:
        return self.state("sqlite")

    def write(self, prompts: list[str], *, concurrency: int = 8, seed: int = SEED, more: dict | None = None) -> Work:
        rows = [json.dumps({"n": n, "ask": prompt}) for n, prompt in enumerate(prompts)]
        self.input.write_text("".join(f"{row}\n" for row in rows))
        job = {
            "input": {"path": self.input.name, "id": "n"},
            "prompt": "{{ ask }}",
            "request": {"model": "palmyra-x5", "max_tokens": TOKENS, "random_seed": seed},
            "endpoint": {"name": "here"},  # the server's port may change between runs
            "limits": {"concurrency": concurrency},
            "report": False,  # a second of CPU, and tried elsewhere
            "output": {"path": self.output},
            **(more or {}),
        }
        self.job.write_text(json.dumps(job))  # JSON is YAML
        return self

    def begun(self) -> bool:
        """Whether the checkpoint has got as far as its tables."""
        if not self.checkpoint.exists():
            return False
        with closing(sqlite3.connect(self.checkpoint)) as db:
            return bool(db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])

    def answers(self) -> dict[bytes, list[Record]]:
        """Every stored answer that reads back whole, by key."""
        found: dict[bytes, list[Record]] = {}
        if not self.begun():
            return found
        with closing(Reader(self.checkpoint)) as reader:
            for record in records(reader):
                if record.outcome == OK:
                    found.setdefault(record.key, []).append(record)
        return found

    def texts(self) -> list[str]:
        return [read_answer(r.body).choices[0].text for some in self.answers().values() for r in some if r.body]

    def table(self) -> list[dict]:
        return pq.read_table(self.result).to_pylist()

    def temporaries(self) -> list[Path]:
        return [path for path in self.result.parent.iterdir() if path.name.endswith(".tmp")]


def records(reader: Reader) -> list[Record]:
    """All that read back whole, in the order of the commits."""
    ids = range(1, reader.last_id() + 1)
    found: dict[int, Record] = {}
    for start in range(0, len(ids), 500):
        found |= reader.records(ids[start : start + 500])
    return [found[id_] for id_ in ids if id_ in found]


def prompts(count: int, about: str = "shelf") -> list[str]:
    return [f"Write about the {about} number {n}." for n in range(count)]


@functools.cache
def expected(prompt: str, seed: int = SEED) -> str:
    """What the built-in model answers."""
    request = CompletionRequest(model="palmyra-x5", prompt=prompt, max_tokens=TOKENS, random_seed=seed)
    return model.load().generate(request).text


def digest(prompt: str) -> str:
    """How the ledger names a prompt."""
    return hashlib.sha256(prompt.encode()).hexdigest()


def keys(asked: list[str], seed: int = SEED) -> list[bytes]:
    """The identity of each row of a job that `Work.write` wrote."""
    identity, seen, found = Identity("here"), Counter(), []
    for prompt in asked:
        request = CompletionRequest(model="palmyra-x5", prompt=prompt, max_tokens=TOKENS, random_seed=seed)
        found.append(occurrence_key(identity.digest(msgspec.json.encode(request)), seen[prompt]))
        seen[prompt] += 1
    return found


@dataclasses.dataclass
class Service:
    """The built-in server, a process of its own."""

    url: str

    def ledger(self) -> dict:
        with urllib.request.urlopen(f"{self.url}/ledger", timeout=HUNG) as answer:
            return json.load(answer)

    def settled(self) -> dict:
        """The ledger once what was sent to it has been dealt with, by clients long dead too."""
        seen = self.ledger()
        while (now := self.ledger())["requests"] != seen["requests"] or now["billed"] != now["requests"]:
            seen = now
        return now


@contextmanager
def service(*words: str) -> Iterator[Service]:
    command = [BATCHGEN, "serve", "--port", "0", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = process.stdout.readline()
            yield Service(re.search(r"http://[\w.:]+", said)[0])
        finally:
            process.terminate()
            process.communicate(timeout=HUNG)


class Slow:
    """A server whose answers can be held up, on a thread of this process; it counts what it bills, by prompt.

    An answer is billed when it is written. A prompt with `slow` in it waits until `release`, whatever `hold` says.
    """

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.requests = 0
        self.in_flight = 0
        self.held = 0  # of those in flight
        self.billed: Counter[str] = Counter()
        self.url = ""
        self._held_after: float = math.inf
        self._until: Callable[[], bool] = lambda: False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="slow server")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(HUNG)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(HUNG)

    def hold(self, after: int = 0, until: Callable[[], bool] = lambda: False) -> None:
        """Answers no more requests than `after`, until `release`, or until `until` says so."""
        self._held_after, self._until = after, until

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._released.set)

    async def _serve(self) -> None:
        self._loop, self._end, self._released = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        app = web.Application()
        app.router.add_post("/v1/completions", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._end.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.in_flight += 1
        number = self.requests
        try:
            prompt = (await request.json())["prompt"]
            await asyncio.sleep(self.latency)
            if number > self._held_after or "slow" in prompt:
                self.held += 1
                while not self._released.is_set() and not self._until():  # noqa: ASYNC110  `until` is any question
                    await asyncio.sleep(0.005)
                self.held -= 1
            self.billed[prompt] += 1
        finally:
            self.in_flight -= 1
        return web.json_response({"choices": [{"text": f"answer to {prompt}"}], "model": "slow"})


def start(*words: str | Path, url: str = "http://127.0.0.1:9", **more) -> subprocess.Popen:
    """The real command line."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environ(url)}
    return subprocess.Popen([BATCHGEN, *words], **{**pipes, **more})


def run(work: Work, url: str, *words: str) -> tuple[int, dict, str]:
    """(exit code, summary, stderr) of `batchgen run --json`."""
    with start("run", work.job, "--json", *words, url=url) as process:
        out, err = process.communicate(timeout=2 * HUNG)
    return process.returncode, json.loads(out) if out.startswith("{") else {}, err


def here(work: Work, url: str, **options) -> Summary:
    """The same in this process, which costs no start of an interpreter. Raises BatchgenError."""
    return commands.run(work.job, quiet=True, environ={"WRITER_BASE_URL": url, "WRITER_API_KEY": "any"}, **options)


class Ended:
    """How a driven child ended: its summary, the error that stopped it, or neither where it was killed."""

    def __init__(self, said: dict) -> None:
        assert "crash" not in said, said["crash"]
        self.killed: bool = said["killed"]
        self.summary: dict | None = said.get("summary")
        self.error: str | None = said.get("error")
        self.exit_code: int | None = said.get("exit_code")


class Driver:
    """Forks children that run or export a job. `cpu` kills one when it has used so many seconds of CPU time, which is at
    the same place on a busy machine; `after` sends it the signal `number` after so many seconds, if it still lives."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, DRIVER], stdin=pipe, stdout=pipe, text=True)

    def __call__(self, what: str, work: Work, url: str, **more) -> Ended:
        return Ended(self._order({"what": what, "job": str(work.job), "url": url, **more}))

    def storm(self, work: Work, url: str, starts: int, *, refused: str) -> list[Ended]:
        """So many runs of one job at the same moment. Each that is refused adds a line to the file `refused`."""
        order = {"what": "run", "job": str(work.job), "url": url, "starts": starts, "refused": refused}
        return [Ended(said) for said in self._order(order)]

    def _order(self, order: dict):
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(HUNG)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of so many bytes, where mounting is permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting needs Linux and root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """A file that takes all of a small disk, but for `leave` bytes."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    if leave:
        os.truncate(path, max(0, path.stat().st_size - leave))
    return path


def within(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Runs it where mounts are nobody else's. Skips where that may not be."""
    if sys.platform != "linux" or os.geteuid() or not shutil.which("unshare"):
        pytest.skip("mounts, which root alone may make")
    command = ["unshare", "--mount", "sh", "-ec", f"cd {folder}\n{script}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "mount:" in ran.stderr:
        pytest.skip(ran.stderr)
    return ran


def wait_for(happened, what: str) -> None:
    """Polls; fails where it never happens."""
    deadline = time.monotonic() + HUNG
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)
