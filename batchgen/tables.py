"""A table in, the table with its answers out: a run for notebooks and scripts, with everything that a run promises."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchgen import commands
from batchgen.checkpoint.schema import LOCK
from batchgen.errors import AlreadyRunning, ServiceRefused, UsageError
from batchgen.input.file_hints import closest_name
from batchgen.input.python_tables import as_polars
from batchgen.job.job import Job
from batchgen.job.load import as_job
from batchgen.job.sections import Request
from batchgen.storage import file_lock, folders
from batchgen.storage.atomic import replacing

if TYPE_CHECKING:
    import polars as pl

    from batchgen.runner.summary import Summary

FOLDER = ".batchgen"
"""Of the working folder: where a table, its checkpoint and its results are kept."""
TABLES = "tables"
"""Within it: the tables, where no name of a job makes one of them another's results."""
_REQUEST = set(Request.model_fields)
_OWN = {"job", "limit", "local", "name", "quiet"}
_INPUT, _OUTPUT = {"id", "limit", "rename", "where"}, {"columns"}
"""The settings of a job's input and output that a table has, too."""


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

    `frame`: polars, pandas, pyarrow, DuckDB, whatever speaks Arrow's PyCapsule interface; or a list of dicts. Of a
    pandas index, the levels that have a name are columns, too.
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
    table = as_polars(frame)
    made = _job(job, name, settings, table.columns, local=local)
    kept = Path(made.input.path)
    folders.make([kept.parent])
    try:
        with file_lock.exclusive(kept.with_suffix(LOCK)):  # else another's table, or results, could take their place
            with replacing(kept) as file:
                table.write_parquet(file)
            ended = commands.run(made, local=local, limit=limit, quiet=quiet)
            return _answered(ended, quiet=quiet)
    except AlreadyRunning:
        raise AlreadyRunning(
            f"{made.name}: a run of this name is at work: wait for its end, or give another name"
        ) from None


def _job(
    given: str | Path | Job | Mapping[str, Any] | None,
    name: str | None,
    settings: Mapping[str, Any],
    columns: Sequence[str],
    *,
    local: bool,
) -> Job:
    """Returns the job of a table with these columns: the settings laid over those of the given job. `local`: the
    table is that of a run on the built-in model."""
    _refuse_unknown(settings)
    own_rows, own_output = _given(settings, "input", _INPUT), _given(settings, "output", _OUTPUT)
    values = {} if given is None else as_job(given).settings()
    sections = {key: value for key, value in settings.items() if key not in {*_REQUEST, "request"}}
    request = _section(settings, "request") | {key: value for key, value in settings.items() if key in _REQUEST}
    for key, value in sections.items():
        both = isinstance(value, Mapping) and isinstance(values.get(key), Mapping)
        values[key] = {**values[key], **value} if both else value
    values["request"] = {**values.get("request", {}), **request}
    called = _checked_name(name or values.get("name"))
    kept = Path(FOLDER).absolute()
    row_id = values.get("input", {}).get("id")
    rows = {"id": row_id if row_id in columns else None, **own_rows}
    output = {"columns": False, **values.get("output", {}), **own_output}
    output |= {"path": str(kept / f"{called}.parquet"), "state": str(kept), "rows_per_file": None}
    table = {**rows, "path": str(kept / TABLES / f"{called}{'.local' if local else ''}.parquet")}
    return as_job({"report": False, **values, "name": called, "input": table, "output": output})


def _checked_name(name: Any) -> str:
    """Returns the name. Raises UsageError if it is missing, or names what is not allowed in it."""
    if not isinstance(name, str):
        raise UsageError("name: missing, or not a text: it is what the work is resumed by, such as name='seo'")
    if wrong := re.search(r"^[.-]|[^A-Za-z0-9_.-]", name):
        where = "at its beginning" if wrong[0] in ".-" else "in it"
        raise UsageError(
            f"name: {wrong[0]!r} is not allowed {where}: letters, digits, '.', '_' and '-' are, as in name='seo'"
        )
    return name


def _refuse_unknown(settings: Mapping[str, Any]) -> None:
    """Raises UsageError for a keyword that is neither a section of a job file nor a field of its requests."""
    known = {*_OWN, *_REQUEST, *Job.model_fields}
    for key in settings:
        if key not in known:
            close = closest_name(key, sorted(known))
            hint = f"did you mean {close}?" if close else "known are a job file's sections, and request's own fields"
            raise UsageError(f"{key}: unknown key; {hint}")


def _given(settings: Mapping[str, Any], section: str, known: set[str]) -> dict[str, Any]:
    """Returns a section of the settings. Raises UsageError for keys that say where a file lies: here are none."""
    given = _section(settings, section)
    for key in given:
        if key not in known:
            names = ", ".join(sorted(known))
            raise UsageError(
                f"{section}.{key}: a table has no such setting, it is kept in {FOLDER}; known here: {names}"
            )
    return given


def _section(settings: Mapping[str, Any], section: str) -> dict[str, Any]:
    given = settings.get(section, {})
    if not isinstance(given, Mapping):
        raise UsageError(f"{section}: should be a dict of settings")
    return dict(given)


def _answered(ended: Summary, *, quiet: bool) -> pl.DataFrame:
    from batchgen.output.frames import load  # noqa: PLC0415

    if ended.exit_code == ServiceRefused.exit_code:
        raise ServiceRefused(ended.stopped)
    if not quiet or ended.failed or ended.pending:
        sys.stderr.write(f"{ended}\n")
    return load(ended.path)
