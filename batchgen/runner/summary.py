"""The summary of a run, and its presentation."""

from __future__ import annotations

from dataclasses import dataclass

from batchgen.api.usage import NOTHING, Usage, spent
from batchgen.errors import ServiceRefused
from batchgen.ui.humanize import duration, inflect, pluralize
from batchgen.ui.panel import Panel, PanelLine, Renderable, Severity, path_line


@dataclass(frozen=True, repr=False)
class Summary(Renderable):
    """The summary of a run. Counts are of rows, except `sent`, `retries` and `possibly_billed`: requests of this run.

    `reused`: answered in an earlier run. `cut_off`: answers that ended at their longest length. `empty`: texts without
    a character. `interrupted`: requests that were in flight when an earlier run was killed, and may have been billed
    without an answer. `stopped`: why it ended early, else None. `rejected`: why the gate kept the last good output in
    its place. `partial`: why results with more texts stay in their place while rows are unanswered here. In both cases
    `path` is the file beside it. `report`: the page's path, None if there is none. Tokens are of this run's answered
    requests (`answers`): as the service counts them for `counted` of these, else by estimate. `cost`: US dollars of all
    that this run sent, an upper bound for requests without an answer; None if a price is unknown. `in_all`: the same of
    all runs of the job. `show_failed`: the command that shows every failed row; None if there is none. `runs_left`: the
    runs that the rest would take, if each has the budget that ended this one; None if no budget did.
    """

    name: str
    path: str
    exit_code: int
    rows: int
    ok: int
    reused: int
    failed: int
    pending: int
    reasons: dict[str, int]
    failures: list[str]
    sent: int
    retries: int
    possibly_billed: int
    interrupted: int
    seconds: float
    stopped: str | None
    rejected: list[str]
    partial: str | None = None
    report: str | None = None
    prompt_tokens: int = 0
    answer_tokens: int = 0
    counted: int = 0
    cost: float | None = None
    in_all: Usage = NOTHING
    cut_off: int = 0
    answers: int = 0
    show_failed: str | None = None
    runs_left: int | None = None
    empty: int = 0

    def panel(self) -> Panel:
        """Returns rows, reused, failed and why, time, paths of file and report; and more if the run was stopped or
        rejected."""
        pending = f", {self.pending:,} still to do" if self.pending else ""
        lines = [
            PanelLine("reused", f"{pluralize(self.reused, 'answer')} of earlier runs" if self.reused else "none"),
            PanelLine("failed", self._failures(), Severity.BAD if self.failed else Severity.CALM),
            *([PanelLine("cut off", self._cut_off(), Severity.WAIT)] if self.cut_off else []),
            *([PanelLine("empty", self._empty(), Severity.WAIT)] if self.empty else []),
            PanelLine("time", f"{duration(self.seconds)}{self._rate()}; {self._requests()}{self._spent()}"),
            path_line("results", self.path),
            *([path_line("report", self.report)] if self.report else []),
        ]
        if self.stopped:
            why = self.stopped.removeprefix("stopped ")
            left = f": {pluralize(self.runs_left, 'more run')} like this one" if self.runs_left else ""
            lines.append(PanelLine("stopped", f"{why}; the same command resumes{left}", self._severity()))
        lines += kept_out(self.rejected, self.partial)
        return Panel(self.name, self._verdict(), f": {self._texts()}{pending}", lines, self._severity())

    def line(self) -> str:
        """Returns the summary in one line."""
        parts = [self._texts()]
        parts += [f"{self.failed:,} failed"] if self.failed else []
        parts += [f"{self.pending:,} still to do"] if self.pending else []
        parts += [self.stopped] if self.stopped else []
        parts += [f"rejected: {reason}" for reason in self.rejected]
        parts += [f"written beside: {self.path}: {self.partial}"] if self.partial else []
        return "; ".join(parts)

    def _texts(self) -> str:
        return f"{self.ok:,} of {pluralize(self.rows, 'row')} {inflect(self.rows, 'has its', 'have their')} text"

    def _refused(self) -> bool:
        return self.exit_code == ServiceRefused.exit_code

    def _verdict(self) -> str:
        verdict = "rejected" if self.rejected else "finished"
        return "refused" if self._refused() else "stopped" if self.pending else verdict

    def _severity(self) -> Severity:
        if self.failed or self.rejected or self._refused():
            return Severity.BAD
        return Severity.WAIT if self.pending else Severity.GOOD

    def _rate(self) -> str:
        bought = self.ok - self.reused
        return f" ({bought / self.seconds:,.1f} rows/s)" if bought > 0 else ""

    def _spent(self) -> str:
        usage = Usage(self.prompt_tokens, self.answer_tokens, self.answers, self.counted, self.cost)
        used = spent(usage, self.in_all)
        return f"; {used}" if used else ""

    def _cut_off(self) -> str:
        ended = inflect(self.cut_off, "answer was cut at its longest", "answers were cut at their longest")
        return f"{self.cut_off:,} {ended}: raise request.max_tokens; see finish_reason, and check.complete"

    def _empty(self) -> str:
        return f"{pluralize(self.empty, 'text')} {inflect(self.empty, 'is', 'are')} empty: see check.min_chars"

    def _failures(self) -> str:
        if not self.failed:
            return "none"
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.items())
        left = self.failed - len(self.failures)
        more = [f"and {left:,} more{f': {self.show_failed}' if self.show_failed else ''}"] if left else []
        return "\n".join([f"{pluralize(self.failed, 'row')}: {reasons}", *self.failures, *more])

    def _requests(self) -> str:
        if not self.sent:
            return "nothing sent"
        parts = [f"{pluralize(self.sent, 'request')} sent"]
        if self.retries:
            parts.append(f"{self.retries:,} tried again")
        if self.possibly_billed:
            parts.append(f"{self.possibly_billed:,} possibly billed without an answer")
        if self.interrupted:
            were = inflect(self.interrupted, "was", "were")
            parts.append(f"{self.interrupted:,} {were} in flight when an earlier run was killed")
        return ", ".join(parts)


def kept_out(rejected: list[str], partial: str | None) -> list[PanelLine]:
    """Returns why results did not replace the existing output."""
    kept = "these results have not taken the output's place"
    lines = [PanelLine("rejected", "\n".join([*rejected, kept]), Severity.BAD)] if rejected else []
    return [*lines, *([PanelLine("partial", partial, Severity.WAIT)] if partial else [])]
