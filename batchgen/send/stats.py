"""What a run has done so far, in numbers that only grow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from batchgen.api.outcome import Answer, Billed, Failure, Kind
from batchgen.api.usage import billed_tokens
from batchgen.send.task import Task


def has_left(outcome: Answer | Failure) -> bool:
    """Whether the request got as far as the server."""
    return isinstance(outcome, Answer) or outcome.kind.policy.left


@dataclass
class Stats:
    """Of one pass over what is to be done; but for `in_flight` all is only ever counted up. Tokens are of answered
    requests. `resent`: over fresh connections, since kept ones had been closed, and `lost`: those of them that may have
    been read all the same. `counted`: answers whose tokens the service counted; `several`: answers with more than one
    choice. `most`: how many may be in flight, where the run finds that itself. `trouble`: what keeps the run from its
    answers, while it does. `tries`: attempts that failed, by how; `retries`: those of them that are made again."""

    todo: int
    ok: int = 0
    failed: int = 0
    sent: int = 0
    in_flight: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    counted: int = 0
    without_log_probs: int = 0
    several: int = 0
    most: int = 0
    resent: int = 0
    lost: int = 0
    trouble: str = ""
    tries: Counter[Kind] = field(default_factory=Counter)
    retries: Counter[Kind] = field(default_factory=Counter)

    @property
    def left(self) -> int:
        return self.todo - self.ok - self.failed

    @property
    def possibly_billed(self) -> int:
        """Requests without an answer that may have been paid for."""
        return self.lost + sum(n for kind, n in self.tries.items() if kind.policy.billed is Billed.MAYBE)

    def ended(self, outcome: Answer | Failure) -> None:
        """Corrects what was sent: what found no connection is taken back, what left twice is added."""
        self.sent += outcome.resent - (not has_left(outcome))
        self.resent += outcome.resent
        self.lost += outcome.lost

    def answered(self, answer: Answer, task: Task) -> None:
        """Where the service counts no tokens, the task's estimate of its prompt's is taken."""
        self.ok += 1
        self.prompt_tokens += answer.prompt_tokens or task.prompt_tokens
        self.answer_tokens += billed_tokens(answer, task.candidates)
        self.counted += answer.prompt_tokens is not None
        self.without_log_probs += not answer.has_log_probs
        self.several += answer.choices > 1
