"""The job file: what YAML means here, and how each mistake is told: file, line, column, key and the near miss."""

import math
import re
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.errors import UsageError
from batchgen.job import yaml
from batchgen.job.job import NAME, Job
from batchgen.job.load import read_job
from batchgen.job.sections import Input, Limits

REPOSITORY = Path(__file__).parents[2]
CANARY = "sk-canary-7f3a9b"


# YAML


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("", None),
        ("Null", None),
        ("nULL", "nULL"),
        ("06:00", "06:00"),
        ("12:30:45", "12:30:45"),
        ("1:30", "1:30"),
        ("2026-11-22", "2026-11-22"),
        ("2026-11-22T06:00:00Z", "2026-11-22T06:00:00Z"),
        ("12", 12),
        ("-12", -12),
        ("+12", 12),
        ("007", 7),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5e-1", -0.05),
        ("1,5", "1,5"),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("inf", "inf"),
        ("nan", "nan"),
        ("=", "="),
        ("<<", "<<"),
        ("1.2.3", "1.2.3"),
        ("\u0661\u0662", "\u0661\u0662"),
        ("'12'", "12"),
        ('"null"', "null"),
        ("'true'", "true"),
        ("''", ""),
        ('"06:00"', "06:00"),
    ],
)
def test_what_a_scalar_means(word, value):
    values, _ = yaml.parse(f"a: {word}\n", "job.yaml")
    assert values == {"a": value}
    assert type(values["a"]) is type(value)


@pytest.mark.parametrize("word", [".nan", ".NaN", ".NAN"])
def test_not_a_number(word):
    assert math.isnan(yaml.parse(f"a: {word}", "job.yaml")[0]["a"])


def test_keys_are_words_as_they_stand():
    assert yaml.parse("{1: a, null: b, true: c, 06:00: d, <<: e}", "job.yaml")[0] == {
        "1": "a",
        "null": "b",
        "true": "c",
        "06:00": "d",
        "<<": "e",
    }


def test_a_text_in_a_block_is_a_text_whatever_stands_in_it():
    assert yaml.parse("a: |\n  12\nb: >-\n  null\n", "job.yaml")[0] == {"a": "12\n", "b": "null"}


def test_an_alias_is_what_it_stands_for():
    assert yaml.parse("a: &x {b: [1]}\nc: *x\n", "job.yaml")[0] == {"a": {"b": [1]}, "c": {"b": [1]}}


@pytest.mark.parametrize("text", ["", "\n", "# a comment\n", "---\n", "~"])
def test_an_empty_text_is_nothing(text):
    assert yaml.parse(text, "job.yaml")[0] is None


QUOTE = "put the text in quotes (and double those within it), or below `{}: |`, each line of it indented"
INDENT = "indent each line of the text below `prompt: |`"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a: 1\nb: !!python/object/apply:os.system [ls]\n", r"job.yaml:2:4: tags .*python", id="a Python object"),
        pytest.param("a: !!str 5\n", r"job.yaml:1:4: tags", id="a harmless tag"),
        pytest.param("a: !secret x\n", r"job.yaml:1:4: tags \(!secret\)", id="a tag of somebody's own"),
        pytest.param("a: ! x\n", r"job.yaml:1:4: tags", id="a tag without a name"),
        pytest.param("a: !!binary aGk=\n", r"job.yaml:1:4: tags", id="bytes"),
        pytest.param("!!map {a: 1}\n", r"job.yaml:1:1: tags", id="a tag of the whole"),
        pytest.param("a: &x [*x]\n", r"job.yaml.*(contains itself|alias)", id="a list that holds itself"),
        pytest.param("a: &x {b: *x}\n", r"job.yaml.*(contains itself|alias)", id="a mapping that holds itself"),
        pytest.param("a: *nobody\n", r"job.yaml:1:4: .*undefined alias", id="an alias of nothing"),
        pytest.param(LAUGHS, r"job.yaml: more than 20,000 values", id="a billion laughs"),
        pytest.param("a: 1\nb: 2\na: 3\n", r"job.yaml:3:1: a: repeated key; .*line 1", id="a repeated key"),
        pytest.param("a:\n  b: 1\n  'b': 2\n", r"job.yaml:3:3: b: repeated key; .*line 2", id="a repeated key within"),
        pytest.param("{a: 1, a: 1}", r"job.yaml:1:8: a: repeated key; .*line 1", id="a repeated key of the same value"),
        pytest.param("a: 1\n? [b]\n: 2\n", r"job.yaml:2:3: a key must be a plain word", id="a list as key"),
        pytest.param("a:\n\tb: 1\n", r"job.yaml:2:1: .*tabs", id="a tab that indents"),
        pytest.param("o: {path: out/{date}.parquet}\n", r"but got '{'; put a path with {date} or {name} in quotes", id="a date in braces"),
        pytest.param("o:\n  path: {name}/x.parquet\n", r"put a path with {date} or {name} in quotes", id="a name at the beginning"),
        pytest.param("a: b: c\n", r"job.yaml:1:5: not valid YAML", id="two values in a line"),
        pytest.param("a: [1, 2\n", r"job.yaml:2:1: not valid YAML", id="a list that does not end"),
        pytest.param('a: "x\n', r"job.yaml:2:1: not valid YAML", id="a quote that does not end"),
        pytest.param("a: {{ name }}\n", r"job.yaml:1:", id="a template without quotes"),
        pytest.param("a: %x\n", r"job.yaml:1:4: not valid YAML", id="a word that cannot begin so"),
        pytest.param("a: 1\n---\na: 2\n", r"job.yaml:2:1: not valid YAML", id="two documents"),
        pytest.param("a: \x00\n", r"job.yaml.*not valid YAML", id="a NUL"),
        pytest.param("a: \x1b[31m\n", r"job.yaml.*not valid YAML", id="an escape character"),
        pytest.param("a: " + "[" * 60 + "]" * 60, r"job.yaml: nested too deeply\b(?!,)", id="nested deeply"),
        pytest.param("a: " + "[" * 1500, r"job.yaml: nested too deeply", id="nested absurdly deep"),
        pytest.param("a: '" + "x" * (1 << 20) + "'\n", r"job.yaml: larger than 1,048,576", id="a megabyte"),
        pytest.param("[" + "x," * 20_001 + "]", r"job.yaml: more than 20,000", id="too many values"),
    ],
)  # fmt: skip
def test_what_yaml_is_refused(text, said):
    with pytest.raises(UsageError, match=said) as told:
        yaml.parse(text, "job.yaml")
    assert "\n" not in str(told.value)
    assert told.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        pytest.param("prompt: {{ name }}", QUOTE.format("prompt"), id="a prompt that begins with a column"),
        pytest.param("prompt: {{name}}", QUOTE.format("prompt"), id="a column without blanks"),
        pytest.param("messages:\n- user: {{ name }}", QUOTE.format("- user"), id="a message that begins with a column"),
        pytest.param("messages:\n  - system: Achtung: Du", QUOTE.format("- system"), id="a colon in a message"),
        pytest.param("messages:\n  - user: |\n  Hi {{ a }}\nb: 1", QUOTE.format("- user"), id="a message not indented"),
        pytest.param("prompt: |\nHello {{ name }}\nb: 1", INDENT, id="a prompt not indented"),
        pytest.param("prompt: |  # it\n\nWrite: {{ name }}\n", INDENT, id="a prompt not indented, with a colon"),
    ],
)
def test_a_text_that_yaml_misreads_is_told_how_to_write(text, meant):
    with pytest.raises(UsageError) as told:
        yaml.parse(f"a: 1\n{text}\n", "job.yaml")
    assert str(told.value).endswith(f"; {meant}")


