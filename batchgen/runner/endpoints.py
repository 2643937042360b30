"""The endpoints that a job's answers belong to. Another address makes other requests of the same rows."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress

from batchgen.errors import NotRunYet, UsageError
from batchgen.job.endpoint import api_and_label
from batchgen.job.job import LOCAL, is_vendor
from batchgen.runner.prepare import PreparedJob

VARIABLE = "WRITER_BASE_URL"
SHOWN = 3

log = logging.getLogger("batchgen")


def other_endpoint(setup: PreparedJob, stored_at: Sequence[str]) -> str | None:
    """Returns a warning if the job has run, and never at this endpoint: none of its answers serves there.
    `stored_at`: the endpoints of its runs."""
    if not stored_at or setup.identity in stored_at:
        return None
    return f"{_where(setup, stored_at)}, and answers are reused at the same one only: {_remedy(setup, stored_at)}"


def refuse_built_in(setup: PreparedJob, stored_at: Sequence[str]) -> None:
    """Raises UsageError if a run on the built-in model meets bought answers, or the reverse: the checkpoint of
    `seo --local` is that of a job named seo.local, too."""
    job = setup.job
    if not stored_at or setup.identity in stored_at or LOCAL not in (setup.identity, *stored_at):
        return
    whole = job.name.removesuffix(".local")
    if whole == job.name:
        return
    holds = f"answers that were bought, of a job named {job.name}"
    holds = holds if job.is_local else f"the built-in model's answers, of a job named {whole}"
    adopt = ", or take it over with --adopt" if job.file else ""
    raise UsageError(f"{job.checkpoint}: holds {holds}: give one of the two another name{adopt}")


def is_from_environment(setup: PreparedJob) -> bool:
    """Returns whether a variable that is missing would lead to another endpoint."""
    endpoint = setup.job.endpoint
    return not (setup.job.is_local or endpoint.name or endpoint.urls)


def why_none_fits(setup: PreparedJob, stored_at: Sequence[str], answers: int) -> str:
    """Says why nothing is dropped, if no stored answer fits the input at this endpoint."""
    where = (
        _where(setup, stored_at)
        if stored_at
        else f"not one of {answers:,} stored answers fits the input at {setup.endpoint}: they may be another address's"
    )
    remedy = _remedy(setup, stored_at)
    return f"nothing was dropped: {where}: {remedy}; or remove {setup.job.checkpoint} if they are of no use"


def _where(setup: PreparedJob, stored_at: Sequence[str]) -> str:
    others = " and ".join(_named(setup, one) for one in stored_at[:SHOWN]) + (
        " and others" if len(stored_at) > SHOWN else ""
    )
    return f"the stored answers are from {others}, not from {_named(setup, setup.identity, *stored_at)}"


def _named(setup: PreparedJob, identity: str, *others: str) -> str:
    """Returns what people call an endpoint; with its API, if that is what distinguishes it from ours or from these."""
    api, label = api_and_label(identity)
    apis = {api_and_label(one)[0] for one in (setup.identity, *others)}
    return label if apis == {api} else f"{label} (api: {api})"


def _remedy(setup: PreparedJob, stored_at: Sequence[str]) -> str:
    is_address = all("://" in api_and_label(one)[1] for one in stored_at)
    if not (is_from_environment(setup) and is_address):
        return f"to use them, {_name_to_write(setup, stored_at)}"
    set_it = f"set {VARIABLE} as it was for the run"
    if not stored_at or is_vendor(setup.urls):  # the variable is missing
        return set_it
    return f"{set_it}, or, where the server has moved, {_name_to_write(setup, stored_at)}"


def _name_to_write(setup: PreparedJob, stored_at: Sequence[str]) -> str:
    others = ", or another of these" if len(stored_at) > 1 else ""
    return f"write `endpoint: {{{_keys(setup, stored_at[0])}}}`{others}, whatever its address is now"


def _keys(setup: PreparedJob, identity: str) -> str:
    """Returns what a job file has to say for answers to be this endpoint's."""
    api, label = api_and_label(identity)
    return f"{'' if api == setup.job.endpoint.api else f'api: {api}, '}name: {json.dumps(label, ensure_ascii=False)}"


def warn_if_elsewhere(setup: PreparedJob) -> None:
    """Warns on stderr if the stored answers are another endpoint's. Leaves no trace."""
    with suppress(NotRunYet), setup.state.open_readonly(without_trace=True) as reader:
        if moved := other_endpoint(setup, reader.endpoints()):
            log.warning("warning: %s", moved)
