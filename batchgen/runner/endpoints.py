"""The endpoints that a job's answers belong to. Another address makes other requests of the same rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

from batchgen.errors import NotRunYet
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
