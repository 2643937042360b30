"""Drops stored answers that no row of the input uses. Keeps those that another address alone makes look unused."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from batchgen.checkpoint.index import Index, State
from batchgen.checkpoint.reader import Reader
from batchgen.errors import UsageError
from batchgen.input.request import Requests
from batchgen.job.endpoint import api_and_label
from batchgen.job.job import Job
from batchgen.job.request_fields import in_dialect
from batchgen.runner.duplicates import with_occurrence_keys
from batchgen.runner.endpoints import is_from_environment, why_none_fits
from batchgen.runner.opening import held
from batchgen.runner.preflight import preflight
from batchgen.runner.prepare import PreparedJob
from batchgen.runner.recheck import recheck_states


def prune(setup: PreparedJob, agree: Callable[[int], bool]) -> int:
    """Drops the unused attempts if `agree` returns true for their number. Returns how many were dropped. Raises
    NotRunYet, AlreadyRunning, and UsageError if no answer fits because the endpoint is another one."""
    setup.state.open_readonly().close()  # raises where there is none yet, before one is made
    with held(setup) as (checkpoint, reader):
        index = reader.index(0)
        used = _used_keys(setup, reader, index)
        unused = [*index.orphans(used), *_superseded(setup, reader, index, used)]
        if not unused or not agree(len(unused)):
            return 0
        checkpoint.drop(unused)
        return len(unused)


def _superseded(setup: PreparedJob, reader: Reader, index: Index, used: pl.DataFrame) -> pl.Series:
    """Returns the answers in whose place a newer one serves, by the present check."""
    older = index.superseded()
    rows = used.join(older, on=["hi", "lo"], how="semi")
    rows = recheck_states(rows.hstack(index.find(rows["hi"], rows["lo"])), index, reader, setup.checker)
    served = rows.filter(pl.col("state") == State.DONE).select("hi", "lo", "record")
    return older.join(served, on=["hi", "lo"]).filter(pl.col("id") < pl.col("record"))["id"]


def _used_keys(setup: PreparedJob, reader: Reader, index: Index) -> pl.DataFrame:
    """Returns the keys (`hi`, `lo`) of the input's rows at each endpoint that runs were made at."""
    ours, stored_at = _keys_at(setup, setup.identity), reader.endpoints()
    may_be_elsewhere = stored_at or (is_from_environment(setup) and _fits_none(index, ours))
    if setup.identity not in stored_at and may_be_elsewhere:
        raise UsageError(why_none_fits(setup, stored_at, index.done()))
    others = [_keys_at(setup, identity) for identity in stored_at if identity != setup.identity]
    return pl.concat([ours, *others])


def _keys_at(setup: PreparedJob, identity: str) -> pl.DataFrame:
    job = _at(setup.job, identity)
    requests = Requests(job, setup.source.columns, identity)
    rows = with_occurrence_keys(preflight(job, setup.source, requests).columns.frame())
    return rows.select("hi", "lo")


def _at(job: Job, identity: str) -> Job:
    """Returns the job with the requests that it makes at an endpoint, which may speak another API."""
    api, _ = api_and_label(identity)
    if api == job.endpoint.api:
        return job
    there = job.model_copy(update={"endpoint": job.endpoint.model_copy(update={"api": api})})
    return there.model_copy(update=in_dialect(job.request, job.columns, there.dialect))


def _fits_none(index: Index, keys: pl.DataFrame) -> bool:
    return index.done() > 0 and not (index.find(keys["hi"], keys["lo"])["record"] > 0).any()
