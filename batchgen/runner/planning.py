"""Makes the forecast of a run: the plan by what earlier runs left, where the results would go, and what to warn of."""

from __future__ import annotations

from batchgen.output import destination
from batchgen.runner import adoption, descriptors
from batchgen.runner.earlier import earlier_runs, rehearsed
from batchgen.runner.endpoints import other_endpoint
from batchgen.runner.forecast import Forecast
from batchgen.runner.owner import refuse_anothers_results
from batchgen.runner.plan import with_prompts
from batchgen.runner.prepare import PreparedJob, today, warnings
from batchgen.storage import folders


def forecast_of(setup: PreparedJob, *, retry_failed: bool, rehearse: bool, prompts: int) -> Forecast:
    """Returns the forecast, with so many prompts. Sends nothing and leaves no trace. Raises BatchgenError as a run
    does."""
    job = setup.job
    descriptors.raise_limit(setup.job.limits.most_in_flight)
    folders.refuse_in_the_way(job.state_folder)
    with earlier_runs(setup, rehearse=rehearse) as known:
        made = with_prompts(known.plan(setup, retry_failed=retry_failed), setup.source, setup.requests, prompts)
        date = known.next_date(made.requests)
    to = destination.of(job, date)
    to.refuse(setup.source)
    refuse_anothers_results(job, to.place)
    beside = [] if known.has_run else adoption.offers(job, made.rows.filter("todo"))
    return Forecast(
        name=job.name,
        path=str(job.output_path(date)),
        continues=date if date != today() else None,
        endpoint=setup.endpoint,
        plan=made,
        limits=setup.job.limits,
        latency_s=known.latency,
        learned=known.learned,
        warnings=[
            *warnings(setup, made.models, made.rows.height),
            *(adoption.message(offer, made.rows.height, job) for offer in beside),
            *filter(None, [other_endpoint(setup, known.endpoints)]),
            *to.obstacles(),
        ],
        in_all=known.usage,
        rehearsal=rehearsed(setup, made, known) if rehearse and made.todo else None,
    )
