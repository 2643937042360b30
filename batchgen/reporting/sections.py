"""Facts -> the sections of the page that are about the run and its rows, each as plain values for the template; None
for a section with nothing to say. Those about the texts are made in `text_sections`.

Words, numbers and plots only: counts nothing, reads nothing, writes nothing.
"""

from __future__ import annotations

from typing import Any

from batchgen.api.failure_kinds import Kind
from batchgen.checkpoint.schema import DAMAGED, INTERRUPTED, OK
from batchgen.job.sections import Limits
from batchgen.reporting.facts import Facts
from batchgen.reporting.figures import Figures
from batchgen.reporting.in_flight import Cause, InFlight
from batchgen.reporting.plots import MIN_SAMPLE, histogram, in_flight_over_time, is_varied, over_time, plot
from batchgen.reporting.queries import AttemptGroup, Message
from batchgen.reporting.rows import Reason
from batchgen.reporting.spent import Spent
from batchgen.reporting.wording import LINE_CHARS, MEANINGS, cut, figure, kind_of, named, seconds
from batchgen.ui.humanize import dollars, duration, inflect, pluralize

MAX_MOVES = 200
"""Changes of the requests in flight that are listed."""


def failed(facts: Facts) -> str:
    known = sum(reason.rows for reason in facts.reasons)
    more = max(known - facts.counts.failed, 0)
    rows = inflect(
        more, "is a row that the input no longer has, or that is", "are rows that the input no longer has, or that are"
    )
    also = f" {more:,} of them {rows} to be tried again." if more else ""
    return f"{pluralize(known, 'row')} failed, for {pluralize(len(facts.reasons), 'reason')}.{also}"


def reason(reason: Reason, facts: Facts) -> dict[str, Any]:
    return {
        "kind": kind_of(reason.outcome, reason.status),
        "means": MEANINGS.get(reason.outcome, ""),
        "rows": pluralize(reason.rows, "row"),
        "messages": [_message(message, facts) for message in reason.messages],
        "more": sum(message.rows for message in reason.messages) < reason.rows,
    }


def _message(message: Message, facts: Facts) -> dict[str, str]:
    first = named(message.key, message.name, facts.rows_of.get(message.id))
    others = f" and {message.rows - 1:,} more" if message.rows > 1 else ""
    return {"error": cut(message.error or "no message", LINE_CHARS), "who": first + others}


def time(facts: Facts) -> dict[str, Any] | None:
    if facts.sending is None:
        return None
    time, figures = facts.sending.time, facts.sending.figures
    refused = sum(time.refused)
    summary = f"{pluralize(figures.ok, 'answer') if figures.ok else 'No answer'} in {duration(time.seconds)}"
    summary += f", {figure(figures.rate)} a second on average." if figures.rate else "."
    if refused:
        downs = len(time.cool_downs)
        waited = f", and {pluralize(downs, 'cool-down')} of {duration(time.cooled)} in all" if downs else ""
        summary += f" {pluralize(refused, 'refusal')}{waited}."
    granted = facts.job.limits.requests_per_minute or figures.run.learned
    shown = plot(summary, over_time(time, granted)) if figures.ok >= MIN_SAMPLE else None
    return {"summary": summary, "plot": shown, "refused": bool(refused), "cooled": bool(time.cool_downs)}


def in_flight(facts: Facts) -> dict[str, Any] | None:
    """Says how many requests were in flight, if the run found that number itself, and why it changed."""
    if facts.sending is None or facts.sending.in_flight is None:
        return None
    time, found = facts.sending.time, facts.sending.in_flight
    low, high = found.range
    changed = pluralize(len(found.moves), "change")
    summary = f"Found by the run: {found.end:,} at its end, from {low:,} to {high:,} on the way, with {changed}."
    draws = in_flight_over_time(found, time)
    return {
        "summary": summary,
        "plot": plot(summary, *draws) if sum(time.ok) >= MIN_SAMPLE else None,
        "causes": [_cause(cause) for cause in found.causes()],
        "moves": _moves(found),
        "more": f"and {len(found.moves) - MAX_MOVES:,} more" if len(found.moves) > MAX_MOVES else "",
    }


def _cause(cause: Cause) -> dict[str, str]:
    counts = {"raised": cause.raised, "lowered": cause.lowered}
    return {"why": cause.why, **{name: f"{count:,}" if count else "" for name, count in counts.items()}}


def _moves(found: InFlight) -> list[dict[str, str]]:
    return [
        {
            "at": duration(move.at) if move.at >= 1 else seconds(move.at),
            "most": f"{move.most:,}",
            "throughput": figure(move.throughput) if move.throughput else "",
            "latency": seconds(move.latency) if move.latency else "",
            "why": move.why,
        }
        for move in found.moves[:MAX_MOVES]
    ]


