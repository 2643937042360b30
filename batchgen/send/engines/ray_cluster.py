"""Ray itself: joins a cluster, or starts one on this machine for one run."""

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
from collections.abc import Callable, Iterator, Sequence
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

__all__ = ["Cluster", "check_address", "ray"]

T = TypeVar("T")
CONNECT_TIMEOUT = 10.0
JOIN_TIMEOUT = 45.0
"""Seconds within which a cluster must accept us, or our own must have started."""
LEAVE_TIMEOUT = 8.0
HEAD_CHECK_SECONDS, HEAD_TIMEOUT = 2.0, 12.0
"""Seconds between checks of the head, and seconds of silence after which it is lost."""
OBJECT_STORE_BYTES = 256 << 20
"""Bytes of shared memory for answers on their way; more goes to the disk."""


def check_address(address: str) -> str:
    """Returns the address. Raises UsageError if it is not a cluster's."""
    if address != "auto" and not re.fullmatch(r"[A-Za-z0-9._-]+:[0-9]{1,5}", address):
        raise UsageError(f"--address {address}: should be auto, or the host:port of a Ray cluster's head")
    return address


class Cluster:
    """A connection to Ray. It lives in a thread of its own: what Ray starts ends with the thread that started it, and
    in the main thread Ray would handle SIGTERM itself."""

    def __init__(self, address: str | None, cpus: int, secrets: Sequence[str]) -> None:
        """`cpus`: of our own cluster, if there is no address. `secrets`: variables that it must not inherit."""
        self._address = address
        self._cpus = cpus
        self._secrets = secrets
        self._up: Future[None] = Future()
        self._down = threading.Event()
        self._thread = threading.Thread(target=self._live, name="ray", daemon=True)
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._caller = threading.Thread(target=self._serve, name="ray calls", daemon=True)

    async def join(self) -> None:
        """Connects. Raises MachineRefused if there is no cluster, or it does not answer."""
        if self._address not in (None, "auto"):
            await asyncio.to_thread(_refuse_unreachable, self._address)
        self._thread.start()
        self._caller.start()
        try:
            async with asyncio.timeout(JOIN_TIMEOUT):
                await asyncio.wrap_future(self._up)
        except TimeoutError:
            raise MachineRefused(f"{self._name} did not answer within {JOIN_TIMEOUT:g} s; nothing was sent") from None
        finally:
            _restore_signals()

    async def wait_for_loss_of_head(self) -> None:
        """Returns when the head has been lost for a while. Ray itself ends this process some time later."""
        host, _, port = self._head.rpartition(":")
        silent = 0
        while silent * HEAD_CHECK_SECONDS < HEAD_TIMEOUT:
            await asyncio.sleep(HEAD_CHECK_SECONDS)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                silent = 0
            except OSError:
                silent += 1

    async def call(self, call: Callable[[], T]) -> T:
        """Returns the result of a call to Ray, such as an actor's `.remote()`. The call is made in a thread: if the
        head is lost, Ray blocks its callers."""
        result: Future[T] = Future()
        self._calls.put((result, call))
        return await asyncio.wrap_future(result)

    def _serve(self) -> None:
        while True:
            result, call = self._calls.get()
            if result.set_running_or_notify_cancel():
                try:
                    result.set_result(call())
                except BaseException as error:  # noqa: BLE001  it is the caller's to handle
                    result.set_exception(error)

    async def leave(self) -> None:
        self._down.set()
        await asyncio.to_thread(self._thread.join, LEAVE_TIMEOUT)
        _restore_signals()

    @property
    def _name(self) -> str:
        return {None: "a Ray of this machine", "auto": "the Ray cluster that is at work here"}.get(
            self._address, f"the Ray cluster at {self._address}"
        )

    def _live(self) -> None:
        with ExitStack() as stack:
            try:
                ray._private.worker._worker_logs_enabled = False  # noqa: SLF001  else it tells of deaths on stdout
                with _without_variables(self._secrets):
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
        store = {"num_cpus": self._cpus, "num_gpus": 0, "object_store_memory": OBJECT_STORE_BYTES}
        return {"address": "local", "include_dashboard": False, "_temp_dir": folder, **store}


def _refuse_unreachable(address: str) -> None:
    """Raises MachineRefused if nothing answers there: Ray itself would end this process."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MachineRefused(f"no Ray cluster answers at {address}: {reason}; nothing was sent") from None


@contextmanager
def _without_variables(names: Sequence[str]) -> Iterator[None]:
    """Removes the variables while the block runs: processes that Ray starts must not inherit secrets."""
    removed = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(removed)


def _restore_signals() -> None:
    """Restores Python's signal handlers. Ray's library replaces them by its own, which end the process, and leaves none
    when it goes."""
    if threading.current_thread() is threading.main_thread():
        signal.alarm(0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with suppress(TypeError):  # set by no Python
                signal.signal(number, signal.getsignal(number))