@pytest.mark.parametrize(
    "text",
    ["a: b: c", "messages: [", "messages: []\na: b: c", "prompt: x\na: {{ b }}", "prompt: |\n  x\na: b: c"],
)
def test_what_is_no_text_gets_no_advice_on_texts(text):
    with pytest.raises(UsageError) as told:
        yaml.parse(f"{text}\n", "job.yaml")
    assert "indent" not in str(told.value)


def test_positions_are_where_the_keys_stand():
    _, positions = yaml.parse("a: 1\nb:\n  c: [x,\n      y]\n", "job.yaml")
    assert positions[("a",)] == (1, 1)
    assert positions[("b", "c")] == (3, 3)
    assert positions[("b", "c", 1)] == (4, 7)


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_text_is_values_or_refused_in_a_line(text):
    try:
        yaml.parse(text, "job.yaml")
    except UsageError as refused:
        assert str(refused).startswith("job.yaml")  # noqa: PT017  most texts are refused, some are not
        assert "\n" not in str(refused)  # noqa: PT017


# The job

BASE = """\
input:
  path: in.csv
prompt: Hello {{ name }}
request:
  model: palmyra-x5
output:
  path: out/x.parquet
"""

DESIGN = """\
# jobs/seo.yaml
name: seo                              # default: the file's stem
input:
  path: ../sample_data/products.csv    # CSV, Parquet or NDJSON; one file, a glob, or s3:// gs:// az:// (later)
  limit: null                          # the first N rows only
  id: sku                              # optional, unique: names a row in messages, lets plan tell changed from new
  schema: {price: Float64}             # CSV columns are text unless typed here ("007" stays "007")
prompt: |                              # Jinja; a row's columns are its names; an unknown name or a null is an error
  Write a short SEO article about {{ name }} for {{ audience }}.
request:                               # sent as it stands; the API's own names
  model: palmyra-x5
  max_tokens: 300
  temperature: 0.7
  top_p: 0.9
  stop: ["\\n\\n\\n"]
  best_of: 1
  random_seed: 42
  stream: false
columns: {max_tokens: budget}          # request fields that a row's own column sets; an empty cell leaves the job's value
endpoint:
  url: https://api.writer.com          # else WRITER_BASE_URL, else this
  key_env: WRITER_API_KEY              # the variable's name; a key itself in the file is refused
limits:
  concurrency: 64                      # most requests in flight
  requests_per_minute: 400             # left out: on the vendor's host the documented 400 and 25,000, elsewhere none
  tokens_per_minute: 25000
retry: {attempts: 6, max_wait: 60}     # seconds
timeout: {connect: 10, total: 300}     # seconds
until: {after: 6h, at: "06:00", requests: null, tokens: null, cost: null}  # whatever comes first; what is done is published
reuse: true                            # false: a finished run starts afresh next time
output:
  path: ../out/seo.parquet             # {date} and {name} may stand in it
"""  # a copy of the design's example, so that nobody breaks what it promises


def load(folder: Path, text: str, name: str = "job.yaml") -> Job:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_job(path)


def refused(folder: Path, text: str, name: str = "job.yaml") -> str:
    """What is said of a job file, without the folder."""
    with pytest.raises(UsageError) as told:
        load(folder, text, name)
    assert told.value.exit_code == 2
    assert told.value.__cause__ is None
    return str(told.value).replace(f"{folder}/", "")


def test_the_designs_example_loads(tmp_path):
    (tmp_path / "jobs").mkdir()
    loaded = load(tmp_path / "jobs", DESIGN, "seo.yaml")
    assert loaded.name == "seo"
    assert loaded.input.path == str(tmp_path / "sample_data" / "products.csv")
    assert loaded.input.limit is None
    assert loaded.input.types == {"price": "Float64"}
    assert loaded.prompt == "Write a short SEO article about {{ name }} for {{ audience }}.\n"
    assert loaded.request.model_dump(exclude_none=True) == {
        "model": "palmyra-x5",
        "max_tokens": 300,
        "temperature": 0.7,
        "top_p": 0.9,
        "stop": ["\n\n\n"],
        "best_of": 1,
        "random_seed": 42,
        "stream": False,
    }
    assert loaded.columns == {"max_tokens": "budget"}
    assert loaded.endpoint.url == "https://api.writer.com"
    assert loaded.until.after == 6 * 3600
    assert loaded.until.at == "06:00"
    assert loaded.output_path("2026-11-22") == tmp_path / "out" / "seo.parquet"


