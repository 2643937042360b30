"""A request that was given to an engine of several processes, and has no outcome yet."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from batchgen.api.outcome import Answer, Failure
from batchgen.errors import MachineRefused


@dataclass(slots=True, eq=False)
class PendingRequest:
    """A request that waits for its outcome. `asked_at`: in seconds of the loop's clock. `was_sent`: an actor has it."""

    body: bytes
    model: str
    new_connection: bool
    asked_at: float
    ended: asyncio.Future[Answer | Failure]
    was_sent: bool = False

    @property
    def is_cancelled(self) -> bool:
        """Returns whether nobody waits any more. What has not left by then need not."""
        return self.ended.cancelled()

    def end(self, outcome: Answer | Failure | MachineRefused) -> None:
        if self.ended.done():
            return  # the waiter was cancelled
        if isinstance(outcome, MachineRefused):
            self.ended.set_exception(outcome)
        else:
            self.ended.set_result(outcome)
