"""Publishes a run's results at the job's own place, where its gate applies, or anywhere else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from batchgen import __version__
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import Run
from batchgen.errors import UsageError
from batchgen.output import destination
from batchgen.output.destination import Destination
from batchgen.output.gate import GateStats, last_good
from batchgen.output.owner import owner_of
from batchgen.output.publish import AnsweredRows, PublishResult, publish
from batchgen.output.selection import ALL, Selection
from batchgen.runner.prepare import PreparedJob
from batchgen.storage import folders
from batchgen.storage.location import Location

PUBLISHED_COLUMNS = ("model", "record", "state", "occurrence")
"""Columns of a plan's rows that publishing needs."""


def publish_run(
    setup: PreparedJob,
    rows: pl.DataFrame,
    models: Iterable[str],
    reader: Reader,
    run: Run,
    to: Destination,
    *,
    selection: Selection = ALL,
) -> PublishResult:
    """Publishes the results. At the job's own place the gate applies, and results with more texts are not replaced.
    Raises as `publish` does."""
    job, own = setup.job, destination.of(setup.job, run.date)
    in_place = folders.is_same(to.place, own.place)
    if in_place and not selection.is_all:
        raise UsageError(f"{own.place}: is the job's own output: name another file for some of its columns or rows")
    stats = None
    if in_place and own.is_gated:
        stats = GateStats(job.gate, last_good(job, run.date) if own.is_compared else None)
    answered = AnsweredRows(setup.source, rows, setup.answer_models(models), reader, setup.checker)
    about = file_metadata(setup, run, to.place)
    return publish(answered, own if in_place else to, about, stats=stats, selection=selection)


def file_metadata(setup: PreparedJob, run: Run, there: Location) -> dict[str, Any]:
    """Returns the origin of a file for its metadata. The job holds no secret, so the metadata hold none."""
    owner = owner_of(setup.job, there.parent if isinstance(there, Path) else None)
    return {
        "version": __version__,
        "job": owner.name,
        "file": owner.file,
        "date": run.date,
        "started_at": run.started_at,
        "endpoint": setup.endpoint,
        "settings": setup.job.model_dump(mode="json", by_alias=True),
    }
