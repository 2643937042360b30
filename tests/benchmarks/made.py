"""Jobs to measure, each in a folder of its own."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import answers
from machine import HERE, cost, note

PROMPT = 400
"""Characters of each prompt."""
LEFT = 10
"""Rows of a prepared job that have no answer yet."""

_JOB = """\
input: {{path: rows.{suffix}}}
prompt: "{{{{ asked }}}}"
request: {{model: palmyra-x5, max_tokens: 100}}
limits: {{concurrency: {concurrency}}}
output: {{path: out/job.parquet}}
"""
_PARQUET = "import sys, polars; polars.read_csv(sys.argv[1], infer_schema=False).write_parquet(sys.argv[2])"


class Bench(NamedTuple):
    """What was asked for on the command line, and a folder for everything."""

    folder: Path
    quick: bool = False
    suffix: str = "csv"
    field_python: str = sys.executable

    def pick(self, full: int, quick: int) -> int:
        return quick if self.quick else full


class Prompts(NamedTuple):
    """How long prompts are, and the words that fill them."""

    characters: int = PROMPT
    words: str = "word "

    def text(self, number: int) -> str:
        """The prompt of a row: no two are alike."""
        return f"{number:08d} {answers.repeated(self.words, self.characters - 9)}"


PLAIN = Prompts()


def job(folder: Path, rows: int, suffix: str = "csv", concurrency: int = 64, prompts: Prompts = PLAIN) -> Path:
    """A job of so many prompts."""
    folder.mkdir(parents=True)
    with (folder / "rows.csv").open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["id", "asked"])
        lines.writerows((n, prompts.text(n)) for n in range(rows))
    if suffix == "parquet":
        cost(sys.executable, "-c", _PARQUET, folder / "rows.csv", folder / "rows.parquet")
    path = folder / "job.yaml"
    path.write_text(_JOB.format(suffix=suffix, concurrency=concurrency))
    return path


def prompt(bench: Bench, prompts: Prompts = PLAIN) -> Path:
    """A file with one prompt, for a loop that sends it again and again."""
    path = bench.folder / "prompt"
    path.write_text(prompts.text(0), encoding="utf-8")
    return path


def forget(job: Path) -> None:
    """As if the job had never run."""
    shutil.rmtree(job.parent / "out", ignore_errors=True)


def prepared(bench: Bench, rows: int, name: str) -> Path:
    """A job of its own whose checkpoint has an answer to every row but ten; for the built-in model."""
    folder = bench.folder / name
    shutil.copytree(_prepared(bench.folder, rows), folder)
    os.sync()  # or the first to close the checkpoint writes the whole copy to the disk: a second for a million rows
    return folder / "job.yaml"


@cache
def _prepared(folder: Path, rows: int) -> Path:
    """Made once, and copied: a key does not depend on the folder."""
    note(f"  preparing {rows:,} answered rows")
    made = folder / f"prepared-{rows}"
    cost(sys.executable, HERE / "prepared.py", made, str(rows), str(LEFT))
    return made
