"""The files that `batchgen init` writes: a job file that explains itself, and a small input for it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from batchgen.errors import UsageError
from batchgen.job.job import NAME
from batchgen.job.job_files import is_table

_JOB = """\
# Try it on the built-in model, free:  batchgen run {file} --local
# What would a run do, and cost?       batchgen plan {file}
# Run it, or resume it:                WRITER_API_KEY=... batchgen run {file}
input:
{input}
prompt: |                         # a Jinja template; the row's columns are its names
{prompt}
request:                          # sent as it stands; the API's own names
  model: palmyra-x5
  max_tokens: 120
  temperature: 0.7
limits:
  concurrency: 16                 # most requests in flight
  requests_per_minute: 400
  tokens_per_minute: 25000
check:
  min_chars: 20                   # a shorter text is asked for again; see also max_chars, matches, json_schema
gate:
  max_failed: 2%                  # where more rows fail, the last good output stays in its place
output:
  path: out/{name}.parquet        # {{date}} and {{name}} may stand in it
report: true                      # the run as one HTML page: out/{name}.report.html
"""
_INPUT_KEYS = """\
  path: {name}.csv                # a file, a folder or a glob of CSV, NDJSON, Parquet, Excel and others; from here
  id: sku                         # names a row in messages; unique"""
_PROMPT = """\
  Write two sentences about {{ name }} for {{ audience or "everyone" }}."""

_INPUT = """\
sku,name,audience
001,Two-person tent,families
002,Cast-iron pan,
003,"Headlamp, rechargeable",night hikers
"""


def job_file(name: str) -> Path:
    """Returns the path of a new job's file; a folder may stand before the name, and a suffix behind it. Raises
    UsageError if this is not a name for a job."""
    if is_table(Path(name)):
        raise UsageError(f"{name}: is an input: `batchgen init --input {shlex.quote(name)}` writes a job for it")
    folder, _, stem = re.sub(r"(?<=[^/])\.ya?ml$", "", name).rpartition("/")
    if not re.fullmatch(NAME, stem):
        what = "letters, digits, '.', '_' and '-' only (at most 100, and neither '.' nor '-' first)"
        raise UsageError(f"{name}: a job's name is {what}, behind a folder maybe")
    return Path(f"{folder}/" if name.startswith("/") else folder, f"{stem}.yaml")


def job_text(file: Path, input_keys: str, prompt: str) -> str:
    """Returns the text of a job file. `input_keys` and `prompt` are lines of YAML, indented by two spaces."""
    return _JOB.format(file=shlex.quote(str(file)), name=file.stem, input=input_keys, prompt=prompt)


def write(name: str) -> list[Path]:
    """Writes NAME.yaml and NAME.csv, and returns their paths. Raises UsageError rather than overwrite."""
    file = job_file(name)
    job = job_text(file, _INPUT_KEYS.format(name=file.stem), _PROMPT)
    return save({file: job, file.with_suffix(".csv"): _INPUT})


def save(files: Mapping[Path, str]) -> list[Path]:
    """Writes the files, and returns their paths. Raises UsageError rather than overwrite."""
    for path in files:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path}: already exists; choose another name")
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:  # a link that leads nowhere is there, too
                file.write(text)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
    return list(files)
