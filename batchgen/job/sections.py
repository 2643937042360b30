"""The sections of a job file about what to send, how fast, and where to: every setting checked, every path absolute."""

from __future__ import annotations

import codecs
import difflib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationInfo, model_validator

from batchgen.job.shard import WHOLE, Shard
from batchgen.job.types import Duration, Finite, JobPath, Section, context
from batchgen.storage.location import is_url

AUTO_MOST = 1024
"""Most requests in flight by `concurrency: auto`: as many as inference servers batch (vLLM: 256 to 1,024 sequences);
each takes an open file."""

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

ColumnType = Literal[
    "String", "Boolean", "Date", "Datetime", "Float32", "Float64",
    "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64",
]  # fmt: skip
_ENCODINGS = (
    "cp1252", "latin-1", "utf-16", "utf-8", "cp1250", "cp1251", "iso8859-15", "cp850", "cp437", "mac_roman",
    "shift_jis", "cp932", "euc_jp", "gbk", "gb18030", "big5", "euc_kr", "koi8-r", "windows-1252",
    "utf-16-le", "utf-16-be", "utf-8-sig",
)  # fmt: skip
_ALIASES = {"ansi": ["cp1252"], "unicode": ["utf-16"], "excel": ["cp1252"]}
"""What Windows and Excel call encodings."""
_NO_ENCODINGS = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7"}
RequestField = Literal[
    "model", "max_tokens", "temperature", "top_p", "stop", "best_of", "random_seed", "stream", "seed", "logprobs",
    "n", "top_logprobs", "max_completion_tokens",
]  # fmt: skip
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


def _shard(text: str) -> str:
    return str(Shard.parse(text))


def _separator(mark: str) -> str:
    if not re.fullmatch(r"[!#-/:-@\[\]-`{-~ \t]", mark):
        raise ValueError('should be one mark, such as ";" or, in double quotes, "\\t" for a tab')
    return mark


def _encoding(name: str) -> str:
    try:
        codec = codecs.lookup(name)
        is_text = isinstance("".encode(name), bytes)
    except LookupError:
        close = _ALIASES.get(name.lower()) or difflib.get_close_matches(name.lower(), _ENCODINGS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(_ENCODINGS[:6])}"
        raise ValueError(f"is not a known encoding; {hint}") from None
    if not is_text or codec.name in _NO_ENCODINGS:
        raise ValueError("is not an encoding of text files")
    return name