@pytest.mark.parametrize("path", sorted((REPOSITORY / "jobs").glob("*.yaml")), ids=lambda path: path.name)
def test_the_jobs_that_come_along_load(path):
    loaded = read_job(path)
    assert loaded.name == path.stem
    is_link = loaded.name == "judged"  # whose input is another job's output
    assert Path(loaded.input.path).is_file() or (
        is_link and loaded.input.path == read_job(path.with_stem("seo")).output.path
    )
    assert loaded.output.path.startswith(str(REPOSITORY / "out"))


def test_what_is_left_out(tmp_path):
    loaded = load(tmp_path, BASE, "my first job.yaml")
    assert loaded.name == "my_first_job"
    assert loaded.request.model_dump(exclude_none=True) == {"model": "palmyra-x5"}
    assert loaded.columns == {}
    assert loaded.endpoint.url is None
    assert loaded.endpoint.key_env == "WRITER_API_KEY"
    assert loaded.limits == Limits(concurrency=64, requests_per_minute=None, tokens_per_minute=None)
    assert (loaded.retry.attempts, loaded.retry.max_wait) == (6, 60)
    assert (loaded.timeout.connect, loaded.timeout.total) == (10, 300)
    assert loaded.until.seconds(datetime(2026, 1, 1)) is None  # noqa: DTZ001  local time
    assert loaded.reuse is True


def test_a_key_with_nothing_after_it_is_left_out(tmp_path):
    assert load(tmp_path, BASE + "until:\nlimits:\ncolumns:\n") == load(tmp_path, BASE)


def test_a_byte_order_mark_is_no_content(tmp_path):
    assert load(tmp_path, "\ufeff" + BASE) == load(tmp_path, BASE)


def test_a_job_is_frozen(tmp_path):
    loaded = load(tmp_path, BASE)
    with pytest.raises(ValueError, match="frozen"):
        loaded.reuse = False


