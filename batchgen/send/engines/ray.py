"""The Ray engine: attempts made by actors, on this machine or on a cluster. Ray is used only here and in `ray_cluster`.

Decisions stay with the dispatcher. A lost actor is replaced. Requests in flight on it end unanswered, and so possibly
billed; requests not yet sent go to the next actor.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, Self

from batchgen.api.connection import Connection
from batchgen.api.failure_kinds import Kind
from batchgen.api.never_sent import NeverSent
from batchgen.api.outcome import Answer, Failure
from batchgen.errors import BatchgenError, EngineGone, MachineRefused
from batchgen.job.engine import Ray as RaySettings
from batchgen.send.engines.build import build
from batchgen.send.engines.local import EngineFactory
from batchgen.send.engines.pending_request import PendingRequest
from batchgen.send.engines.ray_cluster import Cluster, check_address, ray
from batchgen.send.engines.worker import BATCH_DELAY, HEARTBEAT, Request, Worker

START_TIMEOUT = 60.0
"""Seconds within which the first actor must be ready."""
SILENCE_TIMEOUT = 6 * HEARTBEAT
"""Seconds after which a silent actor is given up."""
RESTART_DELAY = 1.0
"""Seconds until an actor is replaced."""

log = logging.getLogger("batchgen")


class Actors:
    """Several actors as one engine, as an asynchronous context."""

    def __init__(self, connection: Connection, settings: RaySettings, address: str | None) -> None:
        self._cluster = Cluster(address, settings.cpus(connection.slots), connection.secret_variables)
        self._connect = connection.connect
        most = settings.in_flight(connection.slots)
        options = {"num_cpus": settings.cpus_per_actor, "scheduling_strategy": "SPREAD"}
        self._waiting: deque[PendingRequest] = deque()
        self._broken: EngineGone | None = None
        self._slots = [
            _ActorSlot(self._cluster, options, replace(connection, slots=most), self._waiting, self._hand_out)
            for _ in range(settings.number(connection.slots))
        ]

    async def __aenter__(self) -> Self:
        """Starts the actors. Raises BatchgenError if none becomes ready."""
        await self._cluster.join()
        self._watchers: list[asyncio.Task[None]] = []
        self._runs = [asyncio.create_task(slot.run()) for slot in self._slots]
        try:
            await self._first()
        except BaseException:
            await self.__aexit__()
            raise
        for run in self._runs:
            run.add_done_callback(self._not_replaced)
        self._watchers = [asyncio.create_task(self._watch()), asyncio.create_task(self._watch_head())]
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._runs, *self._watchers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._cluster.leave()

    async def attempt(self, body: bytes, model: str, *, new_connection: bool = False) -> Answer | Failure:
        """Makes an attempt, like the local engine. Raises EngineGone if the cluster is lost, or no actor can be
        replaced; NeverSent if it is cancelled before an actor was given the request."""
        if self._broken is not None:
            raise self._broken
        loop = asyncio.get_running_loop()
        request = PendingRequest(body, model, new_connection, loop.time(), loop.create_future())
        self._waiting.append(request)
        self._hand_out()
        try:
            return await request.ended
        except asyncio.CancelledError:
            if request.was_sent:
                raise
            raise NeverSent from None

    def _hand_out(self) -> None:
        """Gives waiting requests to the least busy actors; the others wait for a free one."""
        while self._waiting:
            slot = min((slot for slot in self._slots if slot.room > 0), key=lambda slot: slot.load, default=None)
            if slot is None:
                return
            request = self._waiting.popleft()
            if not request.is_cancelled:
                slot.give(request)

    async def _first(self) -> None:
        ready = [asyncio.create_task(slot.ready.wait()) for slot in self._slots]
        try:
            await asyncio.wait([*ready, *self._runs], timeout=START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in ready:
                waiting.cancel()
        for run in self._runs:
            if run.done():
                run.result()
        if not any(slot.ready.is_set() for slot in self._slots):
            why = self._why or "no node has room for one"
            raise MachineRefused(f"no Ray actor started within {START_TIMEOUT:g} s: {why}; nothing was sent")

    @property
    def _why(self) -> str:
        """Returns why an actor was lost, or did not start; empty if none was."""
        return next((slot.why for slot in self._slots if slot.why), "")

    async def _watch(self) -> None:
        """Ends waiting requests after the connect time-out if there is no actor."""
        while True:
            await asyncio.sleep(RESTART_DELAY)
            late = asyncio.get_running_loop().time() - self._connect
            if not any(slot.ready.is_set() for slot in self._slots):
                why = f"no Ray actor is running: {self._why}"
                while self._waiting and self._waiting[0].asked_at < late:
                    self._waiting.popleft().end(Failure(Kind.UNSENT, why))

    async def _watch_head(self) -> None:
        await self._cluster.wait_for_loss_of_head()
        self._break("the head of the Ray cluster is gone")

    def _not_replaced(self, run: asyncio.Task[None]) -> None:
        """Warns of an actor that cannot be replaced, such as where its node has another batchgen. The last one's end
        is the engine's."""
        if run.cancelled() or (error := run.exception()) is None:
            return
        log.warning("warning: a Ray actor is lost and not replaced: %s", error)
        if all(run.done() for run in self._runs):
            self._break(f"no Ray actor is left: {error}")

    def _break(self, why: str) -> None:
        self._broken = EngineGone(why)
        for request in [*self._waiting, *(request for slot in self._slots for request in slot.unanswered())]:
            request.end(self._broken)


