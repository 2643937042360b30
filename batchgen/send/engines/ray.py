"""Attempts made by Ray's actors, on this machine or on a cluster. The one place that knows Ray.

What decides stays with the pump. An actor that is gone is replaced; what it had in flight ends unanswered, and so
possibly billed; what it was not yet given goes to the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Self

from batchgen.api.outcome import Answer, Failure, Kind
from batchgen.errors import BatchgenError, EngineGone, MachineRefused
from batchgen.job.job import Job
from batchgen.send.engines.build import build
from batchgen.send.engines.local import EngineFactory
from batchgen.send.engines.ray_cluster import Cluster, check, ray
from batchgen.send.engines.worker import BEAT, LINGER, Request, Worker

START = 60.0
"""Seconds in which the first actor must be at work."""
SILENCE = 6 * BEAT
"""Seconds after which an actor that says nothing is given up."""
PAUSE = 1.0
"""Seconds until an actor is replaced."""

log = logging.getLogger("batchgen")


@dataclass(slots=True, eq=False)
class _PendingRequest:
    body: bytes
    model: str
    asked_at: float
    ended: asyncio.Future[Answer | Failure]

    def end(self, outcome: Answer | Failure | MachineRefused) -> None:
        if self.ended.done():
            return  # whoever waited was cancelled
        if isinstance(outcome, MachineRefused):
            self.ended.set_exception(outcome)
        else:
            self.ended.set_result(outcome)


class Actors:
    """Some actors as one engine, as an asynchronous context."""

    def __init__(self, job: Job, base_url: str, key: str, address: str | None) -> None:
        self._cluster = Cluster(address, job.engine.ray.cpus(job.limits.most_in_flight), job.endpoint.key_env)
        self._connect = job.timeout.connect
        given = job.engine.ray
        most = given.in_flight(job.limits.most_in_flight)
        theirs = job.model_copy(update={"limits": job.limits.model_copy(update={"concurrency": most})})
        options = {"num_cpus": given.cpus_per_actor, "scheduling_strategy": "SPREAD"}
        self._waiting: deque[_PendingRequest] = deque()
        self._broken: EngineGone | None = None
        self._seats = [
            _ActorSlot(self._cluster, options, (theirs, base_url, key), most, self._waiting, self._hand_out)
            for _ in range(given.number(job.limits.most_in_flight))
        ]

    async def __aenter__(self) -> Self:
        """Raises BatchgenError where no actor gets to work."""
        await self._cluster.join()
        self._runs = [asyncio.create_task(seat.run()) for seat in self._seats]
        try:
            await self._first()
        except BaseException:
            await self.__aexit__()
            raise
        self._runs += [asyncio.create_task(self._watch()), asyncio.create_task(self._heed())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)
        await self._cluster.leave()

    async def attempt(self, body: bytes, model: str) -> Answer | Failure:
        """As the local engine's. Raises EngineGone where the cluster is."""
        if self._broken is not None:
            raise self._broken
        loop = asyncio.get_running_loop()
        asked = _PendingRequest(body, model, loop.time(), loop.create_future())
        self._waiting.append(asked)
        self._hand_out()
        return await asked.ended

    def _hand_out(self) -> None:
        """To whoever has the least to do; what nobody has room for waits."""
        while self._waiting:
            seat = min((seat for seat in self._seats if seat.room > 0), key=lambda seat: seat.load, default=None)
            if seat is None:
                return
            seat.give(self._waiting.popleft())

    async def _first(self) -> None:
        ready = [asyncio.create_task(seat.ready.wait()) for seat in self._seats]
        try:
            await asyncio.wait([*ready, *self._runs], timeout=START, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in ready:
                waiting.cancel()
        for run in self._runs:
            if run.done():
                run.result()
        if not any(seat.ready.is_set() for seat in self._seats):
            why = next((f": {seat.why}" for seat in self._seats if seat.why), ": no node has room for one")
            raise MachineRefused(f"no Ray actor came to work within {START:g} s{why}; nothing was sent")

    async def _watch(self) -> None:
        """Without any actor, what waits does so as long as for a connection."""
        while True:
            await asyncio.sleep(PAUSE)
            late = asyncio.get_running_loop().time() - self._connect
            if not any(seat.ready.is_set() for seat in self._seats):
                while self._waiting and self._waiting[0].asked_at < late:
                    self._waiting.popleft().end(Failure(Kind.UNSENT, "no Ray actor is at work"))

    async def _heed(self) -> None:
        await self._cluster.heed()
        self._broken = EngineGone("the head of the Ray cluster is gone")
        for asked in [*self._waiting, *(asked for seat in self._seats for asked in seat.unanswered())]:
            asked.end(self._broken)


class _ActorSlot:
    """One actor, and when it is gone the next. `load` is what it was given and has not ended."""

    def __init__(
        self,
        cluster: Cluster,
        options: dict[str, Any],
        orders: tuple[Job, str, str],
        most: int,
        left: deque[_PendingRequest],
        has_room: Callable[[], None],
    ) -> None:
        self._call = cluster.call
        self._options = options
        self._orders = orders
        self._most = most
        self._left = left
        self._has_room = has_room
        self._numbers = count()
        self._outbox: list[_PendingRequest] = []
        self._given = asyncio.Event()
        self._flying: dict[int, _PendingRequest] = {}
        self.ready = asyncio.Event()
        self.why = ""

    @property
    def load(self) -> int:
        return len(self._outbox) + len(self._flying)

    @property
    def room(self) -> int:
        return self._most - self.load if self.ready.is_set() else 0

    def unanswered(self) -> list[_PendingRequest]:
        return [*self._outbox, *self._flying.values()]

    def give(self, asked: _PendingRequest) -> None:
        self._outbox.append(asked)
        self._given.set()

    async def run(self) -> None:
        """Raises BatchgenError where an actor cannot do this job."""
        while True:
            actor = await self._call(ray.remote(Worker).options(**self._options).remote)
            try:
                await self._begin(actor)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._send(actor))
                    both.create_task(self._receive(actor))
            except* (ray.exceptions.RayError, TimeoutError) as group:
                self._lose(_said(group.exceptions[0]))
                if group.split(TimeoutError)[0] is not None:
                    await self._call(partial(ray.kill, actor))  # silent, and perhaps alive
            await asyncio.sleep(PAUSE)

    async def _begin(self, actor: Any) -> None:
        try:
            theirs = await (await self._call(partial(actor.begin.remote, *self._orders)))
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
            await self._given.wait()
            await asyncio.sleep(LINGER)
            self._given.clear()
            requests: list[Request] = []
            for asked in self._outbox:
                number = next(self._numbers)
                self._flying[number] = asked
                requests.append((number, asked.body, asked.model))
            self._outbox.clear()
            await (await self._call(partial(actor.take.remote, requests)))

    async def _receive(self, actor: Any) -> None:
        while True:
            async with asyncio.timeout(SILENCE):
                ended = await (await self._call(actor.ended.remote))
            for number, outcome in ended:
                self._flying.pop(number).end(outcome)
            self._has_room()

    def _lose(self, why: str) -> None:
        """What was given and not sent is as if it had not been given."""
        self.ready.clear()
        self.why = why
        if self._flying:
            log.warning("warning: a Ray actor is gone (%s) with %s in flight: possibly billed", why, len(self._flying))
        else:
            log.debug("a Ray actor is gone, or did not come to work: %s", why)
        lost, self._flying = self._flying, {}
        self._left.extendleft(reversed(self._outbox))
        self._outbox.clear()
        for asked in lost.values():
            asked.end(Failure(Kind.UNANSWERED, "the Ray actor that sent it is gone"))
        self._has_room()


def _said(error: BaseException) -> str:
    """Of Ray's pages the line that tells: the last where an actor could not be made, as without batchgen there."""
    lines = (str(error) or type(error).__name__).strip().splitlines()
    return lines[-1 if "creation task" in lines[0] else 0][:300]


def engine(address: str | None) -> EngineFactory:
    """Raises UsageError where it is no address."""
    checked = None if address is None else check(address)
    return lambda job, base_url, key: Actors(job, base_url, key, checked)


__all__ = ["Actors", "engine"]