MISTAKES = [
    # unknown keys
    ("retires: {attempts: 2}", "job.yaml:8:1: retires: unknown key; did you mean retry?", "a near miss"),
    ("limits: {concurency: 3}", "job.yaml:8:10: limits.concurency: unknown key; did you mean concurrency?", "a near miss within"),
    ("until:\n  att: 06:00", "job.yaml:9:3: until.att: unknown key; did you mean at?", "a near miss a line below"),
    ("limit: {rpm: 3}", "job.yaml:8:1: limit: unknown key; did you mean limits?", "a near miss of a section, which is another one's key"),
    ("limit: 3", "job.yaml:8:1: limit: unknown key; did you mean `input: {limit: ...}`?", "a key of another section"),
    ("retries: 3", "job.yaml:8:1: retries: unknown key; did you mean `retry: {attempts: ...}` or `check: {retries: ...}`?", "a word for two things"),
    ("limits: {rpm: 3}", "job.yaml:8:10: limits.rpm: unknown key; did you mean requests_per_minute?", "another tool's limit of requests"),
    ("limits: {tpm: 3}", "job.yaml:8:10: limits.tpm: unknown key; did you mean tokens_per_minute?", "another tool's limit of tokens"),
    ("limits: {threads: 3}", "job.yaml:8:10: limits.threads: unknown key; did you mean concurrency?", "another tool's concurrency"),
    ("retry: {max_retries: 3}", "job.yaml:8:9: retry.max_retries: unknown key; did you mean attempts (it counts the first try, too)?", "another tool's attempts"),
    ("check: {choices: [a, b]}", 'job.yaml:8:9: check.choices: unknown key; did you mean `matches: "^(a|b)$"`, or json_schema with an enum?', "one of some words"),
    ("check: {regex: x}", "job.yaml:8:9: check.regex: unknown key; did you mean matches?", "another tool's pattern"),
    ("colour: red", "job.yaml:8:1: colour: unknown key; ", "a key unlike all others"),
    ("LIMITS: {concurrency: 3}", "job.yaml:8:1: LIMITS: unknown key; did you mean limits?", "a section in capitals"),
    ("until: {AT: 06:00}", "job.yaml:8:9: until.AT: unknown key; did you mean at?", "a key in capitals"),
    ("columns: {MAX_TOKENS: a}", "job.yaml:8:11: columns.MAX_TOKENS: unknown request field; did you mean max_tokens?", "a request field in capitals"),
    ("rename: {a: b}", "job.yaml:8:1: rename: unknown key; did you mean `input: {rename: ...}`?", "the input's renaming beside it"),
    ("limit: {concurrency: 3}", "job.yaml:8:1: limit: unknown key; did you mean limits?", "a section with a letter left out"),
    ("limits: {timeout: 3}", "job.yaml:8:10: limits.timeout: unknown key; did you mean `timeout` at the top level?", "a section within another"),
    ("gate: {min_chars: 9223372036854775808}", "job.yaml:8:8: gate.min_chars: should be less than", "a length beyond 64 bits"),
    ("timeout: {zzz: 3}", "job.yaml:8:11: timeout.zzz: unknown key; known here: connect, total", "the keys that there are"),
    ("columns: {max_token: budget}", "job.yaml:8:11: columns.max_token: unknown request field; did you mean max_tokens?", "a column for no field"),
    ("columns: {prompt: text}", "job.yaml:8:11: columns.prompt: unknown request field; ", "a column for the prompt"),
    ("prices: {palmyra-x5: {inptu: 1, output: 2}}", "job.yaml:8:23: prices.palmyra-x5.inptu: unknown key; did you mean input?", "a near miss by model"),
    # wrong types
    ("reuse: yes", "job.yaml:8:1: reuse: should be a valid boolean, not 'yes'", "YAML 1.2's yes is a text"),
    ("limits: {concurrency: '3'}", "job.yaml:8:10: limits.concurrency: should be a valid integer or 'auto', not '3'", "a quoted number"),
    ("limits: {concurrency: 1e3}", "job.yaml:8:10: limits.concurrency: should be a valid integer or 'auto', not 1000.0", "a float for a count"),
    ("limits: {concurrency: true}", "job.yaml:8:10: limits.concurrency: should be a valid integer or 'auto', not True", "a boolean for a count"),
    ("limits: 5", "job.yaml:8:1: limits: ", "a number for a mapping"),
    ("columns: [max_tokens]", "job.yaml:8:1: columns: ", "a list for a mapping"),
    ("name: 5", "job.yaml:8:1: name: should be a valid string, not 5", "a number for a name"),
    ("until: {at: 6}", "job.yaml:8:9: until.at: should be a valid string, not 6", "an hour without minutes"),
    # values out of range
    ("limits: {concurrency: 0}", "job.yaml:8:10: limits.concurrency: should be greater than or equal to 1 or 'auto', not 0", "no slot at all"),
    ("limits: {requests_per_minute: 0}", "job.yaml:8:10: limits.requests_per_minute: should be greater than or equal to 0.001, not 0", "no request at all"),
    ("limits: {requests_per_minute: .inf}", "job.yaml:8:10: limits.requests_per_minute: should be a finite number", "no end of requests"),
    ("limits: {tokens_per_minute: .nan}", "job.yaml:8:10: limits.tokens_per_minute: should be a finite number", "not a number of tokens"),
    ("retry: {attempts: 0}", "job.yaml:8:9: retry.attempts: should be greater than or equal to 1, not 0", "no attempt"),
    ("retry: {max_wait: -1}", "job.yaml:8:9: retry.max_wait: should be greater than or equal to 0, not -1", "a negative wait"),
    ("timeout: {total: 0}", "job.yaml:8:11: timeout.total: should be greater than 0, not 0", "no time"),
    ("until: {at: 25:00}", "job.yaml:8:9: until.at: should be a time of day such as 06:00, not '25:00'", "an hour that no day has"),
    ("until: {at: 06:00:00}", "job.yaml:8:9: until.at: should be a time of day such as 06:00", "a time with seconds"),
    ("until: {after: 6 hours}", "job.yaml:8:9: until.after: should be a duration such as 90s, 45m, 6h or 1h30m, not '6 hours'", "a duration in words"),
    ("until: {after: ''}", "job.yaml:8:9: until.after: should be a duration", "an empty duration"),
    ("until: {after: 0s}", "job.yaml:8:9: until.after: should be greater than 0", "a duration of nothing"),
    ("until: {after: -1}", "job.yaml:8:9: until.after: should be greater than 0, not -1", "a negative duration"),
    ("until: {cost: 0}", "job.yaml:8:9: until.cost: should be greater than 0, not 0", "a budget of nothing"),
    ("until: {requests: 1.5}", "job.yaml:8:9: until.requests: should be a valid integer", "half a request"),
    ("name: a/b", "job.yaml:8:1: name: should be letters, digits, '.', '_' and '-' only, not 'a/b'", "a separator in the name"),
    ("name: ..", "job.yaml:8:1: name: should be letters, digits, '.', '_' and '-' only, at most 100, and neither '.' nor '-' first, not '..'", "the folder above as name"),
    ("name: " + "x" * 101, "job.yaml:8:1: name: should be letters, digits, '.', '_' and '-' only, at most 100, and neither", "a long name"),
    ("name: a b.", "job.yaml:8:1: name: should be letters, digits, '.', '_' and '-' only", "a blank in the name"),
    ('name: "a\\n"', "job.yaml:8:1: name: should be letters", "a line end in the name"),
    ("prices: {m: {input: 1}}", "job.yaml:8:10: prices.m.output: missing", "half a price"),
    # the endpoint
    ("endpoint: {url: api.writer.com}", "job.yaml:8:12: endpoint.url: should be an address such as https://api.writer.com", "an address without scheme"),
    ("endpoint: {url: 'gpu1:8000'}", "job.yaml:8:12: endpoint.url: should be an address such as https://api.writer.com; http:// or https:// is missing in front", "a host and port alone"),
    ("endpoint: {proxy: 'proxy:3128'}", "job.yaml:8:12: endpoint.proxy: should be a proxy's address such as http://proxy.example.com:3128; http:// or https:// is missing", "a proxy's host and port alone"),
    ("endpoint: {url: 'ftp://x.com'}", "job.yaml:8:12: endpoint.url: should be an address", "a scheme that is none of ours"),
    ("endpoint: {url: 'https://'}", "job.yaml:8:12: endpoint.url: should be an address", "an address without host"),
    ("endpoint: {url: 'https://x.com:port'}", "job.yaml:8:12: endpoint.url: ", "a port that is no number"),
    ("endpoint: {url: 'https://x.com:99999'}", "job.yaml:8:12: endpoint.url: ", "a port that no host has"),
    ("endpoint: {url: 'https://[::1'}", "job.yaml:8:12: endpoint.url: ", "half an IPv6 address"),
    ("endpoint: {url: 'https://exa mple.com'}", "job.yaml:8:12: endpoint.url: ", "a space in the host"),
    ('endpoint: {url: "https://x.com\\n.evil.com"}', "job.yaml:8:12: endpoint.url: ", "a line end in the host"),
    ("endpoint: {url: 'http://x.com'}", "job.yaml:8:12: endpoint.url: should be https: ", "a key in the clear"),
    ("endpoint: {url: 'http://127.0.0.1.x.com'}", "job.yaml:8:12: endpoint.url: should be https: ", "a host that looks like this machine"),
    ("endpoint: {url: 'http://localhost@x.com'}", "job.yaml:8:12: endpoint.url: must not hold a user name", "this machine as user name"),
    ("endpoint: {url: 'https://x.com/?k=1'}", "job.yaml:8:12: endpoint.url: must not hold a query", "a query"),
    ("endpoint: {url: 'https://x.com/v1/completions/'}", "job.yaml:8:12: endpoint.url: should end before /v1/completions, which each request adds", "the address of one call"),
    ("endpoint: {url: 'https://api.writer.com/v1'}", "job.yaml:8:12: endpoint.url: should be https://api.writer.com: each request adds its path", "the address that other clients want"),
    ("endpoint: {api: openai, url: 'http://gpu1:8000/v1/chat/completions'}", "job.yaml:8:25: endpoint.url: should end before /v1/chat/completions", "the address of a server's chats"),
    ("endpoint: {api: openai, name: n, url: ['http://a/v1', 'http://b/v1/completions']}", "job.yaml:8:55: endpoint.url.1: should end before /v1/completions", "the address of one call among several"),
    ("endpoint: {key_env: writer_key}", "job.yaml:8:12: endpoint.key_env: should be the NAME of an environment variable", "a variable in small letters"),
    ("endpoint: {name: ''}", "job.yaml:8:12: endpoint.name: ", "an empty name"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "said"), [pytest.param(a, s, id=why) for a, s, why in MISTAKES])
