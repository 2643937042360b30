"""One row to send, and the record of an attempt at it."""

from __future__ import annotations

import msgspec

from batchgen.api.body import Body
from batchgen.api.failure_kinds import Kind
from batchgen.api.outcome import Answer, Failure
from batchgen.checkpoint.schema import OK, Record


class Task(msgspec.Struct):
    """A row to be sent, for itself and for those that share its answer. `attempts`: requests sent for it so far, over
    all runs. `tries`: failed attempts of this run, by cause. Tokens are estimates."""

    key: bytes
    body: bytes
    model: str
    name: str | None
    attempts: int
    prompt_tokens: int
    answer_tokens: int
    price: tuple[float, float]  # US dollars a token, of prompt and answer
    rows: int = 1  # that share its answer, itself included
    candidates: int = 1  # answers that are made for it, and billed
    failed_before: bool = False  # in an earlier run, by its own fault
    tried_before: bool = False  # in an earlier run, without an answer
    reserved: float = 0.0  # tokens, of limits and budget, while in flight
    reserved_cost: float = 0.0  # US dollars
    beside: int = 0  # that were in flight when it was sent, itself included
    may_resend: bool = False  # over another connection, if the kept one is closed
    answers: int | None = None  # that the run had when it was sent first, or failed last
    doubtful_causes: tuple[str, ...] = ()  # causes of failures that may be the service's
    own_failures: int = 0  # failures that were held against it
    outages: int = 0  # that the run had had by then
    tries: dict[str, int] = {}
    refused_at: float | None = None  # by rate, as it seemed; the last time
    by_chance: float = 1.0  # the probability that a limit is why it was refused so often
    last_tries: int = 0  # once the others were done, since anything was granted

    def cost(self, answer_tokens: float, prompt_tokens: int | None = None) -> float:
        """Returns US dollars. `prompt_tokens`: as the service counted them; else the estimate is used."""
        prompt = self.prompt_tokens if prompt_tokens is None else prompt_tokens
        return prompt * self.price[0] + answer_tokens * self.price[1]


def to_record(task: Task, result: Answer | Failure, latency: float, finished_at: int, *, final: bool = True) -> Record:
    """Returns the record of an attempt. `latency` in seconds, `finished_at` in microseconds since 1970."""
    outcome, status, error, choices, body = _result_columns(result)
    return Record(
        key=task.key,
        outcome=outcome,
        final=final,
        attempts=task.attempts,
        status=status,
        error=error,
        latency=latency,
        finished_at=finished_at,
        choices=choices,
        name=task.name,
        body=body,
    )


def _result_columns(result: Answer | Failure) -> tuple[str, int | None, str | None, int, Body | None]:
    """Returns (outcome, HTTP status, error, choices, body). A billed body is kept as it came."""
    if isinstance(result, Answer):
        return OK, 200, None, result.choices, result.body
    billed = result.kind is Kind.UNUSABLE or result.answer is not None
    choices = result.answer.choices if result.answer else 0
    return str(result.kind), result.status, result.message, choices, result.body if billed else None
