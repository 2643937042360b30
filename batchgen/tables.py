"""A table in, the table with its answers out: a run for notebooks and scripts, with everything that a run promises."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchgen import commands
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import AlreadyRunning, ServiceRefused, UsageError
from batchgen.job.job import Job
from batchgen.job.load import as_job
from batchgen.job.sections import Request
from batchgen.storage.atomic import replacing

if TYPE_CHECKING:
    import polars as pl

    from batchgen.runner.summary import Summary

FOLDER = ".batchgen"
"""Of the working folder: where a table, its checkpoint and its results are kept."""
_REQUEST = set(Request.model_fields)


def generate(
    frame: Any,
    *,
    job: str | Path | Job | Mapping[str, Any] | None = None,
    name: str | None = None,
    local: bool = False,
    limit: int | None = None,
    quiet: bool = False,
    **settings: Any,
) -> pl.DataFrame:
    """Sends a prompt for each row of a table; returns the rows, in order, with the result columns.

    `frame`: polars, pandas, pyarrow, DuckDB, whatever speaks Arrow's PyCapsule interface; or a list of dicts.
    `job`: a job whose settings are taken, without its input and output; else `settings` say all. `settings`: the job
    file's sections (`prompt=`, `messages=`, `limits={...}`, `check={...}`), and for short the request's own fields
    (`model=`, `max_tokens=`, `temperature=`). `name`: what the work is resumed by; default: the job's. `local`: on the
    built-in model, free. `limit`: the first so many rows only. `quiet`: shows no progress and no summary.

    >>> products = pl.DataFrame({"name": ["tent", "lamp"]})
    >>> frame = batchgen.generate(products, prompt="About {{ name }}.", model="palmyra-x5", name="seo", local=True)
    >>> frame["status"].to_list()
    ['ok', 'ok']

    The checkpoint and the results (Parquet) are kept in `.batchgen/` of the working folder: the same call again buys
    nothing twice, and one with edited rows buys these alone. An interrupt returns what is done; the other rows are
    `pending`.

    Raises UsageError where the table or a setting is wrong, and ServiceRefused where the service refuses the run: what
    was answered before is kept.
    """
    table = _as_polars(frame)
    made = _job(job, name, settings, table.columns)
    state = StateFiles.for_job(made.for_local_model() if local else made)
    if state.is_running():
        raise AlreadyRunning(f"{made.name}: a run of this name is at work: wait for its end, or give another name")
    _keep(table, Path(made.input.path))
    ended = commands.run(made, local=local, limit=limit, quiet=quiet)
    return _answered(ended, quiet=quiet)


def _job(
    given: str | Path | Job | Mapping[str, Any] | None,
    name: str | None,
    settings: Mapping[str, Any],
    columns: Sequence[str],
) -> Job:
    """Returns the job of a table with these columns: the settings laid over those of the given job."""
    values = {} if given is None else as_job(given).settings()
    sections = {key: value for key, value in settings.items() if key not in _REQUEST}
    request = {key: value for key, value in settings.items() if key in _REQUEST}
    for key, value in sections.items():
        both = isinstance(value, Mapping) and isinstance(values.get(key), Mapping)
        values[key] = {**values[key], **value} if both else value
    values["request"] = {**values.get("request", {}), **request}
    called = name or values.get("name")
    if not isinstance(called, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", called):
        raise UsageError("name: missing, or not a name: it is what the work is resumed by, such as name='seo'")
    kept = Path(FOLDER).absolute()
    row_id = values.get("input", {}).get("id")
    table = {"path": str(kept / f"{called}.input.parquet"), "id": row_id if row_id in columns else None}
    output = {"columns": False, **values.get("output", {})}
    output |= {"path": str(kept / f"{called}.parquet"), "state": str(kept), "rows_per_file": None}
    return as_job({"report": False, **values, "name": called, "input": table, "output": output})


def _as_polars(frame: Any) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415  `import batchgen` waits for nothing

    if isinstance(frame, pl.DataFrame | pl.LazyFrame):
        return frame.lazy().collect()
    if isinstance(frame, Sequence) and not isinstance(frame, str | bytes):
        if not all(isinstance(row, Mapping) for row in frame):
            raise UsageError("frame: a list should hold a dict for each row")
        return pl.DataFrame(list(frame), infer_schema_length=None)
    if not hasattr(frame, "__arrow_c_stream__"):
        kind = type(frame).__name__
        raise UsageError(f"frame: should be a table (polars, pandas, pyarrow, DuckDB) or a list of dicts, not {kind}")
    return pl.DataFrame(frame)


def _keep(frame: pl.DataFrame, path: Path) -> None:
    """Writes the table where the run reads it. Raises UsageError for a column that Parquet cannot hold."""
    import polars as pl  # noqa: PLC0415

    odd = [name for name, dtype in frame.schema.items() if dtype == pl.Object]
    if odd:
        raise UsageError(f"frame: column {odd[0]!r} holds Python objects: make it text, numbers or dates first")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        frame.write_parquet(file)


def _answered(ended: Summary, *, quiet: bool) -> pl.DataFrame:
    from batchgen.output.frames import load  # noqa: PLC0415

    if ended.exit_code == ServiceRefused.exit_code:
        raise ServiceRefused(ended.stopped)
    if not quiet or ended.failed or ended.pending:
        sys.stderr.write(f"{ended}\n")
    return load(ended.path)
