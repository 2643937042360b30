"""Facts -> one HTML page: its head, and everything in it made inert.

Texts that others wrote go through `inert` and the template's escaping; only the plots, which are ours, are inserted as
they are. The page has no script and nothing to load, and tells the browser so. It links the results, and itself.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from jinja2 import Environment, Template

from batchgen.checkpoint.schema import OK
from batchgen.reporting import sections, text_sections
from batchgen.reporting.comparison import before
from batchgen.reporting.facts import Facts
from batchgen.reporting.wording import NAME_CHARS, TEXT_CHARS, cut, figure, long, moment
from batchgen.ui.humanize import dollars, duration, inflect, pluralize
from batchgen.ui.terminal import inert


def render(facts: Facts, folder: Path) -> str:
    """Returns the page. `folder`: where it will be; its link to the results begins there."""
    page = {
        "fingerprint": facts.fingerprint,
        "title": f"{facts.job.name} \u00b7 report",
        "name": facts.job.name,
        "tone": tone(facts),
        "verdict": verdict(facts),
        "lede": _lede(facts),
        "rejected": facts.rejected,
        "partial": facts.partial,
        "shares": _shares(facts),
        "facts": _line_of_facts(facts),
        "results": _results(facts, folder),
        "failures": [sections.reason(reason, facts) for reason in facts.reasons],
        "failed": sections.failed(facts),
        "show_failed": facts.job.command("show", "--failed"),
        "time": sections.time(facts),
        "in_flight": sections.in_flight(facts),
        "latency": sections.latency(facts),
        "attempts": sections.attempts(facts),
        "spent": sections.spent(facts),
        "lengths": text_sections.lengths(facts),
        "confidence": text_sections.confidence(facts),
        "repeats": text_sections.repeats(facts),
        "samples": [text_sections.sample(sample) for sample in facts.samples],
        "before": before(facts),
        "settings": _settings(facts),
        "made": f"Made {moment(facts.made_at)} from the checkpoint alone.",
    }
    return _page().render(_inert(page))


def _page() -> Template:
    source = resources.files("batchgen.reporting").joinpath("report.html").read_text(encoding="utf-8")
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, optimized=False).from_string(source)


def _inert(value: Any) -> Any:
    """Returns the value with every text in it made inert, and line ends as line feeds."""
    if isinstance(value, str):
        return inert(value.replace("\r\n", "\n"))
    if isinstance(value, dict):
        return {key: _inert(one) for key, one in value.items()}
    return [_inert(one) for one in value] if isinstance(value, list | tuple) else value


def verdict(facts: Facts) -> str:
    """Returns how the run went, in one sentence."""
    counts = facts.counts
    have = f"{counts.ok:,} of {pluralize(counts.rows, 'row')} {inflect(counts.rows, 'has its', 'have their')} text"
    left = f"; {counts.pending:,} {inflect(counts.pending, 'is', 'are')} still to do" if counts.pending else ""
    failed = f"; {counts.failed:,} failed" if counts.failed else ""
    if not counts.rows:
        return "The input has no rows: there was nothing to do."
    if facts.state == "running":
        return f"At work: {have} so far{failed}."
    if counts.pending:
        how = "Killed before the end" if facts.state == "killed" else "Stopped before the end"
        return f"{how}: {have}{failed}{left}."
    if counts.failed and not counts.ok:
        return f"No row has its text: all {counts.rows:,} failed." if counts.rows > 1 else "The one row failed."
    if counts.failed:
        return f"{have}{failed}."
    return f"All {counts.rows:,} rows have their text." if counts.rows > 1 else "The one row has its text."


def tone(facts: Facts) -> str:
    if facts.counts.failed or facts.rejected:
        return "bad"
    return "wait" if facts.counts.pending or facts.state == "running" else "good"


def _lede(facts: Facts) -> str:
    if facts.sending is None:
        return "Nothing was sent."
    figures, spent = facts.sending.figures, facts.sending.spent
    again = sum(kind.attempts - kind.final for kind in figures.kinds if kind.outcome != OK)
    parts = [f"{pluralize(figures.requests, 'request')} in {duration(figures.seconds)}"]
    parts += [f"{figure(figures.rate)} answers a second"] if figures.rate else []
    parts += [f"{pluralize(again, 'attempt')} tried again"] if again else []
    if spent and spent.cost:
        parts.append(f"{dollars(spent.cost)} ({spent.how})")
    listed = "; ".join(parts) + "."
    if figures.run.id != facts.run.id:
        return (
            f"The last run sent nothing: every row was done with. The run of {moment(figures.run.started_at)}: {listed}"
        )
    return listed


def _shares(facts: Facts) -> list[dict[str, Any]]:
    """Returns the four large figures."""
    counts = facts.counts
    new = f"{counts.new:,} of them by this run" if counts.reused else ""
    shown = [
        ("have their text", counts.ok, "good", new),
        ("failed", counts.failed, "bad", ""),
        ("reused", counts.reused, "again", "answered in an earlier run" if counts.reused else ""),
        ("still to do", counts.pending, "wait", ""),
    ]
    widths = (counts.new, counts.failed, counts.reused, counts.pending)
    return [
        {
            "label": label,
            "number": f"{number:,}",
            "tone": tone,
            "note": note,
            "zero": not number,
            "to": "failures" if label == "failed" and number else "",
            "share": f"{100 * width / max(counts.rows, 1):.3f}",
        }
        for (label, number, tone, note), width in zip(shown, widths, strict=True)
    ]


def _line_of_facts(facts: Facts) -> list[tuple[str, str]]:
    run = facts.run
    spent = facts.sending.spent if facts.sending else None
    models = spent.models if spent else ()
    entries = [
        ("started", moment(run.started_at)),
        ("ended", moment(run.ended_at) if run.ended_at else facts.state),
        ("took", duration((run.ended_at - run.started_at) / 1e6) if run.ended_at else ""),
        ("answered by", ", ".join(cut(model, NAME_CHARS) for model, _ in models[:3])),
        ("at", "" if facts.job.is_local else facts.endpoint),
    ]
    return [(label, value) for label, value in entries if value]


def _results(facts: Facts, folder: Path) -> dict[str, str]:
    """Returns where the results are, and the link to them: none if they are elsewhere, or not written yet."""
    place = facts.results
    if not isinstance(place, Path):
        return {"place": str(place), "link": ""}
    relative = os.path.relpath(place, folder)
    return {"place": relative, "link": quote(os.fsencode(relative))} if place.exists() else {}


def _settings(facts: Facts) -> dict[str, Any]:
    """Returns the settings of the job file, and the limits in force. A job holds no secret."""
    job = facts.job.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    prompt = job.pop("prompt", "")
    job["limits"] = facts.job.limits.model_dump(mode="json", exclude_none=True)
    text = yaml.safe_dump(job, allow_unicode=True, sort_keys=False, width=100)
    return {"job": long(text, 10 * TEXT_CHARS), "prompt": long(prompt, 10 * TEXT_CHARS)}
