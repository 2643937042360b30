"""The commands `run`, `try`, `plan` and `status`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from batchgen.cli import streams
from batchgen.cli.options import JOB, JSON, LIMIT, LOCAL, LOG_FORMAT, RETRY_FAILED, job_files
from batchgen.cli.streams import say
from batchgen.errors import OK

if TYPE_CHECKING:
    from batchgen.runner.summary import Summary


@click.command()
@click.argument("job", type=click.Path(), required=False, shell_complete=job_files)
@LOCAL
@click.option("--fresh", is_flag=True, help="Buy every row again; old results stay until the new ones are published.")
@LIMIT
@click.option(
    "--adopt",
    is_flag=False,
    flag_value="",
    metavar="[CHECKPOINT]",
    help="Take over another job's checkpoint and results; with a checkpoint: adopt its answers.",
)
@RETRY_FAILED
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", help="Where attempts are made.")
@click.option(
    "--address", metavar="HOST:PORT", help="The Ray cluster to join, or auto; by default one is started here."
)
@click.option("--quiet", is_flag=True, help="Show no progress, and a summary only if something is wrong.")
@JSON
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
@LOG_FORMAT
def run(
    job: str | None,
    *,
    local: bool,
    fresh: bool,
    limit: int | None,
    adopt: str | None,
    retry_failed: bool,
    engine: str,
    address: str | None,
    quiet: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Run JOB, or resume it: only what has no answer yet is sent.

    Exit status: 0 every row has its text; 1 some rows failed, or the gate rejected the results; 2 the job file or
    input is wrong, nothing was sent; 3 stopped before the end; 4 the service refuses the run; 5 this machine refuses
    the run; 75 another run of this job is at work.

    \b
    batchgen run jobs/seo.yaml --local --limit 20   a trial: free, nothing is sent
    batchgen run jobs/seo.yaml                      all of it, or what is left
    batchgen run jobs/seo.yaml --quiet              for cron: speaks up if need be
    """
    job, takes_over, checkpoint = _adopting(job, adopt)
    streams.log(quiet=quiet, verbose=verbose)
    from batchgen import commands
    from batchgen.send.engines.choice import engine_of

    summary = commands.run(
        job,
        local=local,
        fresh=fresh,
        limit=limit,
        retry_failed=retry_failed,
        quiet=quiet,
        engine=engine_of(engine, address),
        adopt=takes_over,
        take_in=checkpoint,
    )
    _end(summary, quiet=quiet, as_json=as_json)


def _adopting(job: str | None, adopt: str | None) -> tuple[str, bool, str | None]:
    """Returns the job, whether it takes over another job's files, and the checkpoint whose answers it takes in.

    `adopt`: what follows the option, empty for nothing, None without the option. If no job is named, that is the job.
    Raises click.UsageError if none is named so either."""
    if job is None and adopt:
        job, adopt = adopt, ""
    if job is None:
        raise click.UsageError("Missing argument 'JOB'.")
    takes_over = adopt == ""
    return job, takes_over, adopt or None


def _end(summary: Summary, *, quiet: bool, as_json: bool) -> NoReturn:
    """Shows how a run ended, and exits with its code."""
    from batchgen.cli import render

    if as_json:
        say(render.as_json(summary))
    elif not quiet or summary.exit_code != OK:
        say(summary, err=quiet)
    streams.log_end(summary)
    sys.exit(summary.exit_code)


@click.command("try")
@JOB
@click.option("-n", "count", type=click.IntRange(min=1), default=5, show_default=True, help="How many rows.")
@click.option("--random", "anywhere", is_flag=True, help="Random rows, instead of the first ones.")
@LOCAL
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row on stdout.")
@LOG_FORMAT
def try_rows(job: str, *, count: int, anywhere: bool, local: bool, as_json: bool) -> None:
    """Send a few rows of JOB that have no answer yet, and show each prompt beside its answer.

    Publishes nothing. What it buys is JOB's: a run does not buy it again. Exit status: as of `batchgen run`.

    \b
    batchgen try jobs/seo.yaml                 the first five rows
    batchgen try jobs/seo.yaml -n 3 --random   any three
    batchgen try jobs/seo.yaml --local         on the built-in model, free
    """
    streams.log()
    from batchgen import commands
    from batchgen.cli import render

    tried = commands.try_rows(job, count, random=anywhere, local=local)
    if not as_json:
        say(tried)
    elif tried.rows:
        say("\n".join(map(render.as_json, tried.rows)))
    if as_json and tried.stopped:
        say(tried.stopped, err=True)
    sys.exit(tried.exit_code)


@click.command()
@JOB
@LOCAL
@LIMIT
@RETRY_FAILED
@click.option("--rehearse", is_flag=True, help="Simulate the run, and say when it would end.")
@click.option("--rows", type=click.IntRange(min=0), default=3, show_default=True, metavar="N", help="Prompts to show.")
@JSON
@LOG_FORMAT
def plan(
    job: str, *, local: bool, limit: int | None, retry_failed: bool, rehearse: bool, rows: int, as_json: bool
) -> None:
    """Say what a run of JOB would do. Sends nothing, needs no key, leaves no trace.

    \b
    batchgen plan jobs/seo.yaml              rows, tokens, cost, time, prompts
    batchgen plan jobs/seo.yaml --rehearse   and when the night would end
    batchgen plan jobs/seo.yaml --rows 5     the first five prompts to be sent
    """
    streams.log()
    from batchgen import commands
    from batchgen.cli import render

    forecast = commands.plan(job, local=local, limit=limit, retry_failed=retry_failed, rehearse=rehearse, rows=rows)
    say(render.as_json(forecast.values()) if as_json else forecast, is_result=True)


@click.command()
@JOB
@LOCAL
@click.option("--watch", is_flag=True, help="Refresh every two seconds, until the run ends or Ctrl-C.")
@JSON
def status(job: str, *, local: bool, watch: bool, as_json: bool) -> None:
    """Show the progress of the current or last run of JOB.

    With --watch, a terminal shows it in place; elsewhere a line, or with --json an object, is printed at each change.

    \b
    batchgen status jobs/seo.yaml --watch             look on
    batchgen status jobs/seo.yaml --json | jq .left   rows still to do
    """
    from batchgen import commands
    from batchgen.cli import render

    if watch:
        from batchgen.cli.watch import follow

        follow(commands.watch(job, local=local), as_json=as_json)
        return
    now = commands.status(job, local=local)
    say(render.as_json(now) if as_json else now, is_result=True)
