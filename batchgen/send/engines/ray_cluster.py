"""Ray itself: a cluster that is joined, or one of this machine's own that is there for one run."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

from batchgen.errors import MachineRefused, UsageError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of a change to come
try:
    import ray
except ImportError:
    raise UsageError("--engine ray: Ray is not installed: pip install 'batchgen-writer[ray]'") from None

__all__ = ["Cluster", "check", "ray"]

T = TypeVar("T")
CONNECT = 10.0
JOIN = 45.0
"""Seconds in which a cluster must let us in, or one of our own must have started."""
LEAVE = 8.0
KNOCKS, GONE = 2.0, 12.0
"""Seconds between looks at the head, and after which it is gone."""
STORE = 256 << 20
"""Bytes of shared memory for answers on their way; what is more goes to the disk."""


def check(address: str) -> str:
    """Raises UsageError where it is no address of a cluster."""
    if address != "auto" and not re.fullmatch(r"[A-Za-z0-9._-]+:[0-9]{1,5}", address):
        raise UsageError(f"--address {address}: should be auto, or the host:port of a Ray cluster's head")
    return address


class Cluster:
    """Ray, while it is joined. It lives in a thread of its own: what it starts ends with the thread that started it,
    and in the main thread it would take SIGTERM for itself."""

    def __init__(self, address: str | None, cpus: int, secret: str) -> None:
        """`cpus`: of a cluster of our own, when there is no address. `secret`: a variable that it must not inherit."""
        self._address = address
        self._cpus = cpus
        self._secret = secret
        self._up: Future[None] = Future()
        self._down = threading.Event()
        self._thread = threading.Thread(target=self._live, name="ray", daemon=True)
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._caller = threading.Thread(target=self._serve, name="ray calls", daemon=True)

    async def join(self) -> None:
        """Raises MachineRefused where there is none, or it does not answer."""
        if self._address not in (None, "auto"):
            await asyncio.to_thread(_knock, self._address)
        self._thread.start()
        self._caller.start()
        try:
            async with asyncio.timeout(JOIN):
                await asyncio.wrap_future(self._up)
        except TimeoutError:
            raise MachineRefused(f"{self._name} did not answer within {JOIN:g} s; nothing was sent") from None
        finally:
            _take_signals_back()

    async def heed(self) -> None:
        """Returns when the head has been gone for a while. Ray itself ends this process a while later."""
        host, _, port = self._head.rpartition(":")
        silent = 0
        while silent * KNOCKS < GONE:
            await asyncio.sleep(KNOCKS)
            try:
                async with asyncio.timeout(CONNECT):
                    _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                silent = 0
            except OSError:
                silent += 1

    async def call(self, call: Callable[[], T]) -> T:
        """What a call of Ray's returns, such as an actor's `.remote()`. It is made in a thread: where the head is gone,
        Ray makes whoever calls wait for it."""
        asked: Future[T] = Future()
        self._calls.put((asked, call))
        return await asyncio.wrap_future(asked)

    def _serve(self) -> None:
        while True:
            asked, call = self._calls.get()
            if asked.set_running_or_notify_cancel():
                try:
                    asked.set_result(call())
                except BaseException as error:  # noqa: BLE001  it is whoever asked that it concerns
                    asked.set_exception(error)

    async def leave(self) -> None:
        self._down.set()
        await asyncio.to_thread(self._thread.join, LEAVE)
        _take_signals_back()

    @property
    def _name(self) -> str:
        return {None: "a Ray of this machine", "auto": "the Ray cluster that is at work here"}.get(
            self._address, f"the Ray cluster at {self._address}"
        )

    def _live(self) -> None:
        with ExitStack() as stack:
            try:
                ray._private.worker._worker_logs_enabled = False  # noqa: SLF001  else it tells of deaths on stdout
                with _without(self._secret):
                    ray.init(**self._options(stack), log_to_driver=False, logging_level=logging.CRITICAL)
            except Exception as error:  # noqa: BLE001  Ray raises what it likes
                self._up.set_exception(MachineRefused(f"{self._name} cannot be used: {error}; nothing was sent"))
                return
            self._head = ray.get_runtime_context().gcs_address
            self._up.set_result(None)
            self._down.wait()
            ray.shutdown()

    def _options(self, stack: ExitStack) -> dict[str, Any]:
        if self._address:
            return {"address": self._address}
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="batchgen-ray-", dir="/tmp", ignore_cleanup_errors=True)
        )
        store = {"num_cpus": self._cpus, "num_gpus": 0, "object_store_memory": STORE}
        return {"address": "local", "include_dashboard": False, "_temp_dir": folder, **store}


def _knock(address: str) -> None:
    """Ray itself would end this process where nobody answers."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT).close()
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or error
        raise MachineRefused(f"no Ray cluster answers at {address}: {said}; nothing was sent") from None


@contextmanager
def _without(variable: str) -> Iterator[None]:
    """The key is no business of the processes that Ray starts."""
    value = os.environ.pop(variable, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[variable] = value


def _take_signals_back() -> None:
    """Ray's library puts its own handlers over Python's, which end the process, and leaves none when it goes."""
    if threading.current_thread() is threading.main_thread():
        signal.alarm(0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with suppress(TypeError):  # set by no Python
                signal.signal(number, signal.getsignal(number))
