"""The rows of a trial and what became of them, and their presentation: each prompt beside its answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from batchgen.api.types import RawCompletion
from batchgen.api.usage import NOTHING, Usage, billed_tokens, stored_answer
from batchgen.checkpoint.index import State
from batchgen.checkpoint.schema import Record
from batchgen.errors import OK, exit_code_of
from batchgen.input.chosen_rows import ChosenRow
from batchgen.input.request import PreparedRequest
from batchgen.job.job import Job
from batchgen.job.prices import cost_of
from batchgen.job.shard import row_name
from batchgen.ui.humanize import dollars, inflect, pluralize
from batchgen.ui.pairs import TextPair
from batchgen.ui.panel import Panel, PanelLine, Renderable, Severity


@dataclass(frozen=True)
class TriedRow:
    """A row that was tried. `row`: its number in the input's files, from 1; `id`: its `input.id`. It has either
    `prompt` or `messages` (role and content). `prompt_tokens`, `completion_tokens`: as the service counts them
    (`counted`), else by estimate; of all answers that were made (`best_of`). `cost`: US dollars of these, None if the
    price is unknown."""

    row: int
    id: str | None
    prompt: str | None
    messages: list[dict[str, str]] | None
    status: str
    text: str | None = None
    error: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    counted: bool = False
    cost: float | None = None
    latency_s: float | None = None
    attempts: int = 0

    def pair(self) -> TextPair:
        """Returns the prompt and the answer."""
        messages = "\n\n".join(f"{message['role']}: {message['content']}" for message in self.messages or ())
        label = "prompt" if self.messages is None else "messages"
        title = f"{row_name(self.row, self.id)}: {self._description()}"
        return TextPair(title, label, messages or self.prompt or "", "answer", self.text or self.error or "")

    def _description(self) -> str:
        counted = "" if self.counted else "about "
        tokens = f"{counted}{self.prompt_tokens:,} + {self.completion_tokens:,} tokens" if self.text is not None else ""
        parts = [self.status, self.error if self.text is not None else None, self.finish_reason, tokens]
        parts += [dollars(self.cost)] if self.cost else []
        parts += [f"{self.latency_s:.1f} s"] if self.latency_s is not None else []
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, repr=False)
class Trial(Renderable):
    """A few rows that were sent. `stopped`: why the trial ended early. `usage`: of all that was sent."""

    name: str
    rows: list[TriedRow]
    usage: Usage = NOTHING
    stopped: str | None = None
    is_refused: bool = False
    is_broken: bool = False

    @property
    def exit_code(self) -> int:
        """Returns the exit code, as a run's."""
        return exit_code_of(
            is_refused=self.is_refused,
            is_broken=self.is_broken,
            has_pending=self._count("pending") > 0,
            has_failed=self._count("failed") > 0,
        )

    def _count(self, status: str) -> int:
        return sum(row.status == status for row in self.rows)

    def panel(self) -> Panel:
        """Returns how many have their text, what it took, and each row's prompt beside its answer."""
        ok, severity = self._count("ok"), Severity.GOOD if self.exit_code == OK else Severity.BAD
        if not self.rows:
            return Panel(self.name, "nothing to try", ": no row waits for an answer", [], Severity.GOOD)
        counts = {status: self._count(status) for status in ("failed", "pending")}
        others = "".join(f", {count:,} {status}" for status, count in counts.items() if count)
        used = f"{self.usage.amounts()} ({self.usage.source()})" if self.usage.answers else "nothing"
        lines = [PanelLine("spent", f"{used}; the answers are the job's: a run does not buy them again")]
        lines += [PanelLine("stopped", self.stopped.removeprefix("stopped "), severity)] if self.stopped else []
        about = f": {ok:,} {inflect(ok, 'has its', 'have their')} text{others}"
        pairs = tuple(row.pair() for row in self.rows)
        return Panel(self.name, f"{pluralize(len(self.rows), 'row')} tried", about, lines, severity, pairs=pairs)


class Attempt(NamedTuple):
    """The state of a row after a trial. `record`: its last attempt there; `answer`: the answer to it."""

    state: State
    record: Record | None
    answer: RawCompletion | None


def tried_row(job: Job, row: ChosenRow, attempt: Attempt) -> TriedRow:
    """Makes the row that is shown."""
    (state, record, answer), request = attempt, row.request
    is_chat = request.roles[0] is not None
    messages = [{"role": str(role), "content": text} for role, text in zip(request.roles, request.texts, strict=True)]
    status = {State.DONE: "ok", State.FAILED: "failed"}.get(state, "pending")
    tried = TriedRow(
        row=row.number,
        id=row.name,
        prompt=None if is_chat else request.texts[0],
        messages=messages if is_chat else None,
        status=status,
        error=None if record is None or record.error is None else f"{record.outcome}: {record.error}",
        attempts=0 if record is None else record.attempts,
    )
    return tried if record is None or answer is None else _answered(tried, job, request, record, answer)


def _answered(tried: TriedRow, job: Job, asked: PreparedRequest, record: Record, answer: RawCompletion) -> TriedRow:
    first, stored = answer.choices[0], stored_answer(answer)
    prompt, tokens = billed_tokens(stored, asked)
    return replace(
        tried,
        text=first.text,
        model=answer.model or asked.model,
        finish_reason=first.finish_reason,
        prompt_tokens=prompt,
        completion_tokens=tokens,
        counted=stored.prompt_tokens is not None,
        cost=cost_of(job, asked.model, prompt, tokens),
        latency_s=record.latency,
    )