def test_a_mistake_is_told_with_its_place(tmp_path, lines, said):
    told = refused(tmp_path, BASE + lines + "\n")
    assert told.startswith(said)
    assert "\n" not in told


CHANGES = [
    ("in.csv", "in.csv\n  shema: {a: Int8}", "job.yaml:3:3: input.shema: unknown key; did you mean schema?", "a near miss of an alias"),
    ("in.csv", "in.csv\n  types: {a: Int8}", "job.yaml:3:3: input.types: unknown key; ", "an inner name is no key"),
    ("in.csv", "in.csv\n  schema: {a: Int}", "job.yaml:3:12: input.schema.a: should be 'String', ", "a type that is none"),
    ("in.csv", "in.csv\n  schema: {a: float}", "job.yaml:3:12: input.schema.a: should be 'String', 'Boolean', 'Date', 'Datetime', 'Float32', 'Float64', 'Int8', 'Int16', 'Int32', 'Int64', 'UInt8', 'UInt16', 'UInt32' or 'UInt64', not 'float'; did you mean Float64?", "Python's word for a type"),
    ("in.csv", "in.csv\n  schema: float", "job.yaml:3:3: input.schema: should be a mapping, not 'float'", "a type of nothing"),
    ("in.csv", "in.csv\n  delimiter: ';'", "job.yaml:3:3: input.delimiter: unknown key; did you mean separator?", "another tool's separator"),
    ("in.csv", "in.csv\n  limit: 0", "job.yaml:3:3: input.limit: should be greater than or equal to 1, not 0", "the first no rows"),
    ("in.csv", "in.csv\n  limit: 1e999", "job.yaml:3:3: input.limit: should be a", "the first infinitely many rows"),
    ("in.csv", "in.csv\n  limit: 5.0", "job.yaml:3:3: input.limit: should be a valid integer, not 5.0", "a limit that is no count"),
    ("in.csv", "in.csv\n  rename: {a: 5}", "job.yaml:3:12: input.rename.a: should be a valid string, not 5", "a number as new name"),
    ("in.csv", "5", "job.yaml:2:3: input.path: should be a path, not 5", "a number as path"),
    ("in.csv", "''", "job.yaml:2:3: input.path: ", "an empty path"),
    ("in.csv", "~nobody-of-that-name/in.csv", "job.yaml:2:3: input.path: ", "the home of nobody"),
    ("in.csv", '"in\\0.csv"', "job.yaml:2:3: input.path: should be a path", "a NUL in a path"),
    ("in.csv", "ftp://host/in.csv", "job.yaml:2:3: input.path: should be a path on this machine, or begin with s3://, gs://, az://", "an unknown store"),
    ("in.csv", "s3:///in.csv", "job.yaml:2:3: input.path: should be s3://BUCKET/NAME", "no bucket"),
    ("in.csv", "gs://b/a//in.csv", "job.yaml:2:3: input.path: should be gs://BUCKET/NAME, without empty parts", "an empty part"),
    ("  path: in.csv", "  id: a", "job.yaml:1:1: input.path: missing", "no path"),
    ("  model: palmyra-x5", "  max_tokens: 5", "job.yaml:4:1: request.model: missing", "no model"),
    ("palmyra-x5", "''", "job.yaml:5:3: request.model: ", "an empty model"),
    ("palmyra-x5", "1e3", "job.yaml:5:3: request.model: should be a valid string, not 1000.0", "a number as model"),
    ("palmyra-x5", "m\n  max_token: 5", "job.yaml:6:3: request.max_token: unknown key; did you mean max_tokens?", "a near miss of a field"),
    ("palmyra-x5", "m\n  prompt: x", "job.yaml:6:3: request.prompt: unknown key; ", "the prompt in the request"),
    ("palmyra-x5", "m\n  max_tokens: 0", "job.yaml:6:3: request.max_tokens: should be greater than or equal to 1, not 0", "an answer of nothing"),
    ("palmyra-x5", "m\n  max_tokens: 9223372036854775808", "job.yaml:6:3: request.max_tokens: should be less than", "a number beyond 64 bits"),
    ("palmyra-x5", "m\n  random_seed: 2147483648", "job.yaml:6:3: request.random_seed: should be less than", "a seed beyond 32 bits"),
    ("palmyra-x5", "m\n  best_of: 2147483648", "job.yaml:6:3: request.best_of: should be less than", "a count beyond 32 bits"),
    ("palmyra-x5", "m\n  temperature: -1", "job.yaml:6:3: request.temperature: should be greater than or equal to 0, not -1", "a negative temperature"),
    ("palmyra-x5", "m\n  temperature: .nan", "job.yaml:6:3: request.temperature: should be a finite number", "no number as temperature"),
    ("palmyra-x5", "m\n  temperature: hot", "job.yaml:6:3: request.temperature: should be a valid number, not 'hot'", "a word as temperature"),
    ("palmyra-x5", "m\n  top_p: 1.01", "job.yaml:6:3: request.top_p: should be less than or equal to 1, not 1.01", "more than all"),
    ("palmyra-x5", "m\n  stream: no", "job.yaml:6:3: request.stream: should be a valid boolean, not 'no'", "YAML 1.2's no is a text"),
    ("palmyra-x5", "m\n  stop: 5", "job.yaml:6:3: request.stop: ", "a number that stops"),
    ("palmyra-x5", "m\n  stop: [a, 5]", "job.yaml:6:", "a number among texts that stop"),
    ("out/x.parquet", "out/x.csv", "job.yaml:7:3: output.path: should end in .parquet (`batchgen export JOB -o FILE` makes a .csv", "another format"),
    ("in.csv", "in.csv\n  encoding: ANSI", "job.yaml:3:3: input.encoding: is not a known encoding; did you mean cp1252?", "what Windows calls cp1252"),
    ("in.csv", "in.csv\n  sheet: 0", "job.yaml:3:3: input.sheet: should be greater than or equal to 1 or a valid string, not 0", "what it might be is told once"),
    ("in.csv", "in.csv\n  where: ''", "job.yaml:3:3: input.where: should not be empty", "an empty condition"),
    ("in.csv", "in.csv\n  schema: [a]", "job.yaml:3:3: input.schema: should be a mapping", "a list of types"),
    ("prompt: Hello {{ name }}", "prompt: ''", "job.yaml:3:1: prompt: should not be empty", "an empty prompt"),
    ("prompt: Hello {{ name }}", "messages: []", "job.yaml:3:1: messages: should not be empty", "no message"),
    ("prompt: Hello {{ name }}", "messages:\n- {role: user, content: x}", "job.yaml:4:3: messages.0: should have one key, its role, such as `- user: Write", "a message as the API has it"),
    ("prompt: Hello {{ name }}", "messages: [x]", "job.yaml:3:12: messages.0: should have one key, its role, such as `- user: Write", "a text as a message"),
    ("out/x.parquet", "out/{user}.parquet", "job.yaml:7:3: output.path: {user} is not known; {date} and {name} are", "an unknown placeholder"),
    ("out/x.parquet", "s3://b/x.csv", "job.yaml:7:3: output.path: should end in .parquet", "another format in a store"),
    ("out/x.parquet", "out/x\n  rows_per_file: 9223372036854775808", "job.yaml:8:3: output.rows_per_file: should be less than", "parts beyond 64 bits"),
    ("palmyra-x5", "m\n  order: random", "job.yaml:6:3: request.order: unknown key; did you mean `order` at the top level?", "the order in the request"),
    ("out/x.parquet", "out/x\n  rows_per_file: 0", "job.yaml:8:3: output.rows_per_file: should be greater than or equal to 1", "parts of nothing"),
    ("prompt: Hello {{ name }}\n", "", "job.yaml:1:1: prompt: missing", "no prompt"),
    ("Hello {{ name }}", "", "job.yaml:3:1: prompt: ", "nothing after the prompt's key"),
    ("Hello {{ name }}", "''", "job.yaml:3:1: prompt: ", "an empty prompt"),
    ("Hello {{ name }}", "[a]", "job.yaml:3:1: prompt: should be a valid string", "a list as prompt"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), [pytest.param(o, n, s, id=why) for o, n, s, why in CHANGES])
