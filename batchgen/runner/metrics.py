"""Writes a run's metrics as a Prometheus textfile, for node_exporter to collect: written whole, and readable by all.

Uses no network. The time of the last success is copied from the file that is replaced.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from batchgen.errors import OK
from batchgen.runner.summary import Summary
from batchgen.storage.atomic import replacing

SUCCESS = "batchgen_last_success_timestamp_seconds"
MAX_READ_BYTES = 1 << 20
FILE_MODE = 0o644

Samples = Iterable[tuple[Mapping[str, str], float]]


def write(path: Path, job: str, summary: Summary | None, exit_code: int, seconds: float, ended_at: float) -> None:
    """Writes the metrics. `summary` is None if the run ended before there was one. Raises MachineRefused."""
    success = ended_at if exit_code == OK else _last_success(path, job)
    families = [*_counts(summary)] if summary else []
    families += [
        ("batchgen_duration_seconds", "How long the last run took.", _one(seconds)),
        ("batchgen_exit_code", "Exit code of the last run.", _one(exit_code)),
        ("batchgen_last_run_timestamp_seconds", "When the last run ended.", _one(ended_at)),
    ]
    families += [(SUCCESS, "When the last run ended that gave every row its text.", _one(success))] if success else []
    text = "".join(_family(name, help_text, job, samples) for name, help_text, samples in families)
    with replacing(path) as file:
        os.fchmod(file.fileno(), FILE_MODE)
        file.write(text.encode())


def _counts(summary: Summary) -> Iterable[tuple[str, str, Samples]]:
    rows = {"ok": summary.ok, "failed": summary.failed, "pending": summary.pending}
    tokens = {"prompt": summary.prompt_tokens, "answer": summary.answer_tokens}
    yield "batchgen_rows", "Rows of the job, by status.", _by("status", rows)
    yield "batchgen_failed_rows", "Failed rows, by reason.", _by("reason", summary.reasons)
    yield "batchgen_requests_sent", "Requests that the last run sent.", _one(summary.sent)
    yield "batchgen_retries", "Requests of the last run that were tried again.", _one(summary.retries)
    yield "batchgen_tokens", "Tokens of the last run's answered requests, by estimate.", _by("kind", tokens)


def _one(value: float) -> Samples:
    return [({}, value)]


def _by(label: str, values: Mapping[str, float]) -> Samples:
    return [({label: name}, value) for name, value in values.items()]


def _family(name: str, help_text: str, job: str, samples: Samples) -> str:
    lines = [f"# HELP {name} {help_text}", f"# TYPE {name} gauge"]
    lines += [f"{name}{{{_labels({'job': job, **labels})}}} {value:.15g}" for labels, value in samples]
    return "\n".join([*lines, ""])


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items())


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _last_success(path: Path, job: str) -> float | None:
    """Returns the time of the last success from the existing file; None if it has none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            found = re.search(
                rf'^{SUCCESS}{{job="{re.escape(job)}"}} ([0-9.]+)$', file.read(MAX_READ_BYTES), re.MULTILINE
            )
        return float(found[1]) if found else None
    except (OSError, ValueError):
        return None
