"""The text of `batchgen` alone: where to begin, with the jobs found here."""

from __future__ import annotations

import shlex

from batchgen import __version__
from batchgen.job.job_files import jobs_here

SHOWN_JOBS = 8
COMMAND_COLUMNS = 36
_DESCRIPTION = """\
Sends thousands or millions of prompts to a text-generation API, and writes
one complete Parquet file."""
_FIRST = (
    ("run {job} --local", "try it on the built-in model: free"),
    ("plan {job}", "what would a run do, and cost?"),
    ("try {job}", "buy five answers and look at them"),
    ("run {job}", "run it, or resume it"),
    ("status {job}", "how far is it?"),
)
_OWN = (
    ("init --input FILE", "write the job that reads your file"),
    ("init NAME", "write a commented job with a small input"),
)


def text() -> str:
    """Returns one screen: the jobs in this folder, the commands to begin with, and where to read on."""
    jobs = jobs_here()
    parts = [f"batchgen {__version__}\n{_DESCRIPTION}"]
    if jobs:
        first = shlex.quote(jobs[0])
        commands = [(command.format(job=first), does) for command, does in _FIRST]
        parts += [_block("Jobs found here:", _listed(jobs)), _block("Begin with one:", _lined(commands))]
        parts += [_block("Or make your own:", _lined(_OWN))]
    else:
        made = (
            ("run NAME --local", "try it on the built-in model: free"),
            ("plan NAME", "what would a run do, and cost?"),
        )
        parts += [_block("There is no job here yet. Make one:", _lined((*_OWN, *made)))]
    parts += ["batchgen --help lists all commands, batchgen COMMAND --help explains one."]
    return "\n\n".join(parts)


def _block(title: str, lines: list[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _listed(jobs: list[str]) -> list[str]:
    left = len(jobs) - SHOWN_JOBS
    return [*jobs[:SHOWN_JOBS], *([f"and {left:,} more"] if left > 0 else [])]


def _lined(commands: tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> list[str]:
    return [f"{f'batchgen {command}':<{COMMAND_COLUMNS}}  {does}" for command, does in commands]
