"""Reads a job file: all its mistakes at once, each with file, line, column and key."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from batchgen.errors import UsageError
from batchgen.job import error_messages, yaml
from batchgen.job.job import Job
from batchgen.job.job_files import find_job_file, is_table, job_file_hint
from batchgen.job.named_file import not_utf_8

_INPUT = "{}: is an input, and no job file: `batchgen init --input {}` writes a job for it"


def read_job(path: str | Path) -> Job:
    """Returns a job file's job, checked, with every setting; opens no input and needs no key. `path`: the file, or its
    name without suffix, here or in the folder `jobs`.

    >>> job = batchgen.read_job("jobs/seo.yaml")
    >>> job.request.model, job.limits.concurrency
    ('palmyra-x5', 64)

    Raises UsageError, which names each mistake with its place.
    """
    path = find_job_file(path)
    source = str(path)
    if is_table(path):
        raise UsageError(_INPUT.format(source, shlex.quote(source)))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: {not_utf_8(error)}") from None
    except OSError as error:
        raise UsageError(f"{source}: cannot be read: {error.strerror}{job_file_hint(path)}") from None
    values, positions = yaml.parse(text, source)
    if isinstance(values, list) and path.suffix.lower() == ".json":
        raise UsageError(_INPUT.format(source, shlex.quote(source)))
    if not isinstance(values, dict):
        raise UsageError(f"{source}: a job file is a mapping: input, prompt, request, output (see `batchgen init`)")
    where = path.resolve()
    try:
        job = Job.model_validate(values, context={"folder": where.parent, "stem": where.stem}).with_shard_suffix()
        job._file = Path(os.path.abspath(path))  # noqa: PTH100, SLF001  links stay: an update may lead them elsewhere
    except ValidationError as error:
        raise UsageError(error_messages.explain(error, positions, source, Job)) from None
    if re.search(r"[ \t]#", text):
        job._cut_off = yaml.comment_after(text, "prompt")  # noqa: SLF001  as above
    return job


def as_job(given: str | Path | Job | Mapping[str, Any]) -> Job:
    """Returns the job of a file's path, of the settings that a file would hold, or itself. Paths in settings are
    relative to the working folder. Raises UsageError with one line for each mistake."""
    if isinstance(given, Job):
        return given
    if isinstance(given, str | os.PathLike):
        return read_job(given)
    if not isinstance(given, Mapping):
        raise UsageError(f"a job should be a file's path, a Job, or a dict of settings, not {type(given).__name__}")
    name = given.get("name")
    if not isinstance(name, str):
        raise UsageError("name: missing: a job without a file needs a name, by which it is resumed")
    try:
        return Job.model_validate(dict(given), context={"folder": Path.cwd(), "stem": name}).with_shard_suffix()
    except ValidationError as error:
        raise UsageError(error_messages.explain(error, dict(_positions(given)), name, Job)) from None


def _positions(value: Any, path: yaml.Path = ()) -> Iterator[tuple[yaml.Path, tuple[int, int]]]:
    """Yields the path of each setting, as a file's have them, without a place."""
    yield path, error_messages.NOWHERE
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _positions(one, (*path, key))
