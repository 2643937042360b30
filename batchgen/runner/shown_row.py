"""A row as a person looks at it, and its presentation."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import Any

from batchgen.job.shard import row_name
from batchgen.ui.humanize import dollars, moment, pluralize
from batchgen.ui.panel import Panel, PanelLine, Renderable, Severity, TextBlock

_SEVERITIES = {"ok": Severity.GOOD, "failed": Severity.BAD, "pending": Severity.WAIT}


@dataclass(frozen=True)
class ShownAttempt:
    """One request. `outcome`: `ok`, or why not; `error`: the service's words. `finished_at`: ISO, UTC. Tokens and cost
    (US dollars) are what was billed: `counted` by the service, else by estimate; of what was `possibly_billed` without
    an answer at most so much. None where there is nothing to tell."""

    outcome: str
    status: int | None = None
    error: str | None = None
    latency_s: float | None = None
    finished_at: str | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    counted: bool = False
    possibly_billed: bool = False
    cost: float | None = 0.0

    def line(self) -> str:
        status = f" {self.status}" if self.status not in (None, 200) else ""
        words = f": {self.error}" if self.error else ""
        took = [] if self.latency_s is None else [f"{self.latency_s:,.2f} s"]
        if self.finished_at is not None:
            took.append(moment(dt.datetime.fromisoformat(self.finished_at), "%Y-%m-%d %H:%M:%S"))
        when = f" ({', '.join(took)})" if took else ""
        return f"{self.outcome}{status}{words}{when}"


@dataclass(frozen=True, kw_only=True, repr=False)
class ShownRow(Renderable):
    """Shows one row. `row`: its number in the files, from 1. `prompt`: as people read it, `messages` where it is a
    chat; `request`: what is sent. From `text` on as the results have them: `status` is ok, failed or pending. `cost`:
    US dollars of all attempts, None where a price is unknown."""

    job: str
    row: int
    id: str | None
    status: str
    error: str | None = None
    prompt: str
    messages: list[dict[str, str]] | None
    request: dict[str, Any]
    attempts: tuple[ShownAttempt, ...]
    text: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning: str | None = None
    latency_s: float | None = None
    more_choices: list[dict[str, str | None]] = field(default_factory=list)
    cost: float | None = 0.0

    def panel(self) -> Panel:
        why = f": {self.error}" if self.error else "" if self.attempts else ": not sent yet"
        name, severity = f"{self.job} {row_name(self.row, self.id)}", _SEVERITIES[self.status]
        return Panel(name, self.status, why, self._lines(), severity, self._texts())

    def _lines(self) -> list[PanelLine]:
        attempts = [f"{number}. {attempt.line()}" for number, attempt in enumerate(self.attempts, 1)]
        lines = {
            "attempts": "\n".join(attempts),
            "model": self.model,
            "ended by": self.finish_reason,
            "latency": None if self.latency_s is None else f"{self.latency_s:,.2f} s",
            "tokens": self._tokens(),
            "cost": self._cost(),
        }
        return [PanelLine(label, text) for label, text in lines.items() if text]

    def _tokens(self) -> str | None:
        """Returns the tokens of the last attempt that has some."""
        billed = [attempt for attempt in self.attempts if attempt.prompt_tokens is not None]
        if not billed or billed[-1].possibly_billed:
            return None
        how = "as the service counted" if billed[-1].counted else "by estimate"
        return f"{billed[-1].prompt_tokens:,} in, {billed[-1].answer_tokens:,} out ({how})"

    def _cost(self) -> str | None:
        if not self.cost:
            return None
        doubtful = sum(attempt.possibly_billed for attempt in self.attempts)
        most = f", at most: {pluralize(doubtful, 'request')} may have been billed without an answer" if doubtful else ""
        return f"{dollars(self.cost)}{most}"

    def _texts(self) -> tuple[TextBlock, ...]:
        sent = json.dumps(self.request, ensure_ascii=False)
        texts = {"prompt": self.prompt, "request": sent, "reasoning": self.reasoning, "answer": self.text}
        texts |= {f"choice {number}": choice["text"] for number, choice in enumerate(self.more_choices, 2)}
        return tuple(TextBlock(title, text, is_whole=True) for title, text in texts.items() if text is not None)
