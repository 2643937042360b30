"""Options and arguments that several commands share."""

from __future__ import annotations

import click


def job_files(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    from batchgen.cli import shell_completion

    return shell_completion.job_files(begun)


JOB = click.argument("job", type=click.Path(), shell_complete=job_files)
LOCAL = click.option(
    "--local", is_flag=True, help="Use the built-in model, free; its results have a path of their own."
)
LIMIT = click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="A trial: the first N rows only. Nobody is notified of it."
)
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
    help="Format of the log on stderr: text, or one JSON object a line.",
)