class Input(Section):
    """Where the rows come from."""

    path: JobPath = Field(
        description="CSV, NDJSON, JSON, Parquet, Arrow or Excel: one file, a folder, or a glob; here, or under s3://, "
        "gs:// or az://"
    )
    where: str | None = Field(
        None, min_length=1, description="of these rows alone: a condition of SQL, such as price > 10 and name <> 'x'"
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
    separator: Annotated[str, AfterValidator(_separator)] | None = Field(
        None, description='CSV: what separates its cells, as ";" or "\\t" (a tab); else a comma'
    )
    encoding: Annotated[str, AfterValidator(_encoding)] | None = Field(
        None, description="CSV: as cp1252, latin-1 or utf-16; else UTF-8"
    )
    decimal: Literal[".", ","] | None = Field(None, description='CSV: what begins a number\'s fraction; else "."')
    sheet: Annotated[int, Field(ge=1)] | str | None = Field(
        None, description="a workbook's sheet, by its name, or by its number from 1 on"
    )

    @property
    def parsed_shard(self) -> Shard:
        return WHOLE if self.shard is None else Shard.parse(self.shard)

    def first(self, rows: int) -> Self:
        """Returns the input with so many of its first rows at most: of those that it has with its limit and shard."""
        limit = self.parsed_shard.whole(rows)
        return self.model_copy(update={"limit": min(limit, self.limit or limit)})


class Request(Section):
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
    logprobs: bool | Count | None = Field(
        None, description="of a chat: true; of api: openai's completions: log-probs of so many tokens each"
    )
    stream: bool | None = Field(
        None, description="answers by server-sent events; writer's completions carry no model and no log_probs then"
    )
    n: int | None = Field(
        None, ge=1, le=2**31 - 1, description="answers a request; those after the first: more_choices"
    )
    top_logprobs: Count | None = Field(None, description="a chat's, with api: openai: so many tokens each")
    max_completion_tokens: int | None = Field(
        None, ge=1, le=2**63 - 1, description="a chat's, with api: openai: what newer servers call max_tokens"
    )
    response_format: dict[str, Any] | Literal["json_schema"] | None = Field(
        None, description="a chat's; json_schema: check.json_schema, sent along in the API's own shape"
    )
    stream_options: dict[str, Any] | None = Field(
        None, description="a chat's; where answers are streamed, {include_usage: true} unless this is given"
    )
    extra: dict[str, Any] | None = Field(
        None, description="api: openai; fields that are not known here, sent as they stand"
    )


class Limits(Section):
    """How much the service may be asked for."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] | Literal["auto"] = Field(
        64, description="most requests in flight; auto: as many as the server turns into throughput"
    )
    requests_per_minute: Finite | None = Field(None, ge=0.001)
    tokens_per_minute: Finite | None = Field(None, ge=0.001)

    @property
    def most_in_flight(self) -> int:
        """Returns the most requests in flight, whoever chooses their number."""
        return AUTO_MOST if self.concurrency == "auto" else self.concurrency


class Retry(Section):
    """How often a row is tried, and the longest wait between two attempts, in seconds."""

    attempts: int = Field(6, ge=1, le=100)
    max_wait: Finite = Field(60.0, ge=0)


class Timeout(Section):
    """Seconds to connect, and for one attempt in total."""

    connect: Finite = Field(10.0, gt=0)
    total: Finite = Field(300.0, gt=0)


class Until(Section):
    """When to stop before the end: whichever comes first."""

    after: Duration | None = Field(None, description="a duration such as 6h")
    at: str | None = Field(None, pattern=r"^([01]?[0-9]|2[0-3]):[0-5][0-9]$", description="a time of day such as 06:00")
    requests: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)
    cost: Finite | None = Field(None, gt=0, description="US dollars, by estimate")

    def seconds(self, now: datetime) -> float | None:
        """Returns the seconds from `now` (local time) to the deadline; None without one."""
        moment = self.moment(now)
        waits = (self.after, None if moment is None else moment - now.timestamp())
        return min((wait for wait in waits if wait is not None), default=None)

    def moment(self, now: datetime) -> float | None:
        """Returns when `at` comes next, in seconds since 1970; None without it. It is a time on the clock (`now`: local
        time), also in a night when the clock changes."""
        if self.at is None:
            return None
        hour, minute = map(int, self.at.split(":"))
        shown = now.replace(tzinfo=None)
        moment = shown.replace(hour=hour, minute=minute, second=0, microsecond=0)
        moment += timedelta(days=moment <= shown)
        zone = now.tzinfo if isinstance(now.tzinfo, ZoneInfo) else None  # else the machine's, by that day's rules
        return moment.replace(tzinfo=zone).astimezone(UTC).timestamp()


class Price(Section):
    """US dollars per million tokens."""

    input: Finite = Field(ge=0)
    output: Finite = Field(ge=0)


def _known_placeholders(path: Any) -> Any:
    """Checks what was written in the job file: a folder that it lies in may have braces in its name."""
    for placeholder in PLACEHOLDER.findall(path) if isinstance(path, str) else ():
        if placeholder not in ("date", "name"):
            raise ValueError(f"{{{placeholder}}} is not known; {{date}} and {{name}} are")
    return path


def _output_path(path: str, info: ValidationInfo) -> str:
    if not path.endswith(".parquet") and info.data.get("rows_per_file", 0) is None:
        raise ValueError("should end in .parquet (`batchgen export JOB -o FILE` makes a .csv, .xlsx or .jsonl of it)")
    return path


def _state_folder(path: Any) -> Any:
    if isinstance(path, str) and (is_url(path) or PLACEHOLDER.search(path)):
        raise ValueError("should be a folder on this machine, without placeholders")
    return path


class Output(Section):
    """Where the results go, and where the checkpoint is kept."""

    rows_per_file: int | None = Field(
        None, ge=1, le=2**63 - 1, description="output.path is a folder, of Parquet files of so many rows each"
    )
    path: Annotated[JobPath, BeforeValidator(_known_placeholders), AfterValidator(_output_path)] = (
        Field(  # checked after the above
            description="a .parquet file, here or under s3://, gs:// or az://; {date} and {name} may stand in it"
        )
    )
    columns: bool | list[str] | dict[str, str] = Field(
        default=False,
        description="columns made of the answers' JSON: true, all properties of check.json_schema; a list of them; or "
        "{property: column}",
    )
    state: Annotated[JobPath, BeforeValidator(_state_folder)] | None = Field(
        None,
        description="a folder on a local disk, for the checkpoint and the lock; default: .batchgen beside the output",
    )
    _job_folder: Path = PrivateAttr(Path())

    @model_validator(mode="after")
    def _beside_its_job(self, info: ValidationInfo) -> Self:
        self._job_folder = Path(context(info).get("folder", "."))
        return self

    @property
    def state_folder(self) -> Path:
        return Path(self.state) if self.state is not None else self.usual_state_folder

    @property
    def usual_state_folder(self) -> Path:
        """Returns the folder beside the output, above any placeholder; beside the job file if the output is in an
        object store."""
        if is_url(self.path):
            return self._job_folder / ".batchgen"
        folder = Path(self.path).parent
        while PLACEHOLDER.search(str(folder)):
            folder = folder.parent
        return folder / ".batchgen"
