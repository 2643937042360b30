"""The job file -> a frozen Job: every setting checked, every path absolute, no secret in it.

Knows the file and nothing else: it opens no input, asks no server, reads no key. All mistakes of a
file are told at once, each with file, line, column and key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from batchgen import agreement, mistakes, yaml
from batchgen.actors import Engine
from batchgen.api.contract import VENDOR_HOST, VENDOR_URL
from batchgen.endpoint import Endpoint, endpoint_url
from batchgen.errors import UsageError
from batchgen.fields import Duration, Finite, JobPath, Part, context
from batchgen.notify import Notify
from batchgen.places import Place, is_url, place
from batchgen.quality import Check, Gate
from batchgen.shards import WHOLE, Shard
from batchgen.sheet import Line, Sheet, Shown, Text, settings

DOCUMENTED_REQUESTS_PER_MINUTE = 400
DOCUMENTED_TOKENS_PER_MINUTE = 25_000
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
LOCAL = "local"
"""The endpoint's name where the built-in model answers."""
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"

ColumnType = Literal[
    "String", "Boolean", "Date", "Datetime", "Float32", "Float64",
    "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64",
]  # fmt: skip
RequestField = Literal[
    "model", "max_tokens", "temperature", "top_p", "stop", "best_of", "random_seed", "stream", "seed", "logprobs"
]


def _shard(text: str) -> str:
    return str(Shard.read(text))


class Input(Part):
    """Where the rows come from."""

    path: JobPath = Field(
        description="CSV, Parquet or NDJSON: one file, a folder, or a glob; here, or under s3://, gs:// or az://"
    )
    limit: int | None = Field(None, ge=1, description="the first N rows only")
    shard: Annotated[str, AfterValidator(_shard)] | None = Field(
        None, description="3/16: the third of sixteen parts of these rows, as a job of its own; see `batchgen merge`"
    )
    id: str | None = Field(None, description="a column whose value names a row in messages; unique")
    types: dict[str, ColumnType] = Field(
        {}, alias="schema", description="types of CSV columns; they are text unless typed here"
    )
    rename: dict[str, str] = Field({}, description="input column -> the name it gets")

    @property
    def part(self) -> Shard:
        return WHOLE if self.shard is None else Shard.read(self.shard)


class Request(Part):
    """The request, sent as it stands; the API's own names. What is left out is not sent."""

    model: str = Field(min_length=1, description="the model's id, such as palmyra-x5")
    max_tokens: int | None = Field(
        None, ge=1, le=2**63 - 1, description="longest answer; the server cuts at 100 without it"
    )
    temperature: Finite | None = Field(None, ge=0)
    top_p: Finite | None = Field(None, ge=0, le=1)
    stop: str | list[str] | None = Field(None, description="a text or a list of texts that end the answer")
    best_of: int | None = Field(None, ge=1, le=2**31 - 1)
    random_seed: int | None = Field(None, ge=-(2**31), le=2**31 - 1)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1, description="api: openai; its name for random_seed")
    logprobs: int | None = Field(None, ge=0, le=2**31 - 1, description="api: openai; log-probs of so many tokens each")
    stream: bool | None = Field(None, description="answers by server-sent events; they carry no model and no log_probs")


class Limits(Part):
    """What the service may be asked for."""

    concurrency: int = Field(64, ge=1, le=10_000, description="most requests in flight")
    requests_per_minute: Finite | None = Field(None, ge=0.001)
    tokens_per_minute: Finite | None = Field(None, ge=0.001)


class Retry(Part):
    """How often a row is tried, and the longest wait between, in seconds."""

    attempts: int = Field(6, ge=1, le=100)
    max_wait: Finite = Field(60.0, ge=0)


class Timeout(Part):
    """Seconds to connect, and for one attempt in all."""

    connect: Finite = Field(10.0, gt=0)
    total: Finite = Field(300.0, gt=0)