def test_a_mistake_in_what_must_be_there(tmp_path, old, new, said):
    told = refused(tmp_path, BASE.replace(old, new))
    assert told.startswith(said)


def test_a_file_that_cannot_be_read_is_named_once(tmp_path):
    told = refused(tmp_path, BASE + "check: {json_schema: none.json}\n")
    assert told.endswith("check.json_schema: none.json: cannot be read: No such file or directory")


def test_all_mistakes_are_told_in_the_files_order(tmp_path):
    text = BASE.replace("in.csv", "5").replace("palmyra-x5", "7") + "retries: {}\nreuse: maybe\n"
    told = refused(tmp_path, text).splitlines()
    assert [re.match(r"job.yaml:(\d+):\d+: ([\w.]+): ", line).groups() for line in told] == [
        ("2", "input.path"),
        ("5", "request.model"),
        ("8", "retries"),
        ("9", "reuse"),
    ]


def test_all_that_is_missing_is_told_beside_the_mistakes(tmp_path):
    told = refused(tmp_path, "input: {path: in.csv}\nlimits: {concurency: 4}\n").splitlines()
    assert [line.split(": ", 1)[1] for line in told] == [
        "limits.concurency: unknown key; did you mean concurrency?",
        "prompt: missing (a chat has messages)",
        "request: missing",
        "output: missing",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            "request:", "requests:", "job.yaml:4:1: requests: unknown key; did you mean request?", id="request"
        ),
        pytest.param(
            "prompt: Hello {{ name }}",
            "mesages: [user: Hello]",
            "job.yaml:3:1: mesages: unknown key; did you mean messages?",
            id="messages, in whose place prompt would be",
        ),
    ],
)
def test_what_has_a_typing_mistake_is_not_missing_too(tmp_path, old, new, said):
    assert refused(tmp_path, BASE.replace(old, new)) == said


@pytest.mark.parametrize(
    ("word", "kind"),
    [("int", "Int64"), ("str", "String"), ("string", "String"), ("bool", "Boolean"), ("date", "Date"), ("FLOAT64", "Float64")],
)  # fmt: skip
def test_another_tools_word_for_a_type(tmp_path, word, kind):
    told = refused(tmp_path, BASE.replace("in.csv", f"in.csv\n  schema: {{a: {word}}}"))
    assert told.endswith(f", not {word!r}; did you mean {kind}?")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n", "5", "null"])
def test_a_file_that_is_no_mapping(tmp_path, text):
    assert refused(tmp_path, text).startswith("job.yaml: a job file is a mapping")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"none\.yaml: cannot be read: No such file"):
        read_job(tmp_path / "none.yaml")


