"""What `fuzz.py` demands of any bytes whatever, asked of a few hundred that are made up by grammar: job files, answers,
streams, errors, CSV files and templates. Hours of it are the fuzzer's.
"""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import fuzz

SOME = settings(deadline=None, max_examples=150)
FEW = settings(deadline=None, max_examples=60)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["6h", "06:00", "1e999", ".inf", ".nan", "~nobody/x", "s3://a/b", "\x00", "\ud800", "{date}", "../..", "9" * 400, "https://[", "http://127.0.0.1:99999", "0x", "a\nb"]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = sorted(
    {line.strip().split(":")[0] for line in fuzz.LINES}
    | {"after", "requests", "tokens", "total", "attempts", "max_wait", "requests_per_minute", "ca_file", "types"}
)
PLAIN = [".inf", "-.inf", ".nan", "1e308", "1e400", "5e-324", "0x10", "0o7", "~", "true", "06:00", "- a", "|", ">-", "!!str a", "*a", "{", "[", "'", "%", "@", "---"]  # fmt: skip
"""Words that YAML does not take for texts."""


@st.composite
def job_files(draw) -> bytes:
    """A good job file with a few lines spoilt: another value, another key, something below it, or nothing."""
    lines = list(fuzz.LINES)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        indent = len(lines[at]) - len(lines[at].lstrip())
        key = draw(st.sampled_from([lines[at].strip().split(":")[0], *KEYS]))
        value = draw(st.just(json.dumps(draw(values), ensure_ascii=draw(st.booleans()))) | st.sampled_from(PLAIN))
        lines[at] = draw(st.sampled_from([f"{' ' * indent}{key}: {value}", f"{' ' * indent}{key}: &a [*a]", ""]))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@given(job_files())
@SOME
def test_a_spoilt_job_file(data):
    fuzz.check_job(data)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@SOME
def test_any_bytes_for_a_job_file(data):
    fuzz.job_file(data)


tokens = st.lists(
    st.fixed_dictionaries(
        {"token": st.text(max_size=4) | scalars, "logprob": st.floats(max_value=0) | scalars},
        optional={"bytes": st.lists(st.integers(), max_size=2) | scalars, "top_logprobs": st.just([]) | values, "x": values},
    )
    | values,
    max_size=3,
)  # fmt: skip
log_probs = st.fixed_dictionaries({}, optional={"content": tokens | values, "refusal": tokens | values, "x": values})
spelt = st.sampled_from(["utf-8", "utf-16", "latin-1"])


def encoded(value: object) -> bytes:
    """JSON as Python spells it, NaN and lone surrogates included."""
    return json.dumps(value).encode()


@given(log_probs | values)
@SOME
def test_log_probs_of_any_kind(given_):
    fuzz.column(encoded(given_))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"content": [{"token": "a", "logprob": %s}]}' % (b"9" * 400), id="a number beyond all bounds"),
        pytest.param(b'{"content": [{"token": "a", "logprob": 1e999}]}', id="1e999"),
        pytest.param(b'{"content": [], "content": [{"token": "a", "logprob": 0}]}', id="a repeated key"),
        pytest.param(b'{"content": [{"token": "a", "logprob": 0, "bytes": [9999999999]}]}', id="bytes beyond 32 bits"),
        pytest.param(b'{"x": %s1%s}' % (b"[" * 900, b"]" * 900), id="deep"),
        pytest.param(b'{\r\n"content":\n[]\r}', id="line ends"),
        pytest.param(b'{"content": [null]}', id="a null for a token"),
    ],
)
def test_log_probs_of_a_telling_kind(data):
    fuzz.column(data)


@given(
    st.lists(
        st.fixed_dictionaries({"text": st.text(max_size=5)}, optional={"log_probs": log_probs}) | values, max_size=3
    ),
    values,
)
@SOME
def test_answers_of_any_kind(choices, model):
    fuzz.answer(encoded({"choices": choices, "model": model}))


@given(st.binary(max_size=100))
@SOME
def test_any_bytes_for_an_answer(data):
    for whole in (data, b"{" + data, b"data: " + data, bytes(fuzz.GOOD)[: len(data)]):
        fuzz.answer(whole)


pieces = st.sampled_from([b"data: ", b"data:", b"\n\n", b"\r\n", b"\r", b"\n", b'{"value":"a"}', b'{"value":', b'"b"}', b"[DONE]", b": x", b"id: 1", b"\xef\xbb\xbf", b"\xff", b"event: e"])  # fmt: skip


@given(st.lists(pieces, max_size=14).map(b"".join))
@SOME
def test_streams_of_any_kind(data):
    fuzz.events(data)


waits = st.one_of(
    st.text(max_size=20),
    st.floats().map(str),
    st.integers().map(str),
    st.lists(st.sampled_from(["Wed,", "21", "Oct", "9999", "99999999999999999999", "-1", "24:61:61", "GMT", "+9999", "-2400", "EST", "00:00:00", ";", "(", '"']), max_size=7).map(" ".join),
)  # fmt: skip


@given(waits, waits)
@SOME
def test_waits_of_any_kind(first, second):
    fuzz.wait(f"{first}\n{second}".encode("utf-8", "surrogatepass"))


@given(st.integers(0, 899), values, st.text(max_size=30), values, spelt)
@SOME
def test_errors_of_any_kind(status, tpe, description, key, encoding):
    body = encoded(
        {"tpe": tpe, "errors": [{"description": description, "key": key, "extras": None}, key], "extras": tpe}
    )
    for data in (body, body[:-1], description.encode(encoding, "replace"), b""):
        fuzz.error(status.to_bytes(2) + b"m1" + data)


cells = st.sampled_from([b"a", b",", b"\n", b"\r\n", b"\r", b'"', b'""', b" ", b"\xff", b"\x00", "ü".encode(), b"\xef\xbb\xbf", b"1", b"=", b"\t", b"\x85", b"\x0c"])  # fmt: skip


@given(st.lists(cells, max_size=24).map(b"".join))
@SOME
def test_csv_files_of_any_kind(data):
    fuzz.table(data)


words = st.sampled_from(["{{", "}}", "{%", "%}", "{#", "#}", " name ", " price ", " tags ", " for t in tags ", " endfor ", " if ", " endif ", " not ", "|upper", "|default('x')", "|join(',')", "|length", "[0]", ".x", "~", "*", "99999999", "'a'", "\n", "-", "range(9)", "loop", "self", "x", "|format", "|replace('a','b')", "macro f(a)", "endmacro", "set x = 1", "raw", "endraw"])  # fmt: skip


@given(st.lists(words, max_size=14).map("".join))
@FEW
def test_templates_of_any_kind(text):
    fuzz.template(text.encode())


@given(st.text(max_size=40))
@SOME
def test_what_a_terminal_is_shown(text):
    fuzz.terminal(text.encode("utf-8", "surrogatepass"))


def test_the_fuzzers_examples_are_what_they_should_be():
    fuzz.check_job("\n".join(fuzz.LINES).encode())
    assert msgspec.json.decode(fuzz.GOOD)