class Until(Part):
    """When to stop before the end: whichever comes first."""

    after: Duration | None = Field(None, description="a duration such as 6h")
    at: str | None = Field(None, pattern=r"^([01]?[0-9]|2[0-3]):[0-5][0-9]$", description="a time of day such as 06:00")
    requests: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)
    cost: Finite | None = Field(None, gt=0, description="US dollars, by estimate")

    def seconds(self, now: datetime) -> float | None:
        """From `now` (local time) to the deadline; None without one."""
        waits = [self.after] if self.after is not None else []
        if self.at is not None:
            hour, minute = map(int, self.at.split(":"))
            moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            waits.append((moment + timedelta(days=moment <= now) - now).total_seconds())
        return min(waits, default=None)


class Price(Part):
    """US dollars per million tokens."""

    input: Finite = Field(ge=0)
    output: Finite = Field(ge=0)


def _output_path(path: str, info: ValidationInfo) -> str:
    for placeholder in PLACEHOLDER.findall(path):
        if placeholder not in ("date", "name"):
            raise ValueError(f"{{{placeholder}}} is not known; {{date}} and {{name}} are")
    if not path.endswith(".parquet") and info.data.get("rows_per_file", 0) is None:
        raise ValueError("should end in .parquet")
    return path


def _metrics_path(path: str) -> str:
    if not path.endswith(".prom"):
        raise ValueError("should end in .prom: node_exporter collects no other file")
    return path


class Output(Part):
    """Where the results go."""

    rows_per_file: int | None = Field(
        None, ge=1, description="output.path is a folder, of Parquet files of so many rows each"
    )
    path: Annotated[JobPath, AfterValidator(_output_path)] = Field(  # checked after the above
        description="a .parquet file, here or under s3://, gs:// or az://; {date} and {name} may stand in it"
    )
    _job_folder: Path = PrivateAttr(Path())

    @model_validator(mode="after")
    def _beside_its_job(self, info: ValidationInfo) -> Self:
        self._job_folder = Path(context(info).get("folder", "."))
        return self

    @property
    def state_folder(self) -> Path:
        """Beside the output, under no placeholder; beside the job file where the output is in an object store."""
        if is_url(self.path):
            return self._job_folder / ".batchgen"
        folder = Path(self.path).parent
        while PLACEHOLDER.search(str(folder)):
            folder = folder.parent
        return folder / ".batchgen"


