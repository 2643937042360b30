"""What must hold for any bytes whatever, and a fuzzer that looks for those for which it does not.

`python tests/support/fuzz.py TARGET [atheris options]`, such as `python tests/support/fuzz.py job -max_total_time=120`; it needs
`atheris` (Linux, Python up to 3.13), which nothing else does. Without a target it lists them. The suite asks the same
of a few hundred made-up inputs each (`test_*_fuzz.py`, `test_terminal.py`).
"""

from __future__ import annotations

import atexit
import csv
import datetime as dt
import io
import math
import re
import shutil
import sys
import tempfile
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec
import polars as pl

from batchgen.api import sse
from batchgen.api.dialects import WRITER
from batchgen.api.error_responses import classify, retry_after
from batchgen.api.failure_kinds import Kind
from batchgen.api.outcome import Answer, Failure
from batchgen.api.types import LogProbs, read_answer
from batchgen.api.writer import judge
from batchgen.errors import UsageError
from batchgen.input.prompt_template import PromptError, Template
from batchgen.input.source import open_source
from batchgen.input.template.growth import MAX_CHARS
from batchgen.job.job import NAME
from batchgen.job.load import read_job
from batchgen.job.sections import PLACEHOLDER, Input
from batchgen.output.decode import answers
from batchgen.ui.terminal import inert, inert_json

CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")
NOW = dt.datetime(2026, 9, 1, 22, tzinfo=dt.UTC)
GOOD = b'{"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[]}],"refusal":null}'
LINES = """\
name: job
input:
  path: rows.csv
  limit: 5
  id: sku
  schema: {price: Float64}
  rename: {text: source}
prompt: Write about {{ name }}.
request:
  model: palmyra-x5
  max_tokens: 300
  temperature: 0.7
  stop: ["\\n"]
columns: {max_tokens: budget}
endpoint:
  url: https://api.writer.com
  key_env: WRITER_API_KEY
  key_file: ~/key
  proxy: http://127.0.0.1:3128
limits: {concurrency: 64, requests_per_minute: 400}
retry: {attempts: 6, max_wait: 60}
timeout: {connect: 10, total: 300}
until: {after: 6h, at: "06:00", cost: 1}
priority: margin
order: input
prices: {palmyra-x5: {input: 0.60, output: 6.00}}
reuse: true
output:
  path: out/{date}/{name}.parquet
""".splitlines()
"""A whole job file, of which a fuzzer spoils a line."""


@cache
def folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="batchgen-fuzz-"))
    atexit.register(shutil.rmtree, folder)
    return folder


def job_file(data: bytes) -> None:
    """A Job, or a UsageError whose every line names the file; as such, and in the place of a line of a good one."""
    check_job(data)
    if data:
        at = data[0] % len(LINES)
        check_job("\n".join(LINES[:at]).encode() + b"\n" + data[1:] + b"\n" + "\n".join(LINES[at + 1 :]).encode())


def check_job(data: bytes) -> None:
    path = folder() / "job.yaml"
    path.write_bytes(data)
    try:
        job = read_job(path)
    except UsageError as error:
        said = str(error)
        assert said.startswith(str(path)), said
        inert(said).encode()
        return
    assert re.fullmatch(NAME, job.name)
    for made in (job, job.for_local_model(), job.with_limit(3)):
        made.model_dump_json()
        assert made.checkpoint.parent.name == ".batchgen"
        assert made.checkpoint.is_absolute()
        assert made.output.rows_per_file or made.output_path("2026-09-01").name.endswith(".parquet")
        assert "{date}" not in str(made.output_path("2026-09-01"))
        assert "{" not in str(made.state_folder) or not PLACEHOLDER.search(str(made.state_folder))
    wait = job.until.seconds(NOW)
    assert wait is None or wait > 0, wait
    for part in (job.limits, job.retry, job.timeout):
        assert all(value is None or math.isfinite(value) for value in part.model_dump().values()), part


def answer(data: bytes) -> None:
    """A 200's body is an answer with texts that can be stored, and columns of them; or it is kept as it came."""
    outcome = judge(data)
    if isinstance(outcome, Failure):
        assert outcome.kind is Kind.UNUSABLE
        assert outcome.body == data
        outcome.message.encode()
        return
    assert isinstance(outcome, Answer)
    completion = read_answer(outcome.body)
    assert outcome.choices == len(completion.choices) >= 1
    assert outcome.tokens >= 0
    for choice in completion.choices:
        choice.text.encode()
    shown = answers([WRITER.as_json(outcome.body), None])
    more = shown.more.to_pylist()
    assert [shown.text.to_pylist()[0], *(row["text"] for row in more[0] or ())] == [c.text for c in completion.choices]
    assert shown.model.to_pylist() == [completion.model, None]
    assert (shown.text[1].as_py(), more[1]) == (None, None)


def column(data: bytes) -> None:
    """Log-probs of any kind: a row each, whoever stands beside; and as the contract's own decoder reads them."""
    body, good = (b'{"choices":[{"text":"","log_probs":%s}]}' % said for said in (data, GOOD))
    try:
        read_answer(body)
    except (ValueError, RecursionError):
        return
    (alone,) = answers([body]).log_probs.to_pylist()
    among = answers([good, None, body, body, good]).log_probs
    among.validate(full=True)
    first = msgspec.json.decode(GOOD)
    assert repr(among.to_pylist()) == repr([first, None, alone, alone, first])
    for tokens in (alone or {}).values():
        for token in tokens or ():
            assert token is None or token["logprob"] is None or math.isfinite(token["logprob"]), token
    try:
        data.decode()
        strict = msgspec.json.decode(data, type=LogProbs | None)
    except (ValueError, RecursionError):
        return
    assert alone is None or alone == msgspec.to_builtins(strict), (
        strict
    )  # a repeated key is refused here, and passes there


