"""Applies the job's check to each answer as it arrives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from batchgen.api.body import decompress
from batchgen.api.outcome import Answer, Failure
from batchgen.api.token_counts import token_counts
from batchgen.api.types import RawCompletion
from batchgen.job.checker import CheckedAnswer, Checker

if TYPE_CHECKING:
    from batchgen.send.interfaces import Attempt


def with_check(attempt: Attempt, checker: Checker | None, read: Callable[[bytes], RawCompletion]) -> Attempt:
    """Returns the same attempts, with every answer that fails the check turned into a failure. `read`: parses an
    answer's body."""
    if checker is None:
        return attempt

    async def judged(body: bytes, model: str, *, new_connection: bool = False) -> Answer | Failure:
        outcome = await attempt(body, model, new_connection=new_connection)
        if isinstance(outcome, Failure):
            return outcome
        body = decompress(outcome.body)
        (unfit,) = checker.failures([checked_answer(read(body))])
        if unfit is None:
            return outcome
        return Failure(unfit.kind, unfit.why, 200, body=body, answer=outcome).after(outcome.resent, outcome.lost)

    return judged


def checked_answer(read: RawCompletion) -> CheckedAnswer:
    """Returns the part of an answer that is checked: its first choice."""
    first = read.choices[0]
    return CheckedAnswer(first.text, first.finish_reason, token_counts(read.usage, is_empty=not first.text).completion)
