"""How a run begins: checks the job, locks its checkpoint, records what an earlier run left in flight, plans, and warns.
Sends nothing."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from batchgen.api.connection import Connection
from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.in_flight import clear, leftovers
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import INTERRUPTED, Record, Run, Start
from batchgen.job.job import Job
from batchgen.job.sections import Until
from batchgen.output import destination
from batchgen.output.owner import owner_of, refuse_anothers_checkpoint
from batchgen.runner import adoption, descriptors
from batchgen.runner.duplicates import shared_keys
from batchgen.runner.earlier import plan_after
from batchgen.runner.endpoints import other_endpoint, refuse_built_in
from batchgen.runner.job_warnings import warnings
from batchgen.runner.plan import Plan, nothing_to_send
from batchgen.runner.prepare import PreparedJob, connection_of, key_of, prepare, today
from batchgen.runner.recheck import recheck_states
from batchgen.send.engines import local
from batchgen.send.engines.local import EngineFactory
from batchgen.send.limits import Budget
from batchgen.storage import folders
from batchgen.ui.humanize import inflect, pluralize

log = logging.getLogger("batchgen")


class OpenedJob(NamedTuple):
    """A prepared job under its lock. `checkpoint` and `reader` are open on the same file. `budget`: of the run, whose
    time began with the command."""

    setup: PreparedJob
    connection: Connection
    checkpoint: Checkpoint
    reader: Reader
    budget: Budget


@contextmanager
def opened(
    job: Job, environ: Mapping[str, str], file: str | Path, engine: EngineFactory, *, adopt: bool = False
) -> Iterator[OpenedJob]:
    """Checks everything that needs no look at a row, then locks the job. `file`: how messages name the job file. Raises
    as `held`, and UsageError, MachineRefused."""
    budget = budget_of(job.until)
    key = key_of(job, environ)
    setup = prepare(job, environ, file)
    connection = connection_of(setup, key, environ)
    if engine is local.engine:
        descriptors.raise_limit(setup.job.limits.most_in_flight)
    folders.make([job.state_folder])
    destination.of(job, today()).refuse_unwritable()
    folders.refuse_network(job.state_folder)
    if warning := folders.network_warning(job.state_folder):
        log.warning("warning: %s", warning)
    with held(setup, adopt=adopt) as (checkpoint, reader):
        yield OpenedJob(setup, connection, checkpoint, reader, budget)


def budget_of(until: Until) -> Budget:
    """Returns the budget of a run that starts now, for all of its passes together: to plan takes of its time, too."""
    after = None if until.after is None else time.monotonic() + until.after
    moment = until.moment(dt.datetime.now().astimezone())
    budget = Budget(None, until.requests, until.tokens, until.cost, after=after, moment=moment)
    budget.keep_time(time.monotonic(), time.time())
    return budget


@contextmanager
def held(setup: PreparedJob, *, adopt: bool = False) -> Iterator[tuple[Checkpoint, Reader]]:
    """Yields the job's checkpoint, locked for this process. Raises as `open_for_run`, and UsageError if it is another
    job file's, or holds bought answers where the built-in model answers, or the reverse; unless it is to be adopted."""
    with setup.state.open_for_run() as (checkpoint, reader):
        owner = reader.owner()
        if not adopt:
            refuse_anothers_checkpoint(setup.job, owner)
            refuse_built_in(setup, reader.endpoints())
        ours = owner_of(setup.job, setup.job.state_folder)
        if owner != ours:
            checkpoint.set_owner(ours)
        yield checkpoint, reader


def now() -> int:
    """Returns microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def recover(setup: PreparedJob, checkpoint: Checkpoint, reader: Reader) -> int:
    """Records the requests that were in flight when an earlier run was killed. Returns how many they were."""
    left = leftovers(setup.state.in_flight)
    recorded = reader.attempts_of([key for key, _ in left])
    lost = [(key, attempt) for key, attempt in left if attempt == recorded.get(key, 0) + 1]
    error, at = "in flight when the run was killed: possibly billed, and the answer is lost", now()
    if lost:
        records = (Record(key=key, outcome=INTERRUPTED, attempts=n, error=error, finished_at=at) for key, n in lost)
        checkpoint.add([*records])
    clear(setup.state.in_flight)
    last = reader.last_run()
    return reader.interrupted_since(last) if last else len(lost)


def plan_from(setup: PreparedJob, reader: Reader, floor: int, *, retry_failed: bool) -> Plan:
    """Makes a plan from the input and what is stored after `floor`. Raises UsageError as `plan_after` does."""
    recheck = partial(recheck_states, reader=reader, checker=setup.checker)
    return plan_after(setup, partial(reader.index, floor), reader.row_names(), recheck, retry_failed=retry_failed)


def warn(setup: PreparedJob, plan: Plan, checkpoint: Checkpoint, reader: Reader, interrupted: int) -> None:
    """Logs all warnings before anything is spent. Raises UsageError as `warnings`."""
    for warning in warnings(setup, plan.models, plan.rows.height):
        log.warning("warning: %s", warning)
    if interrupted:
        log.warning(
            "warning: an earlier run was killed with %s in flight: possibly billed, sent again", f"{interrupted:,}"
        )
    is_new = reader.last_run() is None
    for offer in adoption.offers(setup, plan.rows.filter("todo", record=0)) if is_new else ():
        log.warning("warning: %s", adoption.message(offer, plan.rows.height, setup.job))
    if moved := other_endpoint(setup, reader.endpoints()):
        log.warning("warning: %s", moved)
    if missing := checkpoint.missing_attempts:
        log.warning(
            "warning: %s %s missing from %s: its log was damaged, or an older copy was put in its place. "
            "Restore the newest copy if you have one; what is missing is bought again",
            pluralize(missing, "attempt"),
            inflect(missing, "that was committed is", "that were committed are"),
            checkpoint.path,
        )
    if not plan.todo:
        log.info("%s: nothing to send: %s", setup.job.name, nothing_to_send(plan))


def start_run(checkpoint: Checkpoint, setup: PreparedJob, plan: Plan, date: str, floor: int, start: Start) -> Run:
    """Stores that a run begins now. Answers are reused from `floor` on."""
    return checkpoint.start_run(
        now(),
        date,
        floor,
        plan.rows.height,
        plan.rows_left,
        start,
        endpoint=setup.identity,
        shared=shared_keys(plan.rows),
    )


def earlier_rate(setup: PreparedJob, reader: Reader) -> float | None:
    """Returns the rate that an earlier run learned, if the job itself sets none."""
    learned = reader.learned_rate()
    return None if learned is None or setup.job.limits.requests_per_minute else learned.per_minute
