"""The job's check, applied to each answer as it arrives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from batchgen.api.body import decompress
from batchgen.api.outcome import Answer, Failure, Kind
from batchgen.api.types import RawCompletion
from batchgen.job.checker import Checker

if TYPE_CHECKING:
    from batchgen.send.dispatcher import Attempt


def checked(attempt: Attempt, fitness: Checker | None, read: Callable[[bytes], RawCompletion]) -> Attempt:
    """The same attempts, of which an answer whose text is unfit is a failure. `read`: an answer's body."""
    if fitness is None:
        return attempt

    async def judged(body: bytes, model: str) -> Answer | Failure:
        outcome = await attempt(body, model)
        if isinstance(outcome, Failure):
            return outcome
        body = decompress(outcome.body)
        (why,) = fitness.unfit([read(body).choices[0].text])
        if why is None:
            return outcome
        return Failure(Kind.UNFIT, why, 200, body=body, answer=outcome).after(outcome.resent, outcome.lost)

    return judged
