"""The job file -> a frozen Job: every setting checked, every path absolute, no secret in it.

Knows the file and nothing else: opens no input, asks no server, reads no key. All mistakes in a file are reported at
once, each with file, line, column and key.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from batchgen.api.dialects import Dialect
from batchgen.api.types import VENDOR_HOST, VENDOR_URL
from batchgen.errors import UsageError
from batchgen.job.answer_columns import AnswerColumn, columns_asked_for
from batchgen.job.checks import Check, Gate
from batchgen.job.dated_path import DatedPath
from batchgen.job.endpoint import Endpoint, endpoint_url
from batchgen.job.engine import Engine
from batchgen.job.messages import Message, MessageTemplate, Text, files_named, templates_of
from batchgen.job.notify import Notify
from batchgen.job.request_fields import in_dialect, refuse_unknown
from batchgen.job.sections import Input, Limits, Output, Price, Request, RequestField, Retry, Timeout, Until
from batchgen.job.types import JobPath, Section, context, validation_error
from batchgen.storage.location import Location, is_url
from batchgen.ui.humanize import quoted
from batchgen.ui.panel import Panel, PanelLine, Renderable, TextBlock, settings

DOCUMENTED_REQUESTS_PER_MINUTE = 400
DOCUMENTED_TOKENS_PER_MINUTE = 25_000
LOCAL = "local"
"""What the built-in model's answers belong to."""
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"


def _metrics_path(path: str) -> str:
    if is_url(path) or not path.endswith(".prom"):
        raise ValueError("should be a file on this machine that ends in .prom: node_exporter collects no other")
    return path


class Mode(NamedTuple):
    """How a command changes a job; no key of a job file sets this. `first_rows`: only so many of its first rows."""

    is_local: bool = False
    first_rows: int | None = None

    @property
    def stem_suffix(self) -> str:
        """Returns what distinguishes its results' path from the job's own."""
        return (".local" if self.is_local else "") + (f".first-{self.first_rows}" if self.first_rows else "")


