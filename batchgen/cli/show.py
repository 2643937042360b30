"""The command `show`: rows as they were sent and answered, one after the other."""

from __future__ import annotations

import sys

import click

from batchgen.cli import streams
from batchgen.cli.options import JOB, LOCAL, LOG_FORMAT
from batchgen.ui.terminal import inert, screen


@click.command()
@JOB
@click.argument("rows", metavar="[ROW]...", nargs=-1)
@click.option("--failed", is_flag=True, help="Every row that failed.")
@click.option("--pending", is_flag=True, help="Every row that is not done.")
@LOCAL
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row, each on a line.")
@LOG_FORMAT
def show(job: str, *, rows: tuple[str, ...], failed: bool, pending: bool, local: bool, as_json: bool) -> None:
    """Show rows of JOB: prompt, request, every attempt, answer. Works while it runs.

    ROW is a row's number, counted from 1 as messages do, or its input.id. A terminal shows the beginning of a long
    text; a pipe gets all of it.

    \b
    batchgen show jobs/seo.yaml 17               row 17
    batchgen show jobs/seo.yaml --failed | less  what failed, and why
    batchgen show jobs/seo.yaml --failed --json | jq -r .error
    """
    streams.log()
    from batchgen import commands
    from batchgen.cli import render

    shown = None
    try:
        for shown in commands.show(job, rows, failed=failed, pending=pending, local=local):
            text = render.as_json(shown) if as_json else shown.panel().text(screen(sys.stdout)) + "\n"
            streams.write(text, sys.stdout)
        if shown is None and not as_json:
            streams.write(inert(f"{job}: no row {'failed' if failed else 'is pending'}"), sys.stdout)
    except BrokenPipeError:  # who reads has seen enough
        streams.discard(sys.stdout)
