"""Prepares a job: opens and checks its input, template and service.

Nothing here sends a request, takes the lock or writes an answer.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from batchgen.api.connection import Connection
from batchgen.api.credentials import check_key, read_key
from batchgen.api.dialects import Dialect
from batchgen.api.failure_kinds import Kind, Scope, kinds_of
from batchgen.api.proxy import Proxy, proxy_of
from batchgen.api.tls import trust
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import UsageError
from batchgen.input.request import Requests
from batchgen.input.source import Source, open_source, require_column
from batchgen.job.checker import Checker, checker_of
from batchgen.job.job import Job
from batchgen.output import destination
from batchgen.output.column_names import refuse_collisions
from batchgen.output.destination import refuse_as_input
from batchgen.output.owner import refuse_among_parts
from batchgen.simulator import MODEL as BUILT_IN
from batchgen.storage.settings import secret_variables

_INPUTS_OWN = re.compile(r"/|\w+://")
"""How the messages begin that name a file of the input: a job's paths are absolute."""


@dataclass(frozen=True)
class PreparedJob:
    """A job that fits its input. `job` has the limits in force. `urls`: the service's addresses; the built-in model has
    none. `checker` is None if the job checks no text."""

    job: Job
    urls: tuple[str, ...]
    source: Source
    requests: Requests
    checker: Checker | None

    @property
    def dialect(self) -> Dialect:
        return self.job.dialect

    @property
    def endpoint(self) -> str:
        """Returns what people call the service."""
        return self.job.endpoint.label(self.urls)

    @property
    def identity(self) -> str:
        """Returns what the answers belong to: the endpoint's name, else its address."""
        return self.job.endpoint.identity(self.urls)

    @property
    def state(self) -> StateFiles:
        return StateFiles.for_job(self.job)

    def answer_models(self, models: Iterable[str]) -> list[str]:
        """Returns the model for each answer that names none, as in a stream: the requested model, or the built-in
        one."""
        return [BUILT_IN if self.job.is_local else model for model in models]


def prepare(job: Job, environ: Mapping[str, str], file: str | Path) -> PreparedJob:
    """Prepares a job. `file`: its file, for messages. Raises UsageError if something does not fit. It does not read the
    input's rows."""
    try:
        urls, source = _service_and_input(job, environ)
    except UsageError as error:
        if _INPUTS_OWN.match(str(error)):
            raise
        raise UsageError(f"{file}: {error}") from None  # whose `input.id` is it, in a mail of five jobs?
    try:
        requests = Requests(job, source.columns, job.endpoint.identity(urls))
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    return PreparedJob(job.with_effective_limits(urls), urls, source, requests, checker_of(job))


def _service_and_input(job: Job, environ: Mapping[str, str]) -> tuple[tuple[str, ...], Source]:
    """Returns the service's addresses, and the input, opened."""
    urls = job.addresses(environ)
    trust(job.endpoint.ca_file)
    _proxy(job, urls, environ)
    _refuse_unwritable_names(job)
    refuse_misplaced(job, job.checkpoint, "output.state")
    return urls, _open_input(job)


def reopen(setup: PreparedJob) -> PreparedJob:
    """Returns the job with the input as it is now. Raises UsageError as `prepare` does."""
    source = _open_input(setup.job)
    return replace(setup, source=source, requests=Requests(setup.job, source.columns, setup.identity))


def _open_input(job: Job) -> Source:
    """Opens the input. Raises UsageError if it has not the columns that the job needs, or has others that it must
    not."""
    source = open_source(job.input)
    refuse_collisions(list(source.columns), job.input.rename, job.answer_columns)
    if job.priority is not None:
        _refuse_unordered(job.priority, source)
    return source


def _refuse_unwritable_names(job: Job) -> None:
    """Raises UsageError if the name of a folder is not UTF-8, as SQLite and Parquet's writer need it."""
    for key, path in (("output.path", job.output.path), ("output.state", str(job.state_folder))):
        try:
            path.encode()
        except UnicodeEncodeError:
            shown = path.encode(errors="surrogateescape").decode(errors="replace")
            raise UsageError(
                f"{key}: {shown}: the name of a folder is not UTF-8: rename it, or set output.path and output.state "
                "to folders whose names are; nothing was sent"
            ) from None


def refuse_misplaced(job: Job, path: Path, key: str) -> None:
    """Raises UsageError if a later run would find a file of this one's among its input, or among its results. `key`:
    what sets its path."""
    refuse_as_input(path, job.input, key)
    refuse_among_parts(path, [destination.of(job, today())])


def _refuse_unordered(priority: str, source: Source) -> None:
    require_column(priority, source.columns, "priority")
    dtype = source.columns[priority]
    if not (dtype in (pl.String, pl.Boolean) or dtype.is_numeric() or dtype.is_temporal()):
        raise UsageError(f"priority: column {priority!r} ({dtype}) cannot be ordered: use a numeric column")


def key_of(job: Job, environ: Mapping[str, str]) -> str:
    """Returns the key; empty if the job sends none. The built-in model takes any key. Raises UsageError if there is
    none."""
    if job.is_local:
        return "local"
    if not job.endpoint.has_key:
        return ""
    if job.endpoint.key_file is not None:
        return read_key(Path(job.endpoint.key_file))
    return check_key(environ.get(job.endpoint.key_env, ""), job.endpoint.key_env)


def _proxy(job: Job, urls: Iterable[str], environ: Mapping[str, str]) -> Proxy | None:
    """Returns the proxy, if the job names one. Raises UsageError if the key would cross the network in the clear."""
    if job.is_local:
        return None
    proxy = proxy_of(job.endpoint.proxy, job.endpoint.proxy_env, environ)
    if proxy is not None and job.endpoint.has_key and any(url.startswith("http:") for url in urls):
        raise UsageError(
            "endpoint.proxy: the key would cross the network in the clear: with a key a proxy is used for https only"
        )
    return proxy


def connection_of(setup: PreparedJob, key: str, environ: Mapping[str, str]) -> Connection:
    """Returns how the run reaches its service. An unknown model does not end the run if each row names its own. Raises
    UsageError if the proxy's variable is not set, or is not valid."""
    job, endpoint = setup.job, setup.job.endpoint
    named = endpoint.key_env, endpoint.proxy_env, job.notify.url_env
    return Connection(
        urls=setup.urls,
        key=key,
        connect=job.timeout.connect,
        total=job.timeout.total,
        dialect=setup.dialect,
        is_local=job.is_local,
        slots=job.limits.most_in_flight,
        ca_file=endpoint.ca_file,
        proxy=_proxy(job, setup.urls, environ),
        fatal_kinds=kinds_of(Scope.RUN) - ({Kind.MODEL} if "model" in job.columns else set()),
        secret_variables=tuple(name for name in named if name is not None) + secret_variables(environ),
    )


def today() -> str:
    """Returns the local date, ISO: the value of `{date}` for a run that starts now."""
    return dt.datetime.now().astimezone().date().isoformat()
