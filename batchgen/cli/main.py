"""The command line: parses and prints; decides nothing. Every import that costs time is inside a command."""

from __future__ import annotations

import sys
from typing import Any

import click

from batchgen import __version__
from batchgen.cli import streams
from batchgen.cli.options import JOB, JSON, LIMIT, LOCAL, LOG_FORMAT, RETRY_FAILED, job_files
from batchgen.cli.serve import serve
from batchgen.cli.streams import say
from batchgen.errors import OK, ROWS_FAILED, BatchgenError, MachineRefused, Stopped, UsageError
from batchgen.ui.terminal import USUAL, screen

LIBRARIES = {"polars", "pyarrow", "pyo3_runtime", "obstore"}
"""Whose errors nobody can do anything about in place."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="batchgen")
def cli() -> None:
    """Send thousands or millions of prompts to a text-generation API, and get one complete Parquet file.

    \b
    batchgen plan jobs/seo.yaml          what would a run do, and cost?
    batchgen run jobs/seo.yaml --local   try it on the built-in model, free
    batchgen run jobs/seo.yaml           run it, or resume it
    """


@cli.command()
@click.argument("job", type=click.Path(), required=False, shell_complete=job_files)
@LOCAL
@click.option("--fresh", is_flag=True, help="Buy every row anew; old results stay until the new ones are published.")
@LIMIT
@click.option(
    "--adopt",
    is_flag=False,
    flag_value="",
    metavar="[CHECKPOINT]",
    help="Take over what is another job's; with a checkpoint: take in its answers.",
)
@RETRY_FAILED
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", help="Where attempts are made.")
@click.option("--address", metavar="HOST:PORT", help="The Ray cluster to join, or auto; else one is started here.")
@click.option("--quiet", is_flag=True, help="No progress, and no summary unless something is wrong.")
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
    if job is None and adopt:
        job, adopt = adopt, ""  # --adopt JOB
    if job is None:
        raise click.UsageError("Missing argument 'JOB'.")
    streams.log(quiet=quiet, verbose=verbose)
    from batchgen import commands
    from batchgen.cli import render

    summary = commands.run(
        job,
        local=local,
        fresh=fresh,
        limit=limit,
        retry_failed=retry_failed,
        quiet=quiet,
        engine=commands.engine_of(engine, address),
        adopt=adopt == "",
        take_in=adopt or None,
    )
    if as_json:
        say(render.as_json(summary))
    elif not quiet or summary.exit_code != OK:
        say(summary, err=quiet)
    streams.log_end(summary)
    sys.exit(summary.exit_code)


@cli.command()
@JOB
@LOCAL
@LIMIT
@RETRY_FAILED
@click.option("--rehearse", is_flag=True, help="Play the night on a simulated clock: when would it end?")
@JSON
@LOG_FORMAT
def plan(job: str, *, local: bool, limit: int | None, retry_failed: bool, rehearse: bool, as_json: bool) -> None:
    """Say what a run of JOB would do. Sends nothing, needs no key, leaves no trace.

    \b
    batchgen plan jobs/seo.yaml              rows, tokens, cost, time, prompts
    batchgen plan jobs/seo.yaml --rehearse   and when the night would end
    """
    streams.log()
    from batchgen import commands
    from batchgen.cli import render

    forecast = commands.plan(job, local=local, limit=limit, retry_failed=retry_failed, rehearse=rehearse)
    say(render.as_json(forecast.values()) if as_json else forecast)


@cli.command()
@JOB
@LOCAL
@click.option("--watch", is_flag=True, help="Again every two seconds, until the run has ended or Ctrl-C.")
@JSON
def status(job: str, *, local: bool, watch: bool, as_json: bool) -> None:
    """How far the last run of JOB is, or was. Works while it runs.

    With --watch: in its place on a terminal; elsewhere one line, with --json one object, whenever something changed.

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
    say(render.as_json(now) if as_json else now)


@cli.command()
@JOB
@LOCAL
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="Where to, instead of the job's output: a .parquet, or a .csv for spreadsheets.",
)
@LOG_FORMAT
def export(job: str, *, local: bool, output: str | None) -> None:
    """Publish what is done of JOB so far, also while it runs. Exit status 1: JOB's gate rejects it.

    \b
    batchgen export jobs/seo.yaml                  to the job's own output
    batchgen export jobs/seo.yaml -o so-far.csv    for a spreadsheet
    """
    streams.log()
    from batchgen import commands
    from batchgen.cli import render

    done = commands.export(job, output, local=local)
    say(render.published(done))
    sys.exit(ROWS_FAILED if done.rejected else OK)