def latency(facts: Facts) -> dict[str, Any] | None:
    if facts.sending is None or facts.sending.figures.latencies.is_empty():
        return None
    figures = facts.sending.figures
    taken = figures.latencies
    marks = {f"p{share}": float(taken.quantile(share / 100, "nearest") or 0) for share in (50, 95, 99)}
    listed = [*((name, seconds(value)) for name, value in marks.items()), ("slowest", seconds(figures.slowest))]
    summary = (
        f"Half of the answers took {seconds(marks['p50'])} or less; one in a hundred more than {seconds(marks['p99'])}."
    )
    summary += f" Of each {figures.every:,} answers one is looked at." if figures.every > 1 else ""
    draw = histogram(taken, marks, "answers, by seconds of latency", seconds)
    return {"summary": summary, "marks": listed, "plot": plot(summary, draw) if is_varied(taken) else None}


def attempts(facts: Facts) -> dict[str, Any] | None:
    if facts.sending is None:
        return None
    kinds, requests_a_row = facts.sending.figures.kinds, facts.sending.requests_a_row
    most = max(kind.attempts for kind in kinds)
    rows = sum(rows for _, rows in requests_a_row)
    tries = [f"{rows:,} took {requests:,}" for requests, rows in requests_a_row[:6]]
    summary = f"Of the rows that have their text, {', '.join(tries)}" if rows else ""
    summary += f" or more, up to {requests_a_row[-1][0]:,}" if len(requests_a_row) > len(tries) else ""
    lost, damaged = facts.notes.get(INTERRUPTED, 0), facts.notes.get(DAMAGED, 0)
    notes = [f"{summary} (requests)." if summary else ""]
    notes += [f"{pluralize(lost, 'request')} in flight when a run was killed: possibly billed." if lost else ""]
    notes += [f"{pluralize(damaged, 'stored answer')} found damaged, and bought again." if damaged else ""]
    return {"kinds": [_kind(kind, most) for kind in kinds], "notes": [note for note in notes if note]}


def _kind(kind: AttemptGroup, most: int) -> dict[str, Any]:
    good = kind.outcome == OK
    return {
        "kind": kind_of(kind.outcome, kind.status),
        "means": MEANINGS.get(kind.outcome, ""),
        "tone": "good" if good else "wait" if kind.outcome == Kind.BUSY else "bad",
        "share": f"{100 * kind.attempts / most:.2f}",
        "attempts": f"{kind.attempts:,}",
        "again": "" if good else f"{kind.attempts - kind.final:,}",
        "final": "" if good else f"{kind.final:,}",
    }


def spent(facts: Facts) -> dict[str, Any] | None:
    if facts.sending is None or facts.sending.spent is None:
        return None
    spent, figures = facts.sending.spent, facts.sending.figures
    if spent.cost is None:
        cost = "unknown without the input" if spent.prompt_tokens is None else "no price is known"
    else:
        cost = "free: the built-in model" if facts.job.is_local else dollars(spent.cost)
    prompts = f"{spent.prompt_tokens:,.0f}" if spent.prompt_tokens is not None else "unknown without the input"
    figured = [("prompt tokens", prompts), ("answer tokens", f"{spent.answer_tokens:,.0f}"), ("cost", cost)]
    if spent.in_all is not None and (spent.in_all.answers > figures.ok or spent.in_all.cost != spent.cost):
        figured.append(("the job in all", spent.in_all.amounts()))
    rows = [{"label": label, "value": value, "plain": any(map(str.isalpha, value))} for label, value in figured]
    return {"figures": rows, "used": _used(facts.job.limits, figures, spent), "how": _how(spent)}


def _how(spent: Spent) -> str:
    """Says whose count the tokens are, in a sentence."""
    rule = ": four bytes to a token" if "estimate" in spent.how else ""
    return f"{spent.how[:1].upper()}{spent.how[1:]}{rule}."


def _used(limits: Limits, figures: Figures, spent: Spent) -> list[dict[str, str]]:
    """Returns how much of each granted rate was used, over the whole run."""
    if figures.rate is None:
        return []
    minutes = figures.seconds / 60
    learned = limits.requests_per_minute is None and figures.run.learned
    tokens = spent.answer_tokens + (spent.prompt_tokens or 0)
    rates = [
        ("requests a minute", figures.requests / minutes, limits.requests_per_minute or figures.run.learned),
        ("tokens a minute", tokens / minutes, limits.tokens_per_minute),
    ]
    return [
        {
            "what": what,
            "value": f"{used:,.0f} of {granted:,.0f} {'found to be ' if learned and n == 0 else ''}granted",
            "percent": f"{100 * used / granted:,.0f} %",
            "share": f"{min(100 * used / granted, 100):.2f}",
        }
        for n, (what, used, granted) in enumerate(rates)
        if granted
    ]
