"""`init` and `schema`: what a job file begins with."""

from __future__ import annotations

import click

from batchgen.cli.streams import say


@click.command()
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


@click.command()
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
