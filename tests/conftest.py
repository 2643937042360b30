"""What the end-to-end tests share: the stand-in service, a job on disk, and the real command line."""

import csv
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import settings
from support.service import PATIENCE, Service
from support.wire import certificates  # noqa: F401  a fixture

from batchgen.api.pool import TEST_ONLY
from batchgen.cli import main

settings.register_profile("many runs", deadline=None, max_examples=50)  # each run draws others; many share this machine
settings.load_profile("many runs")
COMMAND = str(Path(sys.executable).with_name("batchgen"))
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, what is started would not hear it, as it should
KEPT = {"PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "COVERAGE_PROCESS_START", TEST_ONLY}
POOLS = ["connection", "session"]
"""The two ways to POST (`batchgen.api.pool`)."""


QUICK = {"api", "job", "send"}
"""Rooms whose tests are quick where they start no process and no server."""
SLOW = {"batchgen", "called", "start", "service", "store", "each_pool", "certificates", "night", "slow", "nodes"}
"""Fixtures that start a process or a server."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what a person waits for after each change: `pytest -m quick`. Begins with the checkers and the documentation:
    mypy, or an installation, would keep one worker while the others have nothing left to do."""
    items.sort(key=lambda item: item.path.name not in ("test_house.py", "test_docs.py"))
    for item in items:
        starts_something = SLOW & set(getattr(item, "fixturenames", ()))
        if item.path.parent.name in QUICK and not starts_something and item.get_closest_marker("simulated") is None:
            item.add_marker(pytest.mark.quick)


@pytest.fixture(params=POOLS)
def each_pool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test once with each way to POST, in this process and in those that it starts."""
    monkeypatch.setenv(TEST_ONLY, request.param)
    return request.param


@pytest.fixture
def keeping_pool(each_pool: str) -> None:
    """For tests of kept connections, which the second way has not."""
    if each_pool == "session":
        pytest.skip("keeps no connection")


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        yield service


class Jobs:
    """Writes a job and its input. `Jobs(rows, section=...)`: a mapping is laid over the default section,
    anything else takes its place. The default prompt is `Write about {{ name }}.`, the rows' id is `id`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "out" / "job.parquet"
        self.checkpoint = folder / "out" / ".batchgen" / "job.sqlite"

    def __call__(
        self, rows: Iterable[Mapping[str, Any]] | pa.Table, *, kind: str = "csv", name: str = "job", **sections: Any
    ) -> Path:
        self.write(rows, kind)
        job: dict[str, Any] = {
            "input": {"path": f"rows.{kind}", "id": "id"},
            "prompt": "Write about {{ name }}.",
            "request": {"model": "palmyra-x5", "max_tokens": 50},
            "limits": {"concurrency": 8},
            "retry": {"attempts": 3, "max_wait": 0.2},
            "output": {"path": "out/job.parquet"},
            "report": False,  # a tenth of a second, and tried in its own tests
        }
        for section, given in sections.items():
            job[section] = {**job.get(section, {}), **given} if isinstance(given, Mapping) else given
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(job, allow_unicode=True, sort_keys=False), encoding="utf-8")
        return path

    def write(self, rows: Iterable[Mapping[str, Any]] | pa.Table, kind: str = "csv") -> None:
        path = self.folder / f"rows.{kind}"
        if kind == "parquet":
            pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows)), path)
        elif kind == "ndjson":
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        else:
            rows = list(rows)
            with path.open("w", encoding="utf-8-sig", newline="") as file:
                writer = csv.DictWriter(file, rows[0] if rows else ["id", "name"])
                writer.writeheader()
                writer.writerows(rows)

    def table(self, path: Path | None = None) -> pa.Table:
        return pq.ParquetFile(path or self.output).read()

    def rows(self, path: Path | None = None) -> list[dict[str, Any]]:
        """The results, a mapping a row."""
        return self.table(path).to_pylist()

    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture
def job(tmp_path: Path) -> Jobs:
    folder = tmp_path / "work"
    folder.mkdir()
    return Jobs(folder)


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class Start:
    """Starts the real command line in an empty folder, with a clean environment that points at the service."""

    def __init__(self, ours: Mapping[str, str], folder: Path) -> None:
        self._ours = ours
        self._folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: object, env: Mapping[str, str | None] | None = None) -> subprocess.Popen[str]:
        """`env` is laid over the environment; None removes a variable."""
        kept = {name: value for name, value in os.environ.items() if name in KEPT}
        home = {"HOME": str(self._folder), "PYTHONUTF8": "1"}
        process = subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            env={
                name: value
                for name, value in {**kept, **home, **self._ours, **(env or {})}.items()
                if value is not None
            },
        )
        self._started.append(process)
        return process

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process (`called`) give up a service that is away after a second, and not after thirty."""
    monkeypatch.setattr("batchgen.send.retry.MIN_PATIENCE", 1.0)


@pytest.fixture
def pointing(service: Service) -> dict[str, str]:
    """The variables that point a command at the service."""
    return {"WRITER_BASE_URL": service.url, "WRITER_API_KEY": service.key}


@pytest.fixture
def start(pointing: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    start = Start(pointing, folder)
    yield start
    start.end()


@pytest.fixture
def ended():
    """Waits for a started process."""

    def wait(process: subprocess.Popen[str]) -> Ended:
        stdout, stderr = process.communicate(timeout=2 * PATIENCE)
        return Ended(process.returncode, stdout, stderr)

    return wait


@pytest.fixture
def batchgen(start: Start, ended):
    """Runs a command to its end: `batchgen("run", path, "--json")`."""

    def run(*arguments: object, env: Mapping[str, str | None] | None = None) -> Ended:
        return ended(start(*arguments, env=env))

    return run


@pytest.fixture
def called(
    pointing: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """The same command line as `batchgen`, called in this process: at a hundredth of the start-up time: for
    refusals, of which there are many, and for what follows on a run that was a process of its own."""

    def call(*arguments: object, env: Mapping[str, str | None] | None = None) -> Ended:
        log = logging.getLogger("batchgen")
        before = log.handlers, log.level, log.propagate, logging.raiseExceptions
        capfd.readouterr()
        with monkeypatch.context() as patch:
            for name, value in {**pointing, "HOME": str(tmp_path), **(env or {})}.items():
                patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)
            with pytest.raises(SystemExit) as exit_:
                main.main([*map(str, arguments)])
        log.handlers, log.level, log.propagate, logging.raiseExceptions = before
        return Ended(exit_.value.code, *capfd.readouterr())

    return call
