"""Counts what requests used, in a run or by a job in all: tokens, and US dollars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from batchgen.api.outcome import Answer
from batchgen.api.token_counts import tokens_of
from batchgen.api.types import RawCompletion
from batchgen.ui.humanize import dollars, pluralize


@dataclass(frozen=True)
class Usage:
    """Holds the tokens of so many `answers`. The service counted them for `counted` answers; the others are estimates.
    `cost`: US dollars of everything that was sent. What brought no answer is included, as it may have been billed: then
    it is an upper bound. None if a price is unknown."""

    prompt_tokens: int = 0
    answer_tokens: int = 0
    answers: int = 0
    counted: int = 0
    cost: float | None = 0.0

    @property
    def tokens(self) -> int:
        """Returns the tokens of prompts and answers."""
        return self.prompt_tokens + self.answer_tokens

    def source(self) -> str:
        """Says who counted the tokens."""
        if not self.counted:
            return "by estimate"
        if self.counted >= self.answers:
            return "as the service counted"
        return f"counted for {self.counted:,} of {pluralize(self.answers, 'answer')}, else by estimate"

    def amounts(self) -> str:
        """Says tokens and dollars. Tokens are known of answered requests alone, dollars of all."""
        if self.cost and not self.answers:
            return f"at most {dollars(self.cost)}, for requests without a text that serves"
        cost = f", {dollars(self.cost)}" if self.cost else ""
        return f"{pluralize(self.tokens, 'token')}{cost}"

    def __add__(self, other: Usage) -> Usage:
        """Adds up. If one cost is unknown, so is the sum."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.answer_tokens + other.answer_tokens,
            self.answers + other.answers,
            self.counted + other.counted,
            None if self.cost is None or other.cost is None else self.cost + other.cost,
        )


NOTHING = Usage()


class Estimate(Protocol):
    """Estimates a request's tokens: of its prompt, and of all its answers at their longest. `candidates`: how many
    answers are generated."""

    @property
    def prompt_tokens(self) -> int: ...
    @property
    def answer_tokens(self) -> int: ...
    @property
    def candidates(self) -> int: ...


def billed_tokens(answer: Answer, asked: Estimate) -> tuple[int, int]:
    """Returns the tokens of a request's prompt, and of all answers that were generated for it. If the service does not
    count them, an answer that was not sent (`best_of`) is assumed to be as long as those that were, and an estimate is
    at most what the request allows."""
    if answer.prompt_tokens is not None:
        return answer.prompt_tokens, answer.tokens
    made = max(asked.candidates, answer.choices)
    tokens = min(-(-answer.tokens * made // answer.choices), asked.answer_tokens * made // asked.candidates)
    return asked.prompt_tokens, tokens


def stored_answer(read: RawCompletion) -> Answer:
    """Returns a stored answer as it was when it came, without its body."""
    texts = [choice.text for choice in read.choices]
    return Answer(b"", len(texts), *tokens_of(texts, read.usage))


def spent(run: Usage, in_all: Usage) -> str | None:
    """Says what a run has used, and its job in all; None if that is nothing."""
    if not in_all.answers and not in_all.cost:
        return None
    if (run.tokens, run.cost) == (in_all.tokens, in_all.cost):
        return f"{run.amounts()} ({run.source()})"
    return f"{run.amounts()}; the job in all: {in_all.amounts()} ({in_all.source()})"