def test_a_folder_instead_of_a_file(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_job(tmp_path)


def test_a_file_that_is_not_utf8(tmp_path):
    (tmp_path / "job.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(UsageError, match=r"job\.yaml: not UTF-8: .* at byte 6"):
        read_job(tmp_path / "job.yaml")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(f"endpoint: {{key_env: {CANARY}}}", id="the key for its variable's name"),
        pytest.param(f"endpoint: {{key: {CANARY}}}", id="a key of the file's own"),
        pytest.param(f"endpoint: {{api_key: {CANARY}, url: 5}}", id="a key beside another mistake"),
        pytest.param(f"endpoint: {CANARY}", id="the key for the endpoint"),
        pytest.param(f"endpoint: [{CANARY}]", id="the key in a list"),
        pytest.param(f"endpoint: {{url: 'https://user:{CANARY}@x.com'}}", id="a password in the address"),
        pytest.param(f"endpoint: {{url: 'https://{CANARY}@x.com'}}", id="a user name in the address"),
        pytest.param(f"endpoint: {{url: 'https://x.com/?key={CANARY}'}}", id="the key in a query"),
        pytest.param(f"endpoint: {{url: 'https://x.com/#{CANARY}'}}", id="the key in a fragment"),
        pytest.param(f"endpoint: {{url: 'http://{CANARY}.com'}}", id="the key as host"),
        pytest.param(f"endpoint: {{url: 'https://[{CANARY}'}}", id="the key in half an IPv6 address"),
        pytest.param(f"endpoint: {{url: 'https://u:{CANARY}@x\u2100y.com'}}", id="a password before a host that NFKC changes"),
        pytest.param(f"endpoint: {{url: {CANARY}}}", id="the key for the address"),
        pytest.param(f"endpoint: {{name: [{CANARY}]}}", id="the key in the name"),
        pytest.param(f"endpoint: {{allow_removed_models: {CANARY}}}", id="the key for a switch"),
        pytest.param(f"api_key: {CANARY}", id="the key beside the endpoint"),
        pytest.param(f"headers: {{Authorization: Bearer {CANARY}}}", id="the key in a header"),
        pytest.param(f"key: !!str {CANARY}", id="the key with a tag"),
        pytest.param(f"endpoint: {{url: a}}\nendpoint: {{key_env: {CANARY}}}", id="the key in a repeated key"),
    ],
)  # fmt: skip
def test_a_secret_in_the_wrong_place_is_never_shown(tmp_path, lines):
    assert CANARY not in refused(tmp_path, BASE + lines + "\n")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.writer.com",
        "https://api.writer.com/",
        "https://proxy.example:8443/writer/",
        "http://localhost:8000",
        "http://127.0.0.1:8000",
        "http://127.1.2.3",
        "http://[::1]:8000",
        "HTTPS://API.WRITER.COM",
    ],
)
def test_addresses_that_are_good(tmp_path, url):
    loaded = load(tmp_path, BASE + f"endpoint: {{url: '{url}'}}\n")
    assert loaded.addresses({"WRITER_BASE_URL": "https://other.example"}) == (url.rstrip("/"),)


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        pytest.param({}, "https://api.writer.com", id="no variable"),
        pytest.param({"WRITER_BASE_URL": " "}, "https://api.writer.com", id="an empty variable"),
        pytest.param({"WRITER_BASE_URL": "https://x.example/v/ "}, "https://x.example/v", id="a variable"),
    ],
)
def test_the_address_without_one_in_the_job(tmp_path, environ, url):
    assert load(tmp_path, BASE).addresses(environ) == (url,)


@pytest.mark.parametrize(
    "url", ["x", "http://x.example", f"https://u:{CANARY}@x.com", f"https://u:{CANARY}@x\u2100y.com"]
)
def test_a_variable_that_is_no_address(tmp_path, url):
    with pytest.raises(UsageError, match=r"^WRITER_BASE_URL ") as told:
        load(tmp_path, BASE).addresses({"WRITER_BASE_URL": url})
    assert CANARY not in str(told.value)


def test_a_variable_without_its_scheme_is_told_what_is_missing(tmp_path):
    with pytest.raises(UsageError, match=r"^WRITER_BASE_URL should be .*; http:// or https:// is missing in front$"):
        load(tmp_path, BASE).addresses({"WRITER_BASE_URL": "127.0.0.1:18180"})


@pytest.mark.parametrize(
    ("given_path", "found"),
    [
        ("in.csv", "/home/me/jobs/in.csv"),
        ("./a/../in.csv", "/home/me/jobs/in.csv"),
        ("../data/in.csv", "/home/me/data/in.csv"),
        ("/data/in.csv", "/data/in.csv"),
        ("../data/*.csv", "/home/me/data/*.csv"),
    ],
)
def test_paths_are_relative_to_the_job_file(given_path, found):
    spec = Input.model_validate({"path": given_path}, context={"folder": Path("/home/me/jobs")})
    assert spec.path == found


def test_paths_do_not_depend_on_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "jobs").mkdir()
    loaded = load(tmp_path / "jobs", BASE)
    monkeypatch.chdir(tmp_path)
    assert read_job("jobs/job.yaml") == loaded


def test_a_path_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert load(tmp_path, BASE.replace("in.csv", "~/in.csv")).input.path == "/home/me/in.csv"


@pytest.mark.parametrize(
    ("path", "written", "state"),
    [
        pytest.param("/o/x.parquet", "/o/x.parquet", "/o/.batchgen", id="no placeholder"),
        pytest.param("/o/{name}-{date}.parquet", "/o/seo-2026-11-22.parquet", "/o/.batchgen", id="in the file's name"),
        pytest.param("/o/{date}/{name}/x.parquet", "/o/2026-11-22/seo/x.parquet", "/o/.batchgen", id="in the folders"),
        pytest.param(
            "/o/a{date}b/p/x.parquet", "/o/a2026-11-22b/p/x.parquet", "/o/.batchgen", id="within a folder's name"
        ),
        pytest.param("/o/{date}-{date}.parquet", "/o/2026-11-22-2026-11-22.parquet", "/o/.batchgen", id="twice"),
    ],
)
def test_placeholders_of_the_output(tmp_path, path, written, state):
    loaded = load(tmp_path, BASE.replace("out/x.parquet", f"'{path}'"), "seo.yaml")
    assert loaded.output_path("2026-11-22") == Path(written)
    assert loaded.state_folder == Path(state)


