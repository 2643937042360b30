"""The command line: parses and prints; decides nothing. Every import that costs time is inside a command."""

from __future__ import annotations

import sys
from typing import Any

import click

from batchgen import __version__
from batchgen.cli import streams
from batchgen.cli.results import export, merge, prune, report, salvage
from batchgen.cli.runs import plan, run, status, try_rows
from batchgen.cli.scaffolds import init, schema
from batchgen.cli.serve import serve
from batchgen.cli.show import show
from batchgen.errors import OK, BatchgenError, MachineRefused, Stopped, UsageError
from batchgen.ui.terminal import DEFAULT_COLUMNS, screen

LIBRARIES = {"polars", "pyarrow", "pyo3_runtime", "obstore"}
"""Whose errors nobody can do anything about in place."""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
)
@click.version_option(__version__, prog_name="batchgen")
@click.pass_context
def cli(context: click.Context) -> int:
    """Send thousands or millions of prompts to a text-generation API, and get one complete Parquet file.

    \b
    batchgen plan jobs/seo.yaml          what would a run do, and cost?
    batchgen run jobs/seo.yaml --local   try it on the built-in model, free
    batchgen run jobs/seo.yaml           run it, or resume it

    A job's name without suffix will do: `seo` is seo.yaml, here or in jobs.
    """
    if context.invoked_subcommand is None:
        from batchgen.cli import first_steps

        streams.say(first_steps.text(), err=True)
        return UsageError.exit_code  # in a script, a command is missing
    return OK


for command in (run, try_rows, plan, status, show, export, report, merge, prune, salvage, serve, init, schema):
    cli.add_command(command)


def main(args: Any = None) -> None:
    """Runs the `batchgen` command."""
    streams.refuse_platform()
    streams.open_standard_streams()
    try:
        width = (screen(sys.stdout).width or DEFAULT_COLUMNS) - 2
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
        message = str(error).partition("\n")[0]
        said = f"a library gave up ({type(error).__name__}: {message}); nothing that was finished is lost"
        streams.fail(said, MachineRefused.exit_code)
    finally:
        streams.flush_or_discard()
