"""The far side of an engine that is spread over processes: makes attempts, and hands over what has ended in one go.

Knows nothing of what carries its calls. The key comes in a call and stays in this process's memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from msgspec.structs import replace

from batchgen.api.body import compress
from batchgen.api.outcome import Answer, Failure
from batchgen.errors import MachineRefused
from batchgen.job.job import Job
from batchgen.send.engines import local
from batchgen.send.engines.build import build

Request = tuple[int, bytes, str]
"""A number that the caller gave it, the body, and the model that the body asks for."""
Ended = tuple[int, Answer | Failure | MachineRefused]

LINGER = 0.01
"""Seconds in which more may come along with the first: a call costs as much as ten rows."""
BEAT = 10.0
"""Seconds after which `ended` says that nothing has."""
FITS = 8 << 20
"""Bytes of answers in one go; a larger one goes alone."""


class Worker:
    """Used from one event loop."""

    def __init__(self) -> None:
        self._attempts: set[asyncio.Task[None]] = set()
        self._ended: deque[Ended] = deque()
        self._some = asyncio.Event()

    async def begin(self, job: Job, base_url: str, key: str) -> str:
        """Before anything else; which batchgen this is. Raises UsageError where the job's files are not here."""
        self._engine = await local.engine(job, base_url, key).__aenter__()
        return build()

    async def take(self, requests: list[Request]) -> None:
        """Their attempts begin."""
        for request in requests:
            attempt = asyncio.create_task(self._attempt(*request))
            self._attempts.add(attempt)
            attempt.add_done_callback(self._attempts.discard)

    async def ended(self) -> list[Ended]:
        """What has ended since it was last asked; waits for it, but not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(BEAT):
                await self._some.wait()
                await asyncio.sleep(LINGER)
        ended, size = [], 0
        while self._ended and size < FITS:
            ended.append(self._ended.popleft())
            size += _size(ended[-1])
        if not self._ended:
            self._some.clear()
        return ended

    async def _attempt(self, number: int, body: bytes, model: str) -> None:
        try:
            outcome = await self._engine.attempt(body, model)
        except Exception as error:  # noqa: BLE001  whoever waits for it must hear of it; its text may hold anything
            self._end(number, MachineRefused(f"an attempt broke off in its worker: {type(error).__name__}"))
        else:
            self._end(number, replace(outcome, body=compress(outcome.body)) if isinstance(outcome, Answer) else outcome)

    def _end(self, number: int, outcome: Answer | Failure | MachineRefused) -> None:
        self._ended.append((number, outcome))
        self._some.set()


def _size(ended: Ended) -> int:
    _, outcome = ended
    return 0 if isinstance(outcome, MachineRefused) else len(outcome.body)
