"""The command line: parses and prints; decides nothing. Every import that costs time is inside a command."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
from typing import Any, NoReturn

import click

from batchgen import __version__
from batchgen.errors import OK, ROWS_FAILED, BatchgenError
from batchgen.terminal import inert

JOB = click.argument("job", type=click.Path())
LOCAL = click.option("--local", is_flag=True, help="The built-in model instead of the service; results of its own.")
LIMIT = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first N rows only.")
COUNT = click.IntRange(min=1)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
RETRY_FAILED = click.option(
    "--retry-failed/--no-retry-failed", default=True, help="Try rows again that failed in an earlier run."
)
LOG_FORMAT = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    expose_value=False,
    callback=lambda context, _, value: context.meta.update(log_format=value),
    help="On stderr: lines for people, or one JSON object a line.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="batchgen")
def cli() -> None:
    """Send thousands or millions of prompts to a text-generation API, and get one complete Parquet file.

    \b
    batchgen plan jobs/seo.yaml          what would a run do, and cost?
    batchgen run jobs/seo.yaml --local   try it on the built-in model, free
    batchgen run jobs/seo.yaml           run it, or resume it
    """


@cli.command()
@JOB
@LOCAL
@click.option("--fresh", is_flag=True, help="Buy every row anew; old results stay until the new ones are published.")
@LIMIT
@RETRY_FAILED
@click.option("--quiet", is_flag=True, help="No progress, and no summary unless something is wrong.")
@JSON
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
@LOG_FORMAT
def run(
    job: str,
    *,
    local: bool,
    fresh: bool,
    limit: int | None,
    retry_failed: bool,
    quiet: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Run JOB, or resume it: only what has no answer yet is sent.

    \b
    Exit status: 0 every row has its text; 1 some rows failed, or the gate rejected the results; 2 the job
    file or input is wrong, nothing was sent; 3 stopped before the end; 4 the service refuses the run;
    5 this machine refuses the run; 75 another run of this job is at work.
    """
    _log(quiet=quiet, verbose=verbose)
    from batchgen import commands, show

    _spare_the_collector()
    summary = commands.run(job, local=local, fresh=fresh, limit=limit, retry_failed=retry_failed, quiet=quiet)
    if as_json:
        _print(show.as_json(summary))
    elif not quiet:
        _print(show.summary(summary))
    elif summary.exit_code != OK:
        _tell(show.summary(summary))
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
    """Say what a run of JOB would do. Sends nothing, needs no key, leaves no trace."""
    _log()
    from batchgen import commands, show

    _spare_the_collector()
    forecast = commands.plan(job, local=local, limit=limit, retry_failed=retry_failed, rehearse=rehearse)
    _print(show.as_json(show.forecast_values(forecast)) if as_json else show.forecast(forecast))


@cli.command()
@JOB
@LOCAL
@JSON
def status(job: str, *, local: bool, as_json: bool) -> None:
    """How far the last run of JOB is, or was. Works while it runs."""
    from batchgen import commands, show

    now = commands.status(job, local=local)
    _print(show.as_json(now) if as_json else show.status(now))


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
    """Publish what is done of JOB so far, also while it runs. Exit status 1: JOB's gate rejects it."""
    _log()
    from batchgen import commands, show

    _spare_the_collector()
    done = commands.export(job, output, local=local)
    _print(show.published(done))
    sys.exit(ROWS_FAILED if done.rejected else OK)


@cli.command()
@JOB
@LOCAL
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), help="Where to, instead of beside the job's output: a .html."
)
@LOG_FORMAT
def report(job: str, *, local: bool, output: str | None) -> None:
    """Show the last run of JOB as one HTML page, also while it runs."""
    _log()
    from batchgen import commands

    _spare_the_collector()
    _print(f"wrote {commands.report(job, output, local=local)}")


