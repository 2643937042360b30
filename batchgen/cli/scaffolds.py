"""The commands `init` and `schema`, for new job files."""

from __future__ import annotations

import shlex

import click

from batchgen.cli.streams import say, say_written


@click.command()
@click.argument("name", required=False)
@click.option("--input", "path", type=click.Path(), help="Write the job that reads this file.")
def init(name: str | None, path: str | None) -> None:
    """Write NAME.yaml, a commented job, and NAME.csv, a small input for it.

    With --input, write the job that reads that file: any format, with the settings that it needs, and a prompt of its
    columns. NAME defaults to the file's then. It may have a folder before it, which is made.

    \b
    batchgen init letters && batchgen run letters.yaml --local
    batchgen init --input data/products.xlsx jobs/products
    """
    if name is None and path is None:
        raise click.UsageError("Missing argument 'NAME'.")
    notes: list[str] = []
    if path is None:
        from batchgen.job import scaffold

        written = scaffold.write(name or "")
    else:
        from batchgen.runner import propose

        written, notes = propose.write(path, name)
    for note in notes:
        say(f"warning: {note}", err=True)
    for file in written:
        say_written(file)
    say(f"next: {shlex.join(['batchgen', 'run', str(written[0]), '--local'])}")


@click.command()
def schema() -> None:
    """Print the job file's JSON Schema, for completion and validation in editors.

    \b
    batchgen schema > batchgen.schema.json
    and in a job file's first line, for editors:
      # yaml-language-server: $schema=batchgen.schema.json
    """
    import json

    from batchgen.job.job import Job

    say(json.dumps(Job.model_json_schema(by_alias=True), indent=2), is_result=True)