class _ActorSlot:
    """One actor, and its replacement once it is lost. `load`: requests that it was given and that have not ended."""

    def __init__(
        self,
        cluster: Cluster,
        options: dict[str, Any],
        connection: Connection,
        left: deque[PendingRequest],
        has_room: Callable[[], None],
    ) -> None:
        self._call = cluster.call
        self._options = options
        self._connection = connection
        self._left = left
        self._has_room = has_room
        self._numbers = count()
        self._outbox: list[PendingRequest] = []
        self._has_outbox = asyncio.Event()
        self._in_flight: dict[int, PendingRequest] = {}
        self.ready = asyncio.Event()
        self.why = ""

    @property
    def load(self) -> int:
        return len(self._outbox) + len(self._in_flight)

    @property
    def room(self) -> int:
        return self._connection.slots - self.load if self.ready.is_set() else 0

    def unanswered(self) -> list[PendingRequest]:
        return [*self._outbox, *self._in_flight.values()]

    def give(self, request: PendingRequest) -> None:
        self._outbox.append(request)
        self._has_outbox.set()

    async def run(self) -> None:
        """Raises BatchgenError if an actor cannot do this job."""
        try:
            while True:
                await self._run_actor()
                await asyncio.sleep(RESTART_DELAY)
        except Exception as error:
            self._lose(_error_line(error))
            raise

    async def _run_actor(self) -> None:
        """Starts an actor, and serves it until it is lost, or cannot be started."""
        actor = None
        try:
            actor = await self._call(ray.remote(Worker).options(**self._options).remote)
            await self._begin(actor)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._send(actor))
                both.create_task(self._receive(actor))
        except* (ray.exceptions.RayError, TimeoutError) as group:
            self._lose(_error_line(group.exceptions[0]))
            if actor is not None and group.split(TimeoutError)[0] is not None:
                await self._call(partial(ray.kill, actor))  # silent, and perhaps alive

    async def _begin(self, actor: Any) -> None:
        try:
            theirs = await (await self._call(partial(actor.begin.remote, self._connection)))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, BatchgenError):
                raise MachineRefused(f"a Ray actor cannot begin: {error.cause}") from None
            raise
        if theirs != build():
            raise MachineRefused(
                f"a node of the Ray cluster has batchgen {theirs}, and this is {build()}: install this one there"
            )
        self.ready.set()
        self._has_room()

    async def _send(self, actor: Any) -> None:
        while True:
            await self._has_outbox.wait()
            await asyncio.sleep(BATCH_DELAY)
            self._has_outbox.clear()
            requests: list[Request] = []
            for request in self._outbox:
                if request.is_cancelled:
                    continue
                number = next(self._numbers)
                request.was_sent = True
                self._in_flight[number] = request
                requests.append((number, request.body, request.model, request.new_connection))
            self._outbox.clear()
            if requests:
                await (await self._call(partial(actor.take.remote, requests)))

    async def _receive(self, actor: Any) -> None:
        while True:
            try:
                async with asyncio.timeout(SILENCE_TIMEOUT):
                    ended = await (await self._call(actor.ended.remote))
            except TimeoutError:
                raise TimeoutError(f"silent for {SILENCE_TIMEOUT:g} s") from None
            for number, outcome in ended:
                self._in_flight.pop(number).end(outcome)
            self._has_room()

    def _lose(self, why: str) -> None:
        """Puts requests that were not sent back into the queue; ends those in flight."""
        self.ready.clear()
        self.why = why
        if self._in_flight:
            log.warning(
                "warning: a Ray actor is lost (%s) with %s in flight: possibly billed", why, len(self._in_flight)
            )
        else:
            log.debug("a Ray actor is lost, or did not start: %s", why)
        lost, self._in_flight = self._in_flight, {}
        self._left.extendleft(reversed(self._outbox))
        self._outbox.clear()
        for request in lost.values():
            request.end(Failure(Kind.UNANSWERED, "the Ray actor that sent it is lost"))
        self._has_room()


def _error_line(error: BaseException) -> str:
    """Returns the line of Ray's long messages that matters. If an actor could not be created, as without batchgen
    there, it is the last one."""
    lines = (str(error) or type(error).__name__).strip().splitlines()
    return lines[-1 if "creation task" in lines[0] else 0][:300]


def engine(address: str | None) -> EngineFactory:
    """Returns a factory of the Ray engine. Raises UsageError for an invalid address."""
    checked = None if address is None else check_address(address)
    return lambda connection, settings: Actors(connection, settings.ray, checked)
