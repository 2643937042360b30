"""The Ray engine: the real command line on real clusters of this machine, of which actors, nodes and drivers are
killed, against the built-in server's ledger of what it billed."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.connections import connection
from support.durability import HUNG, Work, digest, environ, expected, prompts, run, start, wait_for
from support.durability import Service as BuiltIn
from support.durability import service as built_in
from support.service import PATIENCE, Hold, Service

from batchgen._version import __version__
from batchgen.api.connection import Connection
from batchgen.api.failure_kinds import Kind
from batchgen.api.never_sent import NeverSent
from batchgen.api.outcome import Answer
from batchgen.errors import EngineGone
from batchgen.job.engine import Ray as RaySettings
from batchgen.send.engines.build import PACKAGE
from batchgen.send.engines.build import digest as digest_of
from batchgen.send.engines.worker import Worker

pytest.importorskip("ray")

from batchgen.send.engines import ray as engine
from batchgen.send.engines.ray import Actors

CONCURRENCY = 32
IN_FLIGHT = 16
"""Most in one actor."""
SPREAD = {"engine": {"ray": {"actors": 2, "in_flight_per_actor": IN_FLIGHT}}}
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
count = int(sys.argv[1])
few = {"num_cpus": 2 // count, "num_gpus": 0, "include_dashboard": False, "object_store_memory": 100 << 20}
cluster = Cluster(initialize_head=True, head_node_args=few)
nodes = [cluster.add_node(**few) for _ in range(count - 1)]
print(cluster.address, flush=True)
sys.stdin.readline()
for node in nodes:
    cluster.remove_node(node, allow_graceful=False)
print("gone", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


class Nodes:
    """A cluster of one node, or of two, with two CPUs in all."""

    def __init__(self, count: int, **env: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER, str(count)],
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_health_check_period_ms": "500", **env},
        )
        self.address = self._process.stdout.readline().strip()

    def actors(self) -> list[int]:
        """The processes of those that are at work."""
        return [pid for pid in descendants(self._process.pid) if name_of(pid).startswith("ray::Worker")]

    def kill_the_second(self) -> None:
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "gone\n"

    def kill_the_head(self) -> None:
        """And all actors: what a lost machine takes with it."""
        for pid in descendants(self._process.pid):
            if "gcs_server" in name_of(pid) or name_of(pid).startswith("ray::"):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        self._process.communicate("\n\n", timeout=HUNG)

    def end(self) -> None:
        """Without an orderly end, which a cluster without a head does not have."""
        for pid in [*descendants(self._process.pid), self._process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.communicate()


def descendants(pid: int) -> list[int]:
    found = [pid]
    for at in found:
        for children in Path(f"/proc/{at}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text().split())
    return found[1:]


def name_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def lives(pid: int) -> bool:
    with suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


@pytest.fixture(scope="module")
def slow():
    """Its answers take a while, so that a kill finds some in flight."""
    with built_in("--latency", "0.3") as running:
        yield running


@pytest.fixture(scope="module")
def nodes():
    nodes = Nodes(2)
    yield nodes
    nodes.close()


def billed(slow: BuiltIn, asked: list[str]) -> Counter[str]:
    ledger = slow.ledger()["prompts"]
    return Counter({prompt: ledger.get(digest(prompt), 0) for prompt in asked})


def bought(slow: BuiltIn, asked: list[str], count: int):
    return lambda: billed(slow, asked).total() >= count


def all_is_there(work: Work, asked: list[str]) -> None:
    table = work.table()
    assert [(row["ask"], row["text"], row["status"]) for row in table] == [(ask, expected(ask), "ok") for ask in asked]


def test_a_signal_drains_and_a_killed_driver_is_resumed(tmp_path, slow, nodes):
    asked = prompts(400, "vase")
    work = Work(tmp_path).write(asked, concurrency=CONCURRENCY, more=SPREAD)
    ray = ("--engine", "ray", "--address", nodes.address)
    with start("run", work.job, "--json", *ray, url=slow.url) as process:
        wait_for(bought(slow, asked, 40), "some answers")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=HUNG)
    summary = json.loads(out)
    assert (process.returncode, summary["stopped"]) == (3, "stopped by SIGTERM"), err
    assert "SIGTERM received" not in err  # as Ray would tell it
    done = billed(slow, asked)
    assert summary["ok"] == summary["sent"] == done.total() < len(asked)
    wait_for(lambda: not nodes.actors(), "the end of the actors")

    with start("run", work.job, "--json", *ray, url=slow.url) as process:
        wait_for(bought(slow, asked, done.total() + 60), "more answers")
        process.kill()
        process.communicate(timeout=HUNG)
    wait_for(lambda: not nodes.actors(), "the end of the actors")
    code, summary, err = run(work, slow.url)
    assert code == 0, err
    assert 0 < summary["interrupted"] <= CONCURRENCY
    assert done.total() < summary["reused"]
    all_is_there(work, asked)
    assert billed(slow, asked).total() - len(asked) <= summary["interrupted"]


def test_an_actor_and_a_node_are_killed_and_the_rest_take_over(tmp_path, slow, nodes):
    asked = prompts(500, "bowl")
    work = Work(tmp_path).write(asked, concurrency=CONCURRENCY, more=SPREAD)
    with start("run", work.job, "--json", "--engine", "ray", "--address", nodes.address, url=slow.url) as process:
        wait_for(bought(slow, asked, 60), "some answers")
        wait_for(lambda: len(nodes.actors()) == 2, "two actors")
        os.kill(nodes.actors()[0], signal.SIGKILL)
        wait_for(lambda: len(nodes.actors()) == 2, "another actor")
        wait_for(bought(slow, asked, 200), "more answers")
        nodes.kill_the_second()
        out, err = process.communicate(timeout=2 * HUNG)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert "possibly billed" in err
    all_is_there(work, asked)
    again = billed(slow, asked).total() - len(asked)
    assert again <= summary["possibly_billed"] <= 2 * IN_FLIGHT
    assert summary["possibly_billed"] > 0, "no kill hit a request in flight: nothing was tested"


def test_the_head_and_its_actors_are_killed_and_what_has_arrived_is_published(tmp_path, slow):
    """Ray itself would end this process a minute later, and its calls wait meanwhile."""
    asked = prompts(400, "jar")
    work = Work(tmp_path).write(asked, concurrency=CONCURRENCY, more=SPREAD)
    nodes = Nodes(1)
    with start("run", work.job, "--json", "--engine", "ray", "--address", nodes.address, url=slow.url) as process:
        wait_for(bought(slow, asked, 60), "some answers")
        nodes.kill_the_head()
        out, err = process.communicate(timeout=HUNG)
    summary = json.loads(out)
    assert (process.returncode, summary["stopped"]) == (5, "the head of the Ray cluster is gone"), err
    assert sum(row["status"] == "ok" for row in work.table()) == summary["ok"] > 0
    code, summary, err = run(work, slow.url)
    assert code == 0, err
    all_is_there(work, asked)
    nodes.end()


def test_nodes_with_another_commit_of_this_version_are_refused(tmp_path, slow):
    """Its actors would judge answers in their own way."""
    other = tmp_path / "other"
    shutil.copytree(PACKAGE, other / "batchgen", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "batchgen" / "send" / "retry.py").open("a") as module:
        module.write("# of another commit\n")
    work = Work(tmp_path).write(prompts(20, "lid"), concurrency=CONCURRENCY, more=SPREAD)
    nodes = Nodes(1, PYTHONPATH=str(other))
    words = "run", work.job, "--engine", "ray", "--address", nodes.address
    with start(*words, url=slow.url, cwd=tmp_path) as process:  # Ray's actors look in a driver's folder first
        _, err = process.communicate(timeout=HUNG)
    nodes.end()
    assert process.returncode == 5, err
    theirs, ours = (f"{__version__} (source {digest_of(package)})" for package in (other / "batchgen", PACKAGE))
    assert f"a node of the Ray cluster has batchgen {theirs}, and this is {ours}: install this one there" in err
    assert not work.answers()


class InProcess:
    """A cluster in this process, as far as the engine calls it. `starts`: what becomes of each start of an actor: an
    actor, or an error."""

    def __init__(self, starts: Iterable[object], monkeypatch: pytest.MonkeyPatch) -> None:
        starting = iter(starts)
        self._started: list[Actor] = []

        def start() -> Actor:
            actor = next(starting)
            if isinstance(actor, Exception):
                raise actor
            self._started.append(actor)
            return actor

        class_of_actors = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=start))
        monkeypatch.setattr(engine.ray, "remote", lambda _: class_of_actors)

    async def call(self, call: Callable[[], object]) -> object:
        return call()

    async def join(self) -> None: ...

    async def leave(self) -> None:
        for actor in self._started:
            await actor.close()

    async def wait_for_loss_of_head(self) -> None:
        await asyncio.get_running_loop().create_future()


class Actor:
    """A Worker that this process calls as an actor. It is lost once `lost` is set."""

    def __init__(self, build: str | None = None) -> None:
        self.lost = asyncio.Event()
        self._build = build
        self._worker = Worker()
        calls = {"begin": self._begin, "take": self._worker.take, "ended": self._ended}
        for name, call in calls.items():
            setattr(self, name, SimpleNamespace(remote=call))

    async def _begin(self, given: Connection) -> str:
        ours = await self._worker.begin(given)
        return self._build or ours

    async def _ended(self) -> list[object]:
        lost, ended = asyncio.create_task(self.lost.wait()), asyncio.create_task(self._worker.ended())
        await asyncio.wait([lost, ended], return_when=asyncio.FIRST_COMPLETED)
        if self.lost.is_set():
            ended.cancel()
            raise engine.ray.exceptions.RayActorError
        lost.cancel()
        return ended.result()

    async def close(self) -> None:
        attempts = list(self._worker._attempts)
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        await self._worker._engine.__aexit__()


def actors(service: Service, starts: Iterable[object], monkeypatch: pytest.MonkeyPatch, count: int = 1) -> Actors:
    cluster = InProcess(starts, monkeypatch)
    monkeypatch.setattr(engine, "Cluster", lambda *_: cluster)
    monkeypatch.setattr(engine, "RESTART_DELAY", 0.01)
    return Actors(connection(service.url, slots=2), RaySettings(actors=count, in_flight_per_actor=2), None)


def body(prompt: str) -> bytes:
    return json.dumps({"model": "m", "prompt": prompt}).encode()


IRREPLACEABLE = {
    "its node has another batchgen": (lambda: Actor("0.0.1"), "a node of the Ray cluster has batchgen 0.0.1, and this"),
    "Ray starts none": (lambda: ValueError("no such resource"), "no such resource"),
}


@pytest.mark.parametrize(("start", "why"), IRREPLACEABLE.values(), ids=IRREPLACEABLE)
async def test_an_actor_that_cannot_be_replaced_is_told_and_the_last_one_ends_the_run(
    service, monkeypatch, caplog, start, why
):
    service.script = lambda _, asked: Hold() if asked["prompt"] == "held" else None
    first, second = Actor(), Actor()
    async with actors(service, [first, second, start(), start()], monkeypatch, 2) as some, asyncio.timeout(PATIENCE):
        assert isinstance(await some.attempt(body("one"), "m"), Answer)
        first.lost.set()
        await asyncio.wait(some._runs, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        assert f"warning: a Ray actor is lost and not replaced: {why}" in caplog.text
        assert isinstance(await some.attempt(body("two"), "m"), Answer), "the other one goes on"
        held = asyncio.create_task(some.attempt(body("held"), "m"))
        await asyncio.to_thread(service.wait, lambda service: service.in_flight)
        second.lost.set()
        assert (await held).kind is Kind.UNANSWERED
        waiting = [await asyncio.gather(some.attempt(body(f"{n}"), "m"), return_exceptions=True) for n in range(3)]
    assert {type(one) for (one,) in waiting} == {EngineGone}
    assert str(waiting[0][0]).startswith(f"no Ray actor is left: {why}")


async def test_an_actor_that_is_silent_is_lost_and_that_is_said(service, monkeypatch, caplog):
    monkeypatch.setattr(engine, "SILENCE_TIMEOUT", 0.1)
    monkeypatch.setattr(engine.ray, "kill", lambda _: None)
    service.script = lambda *_: Hold()
    async with actors(service, (Actor() for _ in count()), monkeypatch) as some, asyncio.timeout(PATIENCE):
        while "in flight: possibly billed" not in caplog.text:
            assert (await some.attempt(body("held"), "m")).kind in (Kind.UNANSWERED, Kind.UNSENT)
    assert "warning: a Ray actor is lost (silent for 0.1 s) with 1 in flight: possibly billed" in caplog.text


async def test_what_is_cancelled_before_an_actor_has_it_is_never_sent(service, monkeypatch):
    """One has left, one is to go along with others, and one waits for room."""
    service.script = lambda *_: Hold()
    cancelled: dict[str, type] = {}

    async def asked(prompt: str) -> None:
        try:
            await some.attempt(body(prompt), "m")
        except asyncio.CancelledError as error:
            cancelled[prompt] = type(error)

    async with actors(service, [Actor()], monkeypatch) as some, asyncio.timeout(PATIENCE):
        asking = [asyncio.create_task(asked("left"))]
        await asyncio.to_thread(service.wait, lambda service: service.in_flight)
        asking += [asyncio.create_task(asked(prompt)) for prompt in ("to leave", "waiting")]
        await asyncio.sleep(0)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking)
        service.release()
        assert isinstance(await some.attempt(body("last"), "m"), Answer)
    assert cancelled == {"left": asyncio.CancelledError, "to leave": NeverSent, "waiting": NeverSent}
    assert set(service.asked) == {f"{prompt}" for prompt in ("left", "last")}


def test_a_digest_is_of_all_modules_and_of_their_places(tmp_path):
    first = tmp_path / "a.py"
    first.write_text("x = 1")
    seen = [digest_of(tmp_path)]
    for change in (
        lambda: first.write_text("x = 2"),
        lambda: first.rename(tmp_path / "b.py"),
        lambda: (tmp_path / "c.py").write_text(""),
    ):
        change()
        seen.append(digest_of(tmp_path))
    (tmp_path / "c.txt").write_text("no module")
    assert len(set(seen)) == 4
    assert digest_of(tmp_path) == seen[-1]


def test_a_local_ray_ends_with_its_driver_and_knows_no_key(tmp_path, slow, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "default")  # Ray's own processes warn on Python 3.13
    asked = prompts(160, "plate")
    notified = {"notify": {"url_env": "WEBHOOK"}}
    work = Work(tmp_path).write(asked, concurrency=CONCURRENCY, more=notified)
    key = "a-key-that-nobody-shall-see"
    secrets = {"WRITER_API_KEY": key, "WEBHOOK": f"http://127.0.0.1:9/{key}", "AWS_SECRET_ACCESS_KEY": key}
    environment = {**environ(slow.url), **secrets}
    with start("run", work.job, "--engine", "ray", env=environment) as process:
        wait_for(bought(slow, asked, 40), "some answers")
        rays = [pid for pid in descendants(process.pid) if lives(pid)]
        assert any(name_of(pid).startswith("ray::Worker") for pid in rays)
        assert not [pid for pid in rays if key.encode() in Path(f"/proc/{pid}/environ").read_bytes()]
        logs = next(word for pid in rays for word in name_of(pid).split("\0") if word.startswith("--log_dir="))
        folder = Path(logs.removeprefix("--log_dir=")).parent
        texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        assert texts
        assert not [text for text in texts if key.encode() in text]
        process.kill()
        out, err = process.communicate(timeout=HUNG)
    assert out == ""
    assert err.count("\n") <= 2, "Ray's chatter"
    at_work = [pid for pid in rays if not name_of(pid).startswith(("ray::Dashboard", "ray::RuntimeEnv"))]  # soon
    wait_for(lambda: not [pid for pid in at_work if lives(pid)], "the end of Ray's processes")

    work.write(asked, concurrency=CONCURRENCY)
    code, summary, err = run(work, slow.url, "--engine", "ray")
    assert (code, summary["ok"]) == (0, len(asked)), err
    assert billed(slow, asked).total() - len(asked) <= summary["interrupted"] <= CONCURRENCY
    all_is_there(work, asked)


REFUSED = {
    "nobody there": (["--engine", "ray", "--address", "127.0.0.1:9"], 5, "no Ray cluster answers at 127.0.0.1:9"),
    "no address": (["--engine", "ray", "--address", "ray://here"], 2, "should be auto, or the host:port"),
    "for nothing": (["--address", "auto"], 2, "goes with --engine ray"),
    "another engine": (["--engine", "dask"], 2, "'dask' is not one of"),
}


@pytest.mark.parametrize(("words", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_cluster_is_refused_before_anything_is_sent(tmp_path, words, code, said):
    work = Work(tmp_path).write(prompts(3))
    ended = run(work, "http://127.0.0.1:9", *words)
    assert ended[0] == code
    assert said in ended[2]
    assert "Traceback" not in ended[2]


def test_without_ray_it_says_what_to_install(tmp_path):
    (tmp_path / "ray.py").write_text("raise ImportError")
    work = Work(tmp_path).write(prompts(3))
    with start("run", work.job, "--engine", "ray", env={**environ(), "PYTHONPATH": str(tmp_path)}) as process:
        _, err = process.communicate(timeout=HUNG)
    assert process.returncode == 2
    assert "pip install 'batchgen-writer[ray]'" in err


def test_what_the_command_hides_is_there_for_ray():
    """Values that Ray hands over may be numpy's, and so may those of its other libraries."""
    told = (
        "import sys\nfrom batchgen.__main__ import HIDDEN, spare_imports\nspare_imports()\n"
        "hidden = lambda: [name for name in HIDDEN if sys.modules.get(name, sys) is None]\n"
        "print(len(hidden()) == len(HIDDEN))\n"
        "from batchgen.send.engines.choice import engine_of\nengine_of('ray')\nprint(hidden())"
    )
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == ["True", "[]"]
