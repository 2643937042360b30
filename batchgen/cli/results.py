"""The commands `export`, `merge`, `report`, `prune` and `salvage`: what is made of stored answers, or dropped."""

from __future__ import annotations

import sys

import click

from batchgen.cli import streams
from batchgen.cli.options import JOB, LOCAL, LOG_FORMAT
from batchgen.cli.streams import say, say_written
from batchgen.errors import OK, ROWS_FAILED, UsageError
from batchgen.ui.humanize import inflect, pluralize


@click.command()
@JOB
@LOCAL
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="The file to write, instead of the job's output: .parquet, .csv or .xlsx for spreadsheets, .jsonl or .ndjson.",
)
@click.option("--columns", metavar="A,B,C", help="With -o: only these columns, in this order.")
@click.option(
    "--status",
    type=click.Choice(["ok", "failed", "pending"]),
    multiple=True,
    help="With -o: only rows with this status; may be repeated.",
)
@LOG_FORMAT
def export(job: str, *, local: bool, output: str | None, columns: str | None, status: tuple[str, ...]) -> None:
    """Publish what JOB has done so far, also while it runs. Exit status 1: JOB's gate rejects it.

    \b
    batchgen export jobs/seo.yaml                      to the job's own output
    batchgen export jobs/seo.yaml -o so-far.xlsx       for a spreadsheet
    batchgen export jobs/seo.yaml -o failed.csv --status failed
    batchgen export jobs/seo.yaml -o texts.jsonl --columns sku,text
    """
    streams.log()
    from batchgen import commands
    from batchgen.cli import render

    done = commands.export(job, output, local=local, columns=columns, status=status)
    say(render.published(done))
    sys.exit(ROWS_FAILED if done.rejected else OK)


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.Path())
@LOCAL
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), help="The file to write, instead of the whole job's output."
)
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


@click.command()
@JOB
@LOCAL
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="The .html file to write, instead of one beside the job's output.",
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

    say_written(commands.report(job, output, local=local))


@click.command()
@JOB
@LOCAL
@LOG_FORMAT
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(job: str, *, local: bool, yes: bool) -> None:
    """Drop stored answers that match no row of JOB's input, after saying how many.

    \b
    batchgen plan jobs/seo.yaml          says how many, too ("gone")
    batchgen prune jobs/seo.yaml         asks before it drops them
    batchgen prune jobs/seo.yaml --yes   where nobody can be asked
    """
    streams.log()
    from batchgen import commands

    def agree(count: int) -> bool:
        say(f"{pluralize(count, 'stored answer')} no longer {inflect(count, 'matches', 'match')} any input row")
        if not yes and not sys.stdin.isatty():
            raise UsageError("nothing was dropped: where nobody can be asked, give --yes")
        return yes or click.confirm("drop them for good?")

    dropped = commands.prune(job, agree, local=local)
    say(f"dropped {dropped:,}" if dropped else "nothing dropped")


@click.command()
@JOB
@LOCAL
@LOG_FORMAT
def salvage(job: str, *, local: bool) -> None:
    """Save what can be read of JOB's damaged checkpoint; the damaged one is kept beside it.

    \b
    batchgen salvage jobs/seo.yaml   as a damaged checkpoint's message says
    """
    streams.log()
    from batchgen import commands
    from batchgen.checkpoint.salvage import summary

    say(summary(*commands.salvage(job, local=local)))
