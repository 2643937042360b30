"""Merges the results of a job's shards into one file. Before it writes, it refuses anything but all shards of one
input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchgen import __version__
from batchgen.checkpoint.state_files import StateFiles
from batchgen.errors import UsageError, exit_code_of
from batchgen.input.source import open_source
from batchgen.job.job import Job
from batchgen.job.load import read_job
from batchgen.job.shard import Shard
from batchgen.output import destination
from batchgen.output.destination import Destination, exists, from_option
from batchgen.output.draft import PARQUET
from batchgen.output.interleave import interleave, read_metadata
from batchgen.output.owner import refuse_among_parts, refuse_anothers_whole
from batchgen.output.publish import PublishResult
from batchgen.storage import folders
from batchgen.storage.atomic import machine_refusals
from batchgen.storage.location import Location
from batchgen.ui.humanize import inflect

SHOWN = 5


def merge(paths: Sequence[str | Path], output: str | Path | None = None, *, local: bool = False) -> PublishResult:
    """Merges the results of all shards in the order of the whole input; by default into the place that the job would
    use without shards. Raises UsageError if one is missing, given twice, or of another input."""
    shards = _in_order([(str(path), read_job(path)) for path in paths])
    if local:
        shards = [job.for_local_model() for job in shards]
    dates = [_date(job) for job in shards]
    own = [destination.of(job, date) for job, date in zip(shards, dates, strict=True)]
    files = [one.place for one in own]
    said = [_about(job, one) for job, one in zip(shards, own, strict=True)]
    _refuse_unlike(shards, files, said)
    wholes = [destination.of_whole(shards[0], date) for date in sorted(set(dates))]
    if output is not None:
        to = from_option(shards[0], output, (PARQUET,))
        refuse_among_parts(to.place, [*own, *wholes])
    elif len(wholes) > 1:
        raise UsageError("the shards' results are of several dates: name the output with -o")
    else:
        (to,) = wholes
        refuse_anothers_whole(shards, to)
    _refuse_target(to, files, shards[0])
    merged = {"version": __version__, "job": shards[0].whole_name, "merged": said}
    return interleave(files, to, merged, shards[0].input.id, [job.input.path for job in shards])


def exit_code(done: PublishResult) -> int:
    """Returns the exit code of a run that ends like this."""
    return exit_code_of(is_refused=False, is_broken=False, has_pending=done.pending > 0, has_failed=done.failed > 0)


def _in_order(given: Sequence[tuple[str, Job]]) -> list[Job]:
    """Returns the jobs in the order of their shards. Raises UsageError if one is missing, given twice, or of another
    input."""
    first, whole = given[0]
    of = whole.input.parsed_shard.of
    found: dict[int, tuple[str, Job]] = {}
    for path, job in given:
        shard = job.input.parsed_shard
        if job.input.shard is None:
            raise UsageError(f"{path}: has no input.shard")
        if shard.of != of:
            raise UsageError(f"{path}: is one of {shard.of:,} shards, and {first} one of {of:,}")
        if shard.number in found:
            raise UsageError(f"{path}: is shard {shard}, as {found[shard.number][0]} is")
        if odd := _odd(_input_of(job), _input_of(whole)):
            raise UsageError(f"{path}: its input is not that of {first}: input.{odd} is another")
        found[shard.number] = path, job
    missing = [str(Shard(number, of)) for number in range(1, of + 1) if number not in found]
    if missing:
        are = inflect(len(missing), "is", "are")
        raise UsageError(f"{len(missing):,} of {of:,} shards {are} missing: {', '.join(missing[:SHOWN])}")
    return [found[number][1] for number in sorted(found)]


def _input_of(job: Job) -> dict[str, Any]:
    """Returns what makes the whole input's rows of its files, which may lie elsewhere on another machine."""
    return job.input.model_dump(mode="json", exclude={"path", "shard"})


def _date(job: Job) -> str:
    """Returns the date of the results in place, if their path holds one."""
    if "{date}" not in job.output.path:
        return ""
    with StateFiles.for_job(job).open_readonly() as reader:
        return reader.last_date()


def _about(job: Job, own: Destination) -> dict[str, Any]:
    file = own.place
    with machine_refusals(file):
        if exists(own.rejected):
            raise UsageError(f"{file}: is of an earlier run: the gate rejected the last one's results: {own.rejected}")
        if exists(own.partial):
            raise UsageError(f"{file}: is of an earlier run: the last one's results are not complete: {own.partial}")
    said: dict[str, Any] = read_metadata(file)
    shard = said.get("settings", {}).get("input", {}).get("shard")
    if shard != job.input.shard:
        raise UsageError(
            f"{file}: holds {f'shard {shard}' if shard else 'no shard'}, not {job.input.shard}: run it again"
        )
    return said


def _refuse_unlike(jobs: Sequence[Job], files: Sequence[Location], said: Sequence[dict[str, Any]]) -> None:
    """Raises UsageError if one was published from more or other rows than the first, such as by --limit, or with other
    prompts or requests than the first or than its job has now."""
    made = [_made_of(one["settings"]) for one in said]
    for file, own in zip(files, made, strict=True):
        if odd := _odd(own, made[0]):
            raise UsageError(f"{file}: was made with another {odd} than {files[0].name}: run all shards again")
    for job, file, own in zip(jobs, files, made, strict=True):
        if odd := _odd(own, _made_of(job.model_dump(mode="json", by_alias=True))):
            raise UsageError(f"{file}: was made with another {odd} than {job.file or job.name} has now: run it again")


def _odd(own: dict[str, Any], other: dict[str, Any]) -> str | None:
    return next((key for key in {**own, **other} if own.get(key) != other.get(key)), None)


def _made_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns what rows and requests are made of, by its place in the job file. The input may lie elsewhere on another
    machine, which may have a server of its own. What is not set is left out: earlier versions do not know it."""
    sections = {name: settings.get(name) or {} for name in ("input", "request", "columns")}
    schema = (settings.get("check") or {}).get("json_schema") if settings["request"].get("response_format") else None
    fields = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    texts = {name: settings.get(name) for name in ("prompt", "messages")}
    own = {"input.path", "input.shard"}
    every = {**texts, **fields, "check.json_schema": schema}
    return {key: value for key, value in every.items() if key not in own and value is not None}


def _refuse_target(to: Destination, files: Sequence[Location], job: Job) -> None:
    if any(folders.is_same(to.place, file) for file in files):
        raise UsageError(f"{to.place}: is the input or a shard's results: choose another name")
    try:
        source = open_source(job.input)
    except UsageError:
        source = None
    to.refuse(source)
