"""Applies the job's check to each answer as it arrives."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchgen.api.body import decompress
from batchgen.api.failure_kinds import Kind
from batchgen.api.outcome import Answer, Failure
from batchgen.api.token_counts import token_counts
from batchgen.api.types import RawCompletion
from batchgen.job.checker import CheckedAnswer, Checker, Unfit

if TYPE_CHECKING:
    from batchgen.send.interfaces import Attempt


IN_VAIN = 24
"""After so many answers of which none has passed, the check may be one that no text can pass."""

ADVICE = "If the check is wrong, stop the run and mend it: what is stored is checked anew, and not bought again"
CUT_ADVICE = f"Stop the run and {Kind.CUT.policy.advice}: answers that are cut are billed, too"

log = logging.getLogger(__name__)


def with_check(attempt: Attempt, checker: Checker | None, read: Callable[[bytes], RawCompletion]) -> Attempt:
    """Returns the same attempts, with every answer that fails the check turned into a failure. `read`: parses an
    answer's body."""
    return attempt if checker is None else _Checked(attempt, checker, read)


@dataclass
class _Checked:
    """Attempts with a check. `failed`: how many answers failed it, until one has passed."""

    attempt: Attempt
    checker: Checker
    read: Callable[[bytes], RawCompletion]
    failed: int = 0
    has_passed: bool = False

    async def __call__(self, body: bytes, model: str, *, new_connection: bool = False) -> Answer | Failure:
        outcome = await self.attempt(body, model, new_connection=new_connection)
        if isinstance(outcome, Failure):
            return outcome
        body = decompress(outcome.body)
        (unfit,) = self.checker.failures([checked_answer(self.read(body))])
        if unfit is None:
            self.has_passed = True
            return outcome
        self._count(unfit)
        return Failure(unfit.kind, unfit.why, 200, body=body, answer=outcome).after(outcome.resent, outcome.lost)

    def _count(self, unfit: Unfit) -> None:
        """Counts an answer that has failed the check. Warns once where none passes it: all of them are billed."""
        self.failed += not self.has_passed
        if self.failed == IN_VAIN and not self.has_passed:
            log.warning(
                "warning: check: %d answers have come, and none passes it, the last one since %s. %s",
                IN_VAIN,
                unfit.why,
                CUT_ADVICE if unfit.kind is Kind.CUT else ADVICE,
            )


def checked_answer(read: RawCompletion) -> CheckedAnswer:
    """Returns the part of an answer that is checked: its first choice."""
    first, *more = read.choices
    tokens = None if more else token_counts(read.usage, is_empty=not first.text).completion
    return CheckedAnswer(first.text, first.finish_reason, tokens)
