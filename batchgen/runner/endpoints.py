"""The endpoints that a job's answers belong to. Another address makes other requests of the same rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

from batchgen.errors import NotRunYet, UsageError
from batchgen.job.job import LOCAL
from batchgen.runner.prepare import PreparedJob

VARIABLE = "WRITER_BASE_URL"
SHOWN = 3

log = logging.getLogger("batchgen")


def other_endpoint(setup: PreparedJob, known: Sequence[str]) -> str | None:
    """Warns if the job has run, and never at this endpoint: none of its answers serves there. `known`: the endpoints of
    its runs."""
    if not known or setup.identity in known:
        return None
    return f"{_where(setup, known)}, and answers are reused at the same address only: {_remedy(setup)}"


def refuse_built_in(setup: PreparedJob, known: Sequence[str]) -> None:
    """Raises UsageError if a run on the built-in model meets bought answers, or the reverse: the checkpoint of
    `seo --local` is that of a job named seo.local, too."""
    job = setup.job
    if not known or setup.identity in known or LOCAL not in (setup.identity, *known):
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


def why_none_fits(setup: PreparedJob, known: Sequence[str], answers: int) -> str:
    """Says why nothing is dropped, if no stored answer fits the input at this endpoint."""
    where = (
        _where(setup, known)
        if known
        else f"not one of {answers:,} stored answers fits the input at {setup.endpoint}: they may be another address's"
    )
    return f"nothing was dropped: {where}: {_remedy(setup)}; or remove {setup.job.checkpoint} if they are of no use"


def _where(setup: PreparedJob, known: Sequence[str]) -> str:
    others = " and ".join(known[:SHOWN]) + (" and others" if len(known) > SHOWN else "")
    return f"the stored answers are from {others}, not from {setup.endpoint}"


def _remedy(setup: PreparedJob) -> str:
    if is_from_environment(setup):
        return f"set {VARIABLE} as it was for the run"
    return "set endpoint.name to what the answers belong to, where the address changes"


def warn_if_elsewhere(setup: PreparedJob) -> None:
    """Warns on stderr if the stored answers are another endpoint's. Leaves no trace."""
    with suppress(NotRunYet), setup.state.open_readonly(without_trace=True) as reader:
        if moved := other_endpoint(setup, reader.endpoints()):
            log.warning("warning: %s", moved)
