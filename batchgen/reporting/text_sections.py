"""Facts -> the sections of the page that are about the texts, as `sections` makes those about the run."""

from __future__ import annotations

from typing import Any

from batchgen.reporting.facts import Facts
from batchgen.reporting.plots import histogram, is_varied, plot
from batchgen.reporting.rows import Sample
from batchgen.reporting.texts import PLAIN
from batchgen.reporting.wording import LINE_CHARS, PROMPT_CHARS, TEXT_CHARS, cut, figure, long, named, negative, seconds
from batchgen.ui.humanize import inflect, pluralize


def lengths(facts: Facts) -> dict[str, Any] | None:
    chars = facts.looked.answers["chars"]
    if chars.is_empty():
        return None
    empty = int((chars == 0).sum())
    marks = {"median": float(chars.quantile(0.5, "nearest") or 0)}
    ends = [float(end or 0) for end in (chars.min(), chars.max())]  # type: ignore[arg-type]
    summary = f"Half of the texts have {marks['median']:,.0f} characters or fewer"
    summary += f"; they go from {ends[0]:,.0f} to {ends[1]:,.0f}."
    summary += f" {empty:,} {inflect(empty, 'is', 'are')} empty." if empty else ""
    draw = histogram(chars, marks, "texts, by characters", lambda value: f"{value:,.0f}")
    return {
        "summary": summary,
        "looked": _looked(facts),
        "plot": plot(summary, draw) if is_varied(chars) else None,
    }


def _looked(facts: Facts) -> str:
    looked = facts.looked
    summary = f"An even sample: {looked.answers.height:,} of {looked.of:,} answers. " if looked.is_sample else ""
    gone = facts.counts.gone
    return summary + (
        f"{pluralize(gone, 'answer')} of rows that the input no longer has {inflect(gone, 'is', 'are')} among them."
        if gone
        else ""
    )


def confidence(facts: Facts) -> dict[str, Any] | None:
    means = facts.looked.answers["mean_logprob"].drop_nulls()
    if means.is_empty():
        return None
    marks = {"median": float(means.quantile(0.5, "nearest") or 0)}
    lowest = float(means.min() or 0)  # type: ignore[arg-type]
    summary = (
        f"The mean log-probability of a token is {negative(marks['median'])} in the median text, {negative(lowest)} in "
        f"the least confident; {pluralize(means.len(), 'text')} {inflect(means.len(), 'has', 'have')} one."
    )
    draw = histogram(means, marks, "texts, by mean log-probability of their tokens", negative)
    return {"summary": summary, "plot": plot(summary, draw) if is_varied(means) else None}


def repeats(facts: Facts) -> dict[str, Any] | None:
    groups, rows, different = facts.repeats
    looked = facts.looked.answers.height
    if not looked:
        return None
    among = f" among the {looked:,} that were looked at" if facts.looked.is_sample else f" among {looked:,}"
    summary = f"No text is there twice{among}."
    if rows:
        share = f"{figure(100 * rows / looked)} %"
        summary = f"{pluralize(different, 'different text')}{among}; {rows:,} rows share theirs with another ({share})."
    shown = [
        {
            "rows": f"{group.rows:,}",
            "share": f"{100 * group.rows / groups[0].rows:.2f}",
            "text": cut(text, LINE_CHARS // 2),
        }
        for group in groups
        if (text := facts.group_texts.get(group.id)) is not None
    ]
    return {"summary": summary, "groups": shown}


def sample(sample: Sample) -> dict[str, Any]:
    details = [pluralize(sample.chars, "character")]
    details += [seconds(sample.latency)] if sample.latency is not None else []
    details += [f"{sample.attempts:,} requests"] if sample.attempts > 1 else []
    details += [f"log-prob {negative(sample.mean_logprob)}"] if sample.mean_logprob is not None else []
    return {
        "why": sample.why,
        "plain": sample.why == PLAIN,
        "who": named(sample.key, sample.name, sample.row),
        "facts": " · ".join(details),
        "prompt": long(sample.prompt, PROMPT_CHARS) if sample.prompt else None,
        "text": long(sample.text, TEXT_CHARS, sample.chars),
    }