@cli.command()
@JOB
@LOCAL
@LOG_FORMAT
def prune(job: str, *, local: bool) -> None:
    """Drop stored answers that JOB's input no longer uses, after saying how many."""
    _log()
    from batchgen import commands

    def agree(count: int) -> bool:
        _print(f"{count:,} stored attempts belong to requests that the input no longer makes")
        return not sys.stdin.isatty() or click.confirm("drop them for good?")

    dropped = commands.prune(job, agree, local=local)
    _print(f"dropped {dropped:,}" if dropped else "nothing dropped")


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option(
    "--latency",
    default="0",
    metavar="SECONDS",
    help="Until an answer begins: always so many, or P50,P99 for log-normal ones with that median and 99th percentile.",
)
@click.option("--requests-per-minute", type=COUNT, metavar="N", help="Refuse what is over it with 429 and Retry-After.")
@click.option("--tokens-per-minute", type=COUNT, metavar="N", help="Likewise; prompt and answer, at four bytes each.")
@click.option("--burst", default=4, show_default=True, type=COUNT, metavar="N", help="Requests that may come at once.")
@click.option("--concurrency", type=COUNT, metavar="N", help="Refuse more than so many in flight with 429.")
@click.option(
    "--fault",
    multiple=True,
    metavar="KIND=SHARE",
    help="Spoil this share of the requests. KIND is a status from 400 to 599 (400, 413 and 422 strike a prompt each "
    "time it is asked), or, with the answer billed: reset, hang, cut, drip (50 bytes a second), garbage. Repeatable.",
)
@click.option(
    "--outage",
    multiple=True,
    metavar="FROM:TO",
    help="Drop what comes in this time, in seconds since the first request; nothing is billed. Repeatable.",
)
@click.option("--seed", default=0, show_default=True, metavar="N", help="Another night of the same kind.")
def serve(host: str, port: int, **rig: Any) -> None:
    """Serve the built-in model by the service's own API, until Ctrl-C.

    \b
    Point a job at it: WRITER_BASE_URL=http://127.0.0.1:8080 WRITER_API_KEY=any batchgen run JOB

    With the options below it is a rig to rehearse a night on. GET /ledger says what was asked, billed, refused
    and spoiled. What a prompt meets depends on the seed, the prompt and how often it was asked, and on nothing
    else: a night can be repeated.

    \b
    The documented limits, and answers that take their time:
      batchgen serve --requests-per-minute 400 --tokens-per-minute 25000 --latency 0.8,6
    A bad night: overload, lost answers, refused prompts, and a minute of silence:
      batchgen serve --fault 503=0.02 --fault reset=0.01 --fault 400=0.005 --outage 60:120
    """
    from batchgen.simulator import server
    from batchgen.simulator.rig import read

    def ready(url: str) -> None:
        _print(f"serving local-ngram at {url}/v1/completions; Ctrl-C ends it")

    server.run(host, port, ready, read(**rig))


@cli.command()
@click.argument("name")
def init(name: str) -> None:
    """Write NAME.yaml, a commented job, and NAME.csv, a small input for it."""
    from batchgen import template

    for path in template.write(name):
        _print(f"wrote {path}")
    _print(f"next: batchgen run {name}.yaml --local")


@cli.command()
def schema() -> None:
    """Print the job file's JSON Schema, for editors that complete and check by one."""
    import json

    from batchgen.job import Job

    _print(json.dumps(Job.model_json_schema(by_alias=True), indent=2))


def _print(text: str) -> None:
    """Results, on stdout. A reader that has gone away is no failure of the run, which is over and published."""
    try:
        click.echo(inert(text))
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _log(*, quiet: bool = False, verbose: bool = False) -> None:
    import logging

    from batchgen import logs

    kind = click.get_current_context().meta["log_format"]
    logs.start(kind, logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def _spare_the_collector() -> None:
    """What was imported is never garbage, and a row makes none: going over both, again and again, is a fifth of the
    CPU of publishing, and a quarter at 2,000 requests in flight."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _share_memory() -> None:
    """Before Arrow and polars are imported: each keeps what it once had, sixty bytes a row of a million. The system's
    allocator gives it to the next who asks, and polars' gives it back after half a second."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:500,muzzy_decay_ms:0")


def _refuse_platform() -> None:
    if sys.platform not in ("linux", "darwin"):
        _fail(f"batchgen runs on Linux and macOS, not on {sys.platform}: its locks and signals are POSIX's", 2)


def _open_standard_streams() -> None:
    """Where the caller closed one, its number must not go to a file of ours, nor a message into it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r+" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _fail(message: str, code: int) -> NoReturn:
    with contextlib.suppress(OSError):
        _tell(message, click.style("error: ", fg="red", bold=True))
    sys.exit(code)


def _tell(message: str, before: str = "") -> None:
    """On stderr, as the log's lines are."""
    from batchgen import logs

    if logs.are_objects():
        logs.log.error("%s", message)
    else:
        click.echo(before + inert(message), err=True)


def main(args: Any = None) -> None:
    """The `batchgen` command."""
    _refuse_platform()
    _share_memory()
    _open_standard_streams()
    try:
        sys.exit(cli(args, prog_name="batchgen", standalone_mode=False) or 0)
    except BatchgenError as error:
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        with contextlib.suppress(OSError):
            click.echo(inert(told.getvalue()), err=True, nl=False)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit("aborted")