class Job(Renderable, Section):
    """A batchgen job: rows in, prompts sent, one Parquet file out."""

    name: str = Field("", pattern=NAME, description="default: the file's stem")
    input: Input
    prompt: Text | None = Field(
        None, validate_default=True, description="a Jinja template; the row's columns are its names"
    )
    messages: Annotated[list[Message], Field(min_length=1)] | None = Field(
        None, description="in place of prompt, a chat: templates by role (system, user, assistant), one a message"
    )
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
    duplicates: Literal["each", "once"] = Field(
        "each", description="once: rows that send the same request share one answer, which is bought once"
    )
    prices: dict[str, Price] = Field({}, description="by model: US dollars per million tokens, for estimates")
    reuse: bool = Field(default=True, description="false: a finished run starts afresh next time")
    output: Output
    report: bool = Field(default=True, description="the run as one HTML page, beside the output")
    notify: Notify = Notify()
    metrics: Annotated[JobPath, AfterValidator(_metrics_path)] | None = Field(
        None, description="a .prom file, which Prometheus' node_exporter collects: how the last run ended"
    )

    _cut_off: str = PrivateAttr("")
    _mode: Mode = PrivateAttr(Mode())
    _whole_name: str | None = PrivateAttr(None)
    _text_files: dict[str, str] = PrivateAttr({})
    _answer_columns: list[AnswerColumn] = PrivateAttr([])
    _file: Path | None = PrivateAttr(None)

    @property
    def file(self) -> Path | None:
        """Returns the job file; None if the job came from no file. Links on the way to it are kept."""
        return self._file

    def command(self, name: str, *options: str) -> str | None:
        """Returns the command line that does this with the job; None if the job came from no file."""
        if self.file is None:
            return None
        return shlex.join(["batchgen", name, *(["--local"] if self.is_local else []), str(self.file), *options])

    @property
    def cut_off(self) -> str:
        """Returns the comment that ended the prompt in the job file, with its `#`; empty if there was none."""
        return self._cut_off

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_file(cls, values: Any, info: ValidationInfo) -> Any:
        if info.context is None:
            raise UsageError("Job: is what `read_job` returns; each function takes a dict of settings in its place")
        if isinstance(values, dict):
            values = {key: value for key, value in values.items() if value is not None}  # `until:` and nothing after it
            context(info).update(text_files=files_named(values), is_chat="messages" in values)
            return {"name": re.sub(r"[^A-Za-z0-9_.-]", "_", context(info)["stem"]), **values}
        return values

    @field_validator("prompt")
    @classmethod
    def _is_in_place_of_messages(cls, prompt: str | None, info: ValidationInfo) -> str | None:
        """Checks that there is either a prompt or messages."""
        is_chat = context(info)["is_chat"]
        if prompt is None and not is_chat:
            raise PydanticKnownError("missing")  # `error_messages` has its words
        if prompt is not None and is_chat:
            raise ValueError("is given beside messages: give only one of them")
        return prompt

    @model_validator(mode="after")
    def _agrees(self, info: ValidationInfo) -> Self:
        """Checks the sections against each other; each mistake is reported at its place."""
        self._text_files = context(info).get("text_files", {})
        refuse_unknown(self.request, self.columns, self.dialect)
        if self.request.response_format == "json_schema" and self.check.json_schema is None:
            message = "json_schema sends check.json_schema along, and the job has none"
            raise validation_error(("request", "response_format"), message)
        try:
            self._answer_columns = columns_asked_for(self.output.columns, self.check.json_schema)
        except ValueError as error:
            raise validation_error(("output", "columns"), str(error)) from None
        return self

    @property
    def answer_columns(self) -> list[AnswerColumn]:
        """Returns the columns that are made of the answers' JSON."""
        return self._answer_columns

    @property
    def templates(self) -> list[MessageTemplate]:
        """Returns the templates of a request: the prompt alone, or the messages in their order."""
        return templates_of(self.prompt, self.messages, self._text_files)

    @property
    def dialect(self) -> Dialect:
        """Returns the dialect that the service speaks."""
        return self.endpoint.dialect(chat=self.messages is not None)

    def with_shard_suffix(self) -> Self:
        """Returns the job with its shard in its name, so that its checkpoint, results and metrics are its own."""
        if self.input.shard is None:
            return self
        suffix = self.input.parsed_shard.suffix
        metrics = self.metrics and f"{self.metrics.removesuffix('.prom')}{suffix}.prom"
        shard = self.model_copy(update={"name": self.name + suffix, "metrics": metrics})
        shard._whole_name = self.name  # noqa: SLF001  no field of a job file
        return shard

    @property
    def whole_name(self) -> str:
        """Returns the name of the job without its shard."""
        return self._whole_name or self.name

    def panel(self) -> Panel:
        """Returns what the file sets, and where to find the key; a job holds no secret."""
        given = self.model_dump(
            mode="json", by_alias=True, exclude_defaults=True, exclude={"name", "prompt", "messages"}
        )
        needs_key = self.endpoint.has_key and not self.is_local
        key = [PanelLine("key", f"in {self.endpoint.key_source}")] if needs_key else []
        where = self.endpoint.name or self.endpoint.url or f"WRITER_BASE_URL, else {VENDOR_URL}"
        return Panel(
            self.name,
            self.request.model,
            f" at {where}",
            [*settings(given), *key],
            texts=tuple(TextBlock(one.role or "prompt", one.text) for one in self.templates),
        )

    def settings(self) -> dict[str, Any]:
        """Returns what the job sets, as a job file has it; paths are absolute, texts in files of their own are read."""
        return self.model_dump(by_alias=True, exclude_defaults=True)

    def with_limit(self, limit: int | None) -> Self:
        """Returns the job with so many of its first rows only; their results have a path of their own (`input.limit`
        differs: it is the job's own setting). Raises UsageError if the limit is not a number of rows."""
        if limit is None:
            return self
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit < 2**63:
            raise UsageError(f"limit: should be a number of rows from 1 on, not {quoted(limit)}")
        limited = self.model_copy(update={"input": self.input.first(limit)})
        limited._mode = self._mode._replace(first_rows=limit)  # noqa: SLF001  as above
        return limited

    @property
    def first_rows(self) -> int | None:
        """Returns how many rows `with_limit` left; None for all that the job has."""
        return self._mode.first_rows

    def for_local_model(self) -> Self:
        """Returns the same job for the built-in model: without limits and notifications, with results and a checkpoint
        of its own."""
        dialect = Endpoint().dialect(chat=self.messages is not None)
        local = self.model_copy(
            update={
                "name": f"{self.name}.local",
                "endpoint": Endpoint(name=LOCAL),
                **in_dialect(self.request, self.columns, dialect),
                "limits": Limits(concurrency=self.limits.concurrency),
                "notify": Notify(),
                "metrics": None,
            }
        )
        local._mode = self._mode._replace(is_local=True)  # noqa: SLF001  as above
        local._whole_name = f"{self.whole_name}.local"  # noqa: SLF001  as above
        return local

    @property
    def is_local(self) -> bool:
        """Returns whether the built-in model answers."""
        return self._mode.is_local

    def addresses(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """Returns the service's address, or those of several servers, sorted; none for the built-in model. Raises
        UsageError if WRITER_BASE_URL is used and is not a valid address."""
        if self.is_local:
            return ()
        if self.endpoint.urls:
            return tuple(sorted(self.endpoint.urls))
        url = environ.get("WRITER_BASE_URL", "").strip() or VENDOR_URL
        try:
            return (endpoint_url(url),)
        except ValueError as error:
            raise UsageError(f"WRITER_BASE_URL {error}") from None

    def with_effective_limits(self, urls: Iterable[str]) -> Self:
        """Returns the job with the limits in force: on the vendor's host, the documented ones where it sets none."""
        if not is_vendor(urls):
            return self
        in_force = {
            "requests_per_minute": self.limits.requests_per_minute or DOCUMENTED_REQUESTS_PER_MINUTE,
            "tokens_per_minute": self.limits.tokens_per_minute or DOCUMENTED_TOKENS_PER_MINUTE,
        }
        return self.model_copy(update={"limits": self.limits.model_copy(update=in_force)})

    @property
    def state_folder(self) -> Path:
        """Returns the folder of the checkpoint and the lock, always on this machine."""
        return self.output.state_folder

    @property
    def checkpoint(self) -> Path:
        return self.state_folder / f"{self.name}.sqlite"

    def output_path(self, date: str, *, whole: bool = False) -> Location:
        """Returns where a run's results go, by the date (ISO) on which it started. `whole`: where those of all shards
        go."""
        return self.dated_output(whole=whole).on(date)

    def dated_output(self, *, whole: bool = False) -> DatedPath:
        """Returns the results' path, with everything filled in but the date."""
        name = self.whole_name if whole else self.name
        is_told_by_name = whole or self.input.shard is None or "{name}" in self.output.path
        stem = self.output.path.removesuffix(".parquet")
        suffix = self.output.path[len(stem) :]
        shard = "" if is_told_by_name else self.input.parsed_shard.suffix
        return DatedPath.parse(f"{stem}{shard}{self._mode.stem_suffix}{suffix}".replace("{name}", name))


def is_vendor(urls: Iterable[str]) -> bool:
    """Returns whether one of the addresses is on the vendor's own host."""
    return any(urlsplit(url).hostname == VENDOR_HOST for url in urls)