@cli.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.Path())
@LOCAL
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Where to, instead of the whole job's output.")
@LOG_FORMAT
def merge(jobs: tuple[str, ...], *, local: bool, output: str | None) -> None:
    """Put the results of all shards of an input together, in its order.

    \b
    batchgen merge shards/seo-*.yaml

    Exit status: 0 every row has its text; 1 some rows failed; 2 a shard is missing, doubled, or of another input;
    3 some rows are still to be done.
    """
    streams.log()
    from batchgen.cli import render
    from batchgen.output import merge

    done = merge.merge(jobs, output, local=local)
    say(render.published(done))
    sys.exit(merge.exit_code(done))


@cli.command()
@JOB
@LOCAL
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), help="Where to, instead of beside the job's output: a .html."
)
@LOG_FORMAT
def report(job: str, *, local: bool, output: str | None) -> None:
    """Show the last run of JOB as one HTML page, also while it runs.

    \b
    batchgen report jobs/seo.yaml                  beside its output
    batchgen report jobs/seo.yaml -o monday.html   elsewhere
    """
    streams.log()
    from batchgen import commands

    say(f"wrote {commands.report(job, output, local=local)}")


@cli.command()
@JOB
@LOCAL
@LOG_FORMAT
@click.option("--yes", is_flag=True, help="Ask no question.")
def prune(job: str, *, local: bool, yes: bool) -> None:
    """Drop stored answers that JOB's input no longer uses, after saying how many.

    \b
    batchgen plan jobs/seo.yaml          says how many, too ("gone")
    batchgen prune jobs/seo.yaml         asks before it drops them
    batchgen prune jobs/seo.yaml --yes   where nobody can be asked
    """
    streams.log()
    from batchgen import commands

    def agree(count: int) -> bool:
        say(f"{count:,} stored attempts belong to requests that the input no longer makes")
        if not yes and not sys.stdin.isatty():
            raise UsageError("nothing was dropped: where nobody can be asked, give --yes")
        return yes or click.confirm("drop them for good?")

    dropped = commands.prune(job, agree, local=local)
    say(f"dropped {dropped:,}" if dropped else "nothing dropped")


cli.add_command(serve)


@cli.command()
@click.argument("name")
def init(name: str) -> None:
    """Write NAME.yaml, a commented job, and NAME.csv, a small input for it.

    \b
    batchgen init letters && batchgen run letters.yaml --local
    """
    from batchgen.job import scaffold

    for path in scaffold.write(name):
        say(f"wrote {path}")
    say(f"next: batchgen run {name}.yaml --local")


@cli.command()
def schema() -> None:
    """Print the job file's JSON Schema, for editors that complete and check by one.

    \b
    batchgen schema > batchgen.schema.json
    and in a job file's first line, for editors:
      # yaml-language-server: $schema=batchgen.schema.json
    """
    import json

    from batchgen.job.job import Job

    say(json.dumps(Job.model_json_schema(by_alias=True), indent=2))


def main(args: Any = None) -> None:
    """The `batchgen` command."""
    streams.refuse_platform()
    streams.open_standard_streams()
    try:
        width = (screen(sys.stdout).width or USUAL) - 2
        sys.exit(cli(args, prog_name="batchgen", standalone_mode=False, terminal_width=width) or 0)
    except BatchgenError as error:
        streams.fail(str(error), error.exit_code)
    except click.ClickException as error:
        streams.misused(error)
    except (click.Abort, KeyboardInterrupt):  # before a run could say so itself
        streams.fail("stopped before anything was begun", Stopped.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        streams.fail(f"{where}{error.strerror or error}", MachineRefused.exit_code)
    except BaseException as error:  # a panic of polars is no Exception
        if type(error).__module__.partition(".")[0] not in LIBRARIES:
            raise
        said = str(error).partition("\n")[0]
        streams.fail(f"a library gave up ({type(error).__name__}: {said}); nothing that was finished is lost", 5)
