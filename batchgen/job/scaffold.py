"""What `batchgen init` writes: a job file that explains itself, and a small input for it."""

from __future__ import annotations

import re
from pathlib import Path

from batchgen.errors import UsageError
from batchgen.job.job import NAME

_JOB = """\
# Try it on the built-in model, free:  batchgen run {name}.yaml --local
# What would a run do, and cost?       batchgen plan {name}.yaml
# Run it, or resume it:                WRITER_API_KEY=... batchgen run {name}.yaml
input:
  path: {name}.csv                # CSV, Parquet or NDJSON; a file, a folder or a glob; relative to this file
  id: sku                         # names a row in messages; unique
prompt: |                         # a Jinja template; the row's columns are its names
  Write two sentences about {{{{ name }}}} for {{{{ audience or "everyone" }}}}.
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

_INPUT = """\
sku,name,audience
001,Two-person tent,families
002,Cast-iron pan,
003,"Headlamp, rechargeable",night hikers
"""


def write(name: str) -> list[Path]:
    """Writes NAME.yaml and NAME.csv into the working directory. Raises UsageError rather than overwrite."""
    if not re.fullmatch(NAME, name):
        raise UsageError(f"{name}: a job's name is letters, digits, '.', '_' and '-' only")
    files = {Path(f"{name}.yaml"): _JOB.format(name=name), Path(f"{name}.csv"): _INPUT}
    for path in files:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path}: is there already; give another name")
    for path, text in files.items():
        with path.open("x", encoding="utf-8") as file:  # a link that leads nowhere is there, too
            file.write(text)
    return list(files)