class Job(Shown, Part):
    """A batchgen job: rows in, prompts sent, one Parquet file out."""

    name: str = Field("", pattern=NAME, description="default: the file's stem")
    input: Input
    prompt: str = Field(min_length=1, description="a Jinja template; the row's columns are its names")
    request: Request
    columns: dict[RequestField, str] = Field({}, description="request fields that a row's own column sets")
    endpoint: Endpoint = Endpoint()
    limits: Limits = Limits()
    retry: Retry = Retry()
    timeout: Timeout = Timeout()
    engine: Engine = Engine()
    until: Until = Until()
    check: Check = Check()
    gate: Gate = Gate()
    priority: str | None = Field(None, description="a column: the rows with the highest values are sent first")
    order: Literal["input", "random"] = Field("input", description="random: a run that is cut short is a fair sample")
    prices: dict[str, Price] = Field({}, description="by model: US dollars per million tokens, for estimates")
    reuse: bool = Field(default=True, description="false: a finished run starts afresh next time")
    output: Output
    report: bool = Field(default=True, description="the run as one HTML page, beside the output")
    notify: Notify = Notify()
    metrics: Annotated[JobPath, AfterValidator(_metrics_path)] | None = Field(
        None, description="a .prom file, which Prometheus' node_exporter collects: how the last run ended"
    )

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_file(cls, values: Any, info: ValidationInfo) -> Any:
        if isinstance(values, dict):
            values = {key: value for key, value in values.items() if value is not None}  # `until:` and nothing after it
            return {"name": re.sub(r"[^A-Za-z0-9_.-]", "_", context(info)["stem"]), **values}
        return values

    @model_validator(mode="after")
    def _speaks_one_dialect(self) -> Self:
        given = [name for name, value in self.request if value is not None]
        agreement.refuse_foreign("request", given, self.endpoint.dialect)
        agreement.refuse_foreign("columns", self.columns, self.endpoint.dialect)
        return self

    def apart(self) -> Self:
        """A shard's name, and so its checkpoint, and its results are its own."""
        if self.input.shard is None:
            return self
        suffix, path = self.input.part.suffix, self.output.path
        if "{name}" not in path:
            path = _marked(path, suffix)
        return self.model_copy(
            update={"name": self.name + suffix, "output": self.output.model_copy(update={"path": path})}
        )

    def sheet(self) -> Sheet:
        """What the file sets, and where the key is to be found; a job holds no secret."""
        given = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"name", "prompt"})
        needs_key = self.endpoint.has_key and not self.is_local
        key = [Line("key", f"in {self.endpoint.key_source}")] if needs_key else []
        where = self.endpoint.name or self.endpoint.url or f"WRITER_BASE_URL, else {VENDOR_URL}"
        return Sheet(
            self.name,
            self.request.model,
            f" at {where}",
            [*settings(given), *key],
            texts=(Text("prompt", self.prompt),),
        )

    def with_limit(self, limit: int | None) -> Self:
        return (
            self if limit is None else self.model_copy(update={"input": self.input.model_copy(update={"limit": limit})})
        )

    def localised(self) -> Self:
        """The same job for the built-in model: no limits, results and a checkpoint of its own, and nobody is told."""
        return self.model_copy(
            update={
                "name": f"{self.name}.local",
                "endpoint": Endpoint(name=LOCAL),
                "request": Request(**agreement.without_foreign(dict(self.request))),
                "columns": agreement.without_foreign(self.columns),
                "limits": Limits(concurrency=self.limits.concurrency),
                "output": self.output.model_copy(update={"path": _marked(self.output.path, ".local")}),
                "notify": Notify(),
                "metrics": None,
            }
        )

    @property
    def is_local(self) -> bool:
        return self.endpoint.name == LOCAL and self.endpoint.url is None

    def base_url(self, environ: Mapping[str, str]) -> str:
        """The address; of several servers all, a space between. Raises UsageError where WRITER_BASE_URL is used and
        is no good address."""
        if self.endpoint.urls:
            return " ".join(sorted(self.endpoint.urls))
        url = environ.get("WRITER_BASE_URL", "").strip() or VENDOR_URL
        try:
            return endpoint_url(url)
        except ValueError as error:
            raise UsageError(f"WRITER_BASE_URL {error}") from None

    def granted(self, base_url: str) -> Limits:
        """The limits in force: the documented ones on the vendor's host where the job names none."""
        given = self.limits
        if not is_vendor(base_url):
            return given
        unset = {
            "requests_per_minute": given.requests_per_minute or DOCUMENTED_REQUESTS_PER_MINUTE,
            "tokens_per_minute": given.tokens_per_minute or DOCUMENTED_TOKENS_PER_MINUTE,
        }
        return given.model_copy(update=unset)

    @property
    def state_folder(self) -> Path:
        """Where the checkpoint and the lock lie, always on this machine."""
        return self.output.state_folder

    @property
    def checkpoint(self) -> Path:
        return self.state_folder / f"{self.name}.sqlite"

    def output_path(self, date: str) -> Place:
        """`date` is the run's (ISO), fixed when it started."""
        return place(self.output.path.replace("{date}", date).replace("{name}", self.name))


def _marked(path: str, mark: str) -> str:
    stem = path.removesuffix(".parquet")
    return f"{stem}{mark}{path[len(stem) :]}"


def is_vendor(base_url: str) -> bool:
    return any(urlsplit(url).hostname == VENDOR_HOST for url in base_url.split())


def load(path: str | Path) -> Job:
    """The job of a file. Raises UsageError with one line for each mistake."""
    source = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: not UTF-8: {error.reason} at byte {error.start:,}") from None
    except OSError as error:
        raise UsageError(f"{source}: cannot be read: {error.strerror}") from None
    values, marks = yaml.parse(text, source)
    if not isinstance(values, dict):
        raise UsageError(f"{source}: a job file is a mapping: input, prompt, request, output (see `batchgen init`)")
    where = Path(path).resolve()
    try:
        return Job.model_validate(values, context={"folder": where.parent, "stem": where.stem}).apart()
    except ValidationError as error:
        raise UsageError(mistakes.told(error, marks, source, Job)) from None