def events(data: bytes) -> None:
    """A text or a ValueError; a stream that is split between two events says in two parts what it says whole."""
    try:
        whole = sse.read(data).text
    except ValueError:
        return
    whole.encode()
    if b"\r" not in data.replace(b"\r\n", b""):
        assert sse.read(data.replace(b"\r\n", b"\n")).text == whole, "line ends"
    if b"[DONE]" in data or b"\r" in data:
        return
    for at in [found.end() for found in re.finditer(b"\n\n", data)]:
        assert parts_of(data[:at]) + parts_of(b"\n" + data[at:]) == whole, at


def parts_of(data: bytes) -> str:
    """The text of a part, which may be none."""
    return sse.read(data).text if list(sse.events(data)) else ""


def wait(data: bytes) -> None:
    """No time, or a finite one that is not negative."""
    first, _, second = data.decode("utf-8", "surrogateescape").partition("\n")
    for headers in ({"Retry-After": first}, {"retry-after-ms": first, "Retry-After": second}):
        check_wait(retry_after(headers, NOW))


def check_wait(seconds: float | None) -> None:
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0), seconds


def error(data: bytes) -> None:
    """A failure of some kind, with a line that can be stored and shown."""
    status, model, body = 100 + int.from_bytes(data[:2]) % 900, data[2:4].decode("latin-1"), data[4:]
    if status == 200:
        return
    headers = {"Retry-After": body[:20].decode("utf-8", "surrogateescape")}
    failure = classify(status, headers, body, model, NOW)
    assert isinstance(failure.kind, Kind)
    assert (failure.status, failure.body) == (status, body)
    assert not CONTROLS.search(failure.message)
    assert len(failure.message) <= 500
    str(failure).encode()
    assert failure.cause
    check_wait(failure.retry_after)


def table(data: bytes) -> None:
    """The rows as the standard library reads them, strictly; or a UsageError that names the file."""
    path = folder() / "rows.csv"
    path.write_bytes(data)
    said, rows = "", []
    try:
        source = open_source(Input.model_validate({"path": str(path)}, context={"folder": path.parent}))
        rows = [row for frame in source.batches() for row in frame.rows()]
    except UsageError as refusal:
        said = str(refusal)
    if said:
        assert said.startswith(str(path)), said
        return
    text = data.removeprefix(b"\xef\xbb\xbf").decode()
    header, *records = [record for record in csv.reader(io.StringIO(text, newline=""), strict=True) if record]
    while len(header) > 1 and records and not any(records[-1]):
        records.pop()
    kept = [at for at, name in enumerate(header) if name.strip() or any(record[at] for record in records)]
    named = [name for name in header if name.strip()]
    assert [name for name in source.columns if name in named] == named
    assert len(source.columns) == len(kept), "a column without a name is kept where anything is in it"
    assert rows == [tuple(record[at] or None for at in kept) for record in records]


ROWS = pl.DataFrame(
    {"name": ["tent", "{{ 7*7 }}", None, "ü" * 50], "price": [1.5, None, 3.0, math.nan], "tags": [["a", None], [], None, ["b"]]}
)  # fmt: skip


def template(data: bytes) -> None:
    """A UsageError for the template; else, for each row, a prompt of bounded length or a PromptError."""
    text = data.decode(errors="ignore")
    said = ""
    try:
        made = Template(text, dict(ROWS.schema))
    except UsageError as refusal:
        said = str(refusal)
    if said:
        assert said.startswith("prompt: line "), said
        return
    prompts = list(made.prompts(ROWS))
    assert len(prompts) == ROWS.height
    for prompt in prompts:
        if isinstance(prompt, PromptError):
            assert str(prompt)
        else:
            assert 0 < len(prompt) <= MAX_CHARS
            assert "49" not in prompt or "49" in text or "*" in text, "a cell was taken for a template"
            prompt.encode()


def terminal(data: bytes) -> None:
    """Nothing active is left, what was inert is as it was, and JSON stays the same."""
    import json  # noqa: PLC0415  of this alone

    text = data.decode("utf-8", "surrogatepass") if is_text(data) else data.decode("latin-1")
    shown = inert(text)
    shown.encode()
    assert not CONTROLS.search(shown.replace("\n", "").replace("\t", ""))
    assert inert(shown) == shown
    line = inert_json(json.dumps({"a": text}, ensure_ascii=False))
    assert not CONTROLS.search(line)
    assert inert(line) == line
    assert json.loads(line) == {"a": text}


def is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


TARGETS: dict[str, Callable[[bytes], None]] = {
    "job": job_file,
    "answer": answer,
    "column": column,
    "events": events,
    "wait": wait,
    "error": error,
    "table": table,
    "template": template,
    "terminal": terminal,
}


def main() -> None:
    import atheris  # noqa: PLC0415  the suite does without

    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        sys.exit(f"{__doc__}\ntargets: {', '.join(TARGETS)}")
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] in ("batchgen", "yaml")]:
        for kept in vars(module).values():
            for made in (kept, *(vars(kept).values() if isinstance(kept, type) else ())):
                if isinstance(made, types.FunctionType) and made.__module__ == module.__name__:
                    atheris.instrument_func(made)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