@pytest.mark.parametrize(
    ("limits", "url", "requests", "tokens"),
    [
        pytest.param("{}", "https://api.writer.com", 400, 25_000, id="the vendor's, documented"),
        pytest.param("{}", "https://API.writer.com:443/x", 400, 25_000, id="the vendor's, spelt otherwise"),
        pytest.param("{requests_per_minute: 5}", "https://api.writer.com", 5, 25_000, id="the job's own requests"),
        pytest.param("{tokens_per_minute: 1e6}", "https://api.writer.com", 400, 1e6, id="the job's own tokens"),
        pytest.param("{}", "https://api.writer.com.evil.example", None, None, id="somebody else's, alike"),
        pytest.param("{}", "http://127.0.0.1:8000", None, None, id="somebody else's"),
        pytest.param("{requests_per_minute: 5}", "http://127.0.0.1:8000", 5, None, id="the job's own, elsewhere"),
    ],
)
def test_limits_in_force(tmp_path, limits, url, requests, tokens):
    granted = load(tmp_path, BASE + f"limits: {limits}\n").with_effective_limits((url,)).limits
    assert (granted.requests_per_minute, granted.tokens_per_minute) == (requests, tokens)
    assert granted.concurrency == 64


def test_a_trial_has_its_own_results_and_no_limits(tmp_path):
    text = DESIGN.replace("../out/seo", "../out/{name}/{date}")
    real = load(tmp_path, text, "seo.yaml")
    trial = real.for_local_model()
    assert trial.is_local
    assert not real.is_local
    assert trial.name != real.name
    assert trial.output_path("2026-11-22") != real.output_path("2026-11-22")
    assert trial.output_path("2026-11-22").name == "2026-11-22.local.parquet"
    assert trial.endpoint.url is None
    assert trial.with_effective_limits(trial.addresses({})).limits == Limits(concurrency=64)
    same = {"input", "prompt", "request", "columns", "retry", "timeout", "until", "prices", "reuse"}
    assert trial.model_dump(include=same) == real.model_dump(include=same)


def test_an_output_beside_the_real_one(tmp_path):
    trial = load(tmp_path, BASE, "x.yaml").for_local_model()
    assert trial.output_path("2026-11-22") == tmp_path / "out" / "x.local.parquet"
    assert trial.state_folder == tmp_path / "out" / ".batchgen"


def test_a_limit_from_the_command_line(tmp_path):
    loaded = load(tmp_path, BASE)
    assert loaded.with_limit(None) == loaded
    assert loaded.with_limit(7).input.limit == 7
    assert loaded.input.limit is None


@pytest.mark.parametrize(
    ("until", "now", "seconds"),
    [
        pytest.param("{after: 90s}", "23:00:00", 90, id="seconds"),
        pytest.param("{after: 1h30m}", "23:00:00", 5400, id="hours and minutes"),
        pytest.param("{after: 0.5d}", "23:00:00", 43_200, id="half a day"),
        pytest.param("{after: 90}", "23:00:00", 90, id="a bare number"),
        pytest.param("{at: 06:00}", "23:00:00", 7 * 3600, id="six o'clock tomorrow, unquoted"),
        pytest.param("{at: 6:00}", "05:59:30", 30, id="six o'clock today"),
        pytest.param("{at: '06:00'}", "06:00:00", 86_400, id="six o'clock is now: tomorrow"),
        pytest.param("{at: 06:00}", "06:00:01", 86_399, id="six o'clock is just past: tomorrow"),
        pytest.param("{at: 00:00}", "23:59:59", 1, id="midnight"),
        pytest.param("{at: 06:00, after: 6h}", "23:00:00", 6 * 3600, id="whichever is first: the duration"),
        pytest.param("{at: 06:00, after: 8h}", "23:00:00", 7 * 3600, id="whichever is first: the time of day"),
        pytest.param("{tokens: 5}", "23:00:00", None, id="no deadline"),
    ],
)
def test_when_a_run_is_to_end(tmp_path, until, now, seconds):
    loaded = load(tmp_path, BASE + f"until: {until}\n")
    assert loaded.until.seconds(datetime.fromisoformat(f"2026-11-22T{now}")) == seconds


@pytest.mark.parametrize(
    ("stop", "sent"),
    [
        ('"\\n"', "\n"),
        ("'\\n'", "\\n"),
        ("[a, b]", ["a", "b"]),
        ("no", "no"),
        ('["\\n\\n", "."]', ["\n\n", "."]),
    ],
)
def test_a_stop_is_a_text_or_a_list_of_texts(tmp_path, stop, sent):
    assert load(tmp_path, BASE.replace("palmyra-x5", f"m\n  stop: {stop}")).request.stop == sent


@pytest.mark.parametrize("name", ["7.yaml", "ü.yaml", "a b.yaml", "x.y.yaml", f"{'x' * 100}.yaml"])
def test_a_job_is_named_by_its_file(tmp_path, name):
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", load(tmp_path, BASE, name).name)


@pytest.mark.parametrize("name", ["-x.yaml", ".yaml", f"{'x' * 101}.yaml"])
def test_a_file_whose_name_names_no_job(tmp_path, name):
    try:
        assert re.fullmatch(NAME, load(tmp_path, BASE, name).name)
    except UsageError as told:
        assert re.search(r":1:1: name: ", str(told))  # noqa: PT017  either will do
    assert load(tmp_path, "name: mine\n" + BASE, name).name == "mine"
