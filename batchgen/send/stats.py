"""The counts of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from batchgen.api.failure_kinds import Billed, Kind
from batchgen.api.outcome import Answer, Failure
from batchgen.api.usage import billed_tokens
from batchgen.send.task import Task


@dataclass
class Stats:
    """The counts of one pass over the rows to be done. `todo`, `ok` and `failed` are rows; `answers` are answered
    requests, and tokens are theirs. `resent`: requests repeated over new connections, because kept ones were closed;
    `lost`: those of them that may have been read all the same. `counted`: answers whose tokens the service counted.
    `several`: answers of more choices than requested; `single`: of one. `most`: how many requests may be in flight, if
    the run finds that number itself. `trouble`: what currently keeps the run from its answers. `tries`: failed attempts
    by kind; `retries`: those of them that are repeated."""

    todo: int
    ok: int = 0
    failed: int = 0
    answers: int = 0
    sent: int = 0
    in_flight: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    counted: int = 0
    without_log_probs: int = 0
    several: int = 0
    single: int = 0
    most: int = 0
    resent: int = 0
    lost: int = 0
    trouble: str = ""
    tries: Counter[Kind] = field(default_factory=Counter)
    retries: Counter[Kind] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        return self.ok + self.failed

    @property
    def left(self) -> int:
        return self.todo - self.done

    @property
    def repeated(self) -> int:
        """Returns the requests that were sent again, for whatever reason."""
        return self.retries.total() + self.resent

    @property
    def possibly_billed(self) -> int:
        """Returns the requests without an answer that may have been billed."""
        return self.lost + sum(n for kind, n in self.tries.items() if kind.policy.billed is Billed.MAYBE)

    def ended(self, outcome: Answer | Failure) -> int:
        """Corrects the sent requests: one that found no connection is taken back, one that was sent twice is added.
        Returns by how many."""
        was_sent = isinstance(outcome, Answer) or outcome.kind.policy.reaches_server
        more = outcome.resent - (not was_sent)
        self.sent += more
        self.resent += outcome.resent
        self.lost += outcome.lost
        return more

    def billed(self, answer: Answer, task: Task) -> None:
        """Counts an answer that was paid for, whether it serves or not."""
        prompt, tokens = billed_tokens(answer, task)
        self.answers += 1
        self.prompt_tokens += prompt
        self.answer_tokens += tokens
        self.counted += answer.prompt_tokens is not None
        self.without_log_probs += not answer.has_log_probs
        self.several += answer.choices > task.candidates
        self.single += answer.choices == 1
