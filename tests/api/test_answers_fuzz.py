"""What `support/fuzz.py` demands of any answer, stream, error and wait whatever, asked of a few hundred that are made up
by grammar. Hours of it are the fuzzer's."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import fuzz
from support.made_up import SOME, scalars, values

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


def test_the_fuzzers_example_is_json():
    assert msgspec.json.decode(fuzz.GOOD)
